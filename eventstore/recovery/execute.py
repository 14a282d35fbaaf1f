"""Recovery: carry out what was decided about a store (`eventstore.recovery.decide`).

`execute` can be cut at any point: every step leaves a store that the same procedure recovers in
the same way. A store that was judged corrupt is refused, and left unchanged.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from eventstore.directory.contents import sync_names_above
from eventstore.files.content import write_file
from eventstore.files.paths import join
from eventstore.format.durable import DURABLE_BYTES, pack_durable
from eventstore.format.names import (
    ANSWER_NAME,
    CHECKPOINTS_NAME,
    DIRECTORY_NAMES,
    DURABLE_NAME,
    REQUEST_NAME,
    TEMPORARY_SUFFIX,
    TORN_NAME,
    WAL_NAME,
    damaged_name,
    segment_name,
    spare_name,
    torn_name,
)
from eventstore.format.segment import (
    STORE_ID_BYTES,
    SegmentHeader,
    genesis_digest,
    pack_segment_header,
)
from eventstore.log.reader import Position, start_of
from eventstore.log.search import end_of_content
from eventstore.log.spares import preallocate
from eventstore.log.writer import Segment, draw_mark
from eventstore.reports import RecoveryReport, TornTail, Verdict

if TYPE_CHECKING:
    from eventstore.files.interface import File, FileSystem
    from eventstore.options import StoreOptions
    from eventstore.recovery.decide import Decision, Tail
    from eventstore.recovery.scan import ScanResult

_SLICE_BYTES = 1024 * 1024


def execute(
    file_system: FileSystem, scanned: ScanResult, decision: Decision, options: StoreOptions
) -> tuple[Segment, Position, RecoveryReport]:
    """Carry out a decision, as the holder of the lock.

    Returns:
        the active segment, where it goes on, and what was done. All that the scan has read,
        and every name that it has found, is on stable storage now.

    Raises:
        CorruptionError: the decision is that the store is corrupt.
    """
    if decision.problem is not None:
        raise decision.problem.error()
    path = scanned.found.path
    _make_subdirectories(file_system, path)
    removed = _remove_temporaries(file_system, path)
    _set_damaged_checkpoints_aside(file_system, scanned)
    segment, end, torn = _active_segment(file_system, scanned, decision, options)
    try:
        _ensure_durable_file(file_system, path, segment.header.store_id, end.revision)
    except BaseException:
        segment.file.close()
        raise
    report = RecoveryReport(
        verdict=decision.verdict,
        revision=end.revision,
        checkpoint_revision=scanned.checkpoint.revision if scanned.checkpoint else 0,
        replayed_batches=scanned.batch_count,
        replayed_bytes=scanned.batch_bytes,
        torn_tail=torn,
        damaged_checkpoints=scanned.damaged_checkpoints,
        removed_files=removed,
    )
    return segment, end, report


def _active_segment(
    file_system: FileSystem, scanned: ScanResult, decision: Decision, options: StoreOptions
) -> tuple[Segment, Position, TornTail | None]:
    """Make the first segment, or open the last one, cut it if need be and make it durable."""
    path, tail, end = scanned.found.path, scanned.found.tail, decision.end
    if tail is None or end is None:
        sync_names_above(file_system, path)
        segment = _create_first_segment(file_system, path, options)
        return segment, start_of(segment.header), None
    file = file_system.open(tail.source.path, writable=True)
    try:
        torn = None
        if decision.verdict is Verdict.TORN_TAIL:
            torn = _cut_tail(file_system, path, tail, file)
        _write_unproven_again(file, tail)
        file.sync()
        return Segment(file, tail.header, file.size_bytes(), is_named=True), end, torn
    except BaseException:
        file.close()
        raise


def _make_subdirectories(file_system: FileSystem, path: str) -> None:
    """Make the directories that are missing, all of them private, and every name found durable.

    A process can be killed between a rename or a removal and the sync of the directory. What is
    found then is in the cache only: batches that are acknowledged under such a name would be lost
    with it, and removals that are not in order would leave a gap.
    """
    directories = [join(path, name) for name in DIRECTORY_NAMES]
    for directory in directories:
        if not file_system.exists(directory):
            file_system.make_directory(directory)
    for directory in (path, *directories):
        # Who may read a directory can hold its flock, and keep the writer out.
        if file_system.owns(directory):
            file_system.make_private(directory)
        file_system.sync_directory(directory)


def _remove_temporaries(file_system: FileSystem, path: str) -> tuple[str, ...]:
    removed = []
    for directory in (path, *(join(path, name) for name in DIRECTORY_NAMES)):
        for name in file_system.list_directory(directory):
            # A request was made to whoever had the store open, and is made again to this holder.
            is_message = directory == path and name in (REQUEST_NAME, ANSWER_NAME)
            if name.endswith(TEMPORARY_SUFFIX) or (
                is_message and file_system.is_file(join(directory, name))
            ):
                file_system.remove(join(directory, name))
                removed.append(join(directory, name))
    return tuple(removed)


def _set_damaged_checkpoints_aside(file_system: FileSystem, scanned: ScanResult) -> None:
    """Rename them, so that they are neither used nor counted among the two that are kept."""
    for path in scanned.damaged_checkpoints:
        file_system.rename(path, damaged_name(path))
    if scanned.damaged_checkpoints:
        file_system.sync_directory(join(scanned.found.path, CHECKPOINTS_NAME))


def _create_first_segment(file_system: FileSystem, path: str, options: StoreOptions) -> Segment:
    """Make the first segment; the store is there once its name is."""
    store_id = secrets.token_bytes(STORE_ID_BYTES)
    header = SegmentHeader(
        store_id=store_id,
        first_revision=1,
        predecessor_digest=genesis_digest(store_id),
        predecessor_bytes=0,
        batch_bytes_max=options.batch_bytes_max,
        created_ns=max(time.time_ns(), 0),  # as records have it
        mark=draw_mark(),
        may_redact=options.salted,
    )
    directory = join(path, WAL_NAME)
    spare = preallocate(file_system, join(directory, spare_name(0)), options.segment_bytes)
    name = join(directory, segment_name(1))
    try:
        spare.file.write(0, pack_segment_header(header))
        spare.file.sync()
        file_system.rename(spare.file.path, name)
        file_system.sync_directory(directory)
    except BaseException:
        spare.file.close()
        raise
    spare.file.path = name
    return Segment(spare.file, header, spare.size_bytes, is_named=True)


def _write_unproven_again(file: File, tail: Tail) -> None:
    """Write the last records again, which nothing proves to have been synced, for the next sync.

    They may be in the page cache only: a process can die between write and sync. They can even be
    there for good: after a sync that failed, the kernel takes the pages for clean and shows them,
    but a later sync writes nothing and succeeds.
    """
    offset_bytes, end_bytes = tail.proven_bytes, tail.end.position.offset_bytes
    while offset_bytes < end_bytes:
        data = file.read(offset_bytes, min(end_bytes - offset_bytes, _SLICE_BYTES))
        file.write(offset_bytes, data)
        offset_bytes += len(data)


def _cut_tail(file_system: FileSystem, path: str, tail: Tail, file: File) -> TornTail:
    """Copy the invalid bytes aside, then zero them.

    The copy is durable before the first byte is zeroed. If this is cut short, what is left of
    the tail is found and cut again. The zeros are durable once the caller has synced the file.
    """
    offset_bytes = tail.end.position.offset_bytes
    revision = tail.end.position.revision + 1
    data = file.read(offset_bytes, end_of_content(file, offset_bytes) - offset_bytes)
    directory = join(path, TORN_NAME)
    taken = 0
    while file_system.exists(
        saved_path := join(directory, torn_name(revision, offset_bytes, taken))
    ):
        taken += 1
    temporary = saved_path + TEMPORARY_SUFFIX
    write_file(file_system, temporary, data)
    file_system.rename(temporary, saved_path)
    file_system.sync_directory(directory)
    file.write(offset_bytes, bytes(len(data)))
    return TornTail(revision, offset_bytes, len(data), tail.end.problem or "", saved_path)


def _ensure_durable_file(
    file_system: FileSystem, path: str, store_id: bytes, revision: int
) -> None:
    durable_path = join(path, DURABLE_NAME)
    if file_system.exists(durable_path) and (file_system.size_bytes(durable_path) == DURABLE_BYTES):
        return
    temporary = durable_path + TEMPORARY_SUFFIX
    write_file(file_system, temporary, pack_durable(store_id, revision))
    file_system.rename(temporary, durable_path)
    file_system.sync_directory(path)
