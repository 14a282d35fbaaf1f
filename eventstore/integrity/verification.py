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

from eventstore.directory.contents import being_made
from eventstore.errors import CompactedError, CorruptionError
from eventstore.files.failures import unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.names import DURABLE_NAME
from eventstore.integrity.checkpoints import CheckpointCheck, first_revision_of
from eventstore.integrity.leaves import LeafCheck
from eventstore.integrity.problems import Problems
from eventstore.integrity.redacted import RedactedCheck
from eventstore.integrity.replay import Replay
from eventstore.log.cursor import RecordCursor
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
from eventstore.maintenance.erasing import hindrance, paths_to_go
from eventstore.maintenance.erasing_note import is_erasing
from eventstore.maintenance.erasures import still_whole, unfinished
from eventstore.past.checking import IndexCheck
from eventstore.recovery.decide import (
    Found,
    Tail,
    decide,
    detachment,
    discontinuity,
    misnamed,
    sealed_damage,
)
from eventstore.recovery.replay import decode_record
from eventstore.recovery.scan import read_durable_bound, read_durable_store_id, settled_end
from eventstore.reports import Damage, Verdict, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventstore.event import Batch
    from eventstore.files.interface import File, FileSystem
    from eventstore.format.segment import SegmentHeader
    from eventstore.projection import Projection

