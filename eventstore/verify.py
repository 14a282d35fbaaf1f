"""Verify a store: read it all, change nothing, say everything that is wrong.

Works without the lock, beside a running writer: it judges only what was durable when it started.
*Quick* reads what an open reads, the checkpoints by their checksums and the log after the newest
one, and the headers of the segments before that in the log. *Full* reads every byte: every record
and its place in the digest chain, from the oldest archived segment to the tail, the SHA-256 of each
checkpoint, and it replays the log and compares the tables with those in each checkpoint.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from eventstore import format as layout
from eventstore.checkpoint import Checkpoint, examine_checkpoint, list_checkpoints
from eventstore.codec import unpack_row
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.filesystem import absolute, is_unreadable, join, local_file_system
from eventstore.log.reader import (
    Position,
    Record,
    ScanEnd,
    SegmentScanner,
    highest_durable_claim,
    read_segment_header,
    start_of,
)
from eventstore.log.segments import SegmentSource, list_sources, open_source
from eventstore.place import require_remains
from eventstore.replay import replay_record, stale_projections, start_state
from eventstore.state import View
from eventstore.survey import Tail, discontinuity, read_durable_bound

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from eventstore.filesystem import File, FileSystem
    from eventstore.projection import Projection
    from eventstore.state import State

_ATTEMPTS = 5
_TAIL_LOOKS = 4
_TAIL_LOOK_SECONDS = 0.01


class Problem(NamedTuple):
    """Something that is wrong.

    Attributes:
        path: of the file.
        offset_bytes: where in it.
        reason: what is wrong there.
    """

    path: str
    offset_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        is_full: whether every byte was read.
        problems: everything that is wrong; empty for a sound store.
        notes: what is unusual but legal, such as a torn tail that the next open will cut.
        segment_count: segments read, archived ones included, up to the first that is damaged.
        batch_count: batches read.
        checkpoint_count: checkpoints read.
        replayed_checkpoints: checkpoints that a replay of the log was found equal to.
        revision: of the last batch read.
    """

    is_full: bool
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    segment_count: int
    batch_count: int
    checkpoint_count: int
    replayed_checkpoints: int
    revision: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_store(
    path: str | os.PathLike[str],
    projections: Sequence[Projection],
    *,
    quick: bool = False,
    on_batch: Callable[[int], object] = lambda revision: None,
    file_system: FileSystem | None = None,
) -> VerifyReport:
    """Verify the store at a path.

    Args:
        path: of the store.
        projections: to replay the log with, for the comparison with the checkpoints.
        quick: leave out what takes long.
        on_batch: called with each revision that was read, for progress.
        file_system: where; the machine's own unless given.

    Raises:
        NotAStoreError: there is no store.
        FormatVersionError: a file has a newer format.
    """
    file_system = file_system or local_file_system()
    directory = absolute(path)
    require_remains(file_system, directory)
    for attempt in range(_ATTEMPTS):
        is_last = attempt == _ATTEMPTS - 1
        verification = _Verification(file_system, directory, projections, on_batch, quick=quick)
        try:
            report = verification.run()
        except FileNotFoundError:
            # A running writer's compaction has moved a file between listing and opening it.
            if is_last:
                raise
        else:
            if report.is_sound or is_last or not verification.was_compacted():
                return report
    raise AssertionError("unreachable")


def _goes_on(file: File, header: layout.SegmentHeader, end: Position) -> bool:
    """Say whether a running writer is what made the bytes at a place look invalid.

    It may have been in the middle of a record, or have gone on between two reads.
    """
    for _ in range(_TAIL_LOOKS):
        time.sleep(_TAIL_LOOK_SECONDS)
        scanner = SegmentScanner(file, header, end)
        if next(iter(scanner), None) is not None:
            return True
        if scanner.end is not None and scanner.end.problem is None:
            return True
    return False


