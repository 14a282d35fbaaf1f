"""Tables and versions against plain dictionaries."""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)
from sortedcontainers import SortedList

from eventstore import Event, Projection, ProjectionError, TableSpec
from eventstore.format.checkpoint import pack_ends
from eventstore.format.codec import DecodeError, pack, unpack_rows
from eventstore.tables import index as index_module
from eventstore.tables import packed as packed_module
from eventstore.tables import rows as rows_module
from eventstore.tables import table as table_module
from eventstore.tables import values as values_module
from eventstore.tables import view as view_module
from eventstore.tables.packed import ABSENT, TOMBSTONE, PackedChunk, PackedRows
from eventstore.tables.state import State
from eventstore.tables.stored import StoredRows
from eventstore.tables.table import Table
from eventstore.tables.version import Version
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eventstore import WritableTable

ROWS = "rows"
PARTS, HELD, ODD = "parts", "held", "odd"
KEYS = 30


def parts(key: int, value: Any) -> list[Any]:
    """Return the entries of a row: characters, or numbers and truth values; perhaps none."""
    return list(value)


class Rows(Projection):
    """Puts and deletes as the events say; "fail" raises after the changes of its event."""

    name = "rows"
    version = 1
    tables = (
        TableSpec(
            ROWS,
            indexes={PARTS: parts, HELD: parts, ODD: lambda key, value: (key % 2,)},
            texts={HELD: lambda entry: (entry,)},
        ),
    )

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        for key, value in event.data:
            if value is None:
                tables[ROWS].delete(key)
            else:
                tables[ROWS].put(key, value)
        if event.type == "fail":
            raise RuntimeError("as asked")


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Force the rare splits of sorted lists, and scans in many slices."""
    monkeypatch.setattr(SortedList, "DEFAULT_LOAD_FACTOR", 4)
    for module in (table_module, view_module):
        monkeypatch.setattr(module, "FIRST_SLICE_ROWS", 2)
        monkeypatch.setattr(module, "SLICE_ROWS_MAX", 5)
    monkeypatch.setattr(rows_module, "SLICE_ROWS_MAX", 5)
    # Indexes that are often sorted anew, whose notes are often lost, and hashes that collide.
    for name, value in (("_TOUCHED_MIN", 3), ("_SLICE_ROWS", 3), ("_HASH_MASK", 7)):
        monkeypatch.setattr(index_module, name, value)
    for name, value in (("_FOUND_MAX", 3), ("_UNPACKED_CHUNKS_MAX", 2)):
        monkeypatch.setattr(packed_module, name, value)
    monkeypatch.setattr(values_module, "_DECODED_MAX", 3)


def packed_rows(rows: dict[Any, Any], chunk_rows: int) -> PackedRows:
    """Return rows as a checkpoint with chunks of that many rows holds them."""
    keys = sorted(rows)
    chunks = []
    for start in range(0, len(keys), chunk_rows):
        own = keys[start : start + chunk_rows]
        values = [pack(rows[key]) for key in own]
        chunks.append(
            PackedChunk(
                pack(own[0]),
                pack(own),
                pack_ends(values),
                b"".join(values),
                "/checkpoint",
                0,
            )
        )
    return PackedRows(chunks, len(keys), "/checkpoint")


def state_of(rows: dict[Any, Any], chunk_rows: int = 3) -> State:
    """Return a state that was loaded from a checkpoint with these rows."""
    packed = {ROWS: StoredRows(packed_rows(rows, chunk_rows))} if rows else None
    return State([Rows()], Version(0, b"", 0), packed)


def change(state: State, *changes: tuple[Any, Any]) -> None:
    """Apply one event; a value of None deletes."""
    state.apply(Event("change", changes))


def commit(state: State) -> Version:
    return state.commit(state.newest.revision + 1, b"", 0)


def content(state: State) -> dict[Any, Any]:
    return dict(state.tables[ROWS].items())


keys = st.integers(0, KEYS - 1)
values = st.text("abcxyz01é", max_size=3) | st.tuples(st.integers(-9, 9), st.booleans())
bounds = st.none() | st.integers(-1, KEYS)
questions = st.tuples(st.just(ODD), st.integers(0, 1)) | st.tuples(
    st.sampled_from([PARTS, HELD]), st.sampled_from("abcxyz01é") | st.integers(-9, 9)
)


def having(rows: dict[int, Any], question: tuple[str, Any]) -> list[tuple[int, Any]]:
    """Return the rows that an index gives for an entry."""
    index, entry = question
    entries = Rows.tables[0].indexes[index]
    return [(key, rows[key]) for key in sorted(rows) if entry in list(entries(key, rows[key]))]


class TablesAgainstDictionaries(RuleBasedStateMachine):
    """One writer, readers held open over commits, and reloads from a checkpoint."""

    readers = Bundle("readers")

    @initialize(rows=st.dictionaries(keys, values), chunk_rows=st.integers(1, 5))
    def start(self, rows: dict[int, Any], chunk_rows: int) -> None:
        self.load(rows, chunk_rows)

    def load(self, rows: dict[int, Any], chunk_rows: int) -> None:
        self.state = state_of(rows, chunk_rows)
        self.table = self.state.tables[ROWS]
        self.now = dict(rows)  # with what the transaction has changed so far
        self.committed = dict(rows)
        self.pending: list[tuple[Version, dict[int, Any]]] = []
        self.durable = dict(rows)
        self.state.begin()

    @rule(key=keys, value=values)
    def put(self, key: int, value: Any) -> None:
        change(self.state, (key, value))
        self.now[key] = value

    @rule(key=keys)
    def delete(self, key: int) -> None:
        if key in self.now:
            change(self.state, (key, None))
            del self.now[key]
        else:
            with pytest.raises(KeyError):
                change(self.state, (key, None))

    @rule(changes=st.lists(st.tuples(keys, values), max_size=5))
    def fail(self, changes: list[tuple[int, Any]]) -> None:
        with pytest.raises(RuntimeError):
            self.state.apply(Event("fail", changes))

    @rule()
    def commit(self) -> None:
        added = len(self.now) - len(self.committed)
        assert self.state.rows_added() == added
        self.pending.append((commit(self.state), dict(self.now)))
        self.committed = dict(self.now)
        self.state.begin()

    @rule()
    def roll_back(self) -> None:
        self.state.rollback()
        self.now = dict(self.committed)
        self.state.begin()

    @precondition(lambda self: self.pending)
    @rule()
    def sync(self) -> None:
        version, self.durable = self.pending.pop(0)
        self.state.publish(version)

    @rule(target=readers)
    def begin_read(self) -> tuple[View, dict[int, Any], State]:
        return View(self.state.durable), dict(self.durable), self.state

    @rule(reader=readers, key=keys)
    def get(self, reader: tuple[View, dict[int, Any], State], key: int) -> None:
        view, expected, state = reader
        assert view.get(state.tables[ROWS], key) == expected.get(key)

    @rule(reader=readers, start=bounds, stop=bounds)
    def scan(
        self, reader: tuple[View, dict[int, Any], State], start: int | None, stop: int | None
    ) -> None:
        view, expected, state = reader
        table, rows = state.tables[ROWS], within(expected, start, stop)
        assert list(view.items(table, start, stop)) == rows
        assert list(view.items(table, start, stop, reverse=True)) == rows[::-1]

    @rule(changes=st.lists(st.tuples(keys, values | st.none()), max_size=8))
    def write_while_scanning(self, changes: list[tuple[int, Any]]) -> None:
        """Change rows, reached or not, between the steps of a scan from either end."""
        expected = within(self.durable, None, None)
        scans = [View(self.state.durable).items(self.table, reverse=each) for each in (False, True)]
        found: list[list[Any]] = [[], []]
        for key, value in changes:
            for rows, scan in zip(found, scans, strict=True):
                rows.extend(islice(scan, 1))
            if value is None:
                self.delete(key)
            else:
                self.put(key, value)
        forwards, backwards = ([*rows, *scan] for rows, scan in zip(found, scans, strict=True))
        assert forwards == backwards[::-1] == expected

    @rule(reader=readers, question=questions)
    def ask(self, reader: tuple[View, dict[int, Any], State], question: tuple[str, Any]) -> None:
        view, expected, state = reader
        assert list(view.by_index(state.tables[ROWS], *question)) == having(expected, question)

    @rule(question=questions)
    def ask_own_writes(self, question: tuple[str, Any]) -> None:
        assert list(self.table.by_index(*question)) == having(self.now, question)

    @rule(question=questions, changes=st.lists(st.tuples(keys, values), max_size=4))
    def write_while_asking(self, question: tuple[str, Any], changes: list[tuple[int, Any]]) -> None:
        """Change rows, reached or not, between the steps of two questions."""
        expected = having(self.now, question)
        shown = View(self.state.durable).by_index(self.table, *question)
        own = self.table.by_index(*question)
        found: list[Any] = []
        as_shown: list[Any] = []
        for change_ in [*changes, None]:
            found += islice(own, 1)
            as_shown += islice(shown, 1)
            if change_ is not None:
                self.put(*change_)
        assert [*found, *own] == expected
        assert [*as_shown, *shown] == having(self.durable, question)

    @rule(reader=consumes(readers))
    def end_read(self, reader: tuple[View, dict[int, Any], State]) -> None:
        view, expected, state = reader
        assert dict(view.items(state.tables[ROWS])) == expected

    @rule(start=bounds, stop=bounds)
    def scan_own_writes(self, start: int | None, stop: int | None) -> None:
        assert list(self.table.items(start, stop)) == within(self.now, start, stop)

    @rule(key=keys)
    def get_own_writes(self, key: int) -> None:
        assert self.table.get(key) == self.now.get(key)
        assert (key in self.table) == (key in self.now)

    @rule(chunk_rows=st.integers(1, 5))
    def reload_from_a_checkpoint(self, chunk_rows: int) -> None:
        view = View(self.state.durable)
        rows = dict(view.raw_items(self.table))
        assert {key: self.table.decoded(key, value) for key, value in rows.items()} == self.durable
        self.load(self.durable, chunk_rows)

    @invariant()
    def every_invariant_holds(self) -> None:
        self.state.check()
        assert self.table.row_count() == len(self.now)
        assert list(self.table.items()) == sorted(self.now.items())


def within(rows: dict[int, Any], start: int | None, stop: int | None) -> list[tuple[int, Any]]:
    return [
        (key, rows[key])
        for key in sorted(rows)
        if (start is None or key >= start) and (stop is None or key < stop)
    ]


TestTables = TablesAgainstDictionaries.TestCase


@given(
    st.dictionaries(keys, values), st.integers(1, 5), bounds, bounds, st.integers(1, 40),
    st.booleans(),
)  # fmt: skip
def test_packed_rows_are_an_ordered_map_of_numbers(
    rows: dict[int, Any], chunk_rows: int, start: Any, stop: Any, limit: int, inclusive: bool
) -> None:
    packed = packed_rows(rows, chunk_rows)
    packed.check()
    for key in range(-1, KEYS + 1):
        expected = pack(rows[key]) if key in rows else ABSENT
        assert packed.get(key) == expected
    first = start if inclusive or start is None else start + 1
    expected_rows = [(key, pack(value)) for key, value in within(rows, first, stop)][:limit]
    assert packed.slice(start, stop, limit, inclusive=inclusive) == expected_rows
    last_rows = [(key, pack(value)) for key, value in within(rows, start, stop)][-limit:]
    assert packed.last_slice(start, stop, limit) == last_rows


TEXTS = st.text("ab\0é", max_size=4) | st.sampled_from(["a" * 31, "a" * 32, "a" * 255, "a" * 256])


@given(st.sets(TEXTS), st.integers(1, 5), st.lists(TEXTS, max_size=20))
def test_packed_rows_are_an_ordered_map_of_texts(
    rows: set[str], chunk_rows: int, asked: list[str]
) -> None:
    """Texts that stand within others, with each of the headers that msgpack gives them."""
    packed = packed_rows(dict.fromkeys(rows, 1), chunk_rows)
    packed.check()
    for key in [*asked, *rows, *asked, "\ud800"]:
        assert packed.get(key) == (pack(1) if key in rows else ABSENT)
    ordered = sorted(rows)
    places = range(len(ordered))
    assert list(packed.rows_at(places)) == [(key, pack(1)) for key in ordered]
    for step in (2, 3):
        found = [key for key, _ in packed.rows_at(places[::step])]
        assert found == ordered[::step]


def test_keys_whose_lengths_only_add_up_are_found() -> None:
    rows = packed_rows(dict.fromkeys(["aa", "b", "ccc"], 1), 3)
    for _ in range(2):
        assert [key for key, _ in rows.rows_at([0, 1, 2])] == ["aa", "b", "ccc"]
        rows._unpacked.clear()
        for key in ("aa", "b", "ccc"):
            rows._found.clear()
            assert rows.get(key) == pack(1)


def test_values_that_only_together_are_as_many_are_not_decoded_at_once() -> None:
    assert unpack_rows([pack(1), pack((2, "a"))]) == [1, (2, "a")]
    with pytest.raises(DecodeError):
        unpack_rows([pack(1) + b"\x92\x01", b"\x02"])


def test_keys_that_another_packer_has_packed_are_found() -> None:
    values = [pack(1)] * 2
    for keys in (b"\x92\xd9\x01a\xa1b", b"\x92\xa1a\xd9\x01b", b"\xdc\x00\x02\xa1a\xa1b"):
        chunk = PackedChunk(pack("a"), keys, pack_ends(values), b"".join(values), "", 0)
        rows = PackedRows([chunk], 2, "")
        rows.check()
        assert [rows.get(key) for key in "abc"] == [pack(1), pack(1), ABSENT]
        assert [key for key, _ in rows.rows_at([0, 1])] == ["a", "b"]


def test_what_was_found_and_decoded_is_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_module, "_FOUND_MAX", 10)
    monkeypatch.setattr(values_module, "_DECODED_MAX", 10)
    rows = {key: (key, True) for key in range(100)}
    state = state_of(rows, chunk_rows=5)
    table = state.tables[ROWS]
    for key in range(100):
        assert table.get(key) == (key, True)
        assert table.get(key) is table.get(key), "kept"
    packed = table._packed
    assert packed is not None
    for recent, before in (
        (packed._found, packed._found_before),
        (table._decoded, table._decoded_before),
    ):
        assert len(recent) <= 10
        assert len(before) <= 10
        assert 99 in {**recent, **before}
    assert len(packed._unpacked) <= packed_module._UNPACKED_CHUNKS_MAX


def test_a_kept_value_is_never_given_for_a_row_that_has_changed() -> None:
    state = state_of({1: (1, True)})
    table = state.tables[ROWS]
    before = View(state.durable)
    state.begin()
    for number in range(2, 5):
        assert before.get(table, 1) == (1, True)
        change(state, (1, (number, True)))
        assert before.get(table, 1) == (1, True)
        assert table.get(1) == (number, True)
    state.rollback()
    assert table.get(1) == before.get(table, 1) == (1, True)


def test_rows_are_loaded_over_packed_ones_without_being_decoded() -> None:
    def decode(key: int, plain: Any) -> Any:
        raise AssertionError(f"{key} was decoded")

    spec = TableSpec[int, Any](ROWS, decode=decode)
    packed = packed_rows({1: "a", 2: "b", 3: "c"}, 2)
    changed = [(2, TOMBSTONE), (4, pack("d")), (5, pack("e")), (5, TOMBSTONE), (3, pack("f"))]
    table = Table(spec, State([Rows()], Version(0, b"", 0)).journal, packed, changed)
    table.check()
    rows, _, _ = table.slice(None, None, 10, inclusive=True)
    assert rows == [(1, pack("a")), (3, pack("f")), (4, pack("d"))]
    assert table.row_count() == 3
    assert table.raw(2) is table.raw(5) is ABSENT


@pytest.mark.parametrize("base", [{}, {5: "base", 9: "base"}], ids=["no rows below", "packed"])
def test_key_that_does_not_sort_changes_nothing(base: dict[int, Any]) -> None:
    state = state_of(base)
    state.begin()
    change(state, (1, "a"))
    version = commit(state)
    state.publish(version)
    reader = View(version)
    state.begin()
    with pytest.raises(TypeError):
        change(state, (2, "b"), (1, "c"), ("text among numbers", "d"))
    state.check()
    assert content(state) == {**base, 1: "a"}
    change(state, (3, "e"))
    commit(state)
    assert dict(reader.items(state.tables[ROWS])) == {**base, 1: "a"}
    assert content(state) == {**base, 1: "a", 3: "e"}


@pytest.fixture
def any_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys be numbers that do something when they are compared."""
    monkeypatch.setattr(Table, "_require_key", lambda table, key: None)


