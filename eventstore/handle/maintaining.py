"""What whoever writes can ask for of the store's keep: checkpoints, compaction, erasure."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from eventstore.arguments import checked_text
from eventstore.event import Metadata
from eventstore.handle.engine_transaction import EngineTransaction
from eventstore.handle.erasing import ErasingTransaction, Erasure, found_texts
from eventstore.handle.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from eventstore.engine_events import Dropping
    from eventstore.handle.erasing import FoundText
    from eventstore.handle.opening import Opened, Written
    from eventstore.handle.upkeep import Upkeep
    from eventstore.options import Retention
    from eventstore.reports import CompactionReport

_SAY_SECONDS = 1.0
"""How long what the engine itself commits waits for the writer lock."""


class Maintaining(Transactions):
    """What keeps a store short and takes from it what must go, in the background or when asked."""

    def __init__(self, parts: Opened) -> None:
        super().__init__(parts)
        # None for who follows another process's writer.
        self._upkeep: Upkeep | None = None
        if parts.written is not None:
            self._upkeep = self._upkeep_of(parts, parts.written)

    def checkpoint(self) -> int:
        """Write a checkpoint of the durable state, while transactions go on.

        Returns:
            its revision; nothing is written if the newest checkpoint has that already.

        Raises:
            StorageFullError: there is no space for it.
            ProjectionError: it would lose the tables of a projection that the store was opened
                without, since something was committed that they do not hold.
            Exception: what background maintenance has met since the last call.
        """
        self._closing.require_open()
        return self._own_upkeep().checkpoint()

    def compact(
        self, *, on_progress: Callable[[str, int, int], object] = lambda what, done, total: None
    ) -> CompactionReport:
        """Write a checkpoint, then archive or drop what checkpoints supersede, by retention.

        What is dropped is said in the log before, by an event `eventstore.dropped` with the first
        and last revision, the bytes and the rule. While a write transaction stays open that takes
        longer than a second, and inside of one, nothing is dropped.

        Args:
            on_progress: called now and then with what is being done, "row" of the checkpoint and
                then "segment", how many of these are done, and about how many there are.

        Raises:
            CorruptionError: a segment to be archived is damaged.
            StorageFullError: there is no space for the checkpoint or for a compressed copy.
            ProjectionError: as of `checkpoint`.
            Exception: what background maintenance has met since the last call.
        """
        self._closing.require_open()
        return self._own_upkeep().compact(on_progress)

    def _say_dropped(self, dropping: Dropping, retention: Retention) -> None:
        """Commit that batches are about to be dropped.

        The writer lock is waited for a moment only: whoever has it may wait for this compaction,
        or close the store.

        Raises:
            WriterBusyError: that was not long enough; nothing was committed.
        """
        metadata = dropping.metadata(retention)
        with self.begin_write(EngineTransaction, metadata, _SAY_SECONDS) as transaction:
            transaction.note(dropping.event(retention))

    def erase(
        self,
        fields: Mapping[int, Iterable[Sequence[str]]],
        *,
        actor: str,
        reason: str,
        timeout: float | None = None,
    ) -> Erasure:
        """Make texts in batches unreadable, in log, archive and checkpoints; proofs still hold.

        An event `eventstore.erased` says what was erased, when and by whose order; it is as durable
        as any. Once this returns, the bytes are in no file of the store. After an error or a crash
        the erasure has not begun, or the next open finishes it. Writers wait while the state is
        folded anew, O(batches since the first one named); readers don't, and those that began
        before go on with what they had.

        Args:
            fields: for each revision what goes: `("actor",)`, `("reason",)`, `("request_id",)`, or,
                of an event's data, such as `("data", "labels", "owner")`, what
                `Projection.erasable` allows.
            actor: by whose order.
            reason: why.
            timeout: seconds to wait for the writer lock; None for ever.

        Raises:
            ErasureError: a text is not there, or is needed; or the state can't be made anew, since
                the batches before were dropped and no checkpoint is old enough.
            CompactedError: a batch is no longer kept.
            StorageFullError: there is no space to write a segment anew: free some, and open the
                store again, which goes on.
            Exception: as of `transaction`.
        """
        self._closing.require_open()
        upkeep = self._own_upkeep()
        transaction = self.begin_write(ErasingTransaction, Metadata(actor, reason), timeout)
        with self._closing.told():
            try:
                # The writer lock first: whoever has it may wait for the upkeep.
                transaction.begin()
                with upkeep.turn():
                    receipt = transaction.erase(self.path, self._projections, fields)
                    upkeep.begin_anew(transaction.finish)
            finally:
                transaction.rollback()
        return Erasure(receipt, transaction.revisions)

    def find_text(self, text: str) -> Iterator[FoundText]:
        """Yield where a text stands in the batches that are kept, oldest first. O(log).

        That is: in metadata and in the data of events, by itself or in a longer text.

        Raises:
            CorruptionError: a batch is damaged.
            ValueError: it is empty.
            TypeError: it is no text.
        """
        if not checked_text(text, "text"):
            raise ValueError("an empty text stands everywhere")
        self._closing.require_open()
        shown = self._shown_revision()
        with self._closing.told():
            records = self._log.read(self._log.oldest_revision(), shown)
        return self._closing.told_amid(found_texts(records, self._projections, text))

    def _require_ready(self) -> None:
        super()._require_ready()
        if self._upkeep is not None:
            self._upkeep.start()

    def _upkeep_of(self, parts: Opened, written: Written) -> Upkeep:
        # Imported here: who only reads does without.
        from eventstore.handle.upkeep import Upkeep  # noqa: PLC0415
        from eventstore.maintenance.checkpointing import Checkpointer  # noqa: PLC0415
        from eventstore.maintenance.requests import RequestDesk  # noqa: PLC0415

        checkpointer = Checkpointer(
            self.path, self._state, written.log, self._projections, parts.options, written.loaded
        )
        files = parts.file_system
        desk = None if files is None else RequestDesk(files, self.path)
        return Upkeep(
            self.path,
            written.log,
            checkpointer,
            parts.options,
            self._closing,
            desk,
            # Its thread must not keep this from being collected (`dropping`).
            weakref.WeakMethod(self._say_dropped),
        )

    def _own_upkeep(self) -> Upkeep:
        """Return the upkeep for whoever writes to the store."""
        self._written()
        if self._upkeep is None:
            raise AssertionError("a store that is written to has an upkeep")
        return self._upkeep
