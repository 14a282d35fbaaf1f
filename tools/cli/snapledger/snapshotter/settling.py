"""What a start makes of what a crash left on disk.

| there is | since | it is |
| --- | --- | --- |
| a snapshot without a directory, but with its stage | the rename was lost | renamed |
| that, and the rename fails | of the disk | reported, and the stage kept for the next start |
| a snapshot with neither | somebody removed it | reported, if its mounts need it |
| what belongs to no snapshot | | of `leftovers` |

An id that was never given but is there is not given any more (`MetaStore.reconcile`). Nothing is
served meanwhile. No leftover keeps a start from going on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import events
from snapledger.snapshotter.leftovers import ACTOR, OURS, clear

if TYPE_CHECKING:
    from projections.snapshots import Info, MetaStore
    from projections.snapshots.reconcile import Reconciliation
    from snapledger.snapshotter.directories import Directories
    from snapledger.snapshotter.strategy import Strategy

_log = logging.getLogger(__name__)


class Settled(NamedTuple):
    """What was done, by the names of directories.

    Attributes:
        renamed: ids whose stages got their name.
        missing: ids of snapshots without the directory that they need.
        removed: leftovers.
        unknown: what was left as it is.
        stuck: leftovers that could not be removed.
        unnamed: stages of missing snapshots that could not be renamed.
    """

    renamed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()


def settle(store: MetaStore, directories: Directories, strategy: Strategy) -> Settled:
    """Bring the directories in line with the metadata, and report what was done.

    Raises:
        EventStoreError: the store can't be read, or its counter of ids not be moved.
        OSError: the directories can't be listed.
    """
    found = store.reconcile(directories.names, actor=ACTOR)
    stages = {name for name in found.unknown if name.startswith(OURS)}
    renamed, missing, unnamed = [], [], []
    for snapshot_id, info in _without_directory(store, found).items():
        # Many may be missing, after a disk was lost, and each question reads the history.
        stage = _stage_of(store, snapshot_id, info.name) if stages else ""
        if stage in stages:
            stages.discard(stage)
            if _is_renamed(directories, stage, snapshot_id):
                renamed.append(snapshot_id)
                continue
            unnamed.append(stage)
        if strategy.needs_directory(info.kind, info.parent):
            missing.append(snapshot_id)
            _log.error("a snapshot has no directory", extra={"id": snapshot_id, "key": info.name})
    cleared = clear(directories, found, stages)
    return Settled(
        tuple(renamed),
        tuple(missing),
        cleared.removed,
        cleared.unknown,
        cleared.stuck,
        tuple(unnamed),
    )


def _is_renamed(directories: Directories, stage: str, snapshot_id: str) -> bool:
    """Give a stage its name; where that can't be done, keep it, say so and return False."""
    try:
        directories.settle(stage, snapshot_id)
    except OSError as error:
        directories.keep(stage)
        told = {"id": snapshot_id, "path": directories.of(stage), "error": str(error)}
        _log.error(
            "a prepared directory can't get its name: the next start tries again", extra=told
        )
        return False
    _log.info("a prepared directory got its name", extra={"id": snapshot_id})
    return True


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
