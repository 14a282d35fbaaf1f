"""Verify a store: read it all, change nothing, say everything that is wrong.

Works without the lock, beside a running writer: it judges only what was durable when it started.
*Quick* reads what an open reads, the checkpoints by their checksums and the log after the newest
one, and headers and lengths of the segments before that in the log. It says how many it left
unread: damage in those is met by no open, but by a compaction and by who looks at the past. *Full*
reads every byte: every record and its place in the digest chain, from the oldest archived segment
to the tail, the SHA-256 of each checkpoint, and it replays the log, compares the tables with those
in each checkpoint, and has each projection check them where the replay ends.

It goes on behind damage: each segment is judged by its own header and chain, and what only follows
from damage that was listed already is not listed again. What an open would make of the store is
judged as an open judges it (`eventstore.recovery.decide`).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eventstore.directory.contents import being_made, require_files, require_remains
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.files.failures import unreadable_is_damage
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute, join
from eventstore.format.codec import DecodeError, unpack_row
from eventstore.format.names import CHECKPOINTS_NAME, DURABLE_NAME, checkpoint_name
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
from eventstore.projection import checked_projections
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
from eventstore.recovery.replay import decode_record, replay_record, stale_projections, start_state
from eventstore.recovery.scan import read_durable_bound, settled_end
from eventstore.reports import Damage, Verdict
from eventstore.tables.checkpoint import Checkpoint, TableName, examine_checkpoint, list_checkpoints
from eventstore.tables.view import View

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from eventstore.files.interface import File, FileSystem
    from eventstore.format.segment import SegmentHeader
    from eventstore.projection import Projection
    from eventstore.tables.state import State

_ATTEMPTS = 5
PROBLEMS_MAX = 100
"""How many problems a report lists; the others it counts."""
_ERROR_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        is_full: whether every byte was read.
        verdict: what an open would find, now.
        problems: what is wrong, the first `PROBLEMS_MAX` of it; empty for a sound store.
        more_problems: how many more there are.
        remarks: what is unusual but legal, such as a torn tail that the next open will cut, and
            where the replay had to end.
        segment_count: segments whose records were read, archived ones included.
        unread_segments: those whose records were not: earlier ones, by a quick verification.
        batch_count: batches read, of a damaged segment those before the damage.
        checkpoint_count: checkpoints read.
        replayed_checkpoints: checkpoints that were compared with a fold of the log, but for the
            tables of `unknown_projections`. The one that the replay began at, because the log does
            not reach back to revision 1, is none of them: nothing says how it came about.
        unknown_projections: names of projections that have tables in a checkpoint, but were not
            given to the verification, or not in that version: nothing says whether these tables are
            right.
        first_revision: of the oldest segment, archived ones included, by its name; 0 if there is
            none. If it is more than 1, the batches before were dropped by retention, left out by
            a repair or removed by hand: what is left looks the same.
        revision: of the last batch read.
    """

    is_full: bool
    verdict: Verdict
    problems: tuple[Damage, ...]
    more_problems: int
    remarks: tuple[str, ...]
    segment_count: int
    unread_segments: int
    batch_count: int
    checkpoint_count: int
    replayed_checkpoints: int
    unknown_projections: tuple[str, ...]
    first_revision: int
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
        file_system: that the store is on; the local one unless given.

    Raises:
        ProjectionError: one of the projections is none, or they do not fit together.
        NotAStoreError: there is no store, it is still being made, or an open would say that it
            is none.
        FormatVersionError: a file has a newer format.
    """
    known = checked_projections(projections)
    file_system = file_system or local_file_system()
    directory = absolute(path)
    require_remains(file_system, directory)
    require_files(file_system, directory)
    return verify_files(file_system, directory, known, quick=quick, on_batch=on_batch)


def verify_files(
    file_system: FileSystem,
    directory: str,
    projections: Sequence[Projection],
    *,
    quick: bool = False,
    on_batch: Callable[[int], object] = lambda revision: None,
    asks_projections: bool = True,
) -> VerifyReport:
    """Verify what is known to be a store, with checked projections; see `verify_store`.

    Without `asks_projections` their own checks, which say nothing of the bytes, are left out.
    """
    for attempt in range(_ATTEMPTS):
        is_last = attempt == _ATTEMPTS - 1
        verification = _Verification(
            file_system,
            directory,
            projections,
            on_batch,
            quick=quick,
            asks_projections=asks_projections,
        )
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


@dataclass
class _Verification:
    file_system: FileSystem
    path: str
    projections: Sequence[Projection]
    on_batch: Callable[[int], object]
    quick: bool = field(kw_only=True)
    asks_projections: bool = field(kw_only=True)

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
        self.replayed_checkpoints = 0
        self.tail: Tail | None = None
        """The segment read last, unless it was damaged: then nothing is known to continue it."""
        self.opening_damage: Damage | None = None
        """The first damage before the end of what an open reads."""
        self.state: State | None = None
        self.start: Checkpoint | None = None
        """The checkpoint that the replay began at."""
        self.store_id: bytes | None = None
        self.checkpoints: dict[int, Checkpoint] = {}
        self.contradicted: set[int] = set()
        """Revisions of checkpoints whose digest is not that of the log."""
        self.sources: list[SegmentSource] = []

    @property
    def _base_revision(self) -> int:
        """The newest valid checkpoint's, which an open begins at."""
        return max(self.checkpoints, default=0)

    def run(self) -> VerifyReport:
        self.store_id = self._store_id(list_sources(self.file_system, self.path))
        checkpoint_count = self._read_checkpoints()
        bound = self._read_bound()
        # Last, so that a log which a writer goes on with holds what the two above promise.
        sources = self.sources = list_sources(self.file_system, self.path)
        self._check_start(sources)
        if not self.quick:
            self._carry_checkpoints_over()
            self._choose_start(sources)
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
        if self.asks_projections and self.state is not None:
            self._check_projections(self.state)
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
            replayed_checkpoints=self.replayed_checkpoints,
            unknown_projections=self._unknown_projections(),
            first_revision=sources[0].first_revision if sources else 0,
            revision=self.revision,
        )

    def was_compacted(self) -> bool:
        """Say whether a running writer has removed anything that was judged."""
        names = map(checkpoint_name, self.checkpoints)
        paths = [join(self.path, CHECKPOINTS_NAME, name) for name in names]
        paths += [source.path for source in self.sources]
        return not all(map(self.file_system.exists, paths))

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
        found = list_checkpoints(self.file_system, self.path)
        for revision, path in found:
            try:
                checkpoint = examine_checkpoint(self.file_system, path, with_digest=not self.quick)
                if checkpoint.revision != revision:
                    raise CorruptionError(
                        path, 0, f"the header states revision {checkpoint.revision}"
                    )
                if self.store_id is not None and checkpoint.store_id != self.store_id:
                    raise CorruptionError(path, 0, "the checkpoint belongs to another store")
            except CorruptionError as error:
                self._add_error(error)
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
        self._add(Damage(sources[0].path, 0, 0, reason))

    def _carry_checkpoints_over(self) -> None:
        """Bring checkpoints to the versions of the projections, so that all can be compared."""
        for revision, checkpoint in self.checkpoints.items():
            try:
                self.checkpoints[revision] = carried_over(self.projections, checkpoint)
            except CorruptionError as error:
                self._add_error(error)
            except ProjectionError as error:
                path = join(self.path, CHECKPOINTS_NAME, checkpoint_name(revision))
                self._add(Damage(path, 0, 0, error.what))

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
                self.start = checkpoint
                return

    def _read_bound(self) -> int:
        path = join(self.path, DURABLE_NAME)
        try:
            with unreadable_is_damage(path):
                return read_durable_bound(self.file_system, self.path, self.store_id)
        except CorruptionError as error:
            self.opening_damage = self._add_error(error)
            return 0

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
        scanner = SegmentScanner(file, header, start_of(header))
        for record in scanner:
            self.batch_count += 1
            self.revision = max(self.revision, record.revision)
            damage = damage or self._replay(record)
            differing = self._compare_digest(
                source, record.offset_bytes, record.revision, record.digest
            )
            damage = damage or differing
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
        self.tail = tail
        return damage

    def _add_gaps(self, tail: Tail, file: File) -> None:
        """List what else is damaged behind the first invalid record of a segment."""
        runs = SegmentStretches(tail.source, file, lambda _: True)
        runs.read(tail.header.store_id)
        for gap in runs.gaps:
            if gap.offset_bytes > tail.end.position.offset_bytes:
                self._add(Damage(tail.source.path, gap.offset_bytes, 0, gap.reason))

    def _replay(self, record: Record) -> Damage | None:
        """Fold a batch into the state, or only read it.

        Returns:
            what is wrong with its payload, if an open would read that.
        """
        state = self.state
        try:
            if state is None or record.revision <= state.durable.revision:
                decode_record(record)
            else:
                replay_record(state, record)
        except CorruptionError as error:
            self._end_replay()
            problem = self._add_error(error)
            return problem if record.revision > self._base_revision else None
        except ProjectionError as error:
            self.state = None
            self._add(Damage(record.path, record.offset_bytes, 0, error.what))
        return None

    def _end_replay(self) -> None:
        """Go on without a state, because the batches that follow are not those after it."""
        if self.state is not None:
            self.remarks.append(
                f"the replay ended at revision {self.state.durable.revision}, because of the "
                "damage: later checkpoints were not compared with the log but by their digests"
            )
            self.state = None

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
            self._compare_rows(checkpoint)
            return None
        self._add(problem)
        self.contradicted.add(revision)
        if self.state is not None and self.state.durable.digest == checkpoint.digest:
            self._end_replay()  # it began at this very checkpoint
        return problem if revision == self._base_revision else None

    def _compare_rows(self, checkpoint: Checkpoint) -> None:
        """Compare the replayed tables with those in a checkpoint that are known."""
        state = self.state
        if state is None or state.durable.revision != checkpoint.revision:
            return
        view = View(state.durable)
        known = self._known_tables()
        tables = [(name, rows) for name, rows in checkpoint.tables if name in known]
        for name, rows in tables:
            table = state.tables[name.table]
            replayed = {key: table.packed(key, value) for key, value in view.raw_items(table)}
            held = dict(rows.slice(None, None, rows.row_count + 1, inclusive=True))
            differing = [
                key
                for key in replayed.keys() | held.keys()
                if key not in held
                or key not in replayed
                or not _is_same_row(held[key], replayed[key])
            ]
            if differing:
                rows_text = "1 row" if len(differing) == 1 else f"{len(differing)} rows"
                path = join(self.path, CHECKPOINTS_NAME)
                self._add(
                    Damage(
                        join(path, checkpoint_name(checkpoint.revision)),
                        0,
                        0,
                        f"table {name.table!r} differs from the replayed log in "
                        f"{rows_text}, {min(differing, key=repr)!r} for one",
                    )
                )
        if checkpoint is not self.start and (tables or not checkpoint.tables):
            self.replayed_checkpoints += 1

    def _known_tables(self) -> set[TableName]:
        return {
            TableName(projection.name, projection.version, spec.name)
            for projection in self.projections
            for spec in projection.tables
        }

    def _unknown_projections(self) -> tuple[str, ...]:
        held = {name for one in self.checkpoints.values() for name, _ in one.tables}
        return tuple(sorted({name.projection for name in held - self._known_tables()}))

    def _check_projections(self, state: State) -> None:
        for name, error in state.broken_projections():
            self._add(
                Damage(
                    self.path,
                    0,
                    0,
                    f"projection {name!r} finds its tables wrong at revision "
                    f"{state.durable.revision}: {_shown(error)}",
                )
            )

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

    def _add_error(self, error: CorruptionError) -> Damage:
        problem = Damage(error.path, error.offset_bytes, 0, error.reason)
        self._add(problem)
        return problem


def _is_same_row(held: bytes, replayed: bytes) -> bool:
    if held == replayed:  # also where a value is not equal to itself, as NaN
        return True
    try:
        return bool(unpack_row(held) == unpack_row(replayed))
    except (DecodeError, RecursionError):
        return False


def _shown(error: Exception) -> str:
    """Return what a user's code has raised, as a line of a report."""
    try:
        text = str(error)
    except Exception:  # it is as wrong as what has raised it
        text = "its text can't be had"
    if len(text) > _ERROR_CHARACTERS_MAX:
        text = text[:_ERROR_CHARACTERS_MAX] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
