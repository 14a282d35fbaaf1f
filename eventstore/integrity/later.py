"""The later part of a replay, in a process of its own, so that a verification uses two cores.

A fold of the log that has come to a checkpoint, and found each of its rows to be the same to the
byte, is where a fold is that begins at this checkpoint. So another process may have begun there
before, and gone on: what it finds is what the first one would have found.

Only good news is taken from it. Where it has found anything, or the first one meets damage behind
the checkpoint, the store is read again in one process: what is reported does not depend on how
many there were. One that ends without an answer is an error.

The second process also compares the indexes of the segments behind the checkpoint, whose records it
reads anyhow.

The process is *spawned*, never forked: a fork would copy the locks of threads that it has not.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from bisect import bisect_right
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.loader import CheckpointLoader
from eventstore.files.local import local_file_system
from eventstore.integrity.comparison import Comparison
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.segments import opened_source
from eventstore.past.checking import IndexCheck
from eventstore.recovery.carrying import carried_over
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from eventstore.checkpoints.chains import CheckpointFile
    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.files.interface import File
    from eventstore.log.segments import SegmentSource
    from eventstore.projection import Projection

BATCHES_MIN = 20_000
"""Fewer are read before a process has started and imported what it needs: some 0.3 s."""
_BEST_PART = 0.55
"""Where the two take about as long: the first one also checks all that no fold is needed for."""
_LARGEST_PART = 0.75
"""If the checkpoint comes later, there is too little to gain."""


class LaterPart(NamedTuple):
    """What is folded, and compared with what.

    Attributes:
        path: of the store.
        projections: that fold.
        sources: every segment of the log, in order.
        all_files: every file of a checkpoint.
        start: the file of the checkpoint that the fold begins at.
        digests: of the valid files of later checkpoints, each with its digest.
        asks_projections: whether each projection checks its tables in the end.
    """

    path: str
    projections: tuple[Projection, ...]
    sources: tuple[SegmentSource, ...]
    all_files: tuple[CheckpointFile, ...]
    start: CheckpointFile
    digests: tuple[tuple[CheckpointFile, bytes], ...]
    asks_projections: bool


class LaterResult(NamedTuple):
    """What the other process says.

    Attributes:
        revision: that it has come to.
        compared_count: how many checkpoints it has compared.
        is_clean: whether there is nothing to report.
    """

    revision: int
    compared_count: int
    is_clean: bool


class LaterFold:
    """A process that folds the later part.

    Attributes:
        start: revision of the checkpoint that it has begun at.
    """

    def __init__(self, part: LaterPart) -> None:
        """Start it.

        Raises:
            Exception: the projections can't be pickled.
        """
        self.start = part.start.revision
        context = multiprocessing.get_context("spawn")
        self._answers, answers = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(part, answers), daemon=True)
        # It would be begun on the way, and would let interrupts through again.
        resource_tracker.ensure_running()
        # From its first moment on: the new process takes over what this thread blocks.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            answers.close()

    def result(self) -> LaterResult:
        """Wait for what it says.

        Raises:
            ChildProcessError: it has ended without an answer.
        """
        try:
            result: LaterResult = self._answers.recv()
        except EOFError as error:
            self._process.join()
            raise ChildProcessError(
                "the process that replayed the later part of the log ended without an answer, "
                f"exit code {self._process.exitcode}: nothing is known of that part; where it "
                "can't import the projections, or the program's main module, verify with "
                "processes=1"
            ) from error
        return result

    def stop(self) -> None:
        """End it, whatever it is doing; one that was stopped hears no other signal."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._answers.close()


def place_to_begin(
    loaded: Mapping[CheckpointFile, Checkpoint], first: int, last: int
) -> CheckpointFile | None:
    """Return the file of the checkpoint that a second fold had best begin at, if one is worth it.

    Args:
        loaded: the valid files.
        first: revision that the first fold begins at.
        last: revision that the log is known to reach.
    """
    span = last - first
    if span < BATCHES_MIN:
        return None
    parts = {file: (file.revision - first) / span for file in loaded}
    fitting = [file for file, part in parts.items() if 0 < part <= _LARGEST_PART]
    return min(fitting, key=lambda file: abs(parts[file] - _BEST_PART), default=None)


def _run(part: LaterPart, answers: Connection) -> None:
    """Answer; an interrupt, which is blocked here, ends the first process, and that this one."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # nobody is left to tell
        answers.send(fold_later(part))


def _end_with_parent() -> None:
    """End where nobody is left to answer, without a word."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    signal.raise_signal(signal.SIGKILL)


def fold_later(part: LaterPart) -> LaterResult:
    """Fold the later part, and compare it with checkpoints and indexes."""
    try:
        return _Fold(part).run()
    except Exception:  # whatever it is, the first process meets it too, and tells what it is
        return LaterResult(0, 0, is_clean=False)


class _Fold:
    """The fold of the later part."""

    def __init__(self, part: LaterPart) -> None:
        self._part = part
        self._file_system = local_file_system()
        self._loader = CheckpointLoader(
            self._file_system, part.all_files, with_digest=False, keeps_rows=False
        )
        self._files: dict[bytes, list[CheckpointFile]] = {}
        for file, digest in part.digests:
            self._files.setdefault(digest, []).append(file)
        start = self._load(part.start)
        self._start = self._revision = start.revision
        self._comparison = Comparison(part.projections)
        self._comparison.begin(start.revision + 1, {start.revision: start}, lambda _: start)
        self._is_clean = True

    def run(self) -> LaterResult:
        """Fold it all."""
        sources = self._part.sources
        following = [source.first_revision for source in sources[1:]]
        for source in sources[bisect_right(following, self._start + 1) :]:
            with opened_source(self._file_system, source) as file:
                self._fold(file)
        if self._part.asks_projections:
            self._is_clean &= not any(self._comparison.projections_own(self._part.path))
        return LaterResult(self._revision, self._comparison.compared_count, self._is_clean)

    def _fold(self, file: File) -> None:
        """Fold what a segment has of it; its index is compared by who reads all of it."""
        part, header, index = self._part, read_segment_header(file), None
        if header.first_revision > self._start:
            index = IndexCheck(self._file_system, part.path, header, part.projections)
        scanner = SegmentScanner(file, header, start_of(header))
        for record in scanner:
            if record.revision <= self._start:
                continue
            batch = decode_record(record)
            if index is not None:
                index.add(record, batch)
            self._comparison.fold(record, batch)
            self._revision = record.revision
            for one in self._files.get(record.digest, ()):
                self._is_clean &= not any(self._comparison.differences(self._load(one), one.path))
        self._is_clean &= index is None or index.damage() is None

    def _load(self, file: CheckpointFile) -> Checkpoint:
        return carried_over(self._part.projections, self._loader.load_by(file))