@pytest.mark.usefixtures("any_keys")
@pytest.mark.parametrize("comparisons", range(12))
def test_change_that_is_interrupted_anywhere_is_undone(comparisons: int) -> None:
    left = comparisons

    class Interrupting(int):
        __slots__ = ()

        def __lt__(self, other: int) -> bool:
            nonlocal left
            left -= 1
            if left == -1:  # once: the second interrupt of a user is another matter
                raise KeyboardInterrupt
            return int(self) < int(other)

    state = state_of(dict.fromkeys(range(0, 20, 2), "base"))
    state.begin()
    change(state, *((key, "old") for key in range(1, 20, 4)))
    before = content(state)
    with pytest.raises(KeyboardInterrupt):
        change(state, (2, "new"), (5, "new"), *((Interrupting(30 - n), "new") for n in range(9)))
    state.check()
    assert content(state) == before


def test_unhashable_key_changes_nothing() -> None:
    state = state_of({1: "a"})
    state.begin()
    with pytest.raises(TypeError):
        change(state, (2, "b"), ([], "c"))
    assert content(state) == {1: "a"}


def test_value_of_bytes_is_refused_and_undone() -> None:
    state = state_of({})
    state.begin()
    with pytest.raises(TypeError, match="bytes"):
        change(state, (1, "a"), (2, b"bytes"))
    assert content(state) == {}


