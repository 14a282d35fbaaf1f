"""Restoring: a new store as of a revision that a backup holds, with its history up to there.

Identity. A store id names where a history begins, and stays: the digests of all batches rest on
it, so under another one no receipt, head or proof that was given out would hold. What tells two
histories of one beginning apart is the digest of a batch. So where a restored store *parts* from
the one that was backed up, because the backup holds later batches, or because the caller says that
the original lives on (`as_new`), its first own batch is an event `eventstore.restored`, with a
random `fork_id` in it. From there on no digest of the two can be equal: a receipt or a head of the
original for anything later fails in the restored store, and the other way round; what was given out
for anything up to there holds in both. The history says that it was restored, from what, to where.

Where a later batch has erased something of those that are restored, that batch is left out, and
what vouches for the redacted ones with it. So the batch in which the store parts states each such
erasure again, with when and by whose order it was.

A restore of the whole backup in place of a store that is lost writes no such batch: it is that
store, as it was.
"""

from __future__ import annotations

import secrets
import time as clock
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventstore.arguments import checked_flag, checked_int, excerpt, time_to_ns
from eventstore.copies.backups import (
    batches_of,
    leaves_hold,
    read_manifest,
    read_stored,
    require_files,
    revision_at,
    start_place,
)
from eventstore.copies.framing import PackedBatch, digest_after
from eventstore.copies.places import place_of, require_apart
from eventstore.copies.remaking import Beginning, NewPlace, make_store
from eventstore.engine_events import ERASED
from eventstore.errors import BackupError, DamagedBackupError
from eventstore.event import Event, Metadata
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute, join
from eventstore.format.codec import encode_batch, encode_event
from eventstore.log.redaction import may_erase, redactions_in
from eventstore.options import checked_options
from eventstore.projection import checked_projections
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from eventstore.copies.places import BackupPlace
    from eventstore.files.interface import FileSystem
    from eventstore.format.manifest import Manifest
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection

RESTORED_TYPE = "eventstore.restored"
"""Of the event with which a restored store parts from the one that was backed up."""

