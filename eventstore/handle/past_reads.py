"""The past as a handle reads it: batches, histories, watches, and the state as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from eventstore.arguments import (
    checked_flag,
    checked_int,
    checked_text,
    checked_whole,
    excerpt,
    time_to_ns,
)
from eventstore.engine_events import is_engine_event
from eventstore.errors import CompactedError
from eventstore.handle import history
from eventstore.handle.read_transaction import ReadTransaction
from eventstore.handle.reading import Reading
from eventstore.handle.watching import Watch
from eventstore.locks import checked_timeout
from eventstore.log.interface import Wanted
from eventstore.upcasting import upcast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from eventstore.event import Batch, Event
    from eventstore.tables.state import State

R = TypeVar("R", bound=ReadTransaction)


class PastReads(Reading):
    """What a handle reads of the past, up to what readers are shown."""

    def at(
        self, revision: int | None = None, *, time: datetime | int | None = None
    ) -> ReadTransaction:
        """Return a read transaction on the state as it was at a durable revision or at a time.

        O(batches from the checkpoint before it on). A time is an aware datetime, or nanoseconds.

        Raises:
            CompactedError: the batches that are needed are no longer kept.
            ValueError: neither revision nor time was given, or both were; the revision is not
                reached; or the datetime has no time zone.
            TypeError: the revision is no int, or the time neither a datetime nor an int.
        """
        return self.begin_read_at(ReadTransaction, revision, time=time)

    def begin_read_at(
        self,
        transaction_type: type[R],
        revision: int | None = None,
        *,
        time: datetime | int | None = None,
    ) -> R:
        """Begin a read transaction of a domain's own type on the past; raises as `at` does."""
        state = self._state_at(revision, time)
        self._renew_locks_in_children(state)
        return transaction_type(state.tables, state.durable)

    def replay(
        self,
        revision: int | None = None,
        *,
        on_batch: Callable[[int], object] = lambda revision: None,
    ) -> ReadTransaction:
        """Return a read transaction on the state as the log alone tells it, without a checkpoint.

        What `at` shows begins with a checkpoint, and must be the same. O(batches).

        Args:
            revision: a durable one; None for the newest.
            on_batch: called with each revision that was replayed, for progress.

        Raises:
            CompactedError: the first batches are no longer kept.
            CorruptionError: a batch is damaged.
            ProjectionError: a projection can't apply what it once emitted.
            ValueError: the revision is not reached.
            TypeError: it is no int.
        """
        self._closing.require_open()
        wanted = self._reached(self._shown_revision() if revision is None else revision)
        with self._closing.told():
            state = history.replayed_state(self._log, self._projections, wanted, on_batch)
        self._renew_locks_in_children(state)
        return ReadTransaction(state.tables, state.durable)

    def batches(
        self,
        from_revision: int = 1,
        to_revision: int | None = None,
        *,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        actor: str | None = None,
        type: str | None = None,  # noqa: A002 - the log's word
        reverse: bool = False,
    ) -> Iterator[Batch]:
        """Yield the durable batches that meet all that is asked, from archive and log alike.

        Cheap from either end: what an index leaves out is not read.

        Args:
            from_revision: the first.
            to_revision: the last; None for the newest at the time of the call.
            since: none before this: an aware datetime, or nanoseconds since the epoch.
            until: none after this.
            actor: of the batch.
            type: of one of its events at least.
            reverse: newest first.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a batch is damaged.
            ValueError: there is no such first revision, the last one is negative, or a datetime has
                no time zone.
            TypeError: a revision is no int, a time is neither a datetime nor an int, or actor or
                type is no text.
        """
        self._closing.require_open()
        _require_revision(from_revision)
        _check_last(to_revision)
        for text, name in ((actor, "actor"), (type, "type")):
            if text is not None:
                checked_text(text, name)
        checked_flag(reverse, "reverse")
        first, last = from_revision, self._shown_up_to(to_revision)
        with self._closing.told():
            if since is not None:
                since_ns = time_to_ns(since, to_end=False)
                first = max(first, self._log.revision_at(since_ns - 1, last) + 1)
            if until is not None:
                last = min(last, self._log.revision_at(time_to_ns(until), last))
        wanted = Wanted(None, actor, type)
        return self._search(first, last, wanted, lambda event: True, reverse=reverse)

    def revision_at(self, time: datetime | int) -> int:
        """Return the last revision whose time is not after a time; 0 if there is none.

        O(log segments), by the index of the past.

        Args:
            time: an aware datetime, or nanoseconds since the epoch.

        Raises:
            CompactedError: the batches of that time are no longer kept.
            ValueError: the datetime has no time zone.
            TypeError: it is neither.
        """
        time_ns = time_to_ns(time)
        with self._closing.told():
            return history.revision_at(self._log, time_ns, self._shown_revision())

    def history(
        self,
        *keys: str,
        from_revision: int | None = None,
        to_revision: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Batch]:
        """Yield the durable batches with an event about any of some keys.

        O(those batches), by the index of the past: see `Projection.keys`.

        Args:
            keys: that `Projection.keys` gives for events.
            from_revision: the first; None for the oldest that is kept.
            to_revision: the last; None for the newest at the time of the call.
            reverse: newest first.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a batch is damaged.
            ProjectionError: a projection can't tell the keys of an event.
            ValueError: there is no such first revision, or the last one is negative.
            TypeError: a revision is no int, or a key no text.
        """
        self._closing.require_open()
        for key in keys:
            checked_text(key, "a key")
        checked_flag(reverse, "reverse")
        oldest = self.oldest_revision()
        first = oldest if from_revision is None else from_revision
        _require_revision(first)
        _check_last(to_revision)
        asked = frozenset(keys)

        def is_about(event: Event) -> bool:
            return not is_engine_event(event) and any(
                not asked.isdisjoint(each.keys(upcast(event, each.upcasters)))
                for each in self._projections
            )

        last = self._shown_up_to(to_revision)
        return self._search(first, last, Wanted(keys=keys), is_about, reverse=reverse)

    def watch(self, from_revision: int | None = None, *, timeout: float | None = None) -> Watch:
        """Yield committed batches as they become durable, without gaps, until the store closes.

        The watch is an iterator and an asynchronous one (`async for batch in store.watch()`), which
        `close` ends from any thread. It is woken by a commit, also of another process.

        Args:
            from_revision: the first; None for the next one to be committed.
            timeout: end after this many seconds without a batch; None to wait for ever.

        Raises:
            CompactedError: the start is no longer kept.
            ValueError: there is no such first revision, or the timeout is negative.
            TypeError: the revision is no int, or the timeout no number.
        """
        self._closing.require_open()
        timeout = checked_timeout(timeout, "timeout")
        first = self._shown_revision() + 1 if from_revision is None else from_revision
        _require_revision(first)
        oldest = self.oldest_revision()
        if first < oldest:
            raise CompactedError(first, oldest)
        return Watch(
            self._log,
            first,
            self._shown_revision,
            self._closing,
            timeout,
            upcasters=self._upcasters,
        )

    def oldest_revision(self) -> int:
        """Return the first revision whose batch can still be read."""
        with self._closing.told():
            return self._log.oldest_revision()

    def _state_at(self, revision: int | None, time: datetime | int | None) -> State:
        """Return the state as it was; raises as `at` does."""
        self._closing.require_open()
        if (revision is None) == (time is None):
            raise ValueError("give one of revision and time")
        if revision is None:
            try:
                revision = self.revision_at(cast("datetime | int", time))
            except CompactedError as error:
                raise self._no_state(error.asked_revision) from None
        with self._closing.told():
            return history.state_at(self._log, self._projections, self._reached(revision))

    def _no_state(self, revision: int) -> CompactedError:
        with self._closing.told():
            return CompactedError(revision, self._log.oldest_state(), is_of_state=True)

    def _reached(self, revision: int) -> int:
        """Return a revision that readers are shown; raises as `at` does where they are not."""
        shown = self._shown_revision()
        if not 0 <= checked_int(revision, "a revision") <= shown:
            raise ValueError(f"revision {excerpt(revision)} is not there: the store is at {shown}")
        return revision

    def _shown_up_to(self, last: int | None) -> int:
        shown = self._shown_revision()
        return shown if last is None else min(last, shown)

    def _search(
        self,
        first: int,
        last: int,
        wanted: Wanted,
        is_about: Callable[[Event], bool],
        *,
        reverse: bool,
    ) -> Iterator[Batch]:
        found = history.search(
            self._log, first, last, wanted, is_about, self._upcasters, reverse=reverse
        )
        return self._read_amid(found)


def _require_revision(revision: int) -> None:
    if checked_int(revision, "a revision") < 1:
        raise ValueError(
            f"there is no revision {excerpt(revision)}: the first batch has revision 1"
        )


def _check_last(revision: int | None) -> None:
    if revision is not None:
        checked_whole(revision, "the last revision", 0)
