"""An upgrade: a store that old projections have written, opened by new ones.

The old write batches, and a checkpoint after some of them, at several places. Then the new open the
store, and everything that can be asked of it must be what they fold of the batches alone: the
tables now, at each revision, after a checkpoint of their own and in a follower. The history must
show the same batches, with the same digests, their events as the upcasters leave them. Of batches
that show a fault, as few are kept as still do, and shown as a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import EventStoreError
from eventstore.projection import checked_projections
from eventstore.recovery.replay import start_state
from eventstore.store import EventStore
from eventstore.testing.oracle import Tables, difference
from eventstore.testing.purity import watched
from eventstore.testing.report import InconsistencyError, in_words
from eventstore.testing.session import SMALL, STORE_PATH
from eventstore.testing.simulated import SimulatedFileSystem
from eventstore.upcasting import all_upcasters, upcast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from eventstore.event import Batch, Event
    from eventstore.handle.read_transaction import ReadTransaction
    from eventstore.projection import Projection


class CheckedUpgrade(NamedTuple):
    """What a check of an upgrade has looked at, without finding anything.

    Attributes:
        batches: that the old projections wrote.
        carried: names of projections whose `upgrade` carried a checkpoint over.
        rebuilt: names of projections that were folded anew.
    """

    batches: int
    carried: tuple[str, ...]
    rebuilt: tuple[str, ...]


def check_upgrade(
    old: Iterable[Projection], new: Iterable[Projection], batches: Iterable[Iterable[Event]]
) -> CheckedUpgrade:
    """Check that new projections show of a store that the old have written what they fold of it.

    For batches that are drawn, call it in a test of Hypothesis.

    Args:
        old: of the release that wrote the store.
        new: of the release that opens it.
        batches: what the old release committed: the events of each transaction.

    Returns:
        what was looked at.

    Raises:
        InconsistencyError: with the fewest of the batches that show what is wrong, as a program.
    """
    olds, news = checked_projections(old), checked_projections(new)
    given = [list(events) for events in batches if events]
    upgrade = _Upgrade(olds, news)
    for place in sorted({0, len(given) // 2, len(given)}):
        written = Written(given, place)
        problem = upgrade.problem(written)
        if problem is not None:
            raise InconsistencyError(upgrade.report(written, problem))
    return CheckedUpgrade(len(given), *upgrade.ways)


class Written(NamedTuple):
    """What the old projections write.

    Attributes:
        batches: the events of each transaction.
        checkpoint_after: how many batches are before the checkpoint; without one it is 0.
    """

    batches: list[list[Event]]
    checkpoint_after: int

    def smaller(self) -> Iterator[Written]:
        """Yield the same with one batch, or one event, left out; later ones first."""
        batches, place = self
        for number in reversed(range(len(batches))):
            left = batches[:number] + batches[number + 1 :]
            yield Written(left, place - (number < place))
        for number in reversed(range(len(batches))):
            events = batches[number]
            for at in reversed(range(len(events))) if len(events) > 1 else ():
                fewer = events[:at] + events[at + 1 :]
                yield Written([*batches[:number], fewer, *batches[number + 1 :]], place)


class _Upgrade:
    """From old projections to new ones.

    Attributes:
        ways: names of the projections that were carried over, and of those folded anew.
    """

    def __init__(self, old: Sequence[Projection], new: Sequence[Projection]) -> None:
        self._old, self._new = old, new
        self.ways: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def problem(self, written: Written) -> str | None:
        """Return what is wrong after that, in words; raises what the old projections raise."""
        disk = SimulatedFileSystem()
        history = self._write(disk, written)
        try:
            expected = list(_states(watched(self._new), written.batches))
            with EventStore.open(STORE_PATH, self._new, options=SMALL, file_system=disk) as store:
                self._note_ways(store)
                self._require_history(store, history)
                self._require_states(store, expected)
                store.checkpoint()
            for read_only in (False, True):
                when = f"after a checkpoint, {'followed' if read_only else 'opened again'}"
                with (
                    EventStore.open(
                        STORE_PATH,
                        self._new,
                        read_only=read_only,
                        options=SMALL,
                        file_system=disk,
                    ) as store,
                    store.transaction() as now,
                ):
                    _require_tables(now, expected[-1], when)
                    report = store.verify()
                    if not report.is_sound:
                        raise InconsistencyError(f"a verification finds: {report.problems[0]}")
        except Exception as error:  # a user's code, which may raise any: it is told of
            is_told = isinstance(error, InconsistencyError | EventStoreError)
            kind = "" if is_told else f"{type(error).__name__}: "
            return "\n".join((f"{kind}{in_words(error)}", *getattr(error, "__notes__", ())))
        return None

    def report(self, written: Written, problem: str) -> str:
        """Return what is wrong, with a program of the fewest batches that show it."""
        smallest = self._smallest(written)
        names = [_names(self._old), _names(self._new)]
        lines = (f"    {line}".rstrip() for line in self._program(smallest))
        found = self.problem(smallest) or problem
        place = smallest.checkpoint_after
        when = f"with a checkpoint after batch {place}" if place else "without a checkpoint"
        heading = f"what {names[0]} wrote, {when}, is not what {names[1]} makes of it:"
        return "\n".join((heading, "", *lines, "", found))

    def _write(self, disk: SimulatedFileSystem, written: Written) -> list[Batch]:
        with EventStore.open(STORE_PATH, self._old, options=SMALL, file_system=disk) as store:
            for number, events in enumerate(written.batches, 1):
                with store.transaction(writable=True) as transaction:
                    for event in events:
                        transaction.emit(event)
                if number == written.checkpoint_after:
                    store.checkpoint()
            return [
                batch._replace(events=tuple(events))
                for batch, events in zip(store.batches(), written.batches, strict=True)
            ]

    def _note_ways(self, store: EventStore) -> None:
        rebuilt = {one.name for one in store.recovery.rebuilt}
        versions = {projection.name: projection.version for projection in self._old}
        carried = {
            projection.name
            for projection in self._new
            if versions.get(projection.name, projection.version) != projection.version
        }
        if store.recovery.checkpoint_revision:
            self.ways = tuple(sorted(carried - rebuilt)), tuple(sorted(rebuilt))

    def _require_history(self, store: EventStore, written: list[Batch]) -> None:
        upcasters = all_upcasters(self._new)
        for before, after in zip(written, store.batches(), strict=True):
            wanted = tuple(upcast(event, upcasters) for event in before.events)
            if after != before._replace(events=wanted):
                raise InconsistencyError(
                    f"the history shows {after!r}; it was written as {before!r}"
                )
            for projection in self._new:
                for event in before.events:
                    _require_found(store, projection, event, after.revision)

    def _require_states(self, store: EventStore, expected: list[Tables]) -> None:
        store.check()
        with store.transaction() as now:
            _require_tables(now, expected[-1], "after the open")
        for revision, tables in enumerate(expected):
            with store.at(revision) as past:
                _require_tables(past, tables, f"at revision {revision}")

    def _smallest(self, written: Written) -> Written:
        """Return what still shows something wrong, and of which nothing can be left out."""
        while True:
            for smaller in written.smaller():
                try:
                    is_wrong = self.problem(smaller) is not None
                except Exception:  # noqa: S112 - without what was left out, the old can't write it
                    continue
                if is_wrong:
                    written = smaller
                    break
            else:
                return written

    def _program(self, written: Written) -> Iterator[str]:
        for module, name in sorted({_place(one) for one in (*self._old, *self._new)}):
            is_importable = module != "__main__" and "." not in name
            yield f"from {module} import {name}" if is_importable else f"# import {name} here"
        yield "from eventstore import Event"
        yield "from eventstore.testing import check_upgrade"
        yield ""
        yield "batches = ["
        yield from (f"    {events!r}," for events in written.batches)
        yield "]"
        yield f"check_upgrade({_calls(self._old)}, {_calls(self._new)}, batches)"


def _states(projections: Sequence[Projection], batches: list[list[Event]]) -> Iterator[Tables]:
    """Yield the tables before the first batch, and after each."""
    state = start_state(projections, None)
    state.begin(is_replaying=True)
    for events in ([], *batches):
        for event in events:
            state.apply(event)
        yield {name: dict(table.items()) for name, table in state.tables.items()}


def _require_tables(reader: ReadTransaction, expected: Tables, when: str) -> None:
    found = {name: dict(reader.items(name)) for name in expected}
    problem = difference(found, expected)
    if problem is not None:
        raise InconsistencyError(f"{when}: {problem}")


def _require_found(store: EventStore, projection: Projection, event: Event, revision: int) -> None:
    for key in projection.keys(upcast(event, projection.upcasters)):
        if all(batch.revision != revision for batch in store.history(key)):
            raise InconsistencyError(f"the history of {key!r} leaves revision {revision} out")


def _place(projection: Projection) -> tuple[str, str]:
    return type(projection).__module__, type(projection).__qualname__


def _names(projections: Sequence[Projection]) -> str:
    return ", ".join(type(projection).__name__ for projection in projections)


def _calls(projections: Sequence[Projection]) -> str:
    return f"[{', '.join(f'{type(projection).__name__}()' for projection in projections)}]"
