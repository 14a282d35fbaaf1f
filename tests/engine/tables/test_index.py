"""Secondary indexes: derived from the rows when they are asked, and right whatever came between."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL

from eventstore import Event, EventStore, Projection, ProjectionError, TableSpec, verify_store
from eventstore.tables import index as index_module
from eventstore.tables.state import State
from eventstore.tables.version import Version
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eventstore import WritableTable

ACCOUNTS = "accounts"
BY_OWNER = "by_owner"


class Accounts(Projection):
    """The owners of accounts; an account without an owner is in no index."""

    name = "accounts"
    version = 1
    tables = (
        TableSpec(ACCOUNTS, indexes={BY_OWNER: lambda key, owners: owners}),
        TableSpec("others"),
    )

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        for key, owners in event.data:
            if owners is None:
                tables[ACCOUNTS].delete(key)
            else:
                tables[ACCOUNTS].put(key, tuple(owners))


STEPS = ("_take_touched", "_take", "_sort", "_built", "_add_recent")


def opened(path: Path) -> EventStore:
    return EventStore.open(path, [Accounts()], options=SMALL)


def write(store: EventStore, *changes: tuple[int, list[str] | None]) -> None:
    with store.transaction(writable=True) as tx:
        tx.emit(Event("changed", [list(change) for change in changes]))


def owned(transaction: Any, owner: object) -> list[int]:
    return [key for key, _ in transaction.by_index(ACCOUNTS, BY_OWNER, owner)]


def state_of(count: int) -> State:
    """Return a state of accounts in turn of "a" and of "b"."""
    state = State([Accounts()], Version(0, b"", 0))
    state.begin()
    state.apply(Event("changed", [(key, ["ab"[key % 2]]) for key in range(count)]))
    state.publish(state.commit(1, b"", 0))
    state.begin()
    return state


def test_index_outlives_checkpoint_and_reopen_and_each_reader_keeps_its_version(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "store") as store:
        write(store, (1, ["a"]), (2, ["a", "b"]), (3, []))
        store.checkpoint()
    with opened(tmp_path / "store") as store:
        before = store.transaction()
        assert owned(before, "a") == [1, 2]
        write(store, (1, None), (3, ["a"]), (4, ["b", "a"]))
        with store.transaction(writable=True) as tx:
            tx.emit(Event("changed", [[2, ["c"]]]))
            assert (owned(tx, "a"), owned(tx, "b"), owned(tx, "c")) == ([3, 4], [4], [2])
            with store.transaction() as beside:
                assert (owned(beside, "a"), owned(beside, "c")) == ([2, 3, 4], [])
            tx.rollback()
        assert owned(store.transaction(), "b") == [2, 4]
        assert owned(before, "a") == [1, 2]
        assert owned(store.at(revision=1), "a") == [1, 2]
        with EventStore.open(tmp_path / "store", [Accounts()], read_only=True) as follower:
            assert owned(follower.transaction(), "a") == [2, 3, 4]
            write(store, (9, ["a"]))
            assert owned(follower.transaction(), "a") == [2, 3, 4, 9]
        store.check()


def test_a_table_gives_its_rows_by_index(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        write(store, (1, ["a"]), (2, ["b"]))
        with store.transaction() as tx, store.transaction(writable=True) as writer:
            for table in (tx.table(ACCOUNTS), writer.table(ACCOUNTS)):
                assert list(table.by_index(BY_OWNER, "b")) == [(2, ("b",))]


def test_what_is_no_index_is_refused_by_its_name(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        write(store, (1, ["a"]))
        unhashable: Any = ["a"]
        with store.transaction() as tx, store.transaction(writable=True) as writer:
            for each in (tx, writer):
                with pytest.raises(ProjectionError, match="'accounts' has no index 'by_name'"):
                    each.by_index(ACCOUNTS, "by_name", "a")
                with pytest.raises(ProjectionError, match="'others' has no index 'by_owner'"):
                    each.by_index("others", BY_OWNER, "a")
                with pytest.raises(ProjectionError, match="table"):
                    each.by_index("none", BY_OWNER, "a")
                with pytest.raises(TypeError, match="unhashable"):
                    each.by_index(ACCOUNTS, BY_OWNER, unhashable)


@pytest.mark.parametrize("indexes", [5, {"": len}, {5: len}, {"a": 5}, [("a", len)]])
def test_indexes_that_are_no_functions_by_names_are_refused(indexes: Any) -> None:
    class Odd(Accounts):
        tables = (TableSpec(ACCOUNTS, indexes=indexes), TableSpec("others"))

    with pytest.raises(ProjectionError, match="indexes of table 'accounts'"):
        EventStore.open("/nowhere", [Odd()])


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda key, owners: owners[0], "'a' is one entry: return it in a tuple"),
        (lambda key, owners: owners[5], "IndexError"),
        (lambda key, owners: None, "TypeError"),
        (lambda key, owners: [[]], "unhashable"),
    ],
)
def test_a_key_function_that_fails_is_told_of_to_who_asks_and_to_a_check_and_harms_no_write(
    tmp_path: Path, function: Any, says: str
) -> None:
    class Odd(Accounts):
        tables = (TableSpec(ACCOUNTS, indexes={BY_OWNER: function}), TableSpec("others"))

    with EventStore.open(tmp_path / "store", [Odd()], options=SMALL) as store:
        write(store, (1, ["a"]))
        for _ in range(2):
            with store.transaction() as tx, pytest.raises(ProjectionError, match=says):
                list(tx.by_index(ACCOUNTS, BY_OWNER, "a"))
        write(store, (2, ["a"]))
        with store.transaction() as tx:
            assert [key for key, _ in tx.items(ACCOUNTS)] == [1, 2]
        with pytest.raises(ProjectionError, match=says):
            store.check()
    report = verify_store(tmp_path / "store", [Odd()])
    assert any(says in problem.reason for problem in report.problems)


def test_check_finds_an_index_that_lacks_a_row() -> None:
    state = state_of(10)
    table = state.tables[ACCOUNTS]
    state.check()
    assert table._indexes is not None
    del table._indexes._sorted[4]
    with pytest.raises(AssertionError, match="index 'by_owner' of table 'accounts'"):
        state.check()


def test_entries_move_on_when_the_rows_are_sorted_anew_and_are_not_asked_of_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_module, "_TOUCHED_MIN", 16)
    state = state_of(4000)
    table, view = state.tables[ACCOUNTS], View(state.durable)
    assert len(list(table.by_index(BY_OWNER, "a"))) == 2000
    indexes = table._indexes
    assert indexes is not None
    asked = 0
    entries = indexes.entries

    def counted(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return entries(*arguments)

    monkeypatch.setattr(type(indexes), "entries", staticmethod(counted))
    for key in range(0, 1500, 3):
        state.apply(Event("changed", [(key, ["c"])]))
    state.apply(Event("changed", [(key, None) for key in range(1, 300, 3)]))
    assert [key for key, _ in table.by_index(BY_OWNER, "c")] == list(range(0, 1500, 3))
    assert not indexes._recent, "they were sorted anew"
    assert asked < 1500
    expected = [
        key
        for key in range(1, 4000, 2)
        if key % 3 == 2 or key >= 1500 or (key % 3 == 1 and key >= 300)
    ]
    assert [key for key, _ in table.by_index(BY_OWNER, "b")] == expected
    assert [key for key, _ in view.by_index(table, BY_OWNER, "b")] == list(range(1, 4000, 2))
    assert len(indexes._sorted) == 3900
    monkeypatch.undo()
    state.check()


def test_a_change_between_the_index_and_the_undo_maps_is_seen_by_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = state_of(4)
    table, view = state.tables[ACCOUNTS], View(state.durable)
    for number, asked in enumerate((type(table).found, View._changed_keys)):
        owner, name = type(table) if number == 0 else View, asked.__name__

        def changing(*arguments: Any, asked: Any = asked, number: int = number) -> Any:
            state.apply(Event("changed", [(2 * number, ["z"])]))
            return asked(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, changing)
            found = view.by_index(table, BY_OWNER, "a")
        assert [key for key, _ in found] == [0, 2]


def test_a_question_of_the_writer_shows_the_rows_as_they_were_when_it_was_asked() -> None:
    state = state_of(6)
    table = state.tables[ACCOUNTS]
    found = table.by_index(BY_OWNER, "a")
    state.apply(Event("changed", [(0, ["z"]), (2, None), (4, ["a", "z"]), (1, ["a"])]))
    assert list(found) == [(0, ("a",)), (2, ("a",)), (4, ("a",))]


@pytest.mark.parametrize("changes", [0, 1])
def test_a_row_whose_entries_have_one_hash_is_found_once(
    monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    monkeypatch.setattr(index_module, "_HASH_MASK", 0)
    state = state_of(3)
    table = state.tables[ACCOUNTS]
    if changes:
        assert [key for key, _ in table.by_index(BY_OWNER, "a")] == [0, 2]
    state.apply(Event("changed", [(1, ["a", "b", "c", "a"])]))
    for owner, found in (("a", [0, 1, 2]), ("b", [1]), ("c", [1]), ("d", [])):
        assert [key for key, _ in table.by_index(BY_OWNER, owner)] == found
    state.check()


def test_touched_keys_take_no_more_room_than_half_of_the_rows() -> None:
    state = state_of(10)
    table = state.tables[ACCOUNTS]
    indexes = table._indexes
    assert indexes is not None
    for _ in range(2):
        for number in range(3 * index_module._TOUCHED_MIN):
            state.apply(Event("changed", [(number % 10, [str(number)])]))
            assert len(indexes._touched) <= index_module._TOUCHED_MIN
        assert [key for key, _ in table.by_index(BY_OWNER, str(number))] == [number % 10]


def test_questions_without_a_change_between_them_do_not_sort_the_rows_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_module, "_TOUCHED_MIN", 8)
    state = state_of(40)
    table = state.tables[ACCOUNTS]
    indexes = table._indexes
    assert indexes is not None
    assert len(list(table.by_index(BY_OWNER, "a"))) == 20
    state.apply(Event("changed", [(1, ["a"])]))
    in_order = indexes._sorted
    for _ in range(1000):
        assert len(list(table.by_index(BY_OWNER, "a"))) == 21
    assert indexes._sorted is in_order
    for key in range(1, 40, 2):  # and those that follow changes do
        state.apply(Event("changed", [(key, ["c"])]))
        assert len(list(table.by_index(BY_OWNER, "c"))) == key // 2 + 1
    assert indexes._sorted is not in_order


def test_a_question_that_is_interrupted_anywhere_is_followed_by_one_that_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_module, "_TOUCHED_MIN", 8)
    monkeypatch.setattr(index_module, "_SLICE_ROWS", 16)

    def run(at: int) -> bool:
        """Interrupt questions at a line; say whether they got so far."""
        state = state_of(80)
        table = state.tables[ACCOUNTS]
        left = at

        def trace(frame: Any, event: str, argument: object) -> Any:
            nonlocal left
            code = frame.f_code
            # Each line of the methods that change an index, but not each turn of what they call.
            if event == "line" and code.co_filename.endswith("index.py") and code.co_name in STEPS:
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        def ask() -> None:
            previous = sys.gettrace()
            sys.settrace(trace)
            try:
                list(table.by_index(BY_OWNER, "a"))
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(previous)

        ask()
        state.apply(Event("changed", [(key, ["a"]) for key in range(1, 9, 2)]))
        ask()
        state.apply(Event("changed", [(key, None) for key in range(0, 60, 3)]))
        ask()
        expected = [
            key for key in range(80) if (key % 2 == 0 or key < 9) and (key >= 60 or key % 3)
        ]
        assert [key for key, _ in table.by_index(BY_OWNER, "a")] == expected
        state.rollback()
        assert [key for key, _ in table.by_index(BY_OWNER, "a")] == list(range(0, 80, 2))
        state.check()
        return left <= 0

    at = 1
    while run(at):
        at += 1


@pytest.mark.parametrize("at", range(1, 13))
@pytest.mark.parametrize("interrupts", [False, True], ids=["asked amid", "asked, interrupted amid"])
def test_a_put_amid_which_an_index_is_asked_is_in_the_index_if_it_is_not_taken_back(
    at: int, interrupts: bool
) -> None:
    state = state_of(10)
    table = state.tables[ACCOUNTS]
    assert [key for key, _ in table.by_index(BY_OWNER, "a")] == list(range(0, 10, 2))
    left = at

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal left
        if event == "line" and frame.f_code.co_name in ("_write", "_discard", "touch"):
            left -= 1
            if left == 0:
                list(table.by_index(BY_OWNER, "a"))
                if interrupts:
                    raise KeyboardInterrupt
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        state.apply(Event("changed", [(1, ["a"]), (0, None)]))
    except KeyboardInterrupt:
        state.rollback()
    finally:
        sys.settrace(previous)
    is_taken_back = interrupts and left <= 0
    expected = [0, 2, 4, 6, 8] if is_taken_back else [1, 2, 4, 6, 8]
    assert [key for key, _ in table.by_index(BY_OWNER, "a")] == expected
    state.check()


def test_questions_beside_a_writer_give_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_TOUCHED_MIN", 16)
    state = state_of(300)
    table = state.tables[ACCOUNTS]
    done = threading.Event()
    wrong: list[object] = []

    def ask() -> None:
        while not done.is_set():
            version = state.durable
            view = View(version)
            moved = {key for key, owners in view.items(table) if owners == ("c",)}
            if {key for key, _ in view.by_index(table, BY_OWNER, "c")} != moved:
                wrong.append(version.revision)
            others = sum(len(list(view.by_index(table, BY_OWNER, owner))) for owner in "ab")
            if len(moved) + others != 300:
                wrong.append((version.revision, others))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for revision in range(2, 120):
            keys = range(revision % 7, 300, 1 + revision % 11)
            owner = "abc"[revision % 3]
            state.apply(Event("changed", [(key, [owner]) for key in keys]))
            if revision % 4 == 0:
                state.rollback()
            else:
                state.publish(state.commit(revision, b"", 0))
            state.begin()
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    assert wrong == []
    state.check()
