r"""Walks: which snapshots to visit for a set of filters, and visiting them in key order.

A filter that asks for equality on name, parent, kind or a label can only match the snapshots in
one index range, so only those are looked at; every candidate is then tested against the whole
filter. An equality with NUL, which a filter can write as `\x00`, is in no index and does not
count. If any filter of a walk asks for no equality, all snapshots are visited. Of several
equalities in one filter, the one that most likely selects least is used: name, label, parent,
kind, in that order.

Keyword arguments ask for equalities too: they are added to each filter, so that a snapshot must
meet them all and any of the filters.
"""

from __future__ import annotations

import heapq
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from projections.snapshots.filters import Column, Filter, Operator, parse_filter, resolve_field
from projections.snapshots.projection import (
    BY_KIND,
    BY_LABEL,
    BY_PARENT,
    SEPARATOR,
    SNAPSHOTS,
    index_range,
    name_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from projections.snapshots.filters import Selector
    from projections.snapshots.model import Info
    from projections.snapshots.projection import Row

_PREFERENCE = (Column.NAME, Column.LABEL, Column.PARENT, Column.KIND)
_INDEXES = {Column.PARENT: BY_PARENT, Column.KIND: BY_KIND, Column.LABEL: BY_LABEL}


class Reads(Protocol):
    """The reads that a walk needs of a transaction."""

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        """Return the value of a key in a table."""

    def items(self, table: str, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of a table in key order."""


def walk(
    transaction: Reads, filters: Iterable[str], required: tuple[Selector, ...] = ()
) -> Iterator[Info]:
    """Yield the infos of all snapshots that match any of the filters, in key order.

    Without filters, all of them. Those that are yielded also match all required selectors.
    O(candidates), and O(log n) to start.

    Raises:
        InvalidArgumentError: at the call, not at the first step: a filter can't be parsed.
    """
    parsed = [parse_filter(text) for text in filters]
    if required:
        any_snapshot = [Filter(())]
        parsed = [Filter((*required, *each.selectors)) for each in parsed or any_snapshot]
    return _walk(transaction, parsed)


def _walk(transaction: Reads, parsed: list[Filter]) -> Iterator[Info]:
    ranges = [_index_range(each) for each in parsed]
    if not parsed or None in ranges:
        rows: Iterator[Row] = (row for _, row in transaction.items(SNAPSHOTS))
    else:
        rows = _candidates(transaction, [each for each in ranges if each is not None])
    matchers = [each.matches for each in parsed]
    for _, info, _ in rows:
        if not matchers or any(matches(info) for matches in matchers):
            yield info


def _index_range(parsed: Filter) -> tuple[str | None, tuple[str, ...]] | None:
    """Return which index rows hold everything that a filter can match.

    Returns:
        the table and the indexed texts, or None and the name; None if no equality is asked for.
    """
    found: dict[Column, tuple[str | None, tuple[str, ...]]] = {}
    for selector in parsed.selectors:
        reference = resolve_field(selector.field)
        if selector.operator is not Operator.EQUAL or reference is None:
            continue
        if SEPARATOR in reference.label or SEPARATOR in selector.value:
            continue
        if reference.column is Column.NAME:
            found[Column.NAME] = (None, (selector.value,))
        elif reference.column is Column.LABEL:
            found[Column.LABEL] = (BY_LABEL, (reference.label, selector.value))
        else:
            found[reference.column] = (_INDEXES[reference.column], (selector.value,))
    return next((found[column] for column in _PREFERENCE if column in found), None)


def _candidates(
    transaction: Reads, ranges: list[tuple[str | None, tuple[str, ...]]]
) -> Iterator[Row]:
    """Yield the rows in any of the ranges, in key order, each once."""
    names = heapq.merge(*(_names(transaction, table, texts) for table, texts in ranges))
    for name, _ in groupby(names):
        row = transaction.get(SNAPSHOTS, name)
        if row is not None:
            yield row


def _names(transaction: Reads, table: str | None, texts: tuple[str, ...]) -> Iterator[str]:
    if table is None:
        yield from texts
        return
    start, stop = index_range(*texts)
    for key, _ in transaction.items(table, start, stop):
        yield name_in(key)
