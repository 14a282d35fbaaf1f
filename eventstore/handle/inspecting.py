"""What a handle says of its store as a whole: sizes and counts, and whether all is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.errors import EventStoreError, text_of
from eventstore.handle.maintaining import Maintaining

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore.reports import VerifyReport


class Inspecting(Maintaining):
    """What checks a store, in memory and on disk, and counts what is there."""

    def check(self) -> None:
        """Check every invariant of all tables and projections in memory, as the writer has them.

        O(n). Takes no lock: not to be called while another thread has a write transaction.

        Raises:
            AssertionError: one does not hold.
        """
        self._closing.require_open()
        self._state.check()

    def verify(self, *, quick: bool = False) -> VerifyReport:
        """Read and verify what is on disk, beside running transactions; see `verify_store`."""
        self._closing.require_open()
        if self._file_system is None:
            raise EventStoreError(f"{self.path}: a log that was given is verified by its own means")
        # Imported here: an open does without.
        from eventstore.integrity.verify import verify_files, verify_store  # noqa: PLC0415

        with self._closing.told():
            if self._writer is not None:
                # It may still be being made, by this handle.
                return verify_files(self._file_system, self.path, self._projections, quick=quick)
            return verify_store(
                self.path, self._projections, quick=quick, file_system=self._file_system
            )

    def stats(self) -> Mapping[str, Any]:
        """Return sizes, counts and the state of background work.

        The rows are counted as the writer has them: with what an open write transaction has
        changed, and with batches that are not durable yet. `checkpoint_revision` is of the
        newest checkpoint that this handle has loaded or written.
        """
        self._closing.require_open()
        # First: a follower catches up by it, which all of the rest then tells of.
        shown_revision = self._shown_revision()
        with self._closing.told():
            of_log = self._log.stats()
        error = self._upkeep.error if self._upkeep is not None else None
        failure = self._writer.failure if self._writer is not None else None
        return {
            **of_log,
            "durable_revision": shown_revision,
            "rows": {name: table.row_count() for name, table in self._state.tables.items()},
            "checkpoint_revision": self._newest_checkpoint_revision(),
            **self._counted(),
            "failed": None if failure is None else text_of(failure),
            "background_error": None if error is None else text_of(error),
        }

    def _counted(self) -> dict[str, Any]:
        """Return what is counted of a writer's work."""
        recovery = self._log.recovery
        counted: dict[str, Any] = {
            "recovery_seconds": recovery.seconds,
            "recovery_batches": recovery.replayed_batches,
            "rebuilt_projections": len(recovery.rebuilt),
        }
        if self._upkeep is not None:
            counted["checkpoint_seconds"] = self._upkeep.checkpoint_seconds.as_dict()
            counted["lock_wait_seconds"] = self._writer_lock.wait_seconds.as_dict()
        return counted

    def _newest_checkpoint_revision(self) -> int:
        if self._upkeep is None:  # a follower may have begun again from a newer one
            return self._log.recovery.checkpoint_revision
        return self._upkeep.checkpoint_revision
