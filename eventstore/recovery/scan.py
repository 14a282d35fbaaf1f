"""The scan: what is on disk, read and checked, nothing changed.

It finds the newest valid checkpoint, then reads every segment that holds a later batch and yields
those batches, in order. It stops at the first thing that no more can be read behind: a damaged
header, a damaged record in a sealed segment, a gap, a segment of another store. Segments that the
checkpoint supersedes are not read; `verify` reads them.

What is no file is damage; a medium that fails is not, for it may answer the next time: the system's
error comes through.

What it means is judged elsewhere (`eventstore.recovery.decide`): recovery carries that out,
followers begin with it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints
from eventstore.checkpoints.rungs import list_rungs
from eventstore.errors import CorruptionError, FormatVersionError
from eventstore.files.content import read_file
from eventstore.files.failures import is_no_file, unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.blocks import NewerVersionError
from eventstore.format.durable import DURABLE_BYTES, durable_store_id, unpack_durable
from eventstore.format.names import DURABLE_NAME
from eventstore.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader
from eventstore.log.reader import (
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
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.checkpoints.chains import CheckpointFile
    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.files.interface import File, FileSystem
    from eventstore.log.reader import Record

_Unpacked = TypeVar("_Unpacked")

_TAIL_LOOKS = 4
_TAIL_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What is on disk.

    Attributes:
        found: what the judgement needs of it.
        checkpoint: the newest valid one.
        damaged_checkpoints: paths of checkpoint files that were tried and can't be used: newer
            ones, and those that the valid one could have been loaded by.
        batch_count: how many records are after it.
        batch_bytes: of these records.
    """

    found: Found
    checkpoint: Checkpoint | None
    damaged_checkpoints: tuple[str, ...]
    batch_count: int
    batch_bytes: int


