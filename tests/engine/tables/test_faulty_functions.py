"""What a table's own functions raise is told as the fault of its projection, never as damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL

from eventstore import CorruptionError, Event, EventStore, Projection, ProjectionError, TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eventstore import WritableTables

FAULTS = (ValueError("no"), StopIteration(), AssertionError("no"), RuntimeError("no"))


class Refusing:
    """An entry of an index that can't be compared, or has no hash."""

    def __init__(self, *, has_hash: bool = False) -> None:
        self.has_hash = has_hash

    def __hash__(self) -> int:
        if not self.has_hash:
            raise StopIteration
        return hash("a")

    def __eq__(self, other: object) -> bool:
        raise StopIteration


class Things(Projection):
    """Keys and values as the events give them, in a table with functions of the test."""

    name = "things"
    version = 1

    def __init__(
        self,
        decode: Callable[[Any, Any], Any] = lambda key, value: value,
        by: Callable[[Any, Any], Any] = lambda key, value: (value,),
    ) -> None:
        self.tables = (
            TableSpec("things", encode=lambda value: value, decode=decode, indexes={"by": by}),
        )

    def apply(self, event: Event, tables: WritableTables) -> None:
        for key, value in event.data:
            tables["things"].put(key, value)


def raising(fault: Exception, bad: int = 3) -> Callable[[Any, Any], Any]:
    """Return a function of key and value that fails for one key."""

    def function(key: Any, value: Any) -> Any:
        if key == bad:
            raise fault
        return (value,)

    return function


def opened(path: Path, things: Things) -> EventStore:
    store = EventStore.open(path, [things], options=SMALL)
    if store.stats()["revision"] == 0:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", [[key, "a"] for key in range(6)]))
    return store


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_decode_that_fails_is_told_with_table_and_key(tmp_path: Path, fault: Exception) -> None:
    with opened(tmp_path / "store", Things(raising(fault))) as store, store.transaction() as tx:
        assert tx.get("things", 2) == ("a",)
        with pytest.raises(ProjectionError, match=r"'things', key 3.*TableSpec.decode") as told:
            tx.get("things", 3)
        assert told.value.__cause__ is fault
        seen: list[int] = []
        with pytest.raises(ProjectionError, match="'things', key 3"):
            seen.extend(key for key, _ in tx.items("things"))
        rows = tx.items("things")
        assert [next(rows)[0] for _ in range(3)] == [0, 1, 2]


def test_decode_that_fails_on_what_was_put_is_told_beside_a_checkpoint_too(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path, Things()) as store:
        store.checkpoint()
    with opened(path, Things(raising(ValueError("no"), 7))) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", [[7, "a"]]))
        with store.transaction() as tx, pytest.raises(ProjectionError, match="'things', key 7"):
            tx.get("things", 7)


def test_decode_that_fails_on_a_row_of_a_checkpoint_may_be_damage(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path, Things()) as store:
        store.checkpoint()
    with (
        opened(path, Things(raising(ValueError("no")))) as store,
        store.transaction() as tx,
        pytest.raises(CorruptionError, match="'things', key 3") as told,
    ):
        tx.get("things", 3)
    assert told.value.path.endswith(".ckpt")


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_key_function_that_fails_is_told_with_index_and_key(
    tmp_path: Path, fault: Exception
) -> None:
    things = Things(by=raising(fault))
    with opened(tmp_path / "store", things) as store, store.transaction() as tx:
        with pytest.raises(ProjectionError, match=r"index 'by' of table 'things'.* key 3"):
            list(tx.by_index("things", "by", "a"))
        with pytest.raises(ProjectionError, match=r"index 'by' of table 'things'.* key 3"):
            store.check()


def test_entry_without_a_hash_is_told_with_index_and_key(tmp_path: Path) -> None:
    things = Things(by=lambda key, value: (Refusing(),))
    with (
        opened(tmp_path / "store", things) as store,
        store.transaction() as tx,
        pytest.raises(ProjectionError, match=r"index 'by' of table 'things'.* key 0"),
    ):
        list(tx.by_index("things", "by", "a"))


def test_entry_that_cannot_be_compared_is_told_with_index_and_key(tmp_path: Path) -> None:
    things = Things(by=lambda key, value: (Refusing(has_hash=True),))
    with (
        opened(tmp_path / "store", things) as store,
        store.transaction() as tx,
        pytest.raises(ProjectionError, match=r"index 'by' of table 'things'.* key 0"),
    ):
        list(tx.by_index("things", "by", "a"))


def test_exhausted_stack_is_no_fault_of_a_key_function(tmp_path: Path) -> None:
    things = Things(by=raising(RecursionError("maximum recursion depth exceeded")))
    with (
        opened(tmp_path / "store", things) as store,
        store.transaction() as tx,
        pytest.raises(RecursionError),
    ):
        list(tx.by_index("things", "by", "a"))


def test_exhausted_stack_is_neither_damage_nor_a_fault_of_decode(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path, Things()) as store:
        store.checkpoint()
    things = Things(raising(RecursionError("maximum recursion depth exceeded")))
    with opened(path, things) as store, store.transaction() as tx:
        with pytest.raises(RecursionError):
            tx.get("things", 3)
        with pytest.raises(RecursionError):
            list(tx.items("things"))
