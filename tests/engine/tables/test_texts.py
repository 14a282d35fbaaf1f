"""An index that is not made yet is answered by the bytes of the rows, and leaves none out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Event, Projection, ProjectionError, TableSpec
from eventstore.format.checkpoint import pack_ends
from eventstore.format.codec import pack
from eventstore.projection import checked_projections
from eventstore.tables.packed import PackedChunk, PackedRows
from eventstore.tables.state import State
from eventstore.tables.stored import StoredRows
from eventstore.tables.version import Version
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore import WritableTable

ROWS, BY_LABEL = "rows", "by_label"
LABELS = dict[str, str]


class Labelled(Projection):
    """Things with labels."""

    name = "labelled"
    version = 1
    texts: Any = staticmethod(lambda label: label)

    def __init__(self) -> None:
        self.tables = (
            TableSpec[str, LABELS](
                ROWS,
                encode=lambda labels: ("before", labels, "after"),
                decode=lambda key, plain: plain[1],
                indexes={BY_LABEL: lambda key, labels: labels.items()},
                texts={BY_LABEL: self.texts},
            ),
        )

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        for key, labels in event.data:
            if labels is None:
                tables[ROWS].delete(key)
            else:
                tables[ROWS].put(key, labels)


def packed(rows: dict[str, LABELS], chunk_rows: int) -> PackedRows:
    values = {key: pack(("before", labels, "after")) for key, labels in rows.items()}
    return rows_of(values, chunk_rows)


def rows_of(rows: dict[str, bytes], chunk_rows: int) -> PackedRows:
    keys, chunks = sorted(rows), []
    for start in range(0, len(keys), chunk_rows):
        own = keys[start : start + chunk_rows]
        values = [rows[key] for key in own]
        chunks.append(
            PackedChunk(pack(own[0]), pack(own), pack_ends(values), b"".join(values), "/file", 0)
        )
    return PackedRows(chunks, len(keys), "/file")


def state_of(
    rows: dict[str, LABELS], projection: Projection | None = None, chunk_rows: int = 3
) -> State:
    stored = {ROWS: StoredRows(packed(rows, chunk_rows))} if rows else None
    return State([projection or Labelled()], Version(0, b"", 0), stored)


def apply(state: State, changes: dict[str, LABELS | None]) -> None:
    there = dict(state.tables[ROWS].items())
    known = [(key, labels) for key, labels in changes.items() if labels or key in there]
    state.begin()
    state.apply(Event("changed", [(key, labels or None) for key, labels in known]))
    state.publish(state.commit(state.newest.revision + 1, b"", 0))


def is_made(state: State) -> bool:
    indexes = state.tables[ROWS]._indexes
    return indexes is not None and BY_LABEL in indexes._indexes


def asked(state: State, label: Any, version: Version | None = None) -> list[str]:
    view = View(version or state.durable)
    return [key for key, _ in view.by_index(state.tables[ROWS], BY_LABEL, label)]


# Texts that hold each other, that look like what stands around them, and of several bytes each.
texts = st.sampled_from(["a", "aa", "ab", "b", "before", "after", "é", "éa", "", "\xa1a", "x" * 40])
labels = st.dictionaries(texts, texts, max_size=3)
contents = st.dictionaries(st.sampled_from("abcdefgh"), labels.filter(bool), max_size=8)
changes = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | labels, max_size=6)


@given(contents, changes, changes, st.integers(1, 4))
def test_rows_found_by_their_bytes_are_those_that_have_the_label(
    rows: dict[str, LABELS],
    first: dict[str, LABELS | None],
    second: dict[str, LABELS | None],
    chunk_rows: int,
) -> None:
    wanted = [(key, value) for key in ("a", "ab", "é", "") for value in ("a", "b", "after", "éa")]
    state = state_of(rows, chunk_rows=chunk_rows)
    apply(state, first)
    version = state.durable
    before = dict(View(version).items(state.tables[ROWS]))
    apply(state, second)
    now = dict(state.tables[ROWS].items())
    for label in wanted:
        # Each as the first question to an index that is not made.
        fresh = state.tables[ROWS]._indexes
        assert fresh is not None
        fresh._unmade_cost.clear()
        fresh._packed_entries.clear()
        for content, seen in ((before, version), (now, state.durable)):
            having = [key for key in sorted(content) if label in content[key].items()]
            assert asked(state, label, seen) == having
    state.check()


@given(st.lists(st.binary(max_size=4)), st.binary(min_size=1, max_size=3), st.integers(1, 4))
def test_no_packed_row_with_some_bytes_is_passed_over(
    values: list[bytes], part: bytes, chunk_rows: int
) -> None:
    rows = rows_of({f"k{number:05}": value for number, value in enumerate(values)}, chunk_rows)
    having = {number for number, value in enumerate(values) if part in value}
    found = list(rows.numbers_holding([part]))
    assert having.issubset(found)
    assert found == sorted(set(found))


def test_bytes_are_found_at_both_ends_of_a_row() -> None:
    rows = rows_of({"a": b"xy", "b": b"xy", "c": b"zxy", "d": b"xyz", "e": b"", "f": b"xy"}, 6)
    assert list(rows.numbers_holding([b"xy"])) == [0, 1, 2, 3, 5]
    assert list(rows.numbers_holding([b"xy", b"z"])) == [2, 3]


def test_rows_with_all_of_the_bytes_come_and_no_others() -> None:
    rows = packed({"k1": {"a": "xyz"}, "k2": {"b": "xyz"}, "k3": {"a": "xy"}, "k4": {}}, 2)
    assert list(rows.numbers_holding([b"xyz", b"a"])) == [0, 1]  # "before" and "after" hold an a
    assert list(rows.numbers_holding([b"xyz", b"\xa1a"])) == [0]
    assert list(rows.numbers_holding([])) == [0, 1, 2, 3]
    assert list(rows.numbers_holding([b"none"])) == []


def test_the_first_questions_make_no_index_and_those_after_them_do() -> None:
    state = state_of({f"k{number:03}": {"n": f"v{number:03}"} for number in range(320)})
    for number in range(320):
        assert asked(state, ("n", f"v{number:03}")) == [f"k{number:03}"]
        if is_made(state):
            break
    # Each has cost the sixteenth of 320 rows that were passed, and those that were found.
    assert 10 <= number <= 16
    assert asked(state, ("n", "v005")) == ["k005"]
    state.check()


def test_a_question_for_nearly_all_rows_earns_the_index_at_once() -> None:
    state = state_of({f"k{number}": {"all": "same"} for number in range(9)})
    assert len(asked(state, ("all", "same"))) == 9
    assert not is_made(state)
    assert len(asked(state, ("all", "same"))) == 9
    assert is_made(state)


@pytest.mark.parametrize("entry", [("a", "\ud800"), ("a", 5), 5, "ab", ("a", "b", "c")])
def test_what_no_row_can_have_is_not_found(entry: Any) -> None:
    assert asked(state_of({"k": {"a": "b"}, "l": {"c": "5"}}), entry) == []


def test_a_row_that_changes_after_the_question_is_found_as_it_was() -> None:
    state = state_of({"k": {"a": "1"}, "l": {"a": "1"}})
    apply(state, {"m": {"a": "1"}})
    found = View(state.durable).by_index(state.tables[ROWS], BY_LABEL, ("a", "1"))
    apply(state, {"k": {"a": "2"}, "l": None, "m": {"b": "2"}, "n": {"a": "1"}})
    assert [key for key, _ in found] == ["k", "l", "m"]
    assert not is_made(state)


class Mistaken(Labelled):
    """Says of a label that its rows hold a text that they do not."""

    texts = staticmethod(lambda label: ("never",))


def test_texts_that_a_row_does_not_hold_are_found_by_a_check() -> None:
    state = state_of({"k": {"a": "b"}}, Mistaken())
    with pytest.raises(AssertionError, match=r"key 'k' has entry \('a', 'b'\), but not the texts"):
        state.check()


@pytest.mark.parametrize("texts", [5, {"other": str}, {BY_LABEL: "label"}])
def test_texts_of_what_is_no_index_are_refused(texts: Any) -> None:
    class Wrong(Labelled):
        tables = (TableSpec(ROWS, indexes={BY_LABEL: lambda key, row: ()}, texts=texts),)

        def __init__(self) -> None:
            pass

    with pytest.raises(ProjectionError, match="the texts of table 'rows' must be functions"):
        checked_projections([Wrong()])
