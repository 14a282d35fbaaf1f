"""A backup as it is read: its manifest, and the batches in its files.

Nothing of it is believed before it was checked: the manifest by its own checksum, a file by the
length and the SHA-256 that the manifest states, its records by the chain of digests, which has to
lead from the digest that the manifest starts with to the one that it ends with.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from eventstore.copies.framing import ChainPosition, batch_of
from eventstore.errors import (
    BackupError,
    CorruptionError,
    DamagedBackupError,
    FormatVersionError,
)
from eventstore.files.paths import join
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.manifest import (
    MANIFEST_BYTES_MAX,
    MANIFEST_NAME,
    file_holds,
    unpack_manifest,
)
from eventstore.format.names import DURABLE_NAME
from eventstore.format.segment import genesis_digest
from eventstore.log.reader import Position, SegmentScanner, read_own_header, start_of
from eventstore.log.segments import MemoryFile, UnpackedFile, inflated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.copies.framing import PackedBatch
    from eventstore.copies.places import BackupPlace
    from eventstore.format.manifest import BatchesFile, Manifest, StoredFile


def find_manifest(place: BackupPlace) -> Manifest | None:
    """Return the manifest of a backup; None where there is none yet.

    Raises:
        DamagedBackupError: it is damaged.
        FormatVersionError: it has a newer format.
    """
    path = join(place.name, MANIFEST_NAME)
    try:
        data = place.read(MANIFEST_NAME, MANIFEST_BYTES_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        manifest = unpack_manifest(data)
    except MalformedError as error:
        raise DamagedBackupError(path, error.offset_bytes, error.reason) from error
    except NewerVersionError as error:
        raise FormatVersionError(path, error.found_version, error.known_version) from error
    is_first = manifest.first_revision == 1
    if is_first and manifest.start_digest != genesis_digest(manifest.store_id):
        raise DamagedBackupError(path, 0, "the batches do not start the chain of their store")
    return manifest


def read_manifest(place: BackupPlace) -> Manifest:
    """Return the manifest of a backup; raises as `find_manifest`.

    Raises:
        BackupError: there is none.
    """
    manifest = find_manifest(place)
    if manifest is None and DURABLE_NAME in place.sizes_bytes():
        raise BackupError(f"{place.name}: there is no backup, but a store; back it up first")
    if manifest is None:
        raise BackupError(
            f"{place.name}: there is no backup, or its first one was cut short: it has no "
            f"{MANIFEST_NAME}; check the path, or do the backup again"
        )
    return manifest


def require_files(place: BackupPlace, manifest: Manifest) -> None:
    """Check that every file is there, by name and length.

    Raises:
        DamagedBackupError: one is not.
    """
    sizes = place.sizes_bytes()
    for file in manifest.files:
        path = join(place.name, file.name)
        if file.name not in sizes:
            raise DamagedBackupError(path, 0, "the file is missing")
        if sizes[file.name] != file.size_bytes:
            raise DamagedBackupError(
                path, 0, f"the file has {sizes[file.name]} bytes, not {file.size_bytes}"
            )


def read_stored(place: BackupPlace, file: StoredFile) -> bytes:
    """Return the content of a file, which is what the manifest says.

    Raises:
        DamagedBackupError: it is not.
    """
    path = join(place.name, file.name)
    try:
        data = place.read(file.name, file.size_bytes + 1)
    except FileNotFoundError:
        raise DamagedBackupError(path, 0, "the file is missing") from None
    if not file_holds(file, data):
        raise DamagedBackupError(path, 0, "the file is not what the manifest says of it")
    return data


def write_stored(place: BackupPlace, file: StoredFile, data: bytes) -> None:
    """Write a file, and read it back: only then is it in the backup."""
    place.write(file.name, data)
    read_stored(place, file)


def start_place(manifest: Manifest) -> ChainPosition:
    """Return where the batches of a backup begin."""
    return ChainPosition(manifest.first_revision - 1, manifest.start_digest, 0, 0)


def end_place(manifest: Manifest) -> ChainPosition:
    """Return where they end, and the next backup goes on."""
    if not manifest.batches:
        return start_place(manifest)
    return ChainPosition(
        manifest.revision, manifest.digest, manifest.time_ns, manifest.batches[-1].end_bytes
    )


def batches_of(
    place: BackupPlace,
    manifest: Manifest,
    last_revision: int,
    on_batch: Callable[[int], object] = lambda revision: None,
) -> Iterator[PackedBatch]:
    """Yield the batches of a backup, up to the end of the file that holds a revision.

    A file is whole only once its last batch was yielded and another one asked for. Memory: one
    file.

    Raises:
        DamagedBackupError: a file is not what it should be.
    """
    previous = start_place(manifest)
    for entry in manifest.batches:
        if entry.first_revision > last_revision:
            return
        yield from _batches_in(place, manifest, entry, previous, on_batch)
        previous = ChainPosition(entry.file.revision, entry.digest, entry.time_ns, entry.end_bytes)


def revision_at(place: BackupPlace, manifest: Manifest, time_ns: int) -> int:
    """Return the last revision whose time is not after a time; reads one file.

    Returns:
        the revision before the first batch, where all are later.
    """
    previous, revision = start_place(manifest), manifest.first_revision - 1
    for entry in manifest.batches:
        if entry.time_ns > time_ns:
            for batch in _batches_in(place, manifest, entry, previous, lambda revision: None):
                if batch.time_ns > time_ns:
                    return revision
                revision = batch.revision
        revision = entry.file.revision
        previous = ChainPosition(revision, entry.digest, entry.time_ns, entry.end_bytes)
    return revision


def digest_at(place: BackupPlace, manifest: Manifest, revision: int) -> bytes | None:
    """Return the digest of a batch in a backup, None where it holds none; reads one file."""
    previous = start_place(manifest)
    for entry in manifest.batches:
        if entry.first_revision <= revision <= entry.file.revision:
            for batch in _batches_in(place, manifest, entry, previous, lambda revision: None):
                if batch.revision == revision:
                    return batch.digest
        previous = ChainPosition(entry.file.revision, entry.digest, entry.time_ns, entry.end_bytes)
    return None


def _batches_in(
    place: BackupPlace,
    manifest: Manifest,
    entry: BatchesFile,
    previous: ChainPosition,
    on_batch: Callable[[int], object],
) -> Iterator[PackedBatch]:
    path = join(place.name, entry.file.name)
    data = read_stored(place, entry.file)
    last = previous.revision
    try:
        file = UnpackedFile(MemoryFile(path, data), inflated)
        header = read_own_header(file, manifest.store_id, entry.first_revision)
        stated = (header.predecessor_digest, header.predecessor_bytes)
        if stated != (previous.digest, previous.end_bytes):
            raise CorruptionError(path, 0, "the batches do not continue those before them")
        start: Position = start_of(header)
        scanner = SegmentScanner(file, header, start._replace(time_ns=previous.time_ns))
        for record in scanner:
            last = record.revision
            on_batch(last)
            yield batch_of(record)
    except CorruptionError as error:
        raise DamagedBackupError(path, error.offset_bytes, error.reason) from error
    end = scanner.position
    if scanner.end is not None and scanner.end.problem is not None:
        raise DamagedBackupError(path, end.offset_bytes, scanner.end.problem)
    found = (end.revision, end.digest, end.time_ns, end.offset_bytes)
    if found != (entry.file.revision, entry.digest, entry.time_ns, entry.end_bytes):
        raise DamagedBackupError(
            path,
            end.offset_bytes,
            f"the batches end at revision {end.revision}, which is not what the manifest says",
        )


def leaves_hold(manifest: Manifest, digests: bytes) -> bool:
    """Say whether the digests of the batches before the first one fit the chain."""
    count = manifest.first_revision - 1
    size = hashlib.sha256().digest_size
    return len(digests) == count * size and digests[-size:] == manifest.start_digest
