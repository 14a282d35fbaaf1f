"""What a start makes of what a crash left on disk.

| there is | since | it is |
| --- | --- | --- |
| a snapshot without a directory, but with its stage | the rename was lost | renamed |
| a snapshot with neither | somebody removed it | reported, if its mounts need it |
| another stage, or `rm-…` | nothing refers to it | removed |
| an id that was given and is no snapshot | it was removed | removed, and who did is said |
| an id that was never given, or that nothing is told of | it is not ours | left, and reported |
| anything else | it is not ours | left, and reported |

An id that was never given but is there is not given any more (`MetaStore.reconcile`). Nothing is
served meanwhile.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import events
from snapledger.snapshotter.directories import REMOVED_PREFIX, STAGE_PREFIX

if TYPE_CHECKING:
    from projections.snapshots import Info, MetaStore
    from projections.snapshots.reconcile import Reconciliation, Removal
    from snapledger.snapshotter.directories import Directories
    from snapledger.snapshotter.strategy import Strategy

ACTOR = "snapledger-snapshotter"

_OURS = (STAGE_PREFIX, REMOVED_PREFIX)
_log = logging.getLogger(__name__)


class Settled(NamedTuple):
    """What was done, by the names of directories.

    Attributes:
        renamed: ids whose stages got their name.
        missing: ids of snapshots without the directory that they need.
        removed: leftovers.
        unknown: what was left as it is.
    """

    renamed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def settle(store: MetaStore, directories: Directories, strategy: Strategy) -> Settled:
    """Bring the directories in line with the metadata, and report what was done.

    Raises:
        EventStoreError: the store can't be read, or its counter of ids not be moved.
        OSError: a directory can't be renamed or removed.
    """
    found = store.reconcile(directories.names, actor=ACTOR)
    stages = {name for name in found.unknown if name.startswith(_OURS)}
    renamed, missing = [], []
    for snapshot_id, info in _without_directory(store, found).items():
        # Many may be missing, after a disk was lost, and each question reads the history.
        stage = _stage_of(store, snapshot_id, info.name) if stages else ""
        if stage in stages:
            directories.settle(stage, snapshot_id)
            stages.discard(stage)
            renamed.append(snapshot_id)
            _log.info("a prepared directory got its name", extra={"id": snapshot_id})
        elif strategy.needs_directory(info.kind, info.parent):
            missing.append(snapshot_id)
            _log.error("a snapshot has no directory", extra={"id": snapshot_id, "key": info.name})
    leftovers = {name: removal for name, removal in found.removed.items() if removal is not None}
    for name in (*leftovers, *sorted(stages)):
        directories.remove(name)
        why = _why(leftovers.get(name))
        _log.info("a leftover was removed", extra={"name_on_disk": name, "why": why})
    untold = [name for name, removal in found.removed.items() if removal is None]
    unknown = (*(name for name in found.unknown if not name.startswith(_OURS)), *untold)
    directories.leave(unknown)
    for name in unknown:
        _log.warning("what is not known is left as it is", extra={"name_on_disk": name})
    return Settled(tuple(renamed), tuple(missing), (*leftovers, *sorted(stages)), unknown)


def _without_directory(store: MetaStore, found: Reconciliation) -> dict[str, Info]:
    """Return the snapshots that have no directory, by their ids."""
    with store.transaction() as now:
        return {each: now.get_info(name)[1] for each, name in found.missing.items()}


def _stage_of(store: MetaStore, snapshot_id: str, name: str) -> str:
    """Return the stage in the batch that created a snapshot; "" if there was none."""
    for entry in store.history(name):
        if entry.id == snapshot_id and entry.event.type == events.CREATED:
            return entry.metadata.request_id or ""
    return ""


def _why(removal: Removal | None) -> str:
    """Return what the history knows of a leftover."""
    if removal is None:
        return "nothing refers to it"
    who, reason = removal.metadata.actor, removal.metadata.reason
    return f"{removal.name} was removed at revision {removal.revision} by {who}: {reason}"
