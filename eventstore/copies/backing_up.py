"""Backing up: what a store has and the backup has not is added to it, beside a running writer.

A backup holds the log, from the oldest batch that the store had when the first backup was made: so
a store can be made of it as of any of its revisions. Where that oldest batch is not revision 1, it
holds a state to start from as well, and the digests of the batches before, for the tree. It holds
nothing that can be derived: no later checkpoint, no index. So what a backup costs goes by what was
committed since the one before it, and it may keep history that retention has dropped from the
store.

The order, which no kill may break: the files of batches are written and read back; then the
manifest is replaced by one that names them too. So what the manifest names is there, whole, at any
moment. It is written after every few megabytes: each of them is a backup, up to a revision, and
one that was cut short goes on from there. A file that no manifest names is of a backup that was
cut short; the next one removes it, where it has a lock.

A backup never grows from another history: its newest digest must be that of the store.

What the store has erased since goes from the older files too (`forgetting`), by the manifest that
first names the erasure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.writer import packed_base
from eventstore.copies.backups import (
    batches_of,
    digest_at,
    end_place,
    find_manifest,
    leaves_hold,
    read_manifest,
    read_stored,
    require_files,
    write_stored,
)
from eventstore.copies.forgetting import Erasures, without_erased
from eventstore.copies.framing import batch_of, digest_after, framed_segments
from eventstore.copies.places import place_of, require_apart
from eventstore.errors import BackupError, CorruptionError, DamagedBackupError, EventStoreError
from eventstore.files.local import local_file_system
from eventstore.files.paths import join
from eventstore.format.archive import pack_archive
from eventstore.format.leaves import DIGEST_BYTES, ROW_LEAVES
from eventstore.format.manifest import (
    MANIFEST_NAME,
    Manifest,
    batches_file,
    is_name_of_backup,
    leaves_file,
    pack_manifest,
    state_file,
)
from eventstore.format.segment import genesis_digest
from eventstore.integrity.redacted import RedactedCheck

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.copies.framing import PackedBatch, Segment
    from eventstore.copies.places import BackupPlace
    from eventstore.files.interface import FileSystem
    from eventstore.format.manifest import StoredFile
    from eventstore.log.interface import LogReader
    from eventstore.proofs.store_tree import StoreTree

PART_BYTES = 8 * 1024 * 1024
"""Of a file of batches, unpacked: that much is held in memory, and done again after a kill."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds now, and what was done for it.

    Attributes:
        store_id: of the store.
        first_revision: the oldest batch that the backup holds.
        oldest_state: the oldest revision that a store can be made at.
        revision: the newest batch.
        digest: its chain digest.
        added_batches: how many were added by this call.
        added_bytes: how much was written, the manifest not counted.
        file_count: how many files the backup has, the manifest not counted.
        size_bytes: of these files.
        is_verified: whether every file was read, and not only what this call has written.
    """

    store_id: bytes
    first_revision: int
    oldest_state: int
    revision: int
    digest: bytes
    added_batches: int
    added_bytes: int
    file_count: int
    size_bytes: int
    is_verified: bool


class Source(NamedTuple):
    """What is backed up.

    Attributes:
        name: of the store, for messages.
        log: of the store.
        tree: over its batches.
        last_revision: up to which; durable.
    """

    name: str
    log: LogReader
    tree: StoreTree
    last_revision: int


def back_up(
    source: Source,
    place: BackupPlace,
    *,
    verify: bool,
    on_batch: Callable[[int], object],
) -> BackupReport:
    """Add to a backup what it lacks of a store, or begin one.

    Args:
        source: the store.
        place: of the backup.
        verify: whether everything in the backup is read afterwards, not only what was written.
        on_batch: called with each revision that was copied, or read back.

    Raises:
        BackupError: the backup is of another history, or lacks batches that the store has no more.
        DamagedBackupError: a file of the backup is damaged.
        CorruptionError: the store is.
        CompactedError: a compaction dropped batches meanwhile: do it again.
    """
    require_apart(place, source.name)
    with place.held() as held:
        manifest = find_manifest(held)
        if manifest is not None:
            require_files(held, manifest)
            _require_same_history(source, held, manifest)
        _remove_unnamed(held, manifest)
        before = manifest
        if manifest is None:
            manifest = _begun(source, held)
        manifest = _grown(source, held, manifest, on_batch)
        if verify:
            verify_files(held, manifest, on_batch)
        return _report(before, manifest, is_verified=verify)


def verify_backup(
    source: str | os.PathLike[str],
    *,
    on_batch: Callable[[int], object] = lambda revision: None,
    file_system: FileSystem | None = None,
) -> BackupReport:
    """Read a whole backup, and check every byte of it.

    Args:
        source: of the backup: a directory, or a URL that fsspec knows.
        on_batch: called with each revision that was read, for progress.
        file_system: that a backup in a directory is on; the local one unless given.

    Raises:
        BackupError: there is none.
        DamagedBackupError: a file of it is missing, cut short or changed.
        FormatVersionError: it has a newer format.
    """
    place = place_of(source, file_system or local_file_system())
    manifest = read_manifest(place)
    require_files(place, manifest)
    verify_files(place, manifest, on_batch)
    return _report(manifest, manifest, is_verified=True)


def verify_files(place: BackupPlace, manifest: Manifest, on_batch: Callable[[int], object]) -> None:
    """Read every file that a manifest names.

    Raises:
        DamagedBackupError: one is not what it should be.
    """
    redacted = RedactedCheck()
    for batch in batches_of(place, manifest, manifest.revision, on_batch):
        redacted.take_in(batch)
    for unnamed in redacted.unnamed():
        raise DamagedBackupError(unnamed.path, unnamed.offset_bytes, unnamed.reason)
    if manifest.state is not None:
        read_stored(place, manifest.state)
    if manifest.leaves is not None and not leaves_hold(
        manifest, read_stored(place, manifest.leaves)
    ):
        path = join(place.name, manifest.leaves.name)
        raise DamagedBackupError(path, 0, "the digests are not those of the chain")


def _require_same_history(source: Source, place: BackupPlace, manifest: Manifest) -> None:
    """Check that a store continues the backup.

    Raises:
        BackupError: it does not.
    """
    log = source.log
    another = "give the backup of this store, or a new place"
    if manifest.store_id != log.store_id:
        raise BackupError(
            f"{place.name}: the backup is of another store, {manifest.store_id.hex()}; {another}"
        )
    if manifest.revision > source.last_revision:
        _require_no_fork(source, place, manifest, another)
        raise BackupError(
            f"{place.name}: the backup holds revision {manifest.revision}, and {source.name} is at "
            f"{source.last_revision}: it is an older copy of that store; {another}"
        )
    oldest = log.oldest_revision()
    if oldest > manifest.revision + 1:
        raise BackupError(
            f"{place.name}: the backup ends at revision {manifest.revision}, and {source.name} "
            f"keeps batches from {oldest} on only: what was between was dropped; begin a new "
            "backup at another place, and keep this one"
        )
    if not _continues(source, manifest, oldest):
        raise BackupError(
            f"{place.name}: the batches after revision {manifest.revision} of {source.name} do not "
            f"continue those of the backup: their histories have parted; {another}"
        )


def _require_no_fork(source: Source, place: BackupPlace, manifest: Manifest, another: str) -> None:
    """Check of a store that is behind its backup that its newest batch is in that. O(one file).

    Raises:
        BackupError: it is not: the store was restored to an earlier revision, and went on.
    """
    last = source.last_revision
    digest = digest_at(place, manifest, last)
    if digest is not None and any(each.digest != digest for each in source.log.read(last, last)):
        raise BackupError(
            f"{place.name}: revision {last}, the newest of {source.name}, is another batch in the "
            f"backup: their histories have parted, as those of a store that was restored to an "
            f"earlier revision do; {another}"
        )


def _continues(source: Source, manifest: Manifest, oldest: int) -> bool:
    """Say whether a log has the newest batch of a backup, or one that continues it."""
    log, place = source.log, end_place(manifest)
    if not place.revision:
        return True  # it has none, and whatever this store has begins where it ends
    if oldest <= place.revision:
        return all(each.digest == place.digest for each in log.read(place.revision, place.revision))
    # The newest batch of the backup was dropped from the store; there may be no later one yet.
    for following in log.read(oldest, min(oldest, log.durable_revision)):
        if following.is_redacted:  # which does not tell what it continues
            digests = _dropped_digests(source, place.revision)
            return digests is None or digests[-DIGEST_BYTES:] == place.digest
        after = digest_after(batch_of(following), log.store_id, place.digest)
        return following.digest == after
    return True


def _begun(source: Source, place: BackupPlace) -> Manifest:
    """Begin a backup: with what is needed besides the batches."""
    log = source.log
    first = log.oldest_revision()
    if first == 1:
        return Manifest(log.store_id, 1, genesis_digest(log.store_id))
    checkpoint = _oldest_checkpoint(source, first - 1)
    digests = _dropped_digests(source, first - 1)
    start_digest = digests[-DIGEST_BYTES:] if digests is not None else checkpoint.digest
    if digests is None:
        # Nothing tells the digest that the oldest batch continues, so it can be in no chain.
        first = checkpoint.revision + 1
    state = _write_state(place, checkpoint)
    if digests is None:
        return Manifest(log.store_id, first, start_digest, state=state)
    leaves = leaves_file(digests, first - 1)
    write_stored(place, leaves, digests)
    return Manifest(log.store_id, first, start_digest, state=state, leaves=leaves)


def _oldest_checkpoint(source: Source, least: int) -> Checkpoint:
    """Return a checkpoint from a revision on: the oldest one, or one not far behind it."""
    distance = 0
    while True:
        revision = min(least + distance, source.last_revision)
        checkpoint = source.log.checkpoint_before(revision)
        if checkpoint is not None and checkpoint.revision >= least:
            return checkpoint
        if revision == source.last_revision:
            raise BackupError(
                f"{source.name}: no checkpoint holds the state at revision {least} or later, from "
                "which the batches go on; write one first"
            )
        distance = max(1, 2 * distance)


def _dropped_digests(source: Source, count: int) -> bytes | None:
    """Return the digests of the batches that retention has dropped; None where they are lost."""
    try:
        source.tree.grow(source.last_revision)
        tiles = [source.tree.digests(tile) for tile in range(-(-count // ROW_LEAVES))]
    except EventStoreError:
        return None  # a store that never had a tree has none of the batches that are gone
    return b"".join(digest for tile in tiles for digest in tile)[: DIGEST_BYTES * count]


def _grown(
    source: Source, place: BackupPlace, manifest: Manifest, on_batch: Callable[[int], object]
) -> Manifest:
    """Copy what is missing, and name it in the manifest bit by bit."""
    start, erasures = end_place(manifest), Erasures()
    batches = _records(source, start.revision + 1, on_batch, erasures)
    segments = framed_segments(batches, manifest.store_id, start, PART_BYTES)
    for segment in segments:
        grown = _with_segment(place, manifest, segment)
        wanted = erasures.due(segment.end.revision)
        if wanted:
            grown = without_erased(place, grown, wanted)
            grown = _with_later_state(source, place, grown, min(wanted))
        place.replace(MANIFEST_NAME, pack_manifest(grown))
        for file in set(manifest.files).difference(grown.files):
            place.remove(file.name)
        manifest = grown
    if not manifest.batches:
        place.replace(MANIFEST_NAME, pack_manifest(manifest))
    if read_manifest(place) != manifest:
        path = join(place.name, MANIFEST_NAME)
        raise DamagedBackupError(path, 0, "the manifest is not what was written")
    return manifest


def _records(
    source: Source, first: int, on_batch: Callable[[int], object], erasures: Erasures
) -> Iterator[PackedBatch]:
    """Yield what is missing up to the last revision, and on to where it is whole.

    An erasure that is carried out meanwhile redacts batches before that revision, and what vouches
    for them comes behind it.

    Raises:
        CorruptionError: nothing vouches for one that is redacted, so nobody could restore it.
    """
    redacted, last = RedactedCheck(), source.last_revision
    while first <= last:
        for record in source.log.read(first, last):
            on_batch(record.revision)
            erasures.take_in(record)
            redacted.take_in(record)
            yield batch_of(record)
        first = last + 1
        if any(redacted.unnamed()):
            last = source.log.durable_revision
    for damage in redacted.unnamed():
        raise CorruptionError(damage.path, damage.offset_bytes, damage.reason)


def _with_segment(place: BackupPlace, manifest: Manifest, segment: Segment) -> Manifest:
    packed = pack_archive(segment.data)
    end = segment.end
    entry = batches_file(
        packed,
        segment.first_revision,
        end.revision,
        digest=end.digest,
        time_ns=end.time_ns,
        end_bytes=end.end_bytes,
    )
    write_stored(place, entry.file, packed)
    return manifest._replace(batches=(*manifest.batches, entry))


def _with_later_state(
    source: Source, place: BackupPlace, manifest: Manifest, erased_revision: int
) -> Manifest:
    """Replace a state that holds what was erased; the store has none that does."""
    if manifest.state is None or manifest.state.revision < erased_revision:
        return manifest
    checkpoint = _oldest_checkpoint(source, manifest.first_revision - 1)
    return manifest._replace(state=_write_state(place, checkpoint))


def _write_state(place: BackupPlace, checkpoint: Checkpoint) -> StoredFile:
    packed = packed_base(checkpoint)
    state = state_file(packed, checkpoint.revision)
    write_stored(place, state, packed)
    return state


def _remove_unnamed(place: BackupPlace, manifest: Manifest | None) -> None:
    """Remove what a backup has left that was cut short, where nobody else can be writing."""
    if not place.is_locked:
        return
    named = {file.name for file in manifest.files} if manifest is not None else set()
    for name in place.sizes_bytes():
        if is_name_of_backup(name) and name not in named:
            place.remove(name)


def _report(before: Manifest | None, after: Manifest, *, is_verified: bool) -> BackupReport:
    had = set(before.files) if before is not None else set()
    added = [file for file in after.files if file not in had]
    since = before.revision if before is not None else after.first_revision - 1
    return BackupReport(
        store_id=after.store_id,
        first_revision=after.first_revision,
        oldest_state=after.oldest_state,
        revision=after.revision,
        digest=after.digest,
        added_batches=after.revision - since,
        added_bytes=sum(file.size_bytes for file in added),
        file_count=len(after.files),
        size_bytes=sum(file.size_bytes for file in after.files),
        is_verified=is_verified,
    )
