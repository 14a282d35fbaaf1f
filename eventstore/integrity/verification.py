"""One reading of a store: checkpoints and leaves, then the log from its oldest segment to the tail.

It goes on behind damage: each segment is judged by its own header and chain, and what only follows
from damage that was listed already is not listed again. What an open would make of the store is
judged as an open judges it (`eventstore.recovery.decide`).
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eventstore.checkpoints.chains import CheckpointFile, must_keep
from eventstore.checkpoints.checkpoint import Checkpoint, without_rows
from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints
from eventstore.directory.contents import being_made
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.files.failures import unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.names import DURABLE_NAME
from eventstore.integrity.comparison import Comparison
from eventstore.integrity.later import LaterFold, LaterPart, place_to_begin
from eventstore.integrity.leaves import LeafCheck
from eventstore.integrity.redacted import RedactedCheck
from eventstore.log.reader import (
    Record,
    ScanEnd,
    SegmentScanner,
    read_segment_header,
    start_of,
)
from eventstore.log.search import highest_durable_claim
from eventstore.log.segments import SegmentSource, list_sources, opened_source
from eventstore.log.stretches import SegmentStretches
from eventstore.maintenance.erasing import is_erasing, paths_to_go
from eventstore.past.checking import IndexCheck
from eventstore.recovery.carrying import carried_over
from eventstore.recovery.decide import (
    Found,
    Tail,
    contradiction,
    decide,
    detachment,
    discontinuity,
    misnamed,
    sealed_damage,
)
from eventstore.recovery.replay import decode_record, stale_projections
from eventstore.recovery.scan import read_durable_bound, read_durable_store_id, settled_end
from eventstore.reports import PROBLEMS_MAX, Damage, Verdict, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from eventstore.event import Batch
    from eventstore.files.interface import File, FileSystem
    from eventstore.format.segment import SegmentHeader
    from eventstore.projection import Projection

_DURABLE_READS = 5


class ReadAgainError(Exception):
    """There is something to report, and of two processes neither knows enough to do so."""


@dataclass
class Verification:
    """One reading of a store; `eventstore.integrity.verify` says what it is given."""

    file_system: FileSystem
    path: str
    projections: Sequence[Projection]
    on_batch: Callable[[int], object]
    quick: bool = field(kw_only=True)
    asks_projections: bool = field(kw_only=True)
    uses_two: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        # In the order in which they were found; a dictionary, because the same thing can be
        # found in two ways.
        self.problems: dict[Damage, None] = {}
        self.more_problems = 0
        self.remarks: list[str] = []
        self.segment_count = 0
        self.unread_segments = 0
        self.batch_count = 0
        self.revision = 0
        self.tail: Tail | None = None
        """The segment read last, unless it was damaged: then nothing is known to continue it."""
        self.opening_damage: Damage | None = None
        """The first damage before the end of what an open reads."""
        self.comparison = Comparison(self.projections)
        self.store_id: bytes | None = None
        self.files: list[CheckpointFile] = []
        """Of checkpoints, as they are listed."""
        self.loaded: dict[CheckpointFile, Checkpoint] = {}
        """What each valid file leads to, without rows."""
        self.checkpoints: dict[int, Checkpoint] = {}
        self.contradicted: set[int] = set()
        """Revisions of checkpoints whose digest is not that of the log."""
        self.sources: list[SegmentSource] = []
        self.leaves: LeafCheck | None = None
        self.later: LaterFold | None = None
        """Another process, that replays what comes after some checkpoint."""
        self.is_handed_over = False
        """Whether this one has come to that checkpoint, and leaves the rest to the other."""
        self.redacted = RedactedCheck()

    @property
    def _base_revision(self) -> int:
        """The newest valid checkpoint's, which an open begins at."""
        return max(self.checkpoints, default=0)

    def run(self) -> VerifyReport:
        """Read it all, and report."""
        self.store_id = self._store_id(list_sources(self.file_system, self.path))
        checkpoint_count = self._read_checkpoints()
        bound = self._read_bound()
        if not self.quick:
            self._read_leaves()
        # Last, so that a log which a writer goes on with holds what those above promise.
        sources = self.sources = list_sources(self.file_system, self.path)
        self._check_start(sources)
        if not self.quick:
            self._carry_checkpoints_over()
            self.comparison.begin(
                _first_revision(sources) or 1, self.checkpoints, self._start_of_comparison
            )
            self._begin_later(max(bound, self._base_revision))
        first_opened = self._first_opened(sources)
        for number, source in enumerate(sources):
            if number < first_opened and self.quick:
                self._check_header(source, sources[number + 1])
                self.unread_segments += 1
                continue
            damage = self._read_segment(
                source, is_first_opened=number == first_opened, is_last=source is sources[-1]
            )
            if number >= first_opened:
                self.opening_damage = self.opening_damage or damage
        self._add_all(self.redacted.unnamed())
        if is_erasing(self.file_system, self.path):
            self.remarks.append(
                f"{self.path}: an erasure is unfinished: texts that it names may still be there; "
                "the next open for writing finishes it, if it was committed"
            )
            self._pass_over_what_goes()
        if self.is_handed_over:
            self._take_over_result(max(bound, self._base_revision))
        elif self.asks_projections:
            self._add_all(self.comparison.projections_own(self.path))
        found = Found(
            path=self.path,
            acknowledged=max(bound, self._base_revision),
            has_checkpoints=checkpoint_count > 0,
            tail=self.tail,
            damage=self.opening_damage,
        )
        return VerifyReport(
            is_full=not self.quick,
            verdict=self._judge(found),
            problems=tuple(self.problems),
            more_problems=self.more_problems,
            remarks=tuple(self.remarks),
            segment_count=self.segment_count,
            unread_segments=self.unread_segments,
            batch_count=self.batch_count,
            checkpoint_count=checkpoint_count,
            replayed_checkpoints=self.comparison.compared_count,
            unknown_projections=self.comparison.unknown_projections(self.checkpoints),
            first_revision=_first_revision(sources),
            revision=self._last_revision(),
        )

    def stop(self) -> None:
        """End the other process, if there is one."""
        if self.later is not None:
            self.later.stop()
            self.later = None

    def _begin_later(self, last: int) -> None:
        """Let another process begin at a checkpoint that the replay will come to."""
        first = self.comparison.start
        if not self.uses_two or first is None:
            return
        start = place_to_begin(self.loaded, first, last)
        if start is None or stale_projections(self.projections, self.loaded[start]):
            return
        self.later = LaterFold(
            LaterPart(
                path=self.path,
                projections=tuple(self.projections),
                sources=tuple(self.sources),
                all_files=tuple(self.files),
                start=start,
                digests=tuple(
                    (file, checkpoint.digest)
                    for file, checkpoint in self.loaded.items()
                    if file.revision > start.revision
                ),
                asks_projections=self.asks_projections,
            )
        )

    def _hand_over(self, digest: bytes) -> None:
        """Leave the rest of the replay to the other process, if it has begun at this very state."""
        if self.comparison.is_at(digest) and self.comparison.is_exact:
            self.comparison.end()
            self.is_handed_over = True
        else:
            self.stop()

    def _take_over_result(self, last: int) -> None:
        """Take what the other process has found.

        Raises:
            ReadAgainError: that is not nothing, or it has not come as far as the log was known to.
        """
        if self.later is None:
            raise AssertionError("nobody to ask")
        result = self.later.result()
        if not result.is_clean or result.revision < last:
            raise ReadAgainError
        self.comparison.compared_count += result.compared_count

    def _last_revision(self) -> int:
        """Return where the log ends; without a record in it, what its segment continues."""
        if self.tail is None:
            return self.revision
        return max(self.revision, self.tail.end.position.revision)

    def was_overtaken(self) -> bool:
        """Say whether a running writer has removed or redacted anything that was judged."""
        paths = [file.path for file in self.files]
        paths += [source.path for source in self.sources]
        if not all(map(self.file_system.exists, paths)):
            return True
        # What vouches for a redacted record may be in a batch that has come since.
        if any(self.redacted.unnamed()):
            with contextlib.suppress(CorruptionError), unreadable_is_damage(self.path):
                bound = read_durable_bound(self.file_system, self.path, self.store_id)
                return bound > self._last_revision()
        return False

    def _pass_over_what_goes(self) -> None:
        """Forget what is wrong with files that an unfinished erasure takes away in the end."""
        with contextlib.suppress(CorruptionError):  # of a segment, which is listed
            going = paths_to_go(self.file_system, self.path)
            self.problems = {one: None for one in self.problems if one.path not in going}

    def _store_id(self, sources: list[SegmentSource]) -> bytes | None:
        """Return the id in the newest segment whose header holds."""
        for source in reversed(sources):
            try:
                with opened_source(self.file_system, source) as file:
                    return read_segment_header(file).store_id
            except CorruptionError:
                continue  # reported when the segment is read
        return None

    def _read_checkpoints(self) -> int:
        self.files = list_checkpoints(self.file_system, self.path)
        # Of a ladder of checkpoints there is never room for the rows of more than one.
        self.loader = CheckpointLoader(
            self.file_system, self.files, with_digest=not self.quick, keeps_rows=False
        )
        for file in self.files:
            try:
                checkpoint = self.loader.load_without_rows(file)
                if self.store_id is not None and checkpoint.store_id != self.store_id:
                    raise CorruptionError(file.path, 0, "the checkpoint belongs to another store")
            except CorruptionError as error:
                self._add_error(error)
            else:
                self.loaded[file] = checkpoint
                self.checkpoints.setdefault(file.revision, checkpoint)
        return len(self.files)

    def _check_start(self, sources: list[SegmentSource]) -> None:
        """Check that the log goes on from every checkpoint, or starts at the first batch.

        Compaction keeps each segment with a batch after the newest checkpoint that shares no file
        with the newest one.
        """
        first_revision = _first_revision(sources) or 1
        newest, fallback = max(self.checkpoints, default=0), must_keep(self.loaded).fallback
        if first_revision == 1 or min(newest, fallback or newest) >= first_revision - 1:
            return
        reason = f"the log starts at revision {first_revision}, "
        if newest < first_revision - 1:
            reason += "and no valid checkpoint holds the state before it"
        else:
            reason += f"but checkpoint {fallback} needs the batches before it"
        self._add(Damage(sources[0].path, 0, 0, reason))

    def _carry_checkpoints_over(self) -> None:
        """Bring checkpoints to the versions of the projections, so that all can be compared."""
        versions = {projection.name: projection.version for projection in self.projections}
        carried: dict[int, Checkpoint] = {}
        for file, checkpoint in self.loaded.items():
            if any(
                name.projection_version < versions.get(name.projection, 0)
                for name, _ in checkpoint.tables
            ):
                try:
                    self.loaded[file] = without_rows(self._with_rows(file))
                except CorruptionError as error:
                    self._add_error(error)
                except ProjectionError as error:
                    self._add(Damage(file.path, 0, 0, error.what))
            carried.setdefault(file.revision, self.loaded[file])
        self.checkpoints = carried

    def _compare(self, file: CheckpointFile) -> None:
        """Compare what a file leads to with the log folded so far, if that goes so far."""
        if not self.comparison.is_at(self.loaded[file].digest):
            return
        # What can't be carried over was listed when that was tried.
        with contextlib.suppress(CorruptionError, ProjectionError):
            loaded = self._with_rows(file)
            self._add_all(self.comparison.differences(loaded, file.path))

    def _with_rows(self, file: CheckpointFile) -> Checkpoint:
        """Read what a file leads to again, and bring it to the versions of the projections."""
        return carried_over(self.projections, self.loader.load_by(file))

    def _start_of_comparison(self, revision: int) -> Checkpoint:
        return self._with_rows(next(file for file in self.loaded if file.revision == revision))

    def _read_bound(self) -> int:
        path = join(self.path, DURABLE_NAME)
        try:
            with unreadable_is_damage(path):
                bound = read_durable_bound(self.file_system, self.path, self.store_id)
                self._mention_durable(path)
                return bound
        except CorruptionError as error:
            self.opening_damage = self._add_error(error)
            return 0

    def _mention_durable(self, path: str) -> None:
        """Mention a `durable` file that says nothing, which is no damage: it is a lower bound."""
        for _ in range(_DURABLE_READS):  # a writer may be in the middle of a change
            if not self.file_system.exists(path):
                return
            known = read_durable_store_id(self.file_system, self.path)
            if known is not None and self.store_id in (known, None):
                return
        self.remarks.append(
            f"{path} says nothing that can be relied on: of the end of the log only what the "
            "log itself says was acknowledged is known; the next open makes the file anew"
        )

    def _read_leaves(self) -> None:
        """Check the leaf files by themselves; the log is compared with them as it is read."""
        if self.store_id is not None:
            self.leaves = LeafCheck(self.file_system, self.path, self.store_id)
            self._add_all(self.leaves.damage())

    def _first_opened(self, sources: list[SegmentSource]) -> int:
        """Return the place of the first segment with a batch after the newest checkpoint."""
        following = [source.first_revision for source in sources[1:]]
        return bisect_right(following, self._base_revision + 1)

    def _check_header(self, source: SegmentSource, following: SegmentSource) -> None:
        """Check a segment by its header and length; an archived one, compressed, not at all."""
        if source.is_archived:
            return
        try:
            with opened_source(self.file_system, source) as file:
                header = read_segment_header(file)
                size_bytes = file.size_bytes()
        except CorruptionError as error:
            self._add_error(error)
            return
        self._add(misnamed(source, header) or self._foreign(source, header))
        try:
            with opened_source(self.file_system, following) as file:
                end_bytes = read_segment_header(file).predecessor_bytes
        except CorruptionError:
            return  # reported when that one is read
        if size_bytes < end_bytes:
            reason = (
                f"the file ends here; the next segment states that its records end at {end_bytes}"
            )
            self._add(Damage(source.path, size_bytes, 0, reason))

    def _foreign(self, source: SegmentSource, header: SegmentHeader) -> Damage | None:
        if self.store_id in (None, header.store_id):
            return None
        return Damage(source.path, 0, 0, "the segment belongs to another store")

    def _read_segment(
        self, source: SegmentSource, *, is_first_opened: bool, is_last: bool
    ) -> Damage | None:
        """Read a segment and list what is wrong with it.

        Returns:
            the first thing that an open would meet, if it read this segment.
        """
        before, self.tail = self.tail, None
        try:
            with opened_source(self.file_system, source) as file:
                header = read_segment_header(file)
                misplaced = self._check_place(source, header, before)
                if is_first_opened:
                    misplaced = self._check_start_of_open(source, header, misplaced)
                self.segment_count += 1
                damage = self._scan(source, file, header, is_last=is_last)
                return misplaced or damage
        except CorruptionError as error:
            self._end_replay()
            return self._add_error(error)

    def _check_place(
        self, source: SegmentSource, header: SegmentHeader, before: Tail | None
    ) -> Damage | None:
        """Check a segment's name and that it continues the one before it, if that is known."""
        problem = misnamed(source, header) or self._foreign(source, header)
        if problem is None and before is not None:
            problem = discontinuity(before, source, header)
        elif problem is None and header.first_revision == 1:
            problem = detachment(None, source, header)
        elif problem is None:
            return self._compare_digest(
                source, 0, header.first_revision - 1, header.predecessor_digest
            )
        if problem is not None:
            self._add(problem)
            self._end_replay()
        return problem

    def _check_start_of_open(
        self, source: SegmentSource, header: SegmentHeader, misplaced: Damage | None
    ) -> Damage | None:
        """Check the segment that an open reads first, as the open does.

        It does not see what comes before, only whether the segment continues its checkpoint.
        """
        problem = misnamed(source, header) or detachment(
            self.checkpoints.get(self._base_revision), source, header
        )
        if misplaced is None and self._base_revision not in self.contradicted:
            self._add(problem)
        return problem

    def _scan(
        self, source: SegmentSource, file: File, header: SegmentHeader, *, is_last: bool
    ) -> Damage | None:
        """Read the records of a segment; as `_read_segment` does."""
        damage = None
        index = None if self.quick else self._index_of(header)
        scanner = SegmentScanner(file, header, start_of(header))
        for record in scanner:
            batch = _batch_in(record)
            if index is not None:
                index.add(record, batch)
            self.batch_count += 1
            if not self.quick:
                self.redacted.take_in(record)
            self.revision = max(self.revision, record.revision)
            damage = damage or self._replay(record, batch)
            differing = self._compare_digest(
                source, record.offset_bytes, record.revision, record.digest
            )
            damage = damage or differing
            if self.leaves is not None:
                self._add(self.leaves.compare(record.revision, record.digest))
            self.on_batch(record.revision)
        end = scanner.end or ScanEnd(scanner.position, None)
        claim = 0
        if is_last:
            end = settled_end(file, header, end)
            if end.problem is not None:
                claim = highest_durable_claim(file, header, end.position)
        tail = Tail(source, header, end, claim)
        broken = None if is_last else sealed_damage(tail)
        if broken is not None:
            self._add(broken)
            self._end_replay()
            self._add_gaps(tail, file)
            return damage or broken
        if index is not None:
            self._add(index.damage())
        self.tail = tail
        return damage

    def _index_of(self, header: SegmentHeader) -> IndexCheck | None:
        if self.store_id != header.store_id or self.is_handed_over:
            return None
        return IndexCheck(self.file_system, self.path, header, self.projections)

    def _add_gaps(self, tail: Tail, file: File) -> None:
        """List what else is damaged behind the first invalid record of a segment."""
        stretches = SegmentStretches(tail.source, file, lambda _: True)
        stretches.read(tail.header.store_id)
        for gap in stretches.gaps:
            if gap.offset_bytes > tail.end.position.offset_bytes:
                self._add(Damage(tail.source.path, gap.offset_bytes, 0, gap.reason))

    def _replay(self, record: Record, batch: Batch | None) -> Damage | None:
        """Fold a batch, for the comparison, or only read it.

        Returns:
            what is wrong with its payload, if an open would read that.
        """
        try:
            self.comparison.fold(record, batch)
        except CorruptionError as error:
            self._end_replay()
            problem = self._add_error(error)
            return problem if record.revision > self._base_revision else None
        except ProjectionError as error:
            self.comparison.end()
            self._add(Damage(record.path, record.offset_bytes, 0, error.what))
        return None

    def _end_replay(self) -> None:
        """Go on without a fold, because the batches that follow are not those after it.

        Raises:
            ReadAgainError: another process has it, and does not know of this.
        """
        if self.is_handed_over:
            raise ReadAgainError
        revision = self.comparison.end()
        if revision is not None:
            self.remarks.append(
                f"the replay ended at revision {revision}, because of the damage: later "
                "checkpoints were not compared with the log but by their digests"
            )

    def _compare_digest(
        self, source: SegmentSource, offset_bytes: int, revision: int, digest: bytes
    ) -> Damage | None:
        """Compare a digest in the log with that of the checkpoint at its revision.

        Returns:
            that they differ, if an open would compare them: it does so with the newest one.
        """
        checkpoint = self.checkpoints.get(revision)
        if checkpoint is None:
            return None
        problem = contradiction(checkpoint, digest, source.path, offset_bytes)
        if problem is None:
            for file in self.loaded:
                if file.revision == revision:
                    self._compare(file)
            if self.later is not None and self.later.start == revision:
                self._hand_over(digest)
            return None
        self._add(problem)
        self.contradicted.add(revision)
        if self.comparison.is_at(checkpoint.digest):
            self._end_replay()  # it began at this very checkpoint
        return problem if revision == self._base_revision else None

    def _judge(self, found: Found) -> Verdict:
        """Return what an open would find, and list or mention it."""
        decision, tail = decide(found), found.tail
        self._add(decision.problem)
        if decision.verdict is Verdict.NEW:
            raise being_made(self.path)
        if tail is None or tail.end.problem is None:
            return decision.verdict
        if decision.verdict is Verdict.TORN_TAIL:
            self.remarks.append(
                f"{tail.source.path}: torn tail at byte {tail.end.position.offset_bytes} "
                f"({tail.end.problem}): no acknowledged batch is in it; the next open cuts it and "
                "keeps a copy"
            )
        elif found.damage is None:
            with opened_source(self.file_system, tail.source) as file:
                self._add_gaps(tail, file)
        return decision.verdict

    def _add(self, problem: Damage | None) -> None:
        if problem is None or problem in self.problems:
            return
        if len(self.problems) < PROBLEMS_MAX:
            self.problems[problem] = None
        else:
            self.more_problems += 1

    def _add_all(self, problems: Iterable[Damage]) -> None:
        for problem in problems:
            self._add(problem)

    def _add_error(self, error: CorruptionError) -> Damage:
        problem = Damage(error.path, error.offset_bytes, 0, error.reason)
        self._add(problem)
        return problem


def _first_revision(sources: list[SegmentSource]) -> int:
    """Return the first revision of the oldest segment, by its name; 0 if there is none."""
    return sources[0].first_revision if sources else 0


def _batch_in(record: Record) -> Batch | None:
    """Return the batch in a record; None if there is none, which whoever folds it is told."""
    try:
        return decode_record(record)
    except CorruptionError:
        return None