@dataclass
class _Verification:
    file_system: FileSystem
    path: str
    projections: Sequence[Projection]
    on_batch: Callable[[int], object]
    quick: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.segment_count = 0
        self.batch_count = 0
        self.replayed_checkpoints = 0
        self.tail: Tail | None = None
        self.state: State | None = None
        self.checkpoints: dict[int, Checkpoint] = {}
        self.sources: list[SegmentSource] = []

    def run(self) -> VerifyReport:
        store_id = self._store_id(list_sources(self.file_system, self.path))
        checkpoint_count = self._read_checkpoints(store_id)
        bound = self._read_bound(store_id)
        # Last, so that a log which a writer goes on with holds what the two above promise.
        sources = self.sources = list_sources(self.file_system, self.path)
        self._check_start(sources)
        if not self.quick:
            self._choose_start(sources)
        first = self._first_replayed(sources) if self.quick else 0
        for source in sources[:first]:
            self._check_header(source, store_id)
        for source in sources[first:]:
            if not self._read_segment(source, is_last=source is sources[-1]):
                break
        else:
            self._judge_tail(bound)
        revision = self.tail.end.position.revision if self.tail else 0
        return VerifyReport(
            is_full=not self.quick,
            problems=tuple(self.problems),
            notes=tuple(self.notes),
            segment_count=self.segment_count,
            batch_count=self.batch_count,
            checkpoint_count=checkpoint_count,
            replayed_checkpoints=self.replayed_checkpoints,
            revision=revision,
        )

    def was_compacted(self) -> bool:
        """Say whether a running writer has removed anything that was judged."""
        names = map(layout.checkpoint_name, self.checkpoints)
        paths = [join(self.path, layout.CHECKPOINTS_NAME, name) for name in names]
        paths += [source.path for source in self.sources]
        return not all(map(self.file_system.exists, paths))

    def _store_id(self, sources: list[SegmentSource]) -> bytes | None:
        if not sources:
            return None
        try:
            file = open_source(self.file_system, sources[-1])
            try:
                return read_segment_header(file).store_id
            finally:
                file.close()
        except CorruptionError:
            return None  # reported when the segment is read
        except OSError as error:
            if not is_unreadable(error):
                raise
            return None

    def _read_checkpoints(self, store_id: bytes | None) -> int:
        found = list_checkpoints(self.file_system, self.path)
        for revision, path in found:
            try:
                checkpoint = examine_checkpoint(self.file_system, path, with_digest=not self.quick)
                if checkpoint.revision != revision:
                    raise CorruptionError(path, 0, f"the header states {checkpoint.revision}")
                if store_id is not None and checkpoint.store_id != store_id:
                    raise CorruptionError(path, 0, "the checkpoint belongs to another store")
            except CorruptionError as error:
                self._add(error)
            else:
                self.checkpoints[revision] = checkpoint
        return len(found)

    def _check_start(self, sources: list[SegmentSource]) -> None:
        """Check that the log goes on from every checkpoint, or starts at the first batch.

        Compaction keeps each segment with a batch after the older of two checkpoints.
        """
        first_revision = sources[0].first_revision if sources else 1
        if first_revision == 1 or min(self.checkpoints, default=0) >= first_revision - 1:
            return
        reason = f"the log starts at revision {first_revision}, "
        if max(self.checkpoints, default=0) < first_revision - 1:
            reason += "and no valid checkpoint holds the state before it"
        else:
            reason += f"but checkpoint {min(self.checkpoints)} needs the batches before it"
        self.problems.append(Problem(sources[0].path, 0, reason))

    def _choose_start(self, sources: list[SegmentSource]) -> None:
        """Begin the replay at the first batch, or at the oldest checkpoint that it continues."""
        first_revision = sources[0].first_revision if sources else 1
        if first_revision == 1:
            self.state = start_state(self.projections, None)
            return
        for revision, checkpoint in self.checkpoints.items():
            is_continued = revision >= first_revision - 1
            if is_continued and not stale_projections(self.projections, checkpoint):
                self.state = start_state(self.projections, checkpoint)
                return

    def _read_bound(self, store_id: bytes | None) -> int:
        try:
            return read_durable_bound(self.file_system, self.path, store_id)
        except OSError as error:
            self._add_unreadable(join(self.path, layout.DURABLE_NAME), error)
            return 0

    def _first_replayed(self, sources: list[SegmentSource]) -> int:
        """Return the place of the first segment with a batch after the newest checkpoint."""
        base_revision = max(self.checkpoints, default=0)
        following = [source.first_revision for source in sources[1:]]
        return bisect_right(following, base_revision + 1)

    def _check_header(self, source: SegmentSource, store_id: bytes | None) -> None:
        """Check a segment by its header only; an archived one, which is compressed, not at all."""
        if source.is_archived:
            return
        try:
            file = open_source(self.file_system, source)
            try:
                header = read_segment_header(file)
            finally:
                file.close()
            if header.first_revision != source.first_revision:
                reason = f"the header states first revision {header.first_revision}"
                raise CorruptionError(source.path, 0, reason)
            if store_id is not None and header.store_id != store_id:
                raise CorruptionError(source.path, 0, "the segment belongs to another store")
        except CorruptionError as error:
            self._add(error)
        except OSError as error:
            self._add_unreadable(source.path, error)

    def _read_segment(self, source: SegmentSource, *, is_last: bool) -> bool:
        try:
            file = open_source(self.file_system, source)
            try:
                self._scan(source, file, is_last=is_last)
            finally:
                file.close()
        except CorruptionError as error:
            self._add(error)
            return False
        except OSError as error:
            self._add_unreadable(source.path, error)
            return False
        return True

    def _scan(self, source: SegmentSource, file: File, *, is_last: bool) -> None:
        header = read_segment_header(file)
        self._check_link(source, header)
        if self.tail is None:
            self._compare_digest(source, 0, header.first_revision - 1, header.predecessor_digest)
        self.segment_count += 1
        scanner = SegmentScanner(file, header, start_of(header))
        for record in scanner:
            self.batch_count += 1
            self._replay(record)
            self._compare_digest(source, record.offset_bytes, record.revision, record.digest)
            self.on_batch(record.revision)
        end = scanner.end or ScanEnd(scanner.position, None)
        if is_last and end.problem is not None and _goes_on(file, header, end.position):
            end = ScanEnd(end.position, None)
        claim = 0
        if end.problem is not None:
            if not is_last:
                raise CorruptionError(
                    source.path, end.position.offset_bytes, f"in a sealed segment, {end.problem}"
                )
            claim = highest_durable_claim(file, header, end.position)
        self.tail = Tail(source, header, end, claim)

    def _check_link(self, source: SegmentSource, header: layout.SegmentHeader) -> None:
        problem = None
        if header.first_revision != source.first_revision:
            problem = f"the header states first revision {header.first_revision}"
        elif self.tail is not None:
            problem = discontinuity(self.tail, header)
        elif header.first_revision == 1 and (
            header.predecessor_digest != layout.genesis_digest(header.store_id)
        ):
            problem = "the first segment does not start the digest chain of its store"
        if problem:
            raise CorruptionError(source.path, 0, problem)

    def _replay(self, record: Record) -> None:
        if self.state is None or record.revision <= self.state.durable.revision:
            return
        try:
            replay_record(self.state, record)
        except ProjectionError as error:
            self.state = None
            self.problems.append(Problem(self.path, record.offset_bytes, str(error)))

    def _compare_digest(
        self, source: SegmentSource, offset_bytes: int, revision: int, digest: bytes
    ) -> None:
        checkpoint = self.checkpoints.get(revision)
        if checkpoint is None:
            return
        if checkpoint.digest != digest:
            raise CorruptionError(
                source.path, offset_bytes, "the checkpoint was made from another history"
            )
        self._compare_rows(checkpoint)

    def _compare_rows(self, checkpoint: Checkpoint) -> None:
        """Compare the replayed tables with those in a checkpoint."""
        state = self.state
        if (
            state is None
            or state.durable.revision != checkpoint.revision
            or stale_projections(self.projections, checkpoint)
        ):
            return
        view = View(state.durable)
        for name, rows in checkpoint.tables:
            table = state.tables.get(name.table)
            if table is None:
                continue
            replayed = {key: table.packed(value) for key, value in view.raw_items(table)}
            held = dict(rows.slice(None, None, rows.row_count + 1, inclusive=True))
            differing = [
                key
                for key in replayed.keys() | held.keys()
                if key not in held
                or key not in replayed
                or unpack_row(held[key]) != unpack_row(replayed[key])
            ]
            if differing:
                path = join(self.path, layout.CHECKPOINTS_NAME)
                self.problems.append(
                    Problem(
                        join(path, layout.checkpoint_name(checkpoint.revision)),
                        0,
                        f"table {name.table!r} differs from the replayed log in "
                        f"{len(differing)} rows, {min(differing)!r} for one",
                    )
                )
        self.replayed_checkpoints += 1

    def _judge_tail(self, bound: int) -> None:
        """Judge how the log ends, once all of it was read."""
        if self.tail is None:
            path = join(self.path, layout.WAL_NAME)
            self.problems.append(Problem(path, 0, "all segments of the log are missing"))
            return
        if self.tail.source.is_archived:
            path = join(self.path, layout.WAL_NAME)
            reason = "the log is missing; only its archived part is left"
            self.problems.append(Problem(path, 0, reason))
            return
        end, problem = self.tail.end
        acknowledged = max(bound, self.tail.durable_claim, *self.checkpoints, 0)
        if acknowledged > end.revision:
            reason = (
                f"{problem or 'the log ends'} after revision {end.revision}, but revision "
                f"{acknowledged} had been acknowledged"
            )
            self.problems.append(Problem(self.tail.source.path, end.offset_bytes, reason))
        elif problem is not None:
            self.notes.append(
                f"{self.tail.source.path}: torn tail at byte {end.offset_bytes} ({problem}): no "
                "acknowledged batch is in it; the next open cuts it and keeps a copy"
            )

    def _add_unreadable(self, path: str, error: OSError) -> None:
        if not is_unreadable(error):
            raise error
        self.problems.append(Problem(path, 0, f"can't be read: {error.strerror}"))

    def _add(self, error: CorruptionError) -> None:
        self.problems.append(Problem(error.path, error.offset_bytes, error.reason))