def test_table_is_not_changed_outside_apply() -> None:
    state = state_of({1: "a"})
    state.begin()
    with pytest.raises(ProjectionError, match="outside"):
        state.tables[ROWS].put(1, "b")
    with pytest.raises(ProjectionError, match="outside"):
        state.tables[ROWS].delete(1)
    assert content(state) == {1: "a"}


def test_values_are_decoded_only_when_they_are_read() -> None:
    decoded = []

    class Counting(Rows):
        tables = (
            TableSpec(ROWS, decode=lambda key, plain: decoded.append(key) or ("decoded", plain)),
        )

    stored = StoredRows(packed_rows({1: "a", 2: "b"}, 2))
    state = State([Counting()], Version(0, b"", 0), {ROWS: stored})
    view = View(state.durable)
    assert decoded == []
    for _ in range(3):
        assert view.get(state.tables[ROWS], 2) == ("decoded", "b")
    assert decoded == [2]
    raw = dict(view.raw_items(state.tables[ROWS]))
    assert raw == {1: pack("a"), 2: pack("b")}, "reading changes no row"
    assert decoded == [2]


def test_versions_behind_all_readers_are_freed() -> None:
    state = state_of({})
    old = View(state.durable)
    versions = []
    for number in range(50):
        state.begin()
        change(state, (number % 5, number))
        versions.append(commit(state))
        state.publish(versions[-1])
    assert dict(old.items(state.tables[ROWS])) == {}
    # Having read, the reader holds the newest version and its own undo map, not the chain.
    assert sys.getrefcount(versions.pop(10)) <= sys.getrefcount(object()) + 2


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Yielding(int):
    """A key that lets other threads run whenever it is compared."""

    __slots__ = ()

    def __lt__(self, other: int) -> bool:
        time.sleep(0)
        return int(self) < int(other)