class Scan:
    """What is on disk, read once from its start to its end.

    Iterating reads the log and yields every record after the checkpoint, in order; `result` then
    says what was found. Damage ends the iteration and is found, not raised.

    Attributes:
        store_id: that the newest segment states; None if there is no segment.
        checkpoint: the newest valid one, to which the records are to be applied; None too where
            something is damaged before the log is read.
        durable_revision: beside a writer that may be running, the highest revision that is known
            to be durable; records beyond it may still be taken back.
        durable_bound: the revision that the `durable` file states; 0 if it states none.
    """

    def __init__(self, file_system: FileSystem, path: str, *, beside_writer: bool) -> None:
        """Use `scan_store`."""
        self.store_id: bytes | None = None
        self.checkpoint: Checkpoint | None = None
        self.durable_revision = 0
        self._file_system = file_system
        self._path = path
        self._beside_writer = beside_writer
        self._sources: list[SegmentSource] = []
        self._has_checkpoints = False
        self._damaged: list[str] = []
        self._damage: Damage | None = None
        self._batch_count = 0
        self._batch_bytes = 0
        self._tail: Tail | None = None
        self.durable_bound = 0
        self._is_complete = False

    def begin(self) -> None:
        """Load the newest checkpoint, and read what is known to be durable."""
        checkpoints = list_checkpoints(self._file_system, self._path)
        rungs = list_rungs(self._file_system, self._path)
        self._has_checkpoints = bool(checkpoints or rungs)
        try:
            self.store_id = self._newest_store_id(list_sources(self._file_system, self._path))
            checkpoint = self._newest_checkpoint(checkpoints, rungs, self.store_id)
            self.durable_bound = self._read_bound(self.store_id)
            if self._beside_writer:
                self.durable_revision = self.durable_bound or self._proven_revision()
            # Last, so that a log which a writer goes on with holds what the two above promise.
            self._sources = list_sources(self._file_system, self._path)
        except CorruptionError as error:
            self._damage = _problem(error)
        else:
            self.checkpoint = checkpoint

    def __iter__(self) -> Iterator[Record]:
        if self._damage is None:
            try:
                yield from self._records()
            except CorruptionError as error:
                self._damage = _problem(error)
        self._is_complete = True

    def result(self) -> ScanResult:
        """Return what was found, once all records were read.

        Raises:
            ValueError: they were not: what is behind them is not known.
        """
        if not self._is_complete:
            raise ValueError("the scan has not been read to its end")
        found = Found(
            path=self._path,
            acknowledged=max(self.durable_bound, self._base_revision),
            has_checkpoints=self._has_checkpoints,
            tail=self._tail,
            damage=self._damage,
        )
        return ScanResult(
            found=found,
            checkpoint=self.checkpoint,
            damaged_checkpoints=tuple(self._damaged),
            batch_count=self._batch_count,
            batch_bytes=self._batch_bytes,
        )

    @property
    def _base_revision(self) -> int:
        return self.checkpoint.revision if self.checkpoint else 0

    def _newest_store_id(self, sources: list[SegmentSource]) -> bytes | None:
        """Return the id in the newest segment, which every other file must share."""
        if not sources:
            return None
        with opened_source(self._file_system, sources[-1], is_no_file) as file:
            return read_segment_header(file).store_id

    def _newest_checkpoint(
        self,
        files: list[CheckpointFile],
        rungs: list[CheckpointFile],
        store_id: bytes | None,
    ) -> Checkpoint | None:
        """Return the newest that can be used; one of the ladder in the last need.

        A rung is older than all of them, unless another store's files were put into this one.
        """
        loader = CheckpointLoader(self._file_system, files)
        checkpoint, foreign = self._newest_of(loader, store_id)
        if checkpoint is None:
            checkpoint, _ = self._newest_of(CheckpointLoader(self._file_system, rungs), store_id)
        # What continues another file is set aside before it, wherever that is cut short.
        self._damaged = [
            file.path
            for file in reversed(files)
            if file.path in loader.problems or file.revision in foreign
        ]
        return checkpoint

    def _newest_of(
        self, loader: CheckpointLoader, store_id: bytes | None
    ) -> tuple[Checkpoint | None, set[int]]:
        """Return the newest that can be used, and the revisions of those of other stores."""
        foreign: set[int] = set()
        for revision in loader.revisions:
            try:
                checkpoint = loader.load(revision)
            except CorruptionError:
                continue
            if checkpoint.store_id == (store_id or b""):
                return checkpoint, foreign
            foreign.add(revision)
        return None, foreign

    def _read_bound(self, store_id: bytes | None) -> int:
        with unreadable_is_damage(join(self._path, DURABLE_NAME), is_no_file):
            return read_durable_bound(self._file_system, self._path, store_id)

    def _proven_revision(self) -> int:
        """Return the highest revision that the log itself proves to have been acknowledged."""
        scan = scan_store(self._file_system, self._path)
        claimed = max((record.durable_revision for record in scan), default=0)
        found = scan.result().found
        return max(claimed, found.acknowledged, found.tail.durable_claim if found.tail else 0)

    def _records(self) -> Iterator[Record]:
        needed = [
            source
            for source, following in zip(self._sources, [*self._sources[1:], None], strict=False)
            if following is None or following.first_revision > self._base_revision + 1
        ]
        for source in needed:
            if self._tail is not None:
                _raise_if(sealed_damage(self._tail))
            with opened_source(self._file_system, source, is_no_file) as file:
                yield from self._segment_records(source, file, is_last=source is needed[-1])

    def _segment_records(
        self, source: SegmentSource, file: File, *, is_last: bool
    ) -> Iterator[Record]:
        header = read_segment_header(file)
        _raise_if(misnamed(source, header))
        _raise_if(
            discontinuity(self._tail, source, header)
            if self._tail is not None
            else detachment(self.checkpoint, source, header)
        )
        scanner = SegmentScanner(file, header, start_of(header))
        proof = _Proof(self.durable_bound)
        for record in scanner:
            if self._is_later(record):
                self._batch_count += 1
                self._batch_bytes += record.end_bytes - record.offset_bytes
                yield record
            proof.take(record)
        end = scanner.end or ScanEnd(scanner.position, None)
        claim = 0
        if is_last:
            if self._beside_writer:
                end = settled_end(file, header, end)
            if end.problem is not None:
                claim = highest_durable_claim(file, header, end.position)
        self._tail = Tail(source, header, end, claim, proof.proven_bytes)

    def _is_later(self, record: Record) -> bool:
        """Tell whether a record is after the checkpoint; that at it must be of its history."""
        checkpoint = self.checkpoint
        if checkpoint is None or record.revision > checkpoint.revision:
            return True
        if record.revision == checkpoint.revision:
            _raise_if(contradiction(checkpoint, record.digest, record.path, record.offset_bytes))
        return False


def scan_store(file_system: FileSystem, path: str, *, beside_writer: bool = False) -> Scan:
    """Begin to find out what is on disk.

    Args:
        file_system: to read the store by.
        path: of the store, which must be a directory.
        beside_writer: whether a writer may be running: what is on its way is no damage then.

    Raises:
        FormatVersionError: a file has a newer format; reading the scan may raise it too.
    """
    scan = Scan(file_system, path, beside_writer=beside_writer)
    scan.begin()
    return scan


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
        file_system: to read the store by.
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


def _problem(error: CorruptionError) -> Damage:
    return Damage(error.path, error.offset_bytes, 0, error.reason)


def _raise_if(problem: Damage | None) -> None:
    if problem is not None:
        raise problem.error()


class _Proof:
    """Tells up to where the records of a segment are known to have been synced.

    What a record states as durable had been synced before it was written.
    """

    def __init__(self, durable_bound: int) -> None:
        self.proven_bytes = SEGMENT_HEADER_BYTES
        self._durable_revision = durable_bound
        # Revision and end of each record that nothing has proven yet: those of the last group.
        self._unproven: deque[tuple[int, int]] = deque()

    def take(self, record: Record) -> None:
        unproven, proven_revision = self._unproven, self._durable_revision
        if record.durable_revision > proven_revision:
            self._durable_revision = proven_revision = record.durable_revision
        unproven.append((record.revision, record.end_bytes))
        while unproven and unproven[0][0] <= proven_revision:
            _, self.proven_bytes = unproven.popleft()
