"""Recovery: decide what a survey means, then carry it out.

`decide` is a pure function; its cases are the table in FORMAT.md, "Recovery". `execute` carries a
decision out and can be cut at any point: every step leaves a store that the same procedure
recovers in the same way.

The line between a torn tail and corruption: bytes that are no valid record may be cut if no
acknowledged batch can be in them. A batch is acknowledged only after a sync, and what had been
synced is told by the `durable` file, by checkpoints and by every record written later. If any of
these reaches the revision of the invalid record, its batch had been acknowledged: the store is
refused, and not one byte changed.
"""

from __future__ import annotations

import contextlib
import enum
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from eventstore import format as layout
from eventstore.errors import CorruptionError, NotAStoreError, UnsupportedFileSystemError
from eventstore.filesystem import join, parent, write_file
from eventstore.log.reader import Position, start_of
from eventstore.log.spare import preallocate
from eventstore.log.writer import Segment
from eventstore.survey import DAMAGED_SUFFIX

if TYPE_CHECKING:
    from eventstore.filesystem import File, FileSystem
    from eventstore.options import StoreOptions
    from eventstore.survey import Survey, Tail

_SLICE_BYTES = 1024 * 1024
_ROOT_NAMES = frozenset(
    (
        layout.LOCK_NAME,
        layout.DURABLE_NAME,
        layout.DURABLE_NAME + layout.TEMPORARY_SUFFIX,
        *layout.DIRECTORY_NAMES,
    )
)


class Verdict(enum.Enum):
    """What an open found."""

    NEW = "new"
    CLEAN = "clean"
    TORN_TAIL = "torn tail"


class Decision(NamedTuple):
    """What a survey means.

    Attributes:
        verdict: the case.
        end: where the log goes on; None for a new store.
    """

    verdict: Verdict
    end: Position | None


@dataclass(frozen=True, slots=True)
class TornTail:
    """A tail that was cut.

    Attributes:
        revision: that its first record would have had.
        offset_bytes: where in the segment it began.
        size_bytes: how much was cut.
        reason: why its first record was not valid.
        saved_path: where the bytes were copied before they were cut.
    """

    revision: int
    offset_bytes: int
    size_bytes: int
    reason: str
    saved_path: str


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What the last open found and did.

    Attributes:
        verdict: new, clean or torn tail.
        revision: of the last batch recovered.
        checkpoint_revision: where the replay started; 0 without a checkpoint.
        replayed_batches: how many batches were replayed from there.
        replayed_bytes: how much log they take.
        torn_tail: what was cut, if anything was.
        damaged_checkpoints: checkpoints that could not be used and were set aside.
        removed_files: leftovers of interrupted writes.
    """

    verdict: Verdict
    revision: int = 0
    checkpoint_revision: int = 0
    replayed_batches: int = 0
    replayed_bytes: int = 0
    torn_tail: TornTail | None = None
    damaged_checkpoints: tuple[str, ...] = ()
    removed_files: tuple[str, ...] = ()


def require_local(file_system: FileSystem, path: str) -> None:
    """Check that a path is on a file system that can keep what a store promises.

    Raises:
        UnsupportedFileSystemError: it is not known to be.
    """
    kind = file_system.network_type(path)
    if kind is not None:
        raise UnsupportedFileSystemError(
            f"{path}: on a file system of type {kind}, which is not known to be local: its locks "
            "and syncs may not hold; put the store on a local disk, or take the risk with "
            "StoreOptions(allow_network_file_system=True)"
        )


def require_store(file_system: FileSystem, path: str, *, may_create: bool) -> None:
    """Check that a store is at the path, or may be made there.

    Raises:
        NotAStoreError: a file is there, a directory of something else, or nothing although
            something must be.
    """
    if not file_system.exists(path):
        if may_create:
            return
        raise NotAStoreError(f"{path}: there is no store; check the path")
    if not file_system.is_directory(path):
        raise NotAStoreError(f"{path}: not a directory (a link is not followed), so no store")
    _require_no_link(file_system, path)
    names = file_system.list_directory(path)
    strangers = [name for name in names if name not in _ROOT_NAMES]
    if strangers:
        raise NotAStoreError(
            f"{path}: not a store: the directory holds {strangers[0]!r}; give the path of a "
            "store, of an empty directory or of nothing"
        )
    # `durable` is made after the log, so where it is alone the log is lost: damage, found later.
    if not may_create and layout.WAL_NAME not in names and layout.DURABLE_NAME not in names:
        raise NotAStoreError(f"{path}: the directory holds no store; check the path")
    for name in layout.DIRECTORY_NAMES:
        directory = join(path, name)
        if not file_system.exists(directory):
            continue
        if not file_system.is_directory(directory):
            raise NotAStoreError(f"{directory}: must be a directory")
        _require_no_link(file_system, directory)


def _require_no_link(file_system: FileSystem, directory: str) -> None:
    """Refuse a link in the store's tree: writes and removals must not reach what it points to."""
    name = file_system.find_link(directory)
    if name is not None:
        raise NotAStoreError(
            f"{join(directory, name)}: a symbolic link, where a store has only directories and "
            "files of its own; put what it points to in its place"
        )


