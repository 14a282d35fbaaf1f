"""Erasing in a store that is not open: `EventStore.erase` for whoever only has its path."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eventstore.backend.follower import FollowerLog
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute
from eventstore.handle import erasing
from eventstore.handle.erasing import Erasure, FoundText
from eventstore.options import checked_options
from eventstore.projection import checked_projections
from eventstore.store import EventStore

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection

__all__ = ["Erasure", "FoundText", "erase"]


def erase(
    path: str | os.PathLike[str],
    projections: Iterable[Projection],
    fields: Mapping[int, Iterable[Sequence[str]]],
    *,
    actor: str,
    reason: str,
    lock_timeout: float | None = None,
    options: StoreOptions | None = None,
    file_system: FileSystem | None = None,
) -> Erasure:
    """Make texts in batches unreadable, in a store that is not open; see `EventStore.erase`.

    Args:
        path: of the store.
        projections: all that fold its events.
        fields: for each revision what goes.
        actor: by whose order.
        reason: why.
        lock_timeout: seconds to wait for another process to let go; None not at all.
        options: of the store.
        file_system: that the store is on; the local one unless given.

    Raises:
        ErasureError: as of `EventStore.erase`.
        CompactedError: a batch is no longer kept.
        StoreLockedError: the store is open: erase by that handle, or close it.
        Exception: as of `EventStore.open`.
    """
    store = EventStore.open(
        path,
        projections,
        create=False,
        lock_timeout=lock_timeout,
        options=dataclasses.replace(checked_options(options), background=False),
        file_system=file_system,
    )
    with store:
        return store.erase(fields, actor=actor, reason=reason)


def foresee_erasure(
    path: str | os.PathLike[str],
    projections: Iterable[Projection],
    fields: Mapping[int, Iterable[Sequence[str]]],
) -> None:
    """Raise what `erase` would raise of these fields, and change nothing; beside a writer, too.

    Raises:
        ErasureError: as of `EventStore.erase`.
        CompactedError: a batch is no longer kept.
        Exception: as of `EventStore.open`.
    """
    directory, known = absolute(path), checked_projections(projections)
    log = FollowerLog(local_file_system(), directory, known)
    try:
        erasing.foresee(directory, log, known, fields)
    finally:
        log.close()
