"""The scan: what is on disk, read and checked, nothing changed.

It finds the newest valid checkpoint, then scans every segment that holds a later batch and hands
those batches to a replay, in order. It stops at the first thing that no more can be read behind: a
damaged header, a damaged record in a sealed segment, a gap, a segment of another store. Segments
that the checkpoint supersedes are not read; `verify` reads them.

What is no file is damage; a medium that fails is not, for it may answer the next time: the system's
error comes through.

What it means is judged elsewhere (`eventstore.recovery.decide`): recovery carries that out,
followers begin with it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from eventstore.errors import CorruptionError, FormatVersionError
from eventstore.files.content import read_file
from eventstore.files.failures import is_no_file, unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.blocks import NewerVersionError
from eventstore.format.durable import DURABLE_BYTES, durable_store_id, unpack_durable
from eventstore.format.names import DURABLE_NAME
from eventstore.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader
from eventstore.log.reader import (
    Record,
    ScanEnd,
    SegmentScanner,
    read_segment_header,
    start_of,
)
from eventstore.log.search import highest_durable_claim
from eventstore.log.segments import SegmentSource, list_sources, opened_source
from eventstore.recovery.decide import (
    Found,
    Tail,
    contradiction,
    detachment,
    discontinuity,
    misnamed,
    sealed_damage,
)
from eventstore.reports import Problem
from eventstore.tables.checkpoint import Checkpoint, examine_checkpoint, list_checkpoints

if TYPE_CHECKING:
    from eventstore.files.interface import File, FileSystem

_Unpacked = TypeVar("_Unpacked")

_TAIL_LOOKS = 4
_TAIL_LOOK_SECONDS = 0.01

Replay = Callable[[Checkpoint | None], Callable[[Record], object]]
"""Given the checkpoint to start from, returns what takes each record after it, in order."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What is on disk.

    Attributes:
        found: what the judgement needs of it.
        checkpoint: the newest valid one.
        damaged_checkpoints: paths of newer ones that can't be used.
        replayed_batches: how many records went to the replay.
        replayed_bytes: of these records.
    """

    found: Found
    checkpoint: Checkpoint | None
    damaged_checkpoints: tuple[str, ...]
    replayed_batches: int
    replayed_bytes: int


def scan_store(
    file_system: FileSystem,
    path: str,
    replay: Replay,
    *,
    take_beyond: Callable[[Record], object] | None = None,
) -> ScanResult:
    """Find out what is on disk, and replay it.

    Args:
        file_system: where.
        path: of the store, which must be a directory.
        replay: called once, with the checkpoint; what it returns is called with each record.
        take_beyond: given by who reads beside a writer that may be running. The replay then gets
            what is known to be durable, this all that follows, and what is on its way is no damage.

    Raises:
        FormatVersionError: a file has a newer format.
    """
    return _Scanner(file_system, path, take_beyond).run(replay)


def settled_end(file: File, header: SegmentHeader, end: ScanEnd) -> ScanEnd:
    """Return how a log ends, once no running writer is what makes it look invalid there.

    It may have been in the middle of a record, or have gone on between two reads.
    """
    for _ in range(_TAIL_LOOKS if end.problem is not None else 0):
        time.sleep(_TAIL_LOOK_SECONDS)
        scanner = SegmentScanner(file, header, end.position)
        if next(iter(scanner), None) is not None:
            return ScanEnd(end.position, None)
        if scanner.end is not None and scanner.end.problem is None:
            return scanner.end
    return end


def read_durable_bound(file_system: FileSystem, path: str, store_id: bytes | None) -> int:
    """Return the revision that the `durable` file states; 0 if it can't be relied on.

    Args:
        file_system: where.
        path: of the store.
        store_id: of the log; None to take what any store's file says.

    Raises:
        FormatVersionError: it has a newer format.
    """
    return _read_durable(file_system, path, partial(unpack_durable, store_id=store_id)) or 0


def read_durable_store_id(file_system: FileSystem, path: str) -> bytes | None:
    """Return the id of the store whose `durable` file is there; None if nothing good is.

    Raises:
        FormatVersionError: it has a newer format.
    """
    return _read_durable(file_system, path, durable_store_id)


def _read_durable(
    file_system: FileSystem, path: str, unpack: Callable[[bytes], _Unpacked | None]
) -> _Unpacked | None:
    durable_path = join(path, DURABLE_NAME)
    if not file_system.exists(durable_path):
        return None
    try:
        return unpack(read_file(file_system, durable_path, DURABLE_BYTES))
    except NewerVersionError as error:
        raise FormatVersionError(durable_path, error.found_version, error.known_version) from error


class _Scanner:
    def __init__(
        self, file_system: FileSystem, path: str, take_beyond: Callable[[Record], object] | None
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._take_beyond = take_beyond
        self._last_revision = 0
        self._checkpoint: Checkpoint | None = None
        self._damaged: list[str] = []
        self._replayed_batches = 0
        self._replayed_bytes = 0
        self._tail: Tail | None = None
        self._durable_bound = 0

    def run(self, replay: Replay) -> ScanResult:
        checkpoints = list_checkpoints(self._file_system, self._path)
        damage = None
        try:
            store_id = self._store_id(list_sources(self._file_system, self._path))
            self._load_newest_checkpoint(checkpoints, store_id)
            self._durable_bound = self._read_bound(store_id)
            if self._take_beyond is not None:
                self._last_revision = self._durable_bound or self._proven_revision()
            # Last, so that a log which a writer goes on with holds what the two above promise.
            self._scan(list_sources(self._file_system, self._path), replay)
        except CorruptionError as error:
            damage = Problem(error.path, error.offset_bytes, error.reason)
        found = Found(
            path=self._path,
            acknowledged=max(self._durable_bound, self._base_revision),
            has_checkpoints=bool(checkpoints),
            tail=self._tail,
            damage=damage,
        )
        return ScanResult(
            found=found,
            checkpoint=self._checkpoint,
            damaged_checkpoints=tuple(self._damaged),
            replayed_batches=self._replayed_batches,
            replayed_bytes=self._replayed_bytes,
        )

    @property
    def _base_revision(self) -> int:
        return self._checkpoint.revision if self._checkpoint else 0

    def _store_id(self, sources: list[SegmentSource]) -> bytes | None:
        """Return the id in the newest segment, which every other file must share."""
        if not sources:
            return None
        with opened_source(self._file_system, sources[-1], is_no_file) as file:
            return read_segment_header(file).store_id

    def _load_newest_checkpoint(
        self, checkpoints: list[tuple[int, str]], store_id: bytes | None
    ) -> None:
        for revision, path in reversed(checkpoints):
            try:
                checkpoint = examine_checkpoint(self._file_system, path)
            except CorruptionError:
                self._damaged.append(path)
                continue
            if (checkpoint.revision, checkpoint.store_id) == (revision, store_id or b""):
                self._checkpoint = checkpoint
                return
            self._damaged.append(path)

    def _read_bound(self, store_id: bytes | None) -> int:
        with unreadable_is_damage(join(self._path, DURABLE_NAME), is_no_file):
            return read_durable_bound(self._file_system, self._path, store_id)

    def _proven_revision(self) -> int:
        """Return the highest revision that the log itself proves to have been acknowledged."""
        claims = [0]
        scanned = scan_store(
            self._file_system,
            self._path,
            lambda _: lambda record: claims.append(record.durable_revision),
        )
        tail = scanned.found.tail
        return max(*claims, scanned.found.acknowledged, tail.durable_claim if tail else 0)

    def _scan(self, sources: list[SegmentSource], replay: Replay) -> None:
        needed = [
            source
            for source, following in zip(sources, [*sources[1:], None], strict=False)
            if following is None or following.first_revision > self._base_revision + 1
        ]
        take = replay(self._checkpoint)
        for source in needed:
            if self._tail is not None:
                _raise_if(sealed_damage(self._tail))
            with opened_source(self._file_system, source, is_no_file) as file:
                self._scan_segment(source, file, take, is_last=source is needed[-1])

    def _scan_segment(
        self, source: SegmentSource, file: File, take: Callable[[Record], object], *, is_last: bool
    ) -> None:
        header = read_segment_header(file)
        _raise_if(misnamed(source, header))
        _raise_if(
            discontinuity(self._tail, source, header)
            if self._tail is not None
            else detachment(self._checkpoint, source, header)
        )
        scanner = SegmentScanner(file, header, start_of(header))
        proof = _Proof(self._durable_bound)
        for record in scanner:
            self._take(source, record, take)
            proof.take(record, scanner.position.offset_bytes)
        end = scanner.end or ScanEnd(scanner.position, None)
        claim = 0
        if is_last:
            if self._take_beyond is not None:
                end = settled_end(file, header, end)
            if end.problem is not None:
                claim = highest_durable_claim(file, header, end.position)
        self._tail = Tail(source, header, end, claim, proof.proven_bytes)

    def _take(
        self, source: SegmentSource, record: Record, take: Callable[[Record], object]
    ) -> None:
        checkpoint = self._checkpoint
        if checkpoint is not None and record.revision <= checkpoint.revision:
            if record.revision == checkpoint.revision:
                _raise_if(
                    contradiction(checkpoint, record.digest, source.path, record.offset_bytes)
                )
            return
        if self._take_beyond is not None and record.revision > self._last_revision:
            self._take_beyond(record)
            return
        take(record)
        self._replayed_batches += 1
        self._replayed_bytes += record.end_bytes - record.offset_bytes


def _raise_if(problem: Problem | None) -> None:
    if problem is not None:
        raise CorruptionError(*problem)


class _Proof:
    """Tells up to where the records of a segment are known to have been synced.

    What a record states as durable had been synced before it was written.
    """

    def __init__(self, durable_bound: int) -> None:
        self.proven_bytes = SEGMENT_HEADER_BYTES
        self._durable_revision = durable_bound
        # Revision and end of each record that nothing has proven yet: those of the last group.
        self._open: deque[tuple[int, int]] = deque()

    def take(self, record: Record, end_bytes: int) -> None:
        self._durable_revision = max(self._durable_revision, record.durable_revision)
        self._open.append((record.revision, end_bytes))
        while self._open and self._open[0][0] <= self._durable_revision:
            _, self.proven_bytes = self._open.popleft()
