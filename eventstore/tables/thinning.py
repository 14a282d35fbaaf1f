"""Thinning: old versions that only idle readers hold are merged, so that they pin little.

A reader that does not read holds its version, and by the chain every later one. Nobody knows where
readers are; but every 64 commits the newest version is remembered by a weak reference, and what
lies between two such versions is an *interval*. Where the reference is dead, no reader is older.
Two neighbouring intervals of one level become one of the next, like the bits of a counter. So an
idle reader pins O(log commits) intervals, each with no more keys than were changed in it.

To merge is to let the first version of an interval take over the undo maps of those behind it: a
key that its own map lacks has not changed until there, so what they say of it is true of the first
one as well. Then its link skips them. Whoever reads must take the link first and the map second:
with the old link he meets the maps once more, which changes nothing, and behind the new one the map
is complete. Readers at a version that was skipped hold it, and its own link is as it was.

It is done in small slices at the begin of write transactions, the more the longer the chain, and
may be stopped anywhere. Nothing is done where no reader is older than an interval, nor to the
newest versions, which a reader may hold that is merely slow.
"""

from __future__ import annotations

import weakref
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.tables.version import Version

_INTERVAL_VERSIONS = 64
_YOUNG_VERSIONS = 4096
"""The newest ones are not merged: they take 4 MB at the most, and who collects the changed keys for
the next checkpoint lets go of them within a second. To merge one takes the writer 1 to 2 µs."""
_SLICE_KEYS = 64


class _Interval:
    """Versions from one on up to the next interval; a level counts how often it was merged."""

    __slots__ = ("first", "level")

    def __init__(self, first: Version) -> None:
        self.first = weakref.ref(first)
        self.level = 0


class Thinning:
    """Merges the versions of one chain; called by one thread at a time."""

    def __init__(self) -> None:
        self._intervals: list[_Interval] = []
        self._next_revision = 0
        self._merging: Iterator[None] | None = None

    def step(self, newest: Version, durable: Version) -> None:
        """Do a little, if there is something to do.

        Args:
            newest: the end of the chain.
            durable: a version that is shown; none behind it is skipped.
        """
        if newest.revision >= self._next_revision:
            self._next_revision = newest.revision + _INTERVAL_VERSIONS
            self._intervals = [interval for interval in self._intervals if interval.first()]
            self._intervals.append(_Interval(newest))
        elif self._merging is None:
            return
        for _ in self._intervals:
            if self._merging is None:
                self._merging = self._next_merge(durable)
            if self._merging is None:
                return
            if next(self._merging, self) is self:
                self._merging = None

    def _next_merge(self, durable: Version) -> Iterator[None] | None:
        intervals, newest = self._intervals, durable.revision - _YOUNG_VERSIONS
        for place in range(len(intervals) - 3, -1, -1):
            first, second, following = intervals[place : place + 3]
            end = following.first()
            if first.level == second.level and end and end.revision <= newest:
                return self._merge(first, second, following)
        return None

    def _merge(
        self, interval: _Interval, second: _Interval, following: _Interval
    ) -> Iterator[None]:
        """Merge two intervals, some keys at a time; holds no version meanwhile."""
        while (first := interval.first()) is not None:
            skipped = first.next
            if skipped is None or skipped is following.first():
                break
            undo = skipped.undo
            del first, skipped
            for table, olds in undo.items():
                rest = iter(olds.items())
                while part := list(islice(rest, _SLICE_KEYS)):
                    first = interval.first()
                    if first is None:
                        return
                    merged = first.undo.setdefault(table, {})
                    for key, old in part:
                        merged.setdefault(key, old)
                    del first, merged
                    yield
            first = interval.first()
            if first is not None and first.next is not None:
                first.next = first.next.next
            del first
        if second in self._intervals:
            interval.level += 1
            self._intervals.remove(second)
