"""Slices: how a scan takes the rows of a table, some at a time, and sets right what it took."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from eventstore.tables.packed import ABSENT, TOMBSTONE

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_SLICE_ROWS = 16
SLICE_ROWS_MAX = 256

_KEY = itemgetter(0)


def merged(
    changed: list[tuple[Any, Any]], packed: list[tuple[Any, bytes]], start: Any, limit: int
) -> tuple[list[tuple[Any, Any]], Any, bool]:
    """Lay changed rows over packed ones, up to where both slices are complete.

    Returns:
        the rows; the last key looked at; whether there may be more after it.
    """
    if not changed:
        return list(packed), packed[-1][0] if packed else start, len(packed) == limit
    ends = [rows[-1][0] for rows in (changed, packed) if rows]
    full = [rows[-1][0] for rows in (changed, packed) if len(rows) == limit]
    last = min(full) if full else max(ends)
    rows = _laid_over(changed, packed)
    del rows[bisect_right(rows, last, key=_KEY) :]
    return rows, last, bool(full)


def merged_from_end(
    changed: list[tuple[Any, Any]], packed: list[tuple[Any, bytes]], stop: Any, limit: int
) -> tuple[list[tuple[Any, Any]], Any, bool]:
    """Lay changed rows over packed ones, down to where both slices are complete.

    Returns:
        the rows; the lowest key looked at; whether there may be more before it.
    """
    if not changed:
        return list(packed), packed[0][0] if packed else stop, len(packed) == limit
    starts = [rows[0][0] for rows in (changed, packed) if rows]
    full = [rows[0][0] for rows in (changed, packed) if len(rows) == limit]
    first = max(full) if full else min(starts)
    rows = _laid_over(changed, packed)
    del rows[: bisect_left(rows, first, key=_KEY)]
    return rows, first, bool(full)


def _laid_over(
    changed: list[tuple[Any, Any]], packed: list[tuple[Any, bytes]]
) -> list[tuple[Any, Any]]:
    merged: dict[Any, Any] = dict(packed)
    for key, value in changed:
        if value is TOMBSTONE or value is ABSENT:
            merged.pop(key, None)
        else:
            merged[key] = value
    return sorted(merged.items(), key=_KEY)


def corrected(rows: list[tuple[Any, Any]], older: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Return a slice of rows with what was changed in its range since: ABSENT for no row."""
    if not older:
        return rows
    corrected = dict(rows)
    corrected.update(older)
    return [(key, corrected[key]) for key in sorted(corrected) if corrected[key] is not ABSENT]
