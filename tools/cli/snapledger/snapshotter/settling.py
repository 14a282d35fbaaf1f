"""What a start makes of what a crash left on disk.

| there is | since | it is |
| --- | --- | --- |
| a snapshot without a directory, but with its stage | the rename was lost | renamed |
| a snapshot with neither | somebody removed it | reported |
| another stage, or `rm-…` | nothing refers to it | removed |
| an id that was given and is no snapshot | it was removed | removed |
| an id that was never given | the metadata is older than the disk | set aside as `unknown-…` |
| anything else | it is not ours | left, and reported |

Nothing is served meanwhile.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import events
from projections.snapshots.projection import COUNTERS, LAST_ID
from snapledger.snapshotter.directories import REMOVED_PREFIX, STAGE_PREFIX, UNKNOWN_PREFIX

if TYPE_CHECKING:
    from projections.snapshots import Info, MetaStore
    from snapledger.snapshotter.directories import Directories
    from snapledger.snapshotter.strategy import Strategy

_log = logging.getLogger(__name__)


class Settled(NamedTuple):
    """What was done, by the names of directories.

    Attributes:
        renamed: ids whose stages got their name.
        missing: ids of snapshots without a directory.
        removed: leftovers.
        set_aside: what has nothing to do with the metadata, under its new name.
        foreign: what was left as it is.
    """

    renamed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


def settle(store: MetaStore, directories: Directories, strategy: Strategy) -> Settled:
    """Bring the directories in line with the metadata, and report what was done.

    Raises:
        OSError: a directory can't be renamed or removed.
    """
    found = set(directories.names())
    with store.transaction() as now:
        last_id = now.get(COUNTERS, LAST_ID, 0)
        live = {
            snapshot_id: name
            for snapshot_id, name in now.id_map().items()
            if snapshot_id in found or _needs_directory(now.get_info(name)[1], strategy)
        }
    renamed, missing = [], []
    for snapshot_id, name in live.items():
        if snapshot_id in found:
            continue
        stage = _stage_of(store, snapshot_id, name)
        if stage not in found:
            missing.append(snapshot_id)
            continue
        directories.settle(stage, snapshot_id)
        found.discard(stage)
        renamed.append(snapshot_id)
    done = _clear(directories, found - live.keys(), last_id)
    settled = done._replace(renamed=tuple(renamed), missing=tuple(missing))
    _report(store, settled)
    return settled


def _needs_directory(info: Info, strategy: Strategy) -> bool:
    return strategy.has_directory(info.kind, info.parent)


def _stage_of(store: MetaStore, snapshot_id: str, name: str) -> str | None:
    """Return the stage in the batch that created a snapshot."""
    for entry in store.history(name):
        if entry.id == snapshot_id and entry.event.type == events.CREATED:
            return entry.metadata.request_id
    return None


def _clear(directories: Directories, names: set[str], last_id: int) -> Settled:
    """Remove or set aside what belongs to no snapshot."""
    removed, set_aside, foreign = [], [], []
    for name in sorted(names):
        is_id = name.isdecimal() and name.isascii()
        if name.startswith((STAGE_PREFIX, REMOVED_PREFIX)) or (is_id and int(name) <= last_id):
            directories.remove(name)
            removed.append(name)
        elif is_id:
            set_aside.append(directories.set_aside(name))
        elif not name.startswith(UNKNOWN_PREFIX):
            foreign.append(name)
    return Settled(removed=tuple(removed), set_aside=tuple(set_aside), foreign=tuple(foreign))


def _report(store: MetaStore, settled: Settled) -> None:
    for snapshot_id in settled.renamed:
        _log.info("a prepared directory got its name", extra={"id": snapshot_id})
    for snapshot_id in settled.missing:
        _log.error("a snapshot has no directory", extra={"id": snapshot_id})
    for name in settled.removed:
        _log.info("a leftover was removed", extra={"name_on_disk": name, "why": _why(store, name)})
    for name in settled.set_aside:
        _log.warning("an unknown directory was set aside", extra={"name_on_disk": name})
    for name in settled.foreign:
        _log.warning("a foreign file was left as it is", extra={"name_on_disk": name})


def _why(store: MetaStore, name: str) -> str:
    """Return what the history knows of a leftover."""
    if not name.isdecimal():
        return "nothing refers to it"
    for batch in store.event_store.history(events.id_key(int(name)), reverse=True):
        return f"{batch.metadata.reason} (revision {batch.revision}, {batch.metadata.actor})"
    return "its history is no longer kept"
