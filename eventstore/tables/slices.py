"""Slices: how a scan takes the rows of a table, some at a time, and sets right what it took."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from eventstore.tables.packed import ABSENT, TOMBSTONE

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_SLICE_ROWS = 16
SLICE_ROWS_MAX = 256


def merged(
    changed: list[tuple[Any, Any]], packed: list[tuple[Any, bytes]], start: Any, limit: int
) -> tuple[list[tuple[Any, Any]], Any, bool]:
    """Lay changed rows over packed ones, up to where both slices are complete.

    Returns:
        the rows; the last key looked at; whether there may be more after it.
    """
    if not changed:
        return list(packed), packed[-1][0] if packed else start, len(packed) == limit
    full = [rows[-1][0] for rows in (changed, packed) if len(rows) == limit]
    merged: dict[Any, Any] = dict(packed)
    merged.update(changed)
    keys = sorted(merged)
    if full:
        del keys[bisect_right(keys, min(full)) :]
    rows = [
        (key, value)
        for key in keys
        if (value := merged[key]) is not TOMBSTONE and value is not ABSENT
    ]
    return rows, keys[-1] if keys else start, bool(full)


def corrected(rows: list[tuple[Any, Any]], older: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Return a slice of rows with what was changed in its range since: ABSENT for no row."""
    if not older:
        return rows
    corrected = dict(rows)
    corrected.update(older)
    return [(key, corrected[key]) for key in sorted(corrected) if corrected[key] is not ABSENT]
