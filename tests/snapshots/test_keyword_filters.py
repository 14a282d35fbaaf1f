"""Filters whose values come from elsewhere: a quoted text and a keyword mean exactly that text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snapshots import create_committed

from projections.snapshots import InvalidArgumentError, Kind, MetaStore, quote_filter, storage
from projections.snapshots.filters import Operator, parse_filter
from projections.snapshots.projection import SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD_TEXTS = [
    "a,b",
    'say "x"',
    "back\\slash",
    "line\nbreak",
    "tab\t and\rreturn",
    "name==other",
    ",kind==active",
    '",kind==active,name=="',
    "/slash|pipe",
    " leading and trailing ",
    "\ufffd",
    "\ufeff",
    "\x01\x7f\x85\u2028\u202e",
    "тест 🙂 \U0010ffff",
    "a.b",
    "'",
    "\\x00",
]


@given(st.text())
def test_a_quoted_text_is_parsed_as_exactly_that_text(text: str) -> None:
    [selector] = parse_filter(f"name=={quote_filter(text)}").selectors
    assert (selector.field, selector.operator, selector.value) == (("name",), Operator.EQUAL, text)
    first, second = parse_filter(f"labels.{quote_filter(text)}~=x,kind==active").selectors
    assert first.field == ("labels", text)
    assert second.value == "active"


@pytest.mark.parametrize("text", [None, 5, b"a", ["a"], "\udcff", "a\ud800"])
def test_what_is_no_text_is_not_quoted(text: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="text"):
        quote_filter(text)


@pytest.fixture
def odd(store: MetaStore) -> MetaStore:
    with store.transaction(writable=True) as tx:
        for number, text in enumerate(ODD_TEXTS):
            create_committed(tx, text)
            tx.create_snapshot(Kind.ACTIVE, f"on {number}", text, {text: text, "all": "yes"})
        create_committed(tx, "other", labels={"all": "yes"})
    return store


@pytest.mark.parametrize("number", range(len(ODD_TEXTS)))
def test_any_key_is_found_by_keyword_and_by_quoted_filter(odd: MetaStore, number: int) -> None:
    text = ODD_TEXTS[number]
    with odd.transaction() as tx:
        for found in (
            tx.walk_info(name=text),
            tx.walk_info(f"name=={quote_filter(text)}"),
        ):
            assert [info.name for info in found] == [text]
        for found in (
            tx.walk_info(parent=text),
            tx.walk_info(labels={text: text}),
            tx.walk_info(f"parent=={quote_filter(text)}"),
            tx.walk_info(f"labels.{quote_filter(text)}=={quote_filter(text)}"),
            tx.walk_info(parent=text, kind=Kind.ACTIVE, labels={text: text, "all": "yes"}),
            tx.walk_info("name==nowhere", "kind==active", parent=text),
            tx.walk_info("", parent=text),
        ):
            assert [info.name for info in found] == [f"on {number}"]


def test_keywords_must_all_match_and_any_of_the_filters(odd: MetaStore) -> None:
    with odd.transaction() as tx:
        every = list(tx.walk_info())
        active = [info for info in every if info.kind is Kind.ACTIVE]
        assert list(tx.walk_info(kind="active")) == active
        assert list(tx.walk_info(kind=Kind.VIEW)) == []
        assert list(tx.walk_info(parent="")) == [info for info in every if not info.parent]
        assert list(tx.walk_info(labels={"all": "yes"}, kind=Kind.COMMITTED)) == [
            info for info in every if info.name == "other"
        ]
        assert list(tx.walk_info("name==other", labels={"all": "no"})) == []
        assert list(tx.walk_info("name==other", "kind==active", labels={"all": "yes"})) == [
            info for info in every if info.labels.get("all")
        ]
        assert list(tx.walk_info(labels={})) == every
        assert list(tx.walk_info(name=None, parent=None, kind=None, labels=None)) == every
        for nothing in ("", "nowhere", "other\0", "\udcff"):
            assert list(tx.walk_info(name=nothing)) == []
            assert list(tx.walk_info(labels={nothing: "yes"})) == []


def test_functions_on_the_current_transaction_take_the_keywords_too(odd: MetaStore) -> None:
    found: list[str] = []
    with odd.transaction_context():
        storage.walk_info(lambda info: found.append(info.name), "kind==active", parent="a,b")
    assert found == ["on 0"]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"name": 5}, "name to filter by must be a str"),
        ({"name": b"a"}, "name to filter by must be a str"),
        ({"parent": ["a"]}, "parent to filter by must be a str"),
        ({"kind": "bogus"}, "unknown snapshot kind"),
        ({"kind": 1}, "kind to filter by must be a str"),
        ({"kind": ""}, "unknown snapshot kind"),
        ({"labels": "ab"}, "mapping"),
        ({"labels": {"a": None}}, "label value to filter by must be a str"),
        ({"labels": {1: "a"}}, "label key to filter by must be a str"),
    ],
)
def test_a_keyword_that_can_not_be_meant_is_refused_at_the_call(
    odd: MetaStore, keywords: dict[str, Any], message: str
) -> None:
    with odd.transaction() as tx, pytest.raises(InvalidArgumentError, match=message):
        tx.walk_info(**keywords)


class Counted:
    """A transaction that counts the rows that a walk looks at."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.rows = 0

    def get(self, *arguments: Any) -> Any:
        self.rows += 1
        return self._tx.get(*arguments)

    def items(self, *arguments: Any) -> Iterator[Any]:
        for row in self._tx.items(*arguments):
            self.rows += arguments[0] == SNAPSHOTS
            yield row

    def by_index(self, *arguments: Any) -> Iterator[Any]:
        for row in self._tx.by_index(*arguments):
            self.rows += 1
            yield row


@pytest.mark.parametrize(
    "keywords", [{"name": "a,b"}, {"parent": "a,b"}, {"labels": {"a,b": "a,b"}}]
)
@pytest.mark.parametrize("filters", [(), ("kind~=/./",), ("kind~=/./", "name~=/./")])
def test_equality_by_keyword_looks_at_what_an_index_gives(
    odd: MetaStore, keywords: dict[str, Any], filters: tuple[str, ...]
) -> None:
    with odd.transaction() as tx:
        counted = Counted(tx)
        walked = type(tx).walk_info(counted, *filters, **keywords)  # type: ignore[arg-type]
        assert len(list(walked)) == 1
        assert counted.rows == 1
