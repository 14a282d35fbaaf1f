"""The replay of the log while it is read: what is folded, with what it is compared, and where.

`Comparison` folds and compares. This decides when: a checkpoint is compared where the log has come
to its digest; the fold ends where the log is damaged; and once it stands, to the byte, where
another process has begun (`later`), the rest is left to that one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eventstore.errors import CorruptionError, ProjectionError
from eventstore.integrity.checkpoints import first_revision_of
from eventstore.integrity.comparison import Comparison
from eventstore.integrity.later import LaterFold, LaterPart, place_to_begin
from eventstore.recovery.decide import contradiction
from eventstore.recovery.replay import stale_projections
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.event import Batch
    from eventstore.integrity.checkpoints import CheckpointCheck
    from eventstore.integrity.problems import Problems
    from eventstore.log.reader import Record
    from eventstore.log.segments import SegmentSource
    from eventstore.projection import Projection


class ReadAgainError(Exception):
    """There is something to report, and of two processes neither knows enough to do so."""


class Replay:
    """The replay of one reading.

    Attributes:
        is_handed_over: whether it has come to where the other process began, which has the rest.
    """

    def __init__(
        self,
        path: str,
        projections: Sequence[Projection],
        checkpoints: CheckpointCheck,
        problems: Problems,
    ) -> None:
        """Prepare one that folds nothing yet.

        Args:
            path: of the store.
            projections: that fold.
            checkpoints: to compare with.
            problems: to list in what differs.
        """
        self._path = path
        self._projections = projections
        self._checkpoints = checkpoints
        self._problems = problems
        self._comparison = Comparison(projections)
        self._later: LaterFold | None = None
        self._contradicted: set[int] = set()
        self.is_handed_over = False

    @property
    def compared_count(self) -> int:
        """How many checkpoints were compared with a fold of the log."""
        return self._comparison.compared_count

    def unknown_projections(self) -> tuple[str, ...]:
        """Return the names of projections with tables in a checkpoint that are not folded here."""
        return self._comparison.unknown_projections(self._checkpoints.by_revision)

    def begin(self, sources: Sequence[SegmentSource]) -> None:
        """Begin at the first batch, or at the oldest checkpoint that the log continues."""
        self._checkpoints.carry_over(self._projections)

        def loaded(revision: int) -> Checkpoint:
            file = self._checkpoints.files_at(revision)[0]
            return self._checkpoints.with_rows(file, self._projections)

        first_revision = first_revision_of(sources) or 1
        self._comparison.begin(first_revision, self._checkpoints.by_revision, loaded)

    def begin_later(
        self, sources: Sequence[SegmentSource], last: int, *, asks_projections: bool
    ) -> None:
        """Let another process begin at a checkpoint that the replay will come to, if it pays.

        Args:
            sources: every segment of the log, in order.
            last: revision that the log is known to reach.
            asks_projections: whether each projection checks its tables in the end.
        """
        first, valid = self._comparison.start, self._checkpoints.valid
        if first is None:
            return
        start = place_to_begin(valid, first, last)
        if start is None or stale_projections(self._projections, valid[start]):
            return
        self._later = LaterFold(
            LaterPart(
                path=self._path,
                projections=tuple(self._projections),
                sources=tuple(sources),
                all_files=tuple(self._checkpoints.all_files),
                start=start,
                digests=tuple(
                    (file, checkpoint.digest)
                    for file, checkpoint in valid.items()
                    if file.revision > start.revision
                ),
                asks_projections=asks_projections,
            )
        )

    def stop(self) -> None:
        """End the other process, if there is one."""
        if self._later is not None:
            self._later.stop()
            self._later = None

    def fold(self, record: Record, batch: Batch | None) -> Damage | None:
        """Fold a batch, for the comparison, or only read it.

        Args:
            record: that holds it.
            batch: itself; None where there is none in the record.

        Returns:
            what is wrong with its payload, if an open would read that.
        """
        if self.is_handed_over:
            return None
        try:
            self._comparison.fold(record, batch)
        except CorruptionError as error:
            self.end()
            problem = self._problems.add_error(error)
            return problem if record.revision > self._checkpoints.base_revision else None
        except ProjectionError as error:
            self._comparison.end()
            self._problems.add(Damage(record.path, record.offset_bytes, 0, error.what))
        return None

    def end(self) -> None:
        """Go on without a fold, because the batches that follow are not those after it.

        Raises:
            ReadAgainError: another process has it, and does not know of this.
        """
        if self.is_handed_over:
            raise ReadAgainError
        revision = self._comparison.end()
        if revision is not None:
            self._problems.remarks.append(
                f"the replay ended at revision {revision}, because of the damage: later "
                "checkpoints were not compared with the log but by their digests"
            )

    def compare(
        self, source: SegmentSource, offset_bytes: int, revision: int, digest: bytes
    ) -> Damage | None:
        """Compare the log with the checkpoints at a revision, if there are any.

        Args:
            source: the segment that states it.
            offset_bytes: where.
            revision: that the log has come to.
            digest: that the log states.

        Returns:
            that the digests differ, if an open would compare them: it does so with the newest one.
        """
        checkpoint = self._checkpoints.by_revision.get(revision)
        if checkpoint is None:
            return None
        problem = contradiction(checkpoint, digest, source.path, offset_bytes)
        if problem is None:
            self._compare_rows(revision)
            if self._later is not None and self._later.start == revision:
                self._hand_over(digest)
            return None
        self._problems.add(problem)
        self._contradicted.add(revision)
        if self._comparison.is_at(checkpoint.digest):
            self.end()  # it began at this very checkpoint
        return problem if revision == self._checkpoints.base_revision else None

    def is_contradicted(self, revision: int) -> bool:
        """Say whether the digest of the checkpoint at a revision was found not to be the log's."""
        return revision in self._contradicted

    def finish(self, last: int, *, asks_projections: bool) -> None:
        """Take what the other process has found, or have each projection check its tables.

        Args:
            last: revision that the log is known to reach.
            asks_projections: whether they are asked.

        Raises:
            ReadAgainError: the other process has something to report, or has not come so far.
        """
        if not self.is_handed_over:
            if asks_projections:
                self._problems.add_all(self._comparison.projections_own(self._path))
            return
        if self._later is None:
            raise AssertionError("nobody to ask")
        result = self._later.result()
        if not result.is_clean or result.revision < last:
            raise ReadAgainError
        self._comparison.compared_count += result.compared_count

    def _compare_rows(self, revision: int) -> None:
        for file in self._checkpoints.files_at(revision):
            if self._comparison.is_at(self._checkpoints.valid[file].digest):
                # What can't be carried over was listed when that was tried.
                with contextlib.suppress(CorruptionError, ProjectionError):
                    loaded = self._checkpoints.with_rows(file, self._projections)
                    self._problems.add_all(self._comparison.differences(loaded, file.path))

    def _hand_over(self, digest: bytes) -> None:
        """Leave the rest to the other process, if it has begun at this very state."""
        if self._comparison.is_at(digest) and self._comparison.is_exact:
            self._comparison.end()
            self.is_handed_over = True
        else:
            self.stop()