@pytest.mark.usefixtures("frequent_switches", "any_keys")
@pytest.mark.parametrize("attempt", range(5))
def test_one_view_read_by_several_threads_sees_one_version(attempt: int) -> None:
    rows = {Yielding(key): attempt for key in range(30)}
    state = state_of({})
    state.begin()
    change(state, *rows.items())
    state.publish(commit(state))
    table, view = state.tables[ROWS], View(state.durable)
    problems: list[object] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                got = [view.get(table, key) for key in (3, 17, 29)]
                scanned = dict(view.items(table))
                if got != [attempt] * 3 or scanned != rows:
                    problems.append((got, scanned))
        except Exception as error:
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    for number in range(60):
        state.begin()
        # Keys come and go in an order that splits sorted lists in the middle.
        key = Yielding((number * 11) % 30)
        change(state, (key, None if number < 30 else "new"), (Yielding(100 + number), "new"))
        state.publish(commit(state))
    done.set()
    for thread in readers:
        thread.join()
    assert problems == []


class Gated(dict[Any, Any]):
    """An undo map where each thread stops before it copies it, until it is let through."""

    def __init__(self, undo: dict[Any, Any]) -> None:
        super().__init__(undo)
        self.arrived: dict[str, threading.Event] = {name: threading.Event() for name in "ab"}
        self.gates: dict[str, threading.Event] = {name: threading.Event() for name in "ab"}

    def copy(self) -> dict[Any, Any]:
        name = threading.current_thread().name
        self.arrived[name].set()
        assert self.gates[name].wait(20)
        return super().copy()