_DURABLE_READS = 5
_DIGESTS_AT_ONCE = 16 * 1024
_REMEDY_OF_RUNG = "past states are read by it, and without it made of the batches: remove it"


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
        self.problems = Problems()
        self.segment_count = 0
        self.unread_segments = 0
        self.batch_count = 0
        self.revision = 0
        self.tail: Tail | None = None
        """The segment read last, unless it was damaged: then nothing is known to continue it."""
        self.opening_damage: Damage | None = None
        """The first damage before the end of what an open reads."""
        self.checkpoints = CheckpointCheck(self.file_system, self.path, self.problems)
        self.replay = Replay(self.path, self.projections, self.checkpoints, self.problems)
        self.store_id: bytes | None = None
        self.sources: list[SegmentSource] = []
        self.leaves: LeafCheck | None = None
        self.redacted = RedactedCheck()

    def run(self) -> VerifyReport:
        """Read it all, and report."""
        self.store_id = self._store_id(list_sources(self.file_system, self.path))
        self.checkpoints.read(self.store_id, with_digest=not self.quick)
        bound = self._read_bound()
        if not self.quick:
            self._read_leaves()
        # Last, so that a log which a writer goes on with holds what those above promise.
        sources = self.sources = list_sources(self.file_system, self.path)
        self.checkpoints.check_start_of_log(sources)
        acknowledged = max(bound, self.checkpoints.base_revision)
        if not self.quick:
            self.replay.begin(sources)
            if self.uses_two:
                self.replay.begin_later(
                    sources, acknowledged, asks_projections=self.asks_projections
                )
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
        self._take_in_erasures_since()
        self.problems.add_all(self.redacted.unnamed())
        if is_erasing(self.file_system, self.path):
            self._pass_over_what_goes()
            hindering = self._add_hindrance()
            remedy = (
                "nothing can finish it as long as that is damaged which is listed"
                if hindering
                else "the next open for writing finishes it, if it was committed"
            )
            self.problems.remarks.append(
                f"{self.path}: an erasure is unfinished: texts that it names may still be there; "
                f"{remedy}"
            )
        else:
            # A writer that has erased meanwhile is done: it is read again what there is now.
            undone = self.redacted.undone()
            if undone:
                self.problems.add_all(still_whole(self.file_system, self.path, undone))
        self.replay.finish(acknowledged, asks_projections=self.asks_projections)
        found = Found(
            path=self.path,
            acknowledged=acknowledged,
            has_checkpoints=bool(self.checkpoints.all_files),
            tail=self.tail,
            damage=self.opening_damage,
        )
        return VerifyReport(
            is_full=not self.quick,
            verdict=self._judge(found),
            problems=self._with_remedies(self.problems.found),
            more_problems=self.problems.more,
            remarks=tuple(self.problems.remarks),
            segment_count=self.segment_count,
            unread_segments=self.unread_segments,
            batch_count=self.batch_count,
            checkpoint_count=len(self.checkpoints.all_files),
            replayed_checkpoints=self.replay.compared_count,
            unknown_projections=self.replay.unknown_projections(),
            first_revision=first_revision_of(sources),
            revision=self._last_revision(),
        )

    def _with_remedies(self, problems: tuple[Damage, ...]) -> tuple[Damage, ...]:
        """Say of files of the ladder how to be rid of them, which is no reason for a repair."""
        rungs = {file.path for file in self.checkpoints.rungs}
        return tuple(
            problem._replace(reason=f"{problem.reason}; {_REMEDY_OF_RUNG}")
            if problem.path in rungs
            else problem
            for problem in problems
        )

    def _last_revision(self) -> int:
        """Return where the log ends; without a record in it, what its segment continues."""
        if self.tail is None:
            return self.revision
        return max(self.revision, self.tail.end.position.revision)

    def stop(self) -> None:
        """End the other process, if there is one."""
        self.replay.stop()

    def was_overtaken(self) -> bool:
        """Say whether a running writer has removed anything that was judged."""
        paths = [file.path for file in self.checkpoints.all_files]
        paths += [source.path for source in self.sources]
        return not all(map(self.file_system.exists, paths))

    def _take_in_erasures_since(self) -> None:
        """Read on, where what vouches for a redacted record was committed since the end was read.

        It was durable before the record was redacted.
        """
        if self.tail is None or self.store_id is None or not any(self.redacted.unnamed()):
            return
        position = self.tail.end.position
        cursor = RecordCursor(
            self.file_system, self.path, self.store_id, position.revision + 1, position.digest
        )
        try:
            with (
                contextlib.suppress(CorruptionError, CompactedError, FileNotFoundError),
                unreadable_is_damage(self.path),
            ):
                bound = read_durable_bound(self.file_system, self.path, self.store_id)
                for record in cursor.read(bound):
                    self.redacted.take_in(record)
        finally:
            cursor.close()

    def _pass_over_what_goes(self) -> None:
        """Forget what is wrong with files that an unfinished erasure takes away in the end."""
        with contextlib.suppress(CorruptionError):  # of a segment, which is listed
            self.problems.pass_over(paths_to_go(self.file_system, self.path))

    def _add_hindrance(self) -> Damage | None:
        """List, and return, what keeps an open, which finishes an erasure first, from doing so."""
        try:
            problem = hindrance(
                self.file_system, self.path, unfinished(self.file_system, self.path)
            )
        except CorruptionError as error:
            problem = Damage(error.path, error.offset_bytes, 0, error.reason)
        if problem is not None:
            self.problems.add_with_consequence(problem)
        self.opening_damage = self.opening_damage or problem
        return problem

    def _store_id(self, sources: list[SegmentSource]) -> bytes | None:
        """Return the id in the newest segment whose header holds."""
        for source in reversed(sources):
            try:
                with opened_source(self.file_system, source) as file:
                    return read_segment_header(file).store_id
            except CorruptionError:
                continue  # reported when the segment is read
        return None

    def _read_bound(self) -> int:
        path = join(self.path, DURABLE_NAME)
        try:
            with unreadable_is_damage(path):
                bound = read_durable_bound(self.file_system, self.path, self.store_id)
                self._mention_durable(path)
                return bound
        except CorruptionError as error:
            self.opening_damage = self.problems.add_error(error)
            return 0

    def _mention_durable(self, path: str) -> None:
        """Mention a `durable` file that says nothing, which is no damage: it is a lower bound."""
        for _ in range(_DURABLE_READS):  # a writer may be in the middle of a change
            if not self.file_system.exists(path):
                return
            known = read_durable_store_id(self.file_system, self.path)
            if known is not None and self.store_id in (known, None):
                return
        self.problems.remarks.append(
            f"{path} says nothing that can be relied on: of the end of the log only what the "
            "log itself says was acknowledged is known; the next open makes the file anew"
        )

    def _read_leaves(self) -> None:
        """Check the leaf files by themselves; the log is compared with them as it is read."""
        if self.store_id is not None:
            self.leaves = LeafCheck(self.file_system, self.path, self.store_id)
            self.problems.add_all(self.leaves.damage())

    def _first_opened(self, sources: list[SegmentSource]) -> int:
        """Return the place of the first segment with a batch after the newest checkpoint."""
        following = [source.first_revision for source in sources[1:]]
        return bisect_right(following, self.checkpoints.base_revision + 1)

    def _check_header(self, source: SegmentSource, following: SegmentSource) -> None:
        """Check a segment by its header and length; an archived one, compressed, not at all."""
        if source.is_archived:
            return
        try:
            with opened_source(self.file_system, source) as file:
                header = read_segment_header(file)
                size_bytes = file.size_bytes()
        except CorruptionError as error:
            self.problems.add_error(error)
            return
        self.problems.add(misnamed(source, header) or self._foreign(source, header))
        try:
            with opened_source(self.file_system, following) as file:
                end_bytes = read_segment_header(file).predecessor_bytes
        except CorruptionError:
            return  # reported when that one is read
        if size_bytes < end_bytes:
            reason = (
                f"the file ends here; the next segment states that its records end at {end_bytes}"
            )
            self.problems.add(Damage(source.path, size_bytes, 0, reason))

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
            self.replay.end()
            return self.problems.add_error(error)

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
            return self.replay.compare(
                source, 0, header.first_revision - 1, header.predecessor_digest
            )
        if problem is not None:
            self.problems.add(problem)
            self.replay.end()
        return problem

    def _check_start_of_open(
        self, source: SegmentSource, header: SegmentHeader, misplaced: Damage | None
    ) -> Damage | None:
        """Check the segment that an open reads first, as the open does.

        It does not see what comes before, only whether the segment continues its checkpoint.
        """
        base = self.checkpoints.base_revision
        problem = misnamed(source, header) or detachment(
            self.checkpoints.by_revision.get(base), source, header
        )
        if misplaced is None and not self.replay.is_contradicted(base):
            self.problems.add(problem)
        return problem

    def _scan(
        self, source: SegmentSource, file: File, header: SegmentHeader, *, is_last: bool
    ) -> Damage | None:
        """Read the records of a segment; as `_read_segment` does."""
        damage = None
        index = None if self.quick else self._index_of(header)
        scanner = SegmentScanner(file, header, start_of(header))
        digests: list[bytes] = []
        for record in scanner:
            # What was handed over, the other process decodes.
            batch = None if index is None and self.replay.is_handed_over else _batch_in(record)
            if index is not None:
                index.add(record, batch)
            self.batch_count += 1
            if not self.quick:
                self.redacted.take_in(record)
            self.revision = max(self.revision, record.revision)
            damage = damage or self.replay.fold(record, batch)
            differing = self.replay.compare(
                source, record.offset_bytes, record.revision, record.digest
            )
            damage = damage or differing
            digests.append(record.digest)
            if len(digests) == _DIGESTS_AT_ONCE:
                self._compare_leaves(record.revision, digests)
            self.on_batch(record.revision)
        self._compare_leaves(scanner.position.revision, digests)
        end = scanner.end or ScanEnd(scanner.position, None)
        claim = 0
        if is_last:
            end = settled_end(file, header, end)
            if end.problem is not None:
                claim = highest_durable_claim(file, header, end.position)
        tail = Tail(source, header, end, claim)
        broken = None if is_last else sealed_damage(tail)
        if broken is not None:
            self.problems.add(broken)
            self.replay.end()
            self._add_gaps(tail, file)
            return damage or broken
        if index is not None:
            self.problems.add(index.damage())
        self.tail = tail
        return damage

    def _compare_leaves(self, last_revision: int, digests: list[bytes]) -> None:
        """Compare digests of the log, up to that of a revision, with the leaves; forget them."""
        if self.leaves is not None:
            self.problems.add_all(self.leaves.compare(last_revision - len(digests) + 1, digests))
        digests.clear()

    def _index_of(self, header: SegmentHeader) -> IndexCheck | None:
        if self.store_id != header.store_id or self.replay.is_handed_over:
            return None
        return IndexCheck(self.file_system, self.path, header, self.projections)

    def _add_gaps(self, tail: Tail, file: File) -> None:
        """List what else is damaged behind the first invalid record of a segment."""
        stretches = SegmentStretches(tail.source, file, lambda _: True)
        stretches.read(tail.header.store_id)
        for gap in stretches.gaps:
            if gap.offset_bytes > tail.end.position.offset_bytes:
                self.problems.add(Damage(tail.source.path, gap.offset_bytes, 0, gap.reason))

    def _judge(self, found: Found) -> Verdict:
        """Return what an open would find, and list or mention it."""
        decision, tail = decide(found), found.tail
        self.problems.add(decision.problem)
        if decision.verdict is Verdict.NEW:
            raise being_made(self.path)
        if tail is None or tail.end.problem is None:
            return decision.verdict
        if decision.verdict is Verdict.TORN_TAIL:
            self.problems.remarks.append(
                f"{tail.source.path}: torn tail at byte {tail.end.position.offset_bytes} "
                f"({tail.end.problem}): no acknowledged batch is in it; the next open cuts it and "
                "keeps a copy"
            )
        elif found.damage is None:
            with opened_source(self.file_system, tail.source) as file:
                self._add_gaps(tail, file)
        return decision.verdict


def _batch_in(record: Record) -> Batch | None:
    """Return the batch in a record; None if there is none, which whoever folds it is told."""
    try:
        return decode_record(record)
    except CorruptionError:
        return None