_ACTOR = "restore"
_FORK_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored.

    Attributes:
        store_id: of the new store, and of the one that was backed up.
        first_revision: the oldest batch that it holds.
        restored_revision: the last batch that is of the backup.
        revision: that the new store is at: one more, if it parts there.
        digest: chain digest of that.
        backup_revision: the newest batch that the backup holds.
        fork_id: by which the history after `restored_revision` differs from every other; None if
            the store goes on where the backup ends.
    """

    store_id: bytes
    first_revision: int
    restored_revision: int
    revision: int
    digest: bytes
    backup_revision: int
    fork_id: bytes | None


def restore_store(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    projections: Iterable[Projection],
    *,
    revision: int | None = None,
    time: datetime | int | None = None,
    as_new: bool = False,
    options: StoreOptions | None = None,
    on_batch: Callable[[int], object] = lambda revision: None,
    file_system: FileSystem | None = None,
) -> RestoreReport:
    """Make a store of a backup, as of any revision that the backup holds.

    What was given out for that revision or an earlier one, receipt, head or proof, holds in it.
    Where it leaves out later batches, or with `as_new`, its first own batch is an event
    `eventstore.restored`: from there on it is another history than the original's.

    Args:
        source: of the backup: a directory, or a URL that fsspec knows.
        path: of the new store, where nothing is, or an empty directory.
        projections: what the events are folded into; the store is made only if they can be.
        revision: the last batch that it gets; None for all.
        time: or, the last one that is not later: an aware datetime, or nanoseconds.
        as_new: whether the original lives on, so that the store must part from it even though it
            leaves nothing out.
        options: of the new store.
        on_batch: called with each revision that was read, for progress.
        file_system: that the store goes to, and a backup in a directory is on; the local one
            unless given.

    Raises:
        BackupError: there is no backup, or it does not hold that revision.
        DamagedBackupError: a file of it is missing, cut short or changed.
        FormatVersionError: it has a newer format.
        StoreExistsError: something is at the path, which is unchanged; or it is in a store.
        StoreLockedError: another process has the path.
        ProjectionError: as of `EventStore.open`.
        StorageFullError: there is no space.
        ForeignOwnerError: the directory belongs to another user.
        UnsupportedFileSystemError: the path is on a network file system.
        ValueError: both revision and time were given; or the time has no zone.
        TypeError: one of them has another type.
    """
    known = checked_projections(projections)
    options = checked_options(options)
    checked_flag(as_new, "as_new")
    file_system = file_system or local_file_system()
    if revision is not None and time is not None:
        raise ValueError("give revision or time, not both")
    if revision is not None:
        revision = checked_int(revision, "a revision")
    time_ns = None if time is None else time_to_ns(time)
    place = place_of(source, file_system)
    new = NewPlace(file_system, absolute(path), known, options, f"restore of {place.name}")
    require_apart(place, new.path)
    manifest = read_manifest(place)
    require_files(place, manifest)
    if time_ns is not None:
        revision = revision_at(place, manifest, time_ns)
    last = manifest.revision if revision is None else revision
    if not manifest.oldest_state <= last <= manifest.revision:
        raise BackupError(
            f"{place.name}: a store can be restored to a revision from {manifest.oldest_state} to "
            f"{manifest.revision}, not to {excerpt(last)}"
        )
    parts = as_new or last < manifest.revision
    fork_id = secrets.token_bytes(_FORK_ID_BYTES) if parts else None

    def begin() -> tuple[Beginning, Iterator[PackedBatch]]:
        return _beginning(place, manifest), _batches(place, manifest, last, fork_id, on_batch)

    _, end = make_store(new, begin)
    return RestoreReport(
        store_id=manifest.store_id,
        first_revision=manifest.first_revision,
        restored_revision=last,
        revision=end.revision,
        digest=end.digest,
        backup_revision=manifest.revision,
        fork_id=fork_id,
    )


def _beginning(place: BackupPlace, manifest: Manifest) -> Beginning:
    state = None
    if manifest.state is not None:
        state = (manifest.state.revision, read_stored(place, manifest.state))
    return Beginning(manifest.store_id, start_place(manifest), state, _leaves(place, manifest))


def _leaves(place: BackupPlace, manifest: Manifest) -> bytes:
    if manifest.leaves is None:
        return b""
    digests = read_stored(place, manifest.leaves)
    if not leaves_hold(manifest, digests):
        path = join(place.name, manifest.leaves.name)
        raise DamagedBackupError(path, 0, "the digests are not those of the chain")
    return digests


def _batches(
    place: BackupPlace,
    manifest: Manifest,
    last: int,
    fork_id: bytes | None,
    on_batch: Callable[[int], object],
) -> Iterator[PackedBatch]:
    digest, time_ns, revision = manifest.start_digest, 0, manifest.first_revision - 1
    redacted: set[int] = set()
    for batch in batches_of(place, manifest, last, on_batch):
        if batch.revision <= last:  # what comes after it in its file is read, and checked, too
            yield batch
            digest, time_ns, revision = batch.digest, batch.time_ns, batch.revision
            if batch.is_redacted:
                redacted.add(revision)
    if fork_id is not None:
        is_cut = redacted and last < manifest.revision
        again = list(_erased_later(place, manifest, last, redacted)) if is_cut else []
        yield _parting(manifest, revision, digest, time_ns, fork_id, again)


def _erased_later(
    place: BackupPlace, manifest: Manifest, last: int, redacted: set[int]
) -> Iterator[Event]:
    """Yield the erasures in the batches that are left out, as far as they are of what is not."""
    for batch in batches_of(place, manifest, manifest.revision):
        if batch.revision <= last or not may_erase(batch.payload):
            continue
        said = decode_record(batch)
        names = [one.plain() for one in redactions_in(said.events) if one.revision in redacted]
        if names:
            restated = {
                "revision": said.revision,
                "time_ns": said.time_ns,
                "actor": said.metadata.actor,
                "reason": said.metadata.reason,
            }
            yield Event(ERASED, {"batches": names, "restated": restated})


def _parting(
    manifest: Manifest,
    revision: int,
    digest: bytes,
    time_ns: int,
    fork_id: bytes,
    erasures: Sequence[Event],
) -> PackedBatch:
    """Return the first batch of the new store's own, with what else it has to say."""
    data = {
        "revision": revision,
        "digest": digest.hex(),
        "backup_revision": manifest.revision,
        "backup_digest": manifest.digest.hex(),
        "fork_id": fork_id.hex(),
    }
    reason = f"restored to revision {revision} of a backup at revision {manifest.revision}"
    events = [Event(RESTORED_TYPE, data), *erasures]
    payload = encode_batch(Metadata(_ACTOR, reason), [encode_event(each) for each in events])
    time_ns = max(clock.time_ns(), time_ns)
    batch = PackedBatch(payload, revision + 1, time_ns, revision, digest=b"")
    return batch._replace(digest=digest_after(batch, manifest.store_id, digest))