def test_two_threads_that_fold_one_view_see_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "_WALKED_VERSIONS_MAX", 0)
    state = state_of({1: "old"})
    table, view, version = state.tables[ROWS], View(state.durable), state.durable
    state.begin()
    change(state, (1, "new"))
    state.publish(commit(state))
    undo = version.undo[table] = Gated(version.undo[table])
    got: list[Any] = []
    threads = {
        name: threading.Thread(target=lambda: got.append(view.get(table, 1)), name=name)
        for name in "ab"
    }
    threads["a"].start()
    assert undo.arrived["a"].wait(20)
    threads["b"].start()
    undo.arrived["b"].wait(0.2)  # where it does not come, it waits for the other one
    for name in "ab":
        undo.gates[name].set()
        threads[name].join()
    assert got == ["old", "old"]


@given(st.lists(st.integers(0, 10_000), unique=True, max_size=400), st.integers(0, 10_000))
def test_scan_in_slices_of_any_size_misses_nothing(found: list[int], start: int) -> None:
    state = state_of({key: key for key in found[::2]}, chunk_rows=128)
    state.begin()
    change(state, *((key, key) for key in found[1::2]))
    expected = sorted(found)
    assert [key for key, _ in state.tables[ROWS].items()] == expected
    assert [key for key, _ in state.tables[ROWS].items(start)] == expected[
        bisect_left(expected, start) :
    ]
