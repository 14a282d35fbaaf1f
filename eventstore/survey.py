"""The survey: what is on disk, read and checked, nothing changed.

It finds the newest valid checkpoint, then scans every segment that holds a later batch and hands
those batches to a replay, in order. It stops at the first thing that no decision is needed for: a
damaged header, a damaged record in a sealed segment, a gap, a segment of another store. Segments
that the checkpoint supersedes are not read; `verify` reads them.

Recovery decides what a survey means (`eventstore.recovery`); followers use it to begin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from eventstore import format as layout
from eventstore.checkpoint import Checkpoint, examine_checkpoint, list_checkpoints
from eventstore.errors import CorruptionError, FormatVersionError
from eventstore.filesystem import join, read_file
from eventstore.log.reader import (
    Record,
    ScanEnd,
    SegmentScanner,
    highest_durable_claim,
    read_segment_header,
    start_of,
)
from eventstore.log.segments import SegmentSource, list_sources, open_source

if TYPE_CHECKING:
    from eventstore.filesystem import File, FileSystem

_Unpacked = TypeVar("_Unpacked")

Replay = Callable[[Checkpoint | None], Callable[[Record], object]]
"""Given the checkpoint to start from, returns what takes each record after it, in order."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The last segment and how its records end.

    Attributes:
        source: where it is.
        header: its first sector.
        end: where its valid records end, and why.
        durable_claim: the highest durable revision that whole records behind an invalid one
            state; 0 if there is no such record.
        proven_bytes: where the records end that are known to have been synced.
    """

    source: SegmentSource
    header: layout.SegmentHeader
    end: ScanEnd
    durable_claim: int
    proven_bytes: int = layout.SEGMENT_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Survey:
    """What is on disk.

    Attributes:
        path: of the store.
        durable_bound: all batches up to this revision had been acknowledged, by the `durable`
            file and the checkpoint; 0 if neither says anything.
        checkpoint: the newest valid one.
        damaged_checkpoints: paths of newer ones that can't be used.
        tail: the end of the log; None if there is no segment, or the scan stopped before it.
        problem: what stopped the scan.
        replayed_batches: how many records went to the replay.
        replayed_bytes: of these records.
    """

    path: str
    durable_bound: int
    checkpoint: Checkpoint | None
    damaged_checkpoints: tuple[str, ...]
    tail: Tail | None
    problem: CorruptionError | None
    replayed_batches: int
    replayed_bytes: int


def survey_store(
    file_system: FileSystem, path: str, replay: Replay, *, last_revision: int | None = None
) -> Survey:
    """Find out what is on disk, and replay it.

    Args:
        file_system: where.
        path: of the store, which must be a directory.
        replay: called once, with the checkpoint; what it returns is called with each record.
        last_revision: read nothing after this one.

    Raises:
        FormatVersionError: a file has a newer format.
    """
    return _Surveyor(file_system, path, last_revision).run(replay)


def read_durable_bound(file_system: FileSystem, path: str, store_id: bytes | None) -> int:
    """Return the revision that the `durable` file states; 0 if it can't be relied on.

    Args:
        file_system: where.
        path: of the store.
        store_id: of the log; None to take what any store's file says.

    Raises:
        FormatVersionError: it has a newer format.
    """
    return _read_durable(file_system, path, partial(layout.unpack_durable, store_id=store_id)) or 0


def read_durable_store_id(file_system: FileSystem, path: str) -> bytes | None:
    """Return the id of the store whose `durable` file is there; None if nothing good is.

    Raises:
        FormatVersionError: it has a newer format.
    """
    return _read_durable(file_system, path, layout.durable_store_id)


def _read_durable(
    file_system: FileSystem, path: str, unpack: Callable[[bytes], _Unpacked | None]
) -> _Unpacked | None:
    durable_path = join(path, layout.DURABLE_NAME)
    if not file_system.exists(durable_path):
        return None
    try:
        return unpack(read_file(file_system, durable_path, layout.DURABLE_BYTES))
    except layout.NewerVersionError as error:
        raise FormatVersionError(
            durable_path, error.found_version, layout.FORMAT_VERSION
        ) from error


class _Surveyor:
    def __init__(self, file_system: FileSystem, path: str, last_revision: int | None) -> None:
        self._file_system = file_system
        self._path = path
        self._last_revision = last_revision
        self._checkpoint: Checkpoint | None = None
        self._damaged: list[str] = []
        self._replayed_batches = 0
        self._replayed_bytes = 0
        self._tail: Tail | None = None
        self._durable_bound = 0

    def run(self, replay: Replay) -> Survey:
        # Before the scan: a follower must find every batch up to the bound in the log.
        sources = list_sources(self._file_system, self._path)
        store_id, problem = None, None
        try:
            store_id = self._store_id(sources)
            self._load_newest_checkpoint(store_id)
            bound = read_durable_bound(self._file_system, self._path, store_id)
            self._durable_bound = bound
            self._scan(sources, replay)
        except CorruptionError as error:
            problem = error
            bound = read_durable_bound(self._file_system, self._path, store_id)
        checkpoint_revision = self._checkpoint.revision if self._checkpoint else 0
        return Survey(
            path=self._path,
            durable_bound=max(bound, checkpoint_revision),
            checkpoint=self._checkpoint,
            damaged_checkpoints=tuple(self._damaged),
            tail=self._tail,
            problem=problem,
            replayed_batches=self._replayed_batches,
            replayed_bytes=self._replayed_bytes,
        )

    def _store_id(self, sources: list[SegmentSource]) -> bytes | None:
        """Return the id in the newest segment, which every other file must share."""
        if not sources:
            return None
        file = open_source(self._file_system, sources[-1])
        try:
            return read_segment_header(file).store_id
        finally:
            file.close()

    def _load_newest_checkpoint(self, store_id: bytes | None) -> None:
        for revision, path in reversed(list_checkpoints(self._file_system, self._path)):
            try:
                checkpoint = examine_checkpoint(self._file_system, path)
            except CorruptionError:
                self._damaged.append(path)
                continue
            if (checkpoint.revision, checkpoint.store_id) == (revision, store_id or b""):
                self._checkpoint = checkpoint
                return
            self._damaged.append(path)

    def _scan(self, sources: list[SegmentSource], replay: Replay) -> None:
        base_revision = self._checkpoint.revision if self._checkpoint else 0
        needed = [
            source
            for source, following in zip(sources, [*sources[1:], None], strict=False)
            if following is None or following.first_revision > base_revision + 1
        ]
        take = replay(self._checkpoint)
        for source in needed:
            file = open_source(self._file_system, source)
            try:
                self._scan_segment(source, file, take, is_last=source is needed[-1])
            finally:
                file.close()
            if self._is_bound_reached():
                return

    def _scan_segment(
        self, source: SegmentSource, file: File, take: Callable[[Record], object], *, is_last: bool
    ) -> None:
        header = read_segment_header(file)
        self._check_link(source, header)
        scanner = SegmentScanner(file, header, start_of(header))
        proof = _Proof(self._durable_bound)
        for record in scanner:
            if self._last_revision is not None and record.revision > self._last_revision:
                break
            self._take(source, record, take)
            proof.take(record, scanner.position.offset_bytes)
        end = scanner.end or ScanEnd(scanner.position, None)
        claim = 0
        if end.problem is not None:
            if not is_last:
                raise CorruptionError(
                    source.path, end.position.offset_bytes, f"in a sealed segment, {end.problem}"
                )
            claim = highest_durable_claim(file, header, end.position)
        self._tail = Tail(source, header, end, claim, proof.proven_bytes)

    def _take(
        self, source: SegmentSource, record: Record, take: Callable[[Record], object]
    ) -> None:
        checkpoint = self._checkpoint
        if checkpoint is None or record.revision > checkpoint.revision:
            take(record)
            self._replayed_batches += 1
            self._replayed_bytes += layout.record_bytes(len(record.payload))
        elif record.revision == checkpoint.revision and record.digest != checkpoint.digest:
            raise CorruptionError(
                source.path, record.offset_bytes, "the checkpoint was made from another history"
            )

    def _check_link(self, source: SegmentSource, header: layout.SegmentHeader) -> None:
        """Check that a segment continues what has been read so far."""
        problem = None
        if header.first_revision != source.first_revision:
            problem = f"the header states first revision {header.first_revision}"
        elif self._tail is not None:
            problem = discontinuity(self._tail, header)
        else:
            problem = _detachment(self._checkpoint, header)
        if problem:
            raise CorruptionError(source.path, 0, problem)

    def _is_bound_reached(self) -> bool:
        return (
            self._last_revision is not None
            and self._tail is not None
            and self._tail.end.position.revision >= self._last_revision
        )


class _Proof:
    """Tells up to where the records of a segment are known to have been synced.

    What a record states as durable had been synced before it was written.
    """

    def __init__(self, durable_bound: int) -> None:
        self.proven_bytes = layout.SEGMENT_HEADER_BYTES
        self._durable_revision = durable_bound
        # Revision and end of each record that nothing has proven yet: those of the last group.
        self._open: deque[tuple[int, int]] = deque()

    def take(self, record: Record, end_bytes: int) -> None:
        self._durable_revision = max(self._durable_revision, record.durable_revision)
        self._open.append((record.revision, end_bytes))
        while self._open and self._open[0][0] <= self._durable_revision:
            _, self.proven_bytes = self._open.popleft()


def discontinuity(previous: Tail, header: layout.SegmentHeader) -> str | None:
    """Say why a segment does not continue the one before it."""
    end = previous.end.position
    if header.store_id != previous.header.store_id:
        return "the segment belongs to another store than the one before it"
    if header.first_revision != end.revision + 1:
        return (
            f"the segment starts at revision {header.first_revision}, but the one before it ends "
            f"at {end.revision}"
        )
    if header.predecessor_digest != end.digest or header.predecessor_bytes != end.offset_bytes:
        return "the segment does not continue the digest chain of the one before it"
    return None


def _detachment(checkpoint: Checkpoint | None, header: layout.SegmentHeader) -> str | None:
    """Say why the first segment read does not continue the checkpoint, or the empty store."""
    base_revision = checkpoint.revision if checkpoint else 0
    base_digest = checkpoint.digest if checkpoint else layout.genesis_digest(header.store_id)
    if checkpoint is not None and header.store_id != checkpoint.store_id:
        return "the segment belongs to another store than the checkpoint"
    if header.first_revision > base_revision + 1:
        return (
            f"the log starts at revision {header.first_revision}, and no valid checkpoint holds "
            "the state before it"
        )
    if header.first_revision == base_revision + 1 and header.predecessor_digest != base_digest:
        return "the segment does not continue the history of the checkpoint"
    return None