def decide(survey: Survey) -> Decision:
    """Return what a survey means. Pure.

    Raises:
        CorruptionError: the store is damaged where an acknowledged batch is or was.
    """
    if survey.problem is not None:
        raise survey.problem
    tail = survey.tail
    if tail is None:
        if survey.durable_bound or survey.damaged_checkpoints:
            raise CorruptionError(
                join(survey.path, layout.WAL_NAME), 0, "all segments of the log are missing"
            )
        return Decision(Verdict.NEW, None)
    end, problem = tail.end
    acknowledged = max(survey.durable_bound, tail.durable_claim)
    if acknowledged > end.revision:
        raise CorruptionError(
            tail.source.path,
            end.offset_bytes,
            f"{problem or 'the log ends'} after revision {end.revision}, but revision "
            f"{acknowledged} had been acknowledged",
        )
    if tail.source.is_archived:
        raise CorruptionError(
            join(survey.path, layout.WAL_NAME),
            0,
            "the log is missing; only its archived part is left",
        )
    return Decision(Verdict.CLEAN if problem is None else Verdict.TORN_TAIL, end)


def execute(
    file_system: FileSystem, survey: Survey, decision: Decision, options: StoreOptions
) -> tuple[Segment, Position, RecoveryReport]:
    """Carry out a decision, as the holder of the lock.

    Returns:
        the active segment, where it goes on, and what was done. All that the survey has read,
        and every name that it has found, is on stable storage now.
    """
    path = survey.path
    _make_subdirectories(file_system, path)
    removed = _remove_temporaries(file_system, path)
    _set_damaged_checkpoints_aside(file_system, survey)
    segment, end, torn = _active_segment(file_system, survey, decision, options)
    try:
        _ensure_durable_file(file_system, path, segment.header.store_id, end.revision)
    except BaseException:
        segment.file.close()
        raise
    report = RecoveryReport(
        verdict=decision.verdict,
        revision=end.revision,
        checkpoint_revision=survey.checkpoint.revision if survey.checkpoint else 0,
        replayed_batches=survey.replayed_batches,
        replayed_bytes=survey.replayed_bytes,
        torn_tail=torn,
        damaged_checkpoints=survey.damaged_checkpoints,
        removed_files=removed,
    )
    return segment, end, report


def _active_segment(
    file_system: FileSystem, survey: Survey, decision: Decision, options: StoreOptions
) -> tuple[Segment, Position, TornTail | None]:
    """Make the first segment, or open the last one, cut it if need be and make it durable."""
    path, tail, end = survey.path, survey.tail, decision.end
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


def make_root(file_system: FileSystem, path: str) -> None:
    """Make the store's own directory and those above it, as far as they are missing.

    Their names are durable once `sync_names_above` has returned.

    Raises:
        NotAStoreError: something else is in the way.
    """
    missing = []
    directory = path
    while not file_system.exists(directory):
        missing.append(directory)
        directory = parent(directory)
    for directory in reversed(missing):
        # Another process may be making the same store; the lock decides between the two.
        try:
            file_system.make_directory(directory)
        except FileExistsError:
            pass
        except NotADirectoryError as error:
            raise NotAStoreError(
                f"{path}: {parent(directory)} is not a directory, so no store can be made there"
            ) from error


