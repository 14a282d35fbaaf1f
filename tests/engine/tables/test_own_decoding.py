"""A scan by somebody who needs less of a value than all that the table's `decode` makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL

from eventstore import CorruptionError, Event, EventStore, Projection, ProjectionError, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eventstore import WritableTable

ENCODED, PLAIN = "encoded", "plain"


class Words(Projection):
    """Words, as lists of their letters and as they are."""

    name = "words"
    version = 1
    tables = (
        TableSpec[int, str](ENCODED, encode=tuple, decode=lambda key, letters: "".join(letters)),
        TableSpec[int, str](PLAIN),
    )

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        for key, word in event.data:
            tables[ENCODED].put(key, word)
            tables[PLAIN].put(key, word)


def opened(path: Path) -> EventStore:
    return EventStore.open(path, [Words()], options=SMALL)


def put(transaction: Any, words: dict[int, str]) -> None:
    transaction.emit(Event("put", [list(word) for word in words.items()]))


def size(key: int, value: Any) -> tuple[int, int, str]:
    return key, len(value), type(value).__name__


def test_values_are_what_the_caller_makes_of_the_plain_data(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store, store.transaction(writable=True) as tx:
        put(tx, {1: "one", 2: "two", 3: "three", 4: "four"})
    with opened(tmp_path / "store") as store:
        with store.transaction(writable=True) as tx:
            put(tx, {2: "second", 5: "fifth"})
        sizes = {1: 3, 2: 6, 3: 5, 4: 4, 5: 5}
        for writable in (False, True):
            with store.transaction(writable=writable) as tx:
                for table, kind in ((ENCODED, "tuple"), (PLAIN, "str")):
                    found = dict(tx.items(table, decode=size))
                    assert found == {key: (key, count, kind) for key, count in sizes.items()}
                    some = dict(tx.items(table, 2, 4, decode=size))
                    assert list(some.values()) == [(2, 6, kind), (3, 5, kind)]
                # What was made of a value is kept for nobody else.
                assert dict(tx.items(ENCODED))[2] == "second"
                assert tx.get(ENCODED, 3) == "three"


def test_a_scan_with_its_own_decoding_is_as_of_its_call(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        with store.transaction(writable=True) as tx:
            put(tx, dict.fromkeys(range(40), "word"))
        with store.transaction() as before, store.transaction(writable=True) as tx:
            own, shown = tx.items(ENCODED, decode=size), before.items(ENCODED, decode=size)
            next(own)
            next(shown)
            put(tx, dict.fromkeys(range(50), "longer"))
            assert [value[1] for _, value in own] == [4] * 39
            assert [value[1] for _, value in shown] == [4] * 39


def test_what_its_decoding_can_not_read_is_told_as_that_of_the_table_is(tmp_path: Path) -> None:
    def failing(key: int, value: Any) -> Any:
        raise LookupError("as asked")

    with opened(tmp_path / "store") as store:
        with store.transaction(writable=True) as writer:
            put(writer, {1: "one"})
        with store.transaction() as tx, pytest.raises(ProjectionError, match="can't be decoded"):
            list(tx.items(ENCODED, decode=failing))
        store.checkpoint()
    with (
        opened(tmp_path / "store") as store,
        store.transaction() as tx,
        pytest.raises(CorruptionError, match="key 1 can't be decoded"),
    ):
        list(tx.items(ENCODED, decode=failing))
