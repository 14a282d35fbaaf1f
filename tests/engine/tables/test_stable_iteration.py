"""A scan by the writer is a view of the moment at which it began, whatever is changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import (
    Event,
    EventStore,
    Projection,
    StoreOptions,
    TableSpec,
    TransactionClosedError,
    WriteTransaction,
)
from eventstore.tables import rows as rows_module
from eventstore.tables import table as table_module
from eventstore.tables import view as view_module
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eventstore import WritableTable

ROWS, SEEN = "rows", "seen"
KEYS = 40
OPTIONS = StoreOptions(segment_bytes=4096, background=False)

Change = tuple[int, int | None]


class Sweeps(Projection):
    """Changes rows as events say, also while it iterates over them, and keeps what it saw.

    A "change" holds changes; a "sweep" a range, and the changes to make after each row seen; a
    "failed sweep" raises at its end.
    """

    name, version = "sweeps", 1
    tables = (TableSpec(ROWS), TableSpec(SEEN))

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        rows = tables[ROWS]
        if event.type == "change":
            change(rows, event.data)
        else:
            start, stop, steps = event.data
            seen = []
            for number, row in enumerate(rows.items(start, stop)):
                seen.append(row)
                change(rows, steps[number % len(steps)])
            tables[SEEN].put(len(dict(tables[SEEN].items())), tuple(seen))
        if event.type == "failed sweep":
            raise ValueError("as asked")


def change(rows: WritableTable, changes: list[list[Any]]) -> None:
    for key, value in changes:
        if value is not None:
            rows.put(key, value)
        elif key in rows:
            rows.delete(key)


@pytest.fixture(autouse=True, scope="module")
def _small_slices() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (table_module, view_module):
            patch.setattr(module, "FIRST_SLICE_ROWS", 2)
            patch.setattr(module, "SLICE_ROWS_MAX", 5)
        patch.setattr(rows_module, "SLICE_ROWS_MAX", 5)
        yield


changes = st.lists(st.tuples(st.integers(0, KEYS), st.none() | st.integers(0, 99)), max_size=6)
bounds = st.none() | st.integers(-1, KEYS + 1)
steps = st.lists(changes, min_size=1, max_size=5)
sweeps = st.tuples(st.sampled_from(["sweep", "failed sweep"]), bounds, bounds, steps)
"""Whether it fails, its range, and what to change after each row."""


def open_store(files: SimulatedFileSystem) -> EventStore:
    return EventStore.open("/store", [Sweeps()], options=OPTIONS, file_system=files)


def emit(store: EventStore, *events: Event) -> None:
    with store.transaction(writable=True) as tx:
        for event in events:
            tx.emit(event)


def content(store: EventStore) -> dict[str, dict[Any, Any]]:
    with store.transaction() as tx:
        return {name: dict(tx.items(name)) for name in (ROWS, SEEN)}


def changed(model: dict[int, int], wanted: list[Change]) -> None:
    for key, value in wanted:
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value


def within(model: dict[int, int], start: int | None, stop: int | None) -> list[tuple[int, int]]:
    return [
        (key, model[key])
        for key in sorted(model)
        if (start is None or key >= start) and (stop is None or key < stop)
    ]


@given(changes.map(lambda base: base * 3), changes, st.lists(sweeps, max_size=3), st.booleans())
def test_apply_that_changes_what_it_iterates_over_sees_the_rows_as_they_were(
    base: list[Change],
    later: list[Change],
    sweeping: list[tuple[str, int | None, int | None, list[list[Change]]]],
    packed: bool,
) -> None:
    files = SimulatedFileSystem()
    rows: dict[int, int] = {}
    seen: list[list[tuple[int, int]]] = []
    with open_store(files) as store:
        emit(store, Event("change", [list(one) for one in base]))
        store.checkpoint()
    changed(rows, base)
    with open_store(files) as store:
        emit(store, Event("change", [list(one) for one in later]))
        changed(rows, later)
        if packed:
            store.checkpoint()
        with store.transaction(writable=True) as tx:
            for kind, start, stop, after in sweeping:
                event = Event(kind, [start, stop, [[list(one) for one in step] for step in after]])
                if kind == "failed sweep":
                    with pytest.raises(ValueError, match="as asked"):
                        tx.emit(event)
                    continue
                tx.emit(event)
                seen.append(within(rows, start, stop))
                for number in range(len(seen[-1])):
                    changed(rows, after[number % len(after)])
        expected = {ROWS: rows, SEEN: dict(enumerate(map(tuple, seen)))}
        assert content(store) == expected
        store.check()
    with open_store(files) as store:  # replayed, over packed rows or changed ones
        assert content(store) == expected
    for name in files.list_directory("/store/checkpoints"):
        files.remove(f"/store/checkpoints/{name}")
    with open_store(files) as store:  # replayed, over nothing
        assert content(store) == expected


@given(changes, changes, bounds, bounds, st.lists(st.tuples(st.booleans(), changes), min_size=1))
def test_iteration_between_emits_sees_the_rows_as_they_were(
    base: list[Change],
    own: list[Change],
    start: int | None,
    stop: int | None,
    between: list[tuple[bool, list[Change]]],
) -> None:
    files = SimulatedFileSystem()
    rows: dict[int, int] = {}
    with open_store(files) as store:
        emit(store, Event("change", [list(one) for one in base]))
        changed(rows, base)
        store.checkpoint()
    with open_store(files) as store, store.transaction(writable=True) as tx:
        tx.emit(Event("change", [list(one) for one in own]))
        changed(rows, own)
        expected = within(rows, start, stop)
        begun = tx.items(ROWS, start, stop)
        seen = []
        for fails, wanted in between:
            event_changes = [list(one) for one in wanted]
            if fails:
                with pytest.raises(ValueError, match="as asked"):
                    tx.emit(Event("failed sweep", [None, None, [event_changes]]))
            else:
                tx.emit(Event("change", event_changes))
                changed(rows, wanted)
            seen += [row for row in [next(begun, None)] if row is not None]
        assert seen + list(begun) == expected
        assert list(tx.table(ROWS).items()) == within(rows, None, None)


def test_iteration_that_outlives_its_transaction_raises() -> None:
    with open_store(SimulatedFileSystem()) as store:
        emit(store, Event("change", [[key, key] for key in range(9)]))
        begun: list[Iterator[Any]] = []
        with store.transaction(writable=True) as tx:
            begun += [tx.items(ROWS), tx.items(ROWS)]
            next(begun[0])
        for iteration in begun:
            with pytest.raises(TransactionClosedError):
                next(iteration)


class Leaks(Sweeps):
    """Goes on in a later event with an iteration that an earlier one began."""

    def __init__(self) -> None:
        self.begun: Iterator[Any] | None = None

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        super().apply(event, tables)
        if self.begun is not None:
            next(self.begun)
        self.begun = tables[ROWS].items()


def test_iteration_in_apply_does_not_outlive_its_transaction() -> None:
    files = SimulatedFileSystem()
    with EventStore.open("/store", [Leaks()], options=OPTIONS, file_system=files) as store:
        emit(store, Event("change", [[1, 1]]))
        with pytest.raises(TransactionClosedError, match="iteration"):
            emit(store, Event("change", [[2, 2]]))


@pytest.mark.parametrize(
    "begin", [lambda tx: tx.items(ROWS), lambda tx: tx.table(ROWS).items()], ids=["items", "table"]
)
def test_iteration_begins_with_the_call(begin: Callable[[WriteTransaction], Iterator[Any]]) -> None:
    with open_store(SimulatedFileSystem()) as store, store.transaction(writable=True) as tx:
        tx.emit(Event("change", [[1, 1], [2, 2]]))
        begun = begin(tx)
        tx.emit(Event("change", [[1, None], [2, 9], [3, 3]]))
        assert list(begun) == [(1, 1), (2, 2)]