def _make_subdirectories(file_system: FileSystem, path: str) -> None:
    """Make the directories that are missing, and every name found in the store durable.

    A process can be killed between a rename or a removal and the sync of the directory. What is
    found then is in the cache only: batches that are acknowledged under such a name would be lost
    with it, and removals that are not in order would leave a gap.
    """
    directories = [join(path, name) for name in layout.DIRECTORY_NAMES]
    for directory in directories:
        if not file_system.exists(directory):
            file_system.make_directory(directory)
    for directory in (path, *directories):
        file_system.sync_directory(directory)


def sync_names_above(file_system: FileSystem, path: str) -> None:
    """Make the name of the store's directory durable, and those of directories made for it.

    Also those that an earlier attempt has made, which was killed before it came to this: what it
    made holds nothing but the way to the store.
    """
    above = parent(path)
    # Who may not read a directory can't sync it, and has not made it.
    with contextlib.suppress(PermissionError):
        file_system.sync_directory(above)
        if above != parent(above) and len(file_system.list_directory(above)) == 1:
            sync_names_above(file_system, above)


def _remove_temporaries(file_system: FileSystem, path: str) -> tuple[str, ...]:
    removed = []
    for directory in (path, *(join(path, name) for name in layout.DIRECTORY_NAMES)):
        for name in file_system.list_directory(directory):
            if name.endswith(layout.TEMPORARY_SUFFIX):
                file_system.remove(join(directory, name))
                removed.append(join(directory, name))
    return tuple(removed)


def _set_damaged_checkpoints_aside(file_system: FileSystem, survey: Survey) -> None:
    """Rename them, so that they are neither used nor counted among the two that are kept."""
    for path in survey.damaged_checkpoints:
        file_system.rename(path, path + DAMAGED_SUFFIX)
    if survey.damaged_checkpoints:
        file_system.sync_directory(join(survey.path, layout.CHECKPOINTS_NAME))


def _create_first_segment(file_system: FileSystem, path: str, options: StoreOptions) -> Segment:
    """Make the first segment; the store is there once its name is."""
    store_id = secrets.token_bytes(layout.STORE_ID_BYTES)
    header = layout.SegmentHeader(
        store_id=store_id,
        first_revision=1,
        predecessor_digest=layout.genesis_digest(store_id),
        predecessor_bytes=0,
        batch_bytes_max=options.batch_bytes_max,
        created_ns=time.time_ns(),
    )
    directory = join(path, layout.WAL_NAME)
    spare = preallocate(file_system, join(directory, layout.spare_name(0)), options.segment_bytes)
    name = join(directory, layout.segment_name(1))
    try:
        spare.file.write(0, layout.pack_segment_header(header))
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
    data = file.read(offset_bytes, file.size_bytes() - offset_bytes).rstrip(b"\0")
    directory = join(path, layout.TORN_NAME)
    saved_path = join(directory, layout.torn_name(revision, offset_bytes))
    while file_system.exists(saved_path):
        saved_path += "+"
    temporary = saved_path + layout.TEMPORARY_SUFFIX
    write_file(file_system, temporary, data)
    file_system.rename(temporary, saved_path)
    file_system.sync_directory(directory)
    file.write(offset_bytes, bytes(len(data)))
    return TornTail(revision, offset_bytes, len(data), tail.end.problem or "", saved_path)


def _ensure_durable_file(
    file_system: FileSystem, path: str, store_id: bytes, revision: int
) -> None:
    durable_path = join(path, layout.DURABLE_NAME)
    if file_system.exists(durable_path) and (
        file_system.size_bytes(durable_path) == layout.DURABLE_BYTES
    ):
        return
    temporary = durable_path + layout.TEMPORARY_SUFFIX
    write_file(file_system, temporary, layout.pack_durable(store_id, revision))
    file_system.rename(temporary, durable_path)
    file_system.sync_directory(path)
