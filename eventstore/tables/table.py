"""A table: an ordered map, changed in place by one writer.

It is a dictionary of changed rows, whose order is kept apart (`order`), over the packed rows of the
checkpoint that it was loaded from. Invariants: a key is at most once in each; a TOMBSTONE stands
only over a packed row; a value of type `bytes` is a packed one.

Values are packed when they are put, which also shows that they can be, and stay so: a read decodes
what a checkpoint would give back, whether there was one or not. Only None, numbers and texts of
tables without an `encode` are kept as they are. Reading changes no row: what was decoded of late is
kept apart, up to a bound, beside the very bytes that it was made from. Whoever has those bytes, of
whatever version, gets it; where the row has changed, others have other bytes.

    the writer                             a reader (`view`)
    1. the old value to the journal        1. takes the value
       and to the undo map                 2. takes the undo maps from its version on:
    2. the key to the order's notes           the first that has the key is right,
       and to the indexes' notes              else the value is
    3. the row

The writer's own scans, in `Projection.apply` and between the events of a transaction, are
corrected by the journal of the transaction, from the entry on at which they began. So what they
see depends neither on when a slice is taken nor on how the rows are split between checkpoint and
memory, and a replay sees the same.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from sortedcontainers import SortedDict

from eventstore.arguments import excerpt
from eventstore.errors import CorruptionError, ProjectionError, TransactionClosedError
from eventstore.format.codec import (
    INT_MAX,
    INT_MIN,
    DecodeError,
    key_of_shape,
    key_shape,
    pack,
    pack_plain_row,
    pack_row,
    unpack_row,
    unpack_rows,
)
from eventstore.projection import TableSpec
from eventstore.tables.index import FAILURES, Indexes
from eventstore.tables.order import KeyOrder
from eventstore.tables.packed import ABSENT, TOMBSTONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventstore.format.codec import KeyShape
    from eventstore.tables.journal import Change, Journal
    from eventstore.tables.packed import PackedRows

FIRST_SLICE_ROWS = 16
SLICE_ROWS_MAX = 256
_DECODED_MAX = 2048
"""Decoded values that are kept of a table are twice as many at the most."""
_DECODED_AT_ONCE = 64
"""More would have the garbage collector look at the new values before they are gone again."""
# What a value raises that `encode` is not made for, or that can't be packed. Nothing else is taken
# for that: it may be what a signal handler raised, or that there is no memory.
_CONTAINERS = frozenset((tuple, dict))
_UNFIT = (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError)


class Table:
    """An ordered map, changed by one writer at a time and read as it is now.

    This is the face that the writer, `Projection.apply` and write transactions see. Readers of
    older versions go through a `View`.
    """

    __slots__ = (
        "__weakref__",
        "_decode",
        "_decoded",
        "_decoded_before",
        "_encode",
        "_has_stored_changes",
        "_indexes",
        "_is_plain",
        "_journal",
        "_key_shape",
        "_order",
        "_packed",
        "_rows",
        "name",
    )

    def __init__(
        self,
        spec: TableSpec,
        journal: Journal,
        packed: PackedRows | None,
        changed: Iterable[tuple[Any, Any]] = (),
    ) -> None:
        """Make a table of what a checkpoint holds.

        Args:
            spec: of the table.
            journal: of all changes to come.
            packed: the rows, or None.
            changed: what lies over them: keys, each with the packed value or `TOMBSTONE`. Of those
                with the same key the last counts.
        """
        self.name = spec.name
        self._encode = spec.encode
        self._decode = spec.decode
        self._is_plain = spec.is_plain
        self._journal = journal
        self._packed = packed
        self._rows: dict[Any, Any] = dict(changed)
        # Whether some of those are of a checkpoint.
        self._has_stored_changes = bool(self._rows)
        self._order = KeyOrder()
        self._indexes = Indexes(spec.name, spec.indexes) if spec.indexes else None
        # Key to packed and decoded value, of late, and before: a full first becomes the second.
        self._decoded: dict[Any, tuple[bytes, Any]] = {}
        self._decoded_before: dict[Any, tuple[bytes, Any]] = {}
        # Of all keys; None until the first one is seen.
        self._key_shape: KeyShape | None = None
        if self._rows:
            self._drop_needless_tombstones()
            self._order.forget(next(iter(self._rows), None))

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key as it is now, or the default. O(1)."""
        value = self.raw(key)
        if value is ABSENT:
            return default
        return self.unpacked(key, value) if type(value) is bytes else value

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __contains__(self, key: Any) -> bool:
        return self.raw(key) is not ABSENT

    def items(self, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) in key order, from `start` on and before `stop`.

        They are as of the call, whatever the same writer changes meanwhile. O(log n) to start,
        and O(changes since) for all slices together.

        Raises:
            TransactionClosedError: while iterating, the transaction of the call has ended.
        """
        changes = self._journal.changes
        return self._items_since(changes, len(changes), start, stop)

    def _items_since(
        self, changes: list[Change], place: int, start: Any, stop: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield rows as they were when the changes ended at a place."""
        limit, inclusive, more = FIRST_SLICE_ROWS, True, True
        first_olds: SortedDict[Any, Any] = SortedDict()
        while more:
            if self._journal.changes is not changes:
                raise self._ended()
            rows, last, more = self.slice(start, stop, limit, inclusive=inclusive)
            for table, key, old in changes[place:]:
                if table is self:
                    first_olds.setdefault(key, old)
            place = len(changes)
            between = first_olds.irange(start, last if more else stop, (inclusive, more))
            older = {key: first_olds[key] for key in between}
            yield from self.decoded_rows(corrected(rows, older))
            start, inclusive, limit = last, False, min(4 * limit, SLICE_ROWS_MAX)

    def put(self, key: Any, value: Any) -> None:
        """Set the value of a key, unless a checkpoint would not give both back. O(1).

        Raises:
            TypeError: it would not, or the key is of another shape than the others; nothing was
                changed.
            ValueError: the same, where the type fits but not the value.
        """
        kind = type(value)
        if not self._is_plain:
            value = self._packed_value(key, value)
        elif value is not None and not (
            (kind is str and value.isascii()) or (kind is int and INT_MIN <= value <= INT_MAX)
        ):
            value = self._plain_value(key, value)
        kind = type(key)
        # The common keys are seen through here, since a call takes a tenth of a `put`.
        if kind is not self._key_shape or not (
            (kind is str and key.isascii()) or (kind is int and INT_MIN <= key <= INT_MAX)
        ):
            self._require_key(key)
        self._journal.record(self, key, self.raw(key))
        self._write(key, value)

    def by_index(self, index: str, entry: Any) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that have an entry in an index, in key order.

        They are as of the call, whatever the same writer changes meanwhile. O(rows found), and
        O(changed rows) before; the first time O(rows), see `index`.

        Raises:
            ProjectionError: the table has no such index, or its key function fails.
            TransactionClosedError: while iterating, the transaction of the call has ended.
        """
        changes = self._journal.changes
        return self._found_since(changes, len(changes), index, entry, self.found(index, entry))

    def _found_since(
        self,
        changes: list[Change],
        place: int,
        index: str,
        entry: Any,
        found: Iterator[tuple[Any, Any]],
    ) -> Iterator[tuple[Any, Any]]:
        """Yield of the rows found those that had the entry when the changes ended at a place."""
        first_olds: dict[Any, Any] = {}
        for key, value in found:
            if self._journal.changes is not changes:
                raise self._ended()
            for table, changed, old in changes[place:]:
                if table is self:
                    first_olds.setdefault(changed, old)
            place = len(changes)
            yield from self.confirmed(index, entry, key, first_olds.get(key, value))

    def found(self, index: str, entry: Any) -> Iterator[tuple[Any, Any]]:
        """Return rows as they are kept that may have an entry in an index, in key order.

        All that have it now are among them, and those that change from now on.

        Raises:
            ProjectionError: the table has no such index, or its key function fails.
        """
        if self._indexes is None:
            raise ProjectionError(f"table {self.name!r} has no index {excerpt(index)}")
        return self._indexes.found(self, index, entry)

    def confirmed(self, index: str, entry: Any, key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
        """Yield a row, decoded, if it has an entry in an index."""
        if value is not ABSENT and self._indexes is not None:
            decoded = self.decoded(key, value)
            if self._indexes.has_entry(index, key, decoded, entry):
                yield key, decoded

    def delete(self, key: Any) -> None:
        """Remove a key that is there; KeyError if it is not. O(1).

        Raises:
            TypeError: the key is equal to one that is there, as True is to 1, but not the same.
        """
        old = self.raw(key)
        if old is ABSENT:
            raise KeyError(key)
        if type(key) is not self._key_shape:
            self._require_key(key)
        self._journal.record(self, key, old)
        self._discard(key)

    def renew_lock(self) -> None:
        """Replace the lock, in the child of a fork: no thread is there to release the old one."""
        self._order.renew_lock()
        if self._indexes is not None:
            self._indexes.renew_lock()

    def restore(self, key: Any, old: Any) -> None:
        """Put back what a key held before a change; for rollback only."""
        if old is ABSENT:
            self._discard(key)
        else:
            self._write(key, old)

    def raw(self, key: Any) -> Any:
        """Return the value of a key as it is kept, perhaps packed; ABSENT if there is none."""
        value = self._rows.get(key, ABSENT)
        if value is ABSENT and self._packed is not None:
            return self._packed.get(key)
        return ABSENT if value is TOMBSTONE else value

    def unpacked(self, key: Any, packed: bytes) -> Any:
        """Decode a value that `raw` or an undo map has given, and keep that for some time.

        Thread safe: at worst some are lost.
        """
        kept = self._decoded.get(key)
        if kept is not None and kept[0] is packed:
            return kept[1]
        kept = self._decoded_before.get(key)
        if kept is None or kept[0] is not packed:
            kept = (packed, self.decoded(self._own_key(key), packed))
        if len(self._decoded) >= _DECODED_MAX:
            self._decoded_before, self._decoded = self._decoded, {}
        self._decoded[key] = kept
        return kept[1]

    def packed(self, key: Any, value: Any) -> bytes:
        """Return the value of a key as checkpoints hold it."""
        _ = key
        return value if type(value) is bytes else pack(value)

    def slice(
        self, start: Any, stop: Any, limit: int, *, inclusive: bool
    ) -> tuple[list[tuple[Any, Any]], Any, bool]:
        """Return the first rows of a range as they are kept, perhaps packed.

        Returns:
            the rows; the last key looked at; whether there may be more after it.
        """
        rows = self._rows
        keys = self._order.listed(rows, start, stop, limit, inclusive=inclusive)
        # The writer may have taken some away since; whoever corrects the slice knows of that.
        changed = [(key, rows.get(key, ABSENT)) for key in keys]
        if self._packed is None:
            found = [row for row in changed if row[1] is not ABSENT]
            return found, keys[-1] if keys else start, len(keys) == limit
        packed = self._packed.slice(start, stop, limit, inclusive=inclusive)
        return _merged(changed, packed, start, limit)

    def raw_rows(self, keys: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield keys, each with its value as it is kept now; ABSENT if there is none."""
        for key in keys:
            yield key, self.raw(key)

    def packed_rows(self) -> Iterator[tuple[Any, Any]]:
        """Yield all rows of the checkpoint, in key order, also where they were changed since."""
        return self._packed.items() if self._packed is not None else iter(())

    def rows_at(self, numbers: Iterable[int]) -> Iterator[tuple[Any, Any]]:
        """Yield the rows as they are now whose keys have these numbers among the packed ones."""
        if self._packed is not None:
            rows = self._rows
            for key, packed in self._packed.rows_at(numbers):
                value = rows.get(key, packed)
                yield key, ABSENT if value is TOMBSTONE else value

    def changed_keys(self) -> list[Any]:
        """Return the keys that have a changed row, in any order."""
        # The items in one step: the writer may be at work.
        return [key for key, value in list(self._rows.items()) if value is not TOMBSTONE]

    def slices(self) -> Iterator[list[tuple[Any, Any]]]:
        """Yield all rows as they are now, in key order."""
        start, inclusive, more = None, True, True
        while more:
            rows, start, more = self.slice(start, None, SLICE_ROWS_MAX, inclusive=inclusive)
            inclusive = False
            yield rows

    def take_rows(self, other: Table) -> None:
        """Take over the rows of another table of the same specification; before any reader."""
        self._packed, self._rows = other._packed, other._rows
        self._key_shape, self._order = other._key_shape, other._order
        self._has_stored_changes = other._has_stored_changes
        self._indexes = other._indexes

    def row_count_about(self) -> int:
        """Return how many rows there are, or down to half as many. O(1)."""
        packed_count = self._packed.row_count if self._packed is not None else 0
        return max(len(self._rows), packed_count)

    def row_count(self) -> int:
        """Return the number of rows as they are now. O(changed rows)."""
        packed = self._packed
        if packed is None:
            return len(self._rows)
        rows = list(self._rows.items())
        added = sum(1 for key, value in rows if packed.get(key) is ABSENT)
        deleted = sum(1 for _, value in rows if value is TOMBSTONE)
        return packed.row_count + added - deleted

    def check(self) -> None:
        """Check every invariant of the table; O(n), for tests and `verify`.

        Raises:
            AssertionError: one does not hold.
        """
        self._order.check(self._rows)
        if self._packed is not None:
            self._packed.check()
        for key, value in self._rows.items():
            over_packed = self._packed is not None and self._packed.get(key) is not ABSENT
            if value is TOMBSTONE and not over_packed:
                raise AssertionError(f"table {self.name!r}: a tombstone over nothing at {key!r}")
        self.check_indexes()

    def check_indexes(self) -> None:
        """Check that each index finds what its key function says of the rows; O(n).

        Raises:
            AssertionError: it does not.
            ProjectionError: a key function fails.
        """
        if self._indexes is not None:
            self._indexes.check(self)

    def _drop_needless_tombstones(self) -> None:
        packed, rows = self._packed, self._rows
        deleted = [key for key, value in rows.items() if value is TOMBSTONE]
        for key in deleted:
            if packed is None or packed.get(key) is ABSENT:
                del rows[key]

    def _plain_value(self, key: Any, value: Any) -> Any:
        """Return what is kept of a value that no `encode` changes.

        Refuse one that does not come back as it is. Lists and dicts take less room when packed.
        """
        try:
            if isinstance(value, bytes):
                raise TypeError("a value can't be bytes: wrap it in a tuple")
            packed = pack_plain_row(value)
            return packed if type(value) in _CONTAINERS else value
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refusal(key, error, "; or give the TableSpec encode and decode") from error

    def _packed_value(self, key: Any, value: Any) -> bytes:
        """Pack a value; refuse one that `encode` makes nothing of that a checkpoint can keep."""
        try:
            if isinstance(value, bytes):
                raise TypeError("a value can't be bytes: wrap it in a tuple")
            return pack_row(self._encode(value))
        except (*_UNFIT, DecodeError) as error:
            raise self._refusal(key, error, "; TableSpec.encode must return plain data") from error

    def _require_key(self, key: Any) -> None:
        """Refuse a key that does not come back as it is, or is of another shape than the others.

        A table that has been emptied may only get keys of another shape after a reopen: readers
        may be at versions with the old ones. A replay, which may begin before that, goes along.
        """
        try:
            shape = key_shape(key)
            if self._key_shape is None:
                self._key_shape = self._known_shape()
            if self._key_shape is None:
                self._key_shape = shape
            elif shape != self._key_shape:
                if not self._journal.is_replaying or self._has_rows():
                    raise TypeError(
                        f"the other keys are of {_shape_text(self._key_shape)}, not of "
                        f"{_shape_text(shape)}: use one shape of keys for each table"
                    )
                self._rows, self._packed, self._key_shape = {}, None, shape
                self._order = KeyOrder()
                if self._indexes is not None:
                    self._indexes = self._indexes.emptied()
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refusal(key, error) from error

    def _own_key(self, key: Any) -> Any:
        """Return the key of a row for one that equals it: `decode` is given what was put."""
        shape = self._key_shape
        if type(key) is shape:
            return key
        if shape is None:
            shape = self._key_shape = self._known_shape()
        # None where the table was emptied since: no key is left to tell.
        return key if shape is None else key_of_shape(key, shape)

    def _known_shape(self) -> KeyShape | None:
        """Return the shape of the keys that the table was loaded with."""
        if self._packed is not None:
            for key, _ in self._packed.slice(None, None, 1, inclusive=True):
                return key_shape(key)
        return key_shape(next(iter(self._rows))) if self._rows else None

    def _has_rows(self) -> bool:
        rows = self._rows
        if any(value is not TOMBSTONE for value in rows.values()):
            return True
        # Each tombstone stands over one packed row.
        return self._packed is not None and len(rows) < self._packed.row_count

    def _ended(self) -> TransactionClosedError:
        return TransactionClosedError(
            f"an iteration over table {self.name!r} goes on although its transaction has ended: "
            "begin another one"
        )

    def _refusal(self, key: Any, error: Exception, advice: str = "") -> TypeError | ValueError:
        kind = ValueError if isinstance(error, (ValueError, OverflowError)) else TypeError
        return kind(f"{self._shown(key)} can't be put: {error}{advice}")

    def _shown(self, key: Any) -> str:
        return f"table {self.name!r}, key {excerpt(key)}"

    def _discard(self, key: Any) -> None:
        if self._packed is not None and self._packed.get(key) is not ABSENT:
            self._write(key, TOMBSTONE)
        else:
            self._order.note(key, len(self._rows))
            if self._indexes is not None:
                self._indexes.note(key, len(self._rows))
            # It may not be there: an interrupt may have come between undo map and table.
            self._rows.pop(key, None)

    def _write(self, key: Any, value: Any) -> None:
        rows = self._rows
        if key not in rows:
            self._order.note(key, len(rows))
        if self._indexes is not None:
            self._indexes.note(key, len(rows))
        rows[key] = value

    def _undecodable(
        self, key: Any, value: bytes, error: Exception
    ) -> CorruptionError | ProjectionError:
        packed = self._packed
        what = f"{self._shown(key)} can't be decoded ({type(error).__name__}: {error})"
        cause = "TableSpec.decode does not read what encode has written"
        if packed is None or not (self._has_stored_changes or packed.get(key) == value):
            # It was put by this process.
            return ProjectionError(f"{what}: {cause}")
        return CorruptionError(packed.path, 0, f"{what}: the checkpoint is damaged, or {cause}")

    def decoded_rows(self, rows: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
        """Return rows whose values may be packed, decoded but not kept so: for scans.

        At once, which takes half of the time; but where one can't be decoded, one after the other,
        so that those before it come out.
        """
        rest = iter(rows)
        parts = iter(lambda: list(islice(rest, _DECODED_AT_ONCE)), [])
        return chain.from_iterable(map(self._decoded_part, parts))

    def _decoded_part(self, rows: list[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
        keys, packed = zip(*rows, strict=True)
        kinds = set(map(type, packed))
        if bytes not in kinds:
            return rows
        try:
            if len(kinds) == 1:
                values = list(map(self._decode, keys, unpack_rows(packed)))
                # Fewer: a StopIteration has ended the list.
                if len(values) == len(keys) and bytes not in set(map(type, values)):
                    return zip(keys, values, strict=True)
        except (*FAILURES, DecodeError):
            pass
        return self._decoded_one_by_one(rows)

    def _decoded_one_by_one(self, rows: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        for key, value in rows:
            yield key, self.decoded(key, value)

    def decoded(self, key: Any, value: Any) -> Any:
        """Return a value that may be packed, decoded but not kept so: for scans."""
        if type(value) is not bytes:
            return value
        try:
            decoded = self._decode(key, unpack_row(value))
        except RecursionError:  # of whoever called from too deep
            raise
        except (*FAILURES, DecodeError) as error:
            raise self._undecodable(key, value, error) from error
        if type(decoded) is bytes:
            # It would be taken for a packed one.
            raise ProjectionError(f"{self._shown(key)}: TableSpec.decode must not return bytes")
        return decoded


T = TypeVar("T")


class Tables(dict[str, T]):
    """Tables by their names, which may also be asked for by their specifications."""

    def __missing__(self, table: Any) -> T:
        if isinstance(table, TableSpec):
            return self[table.name]
        raise KeyError(table)


def _merged(
    changed: list[tuple[Any, Any]], packed: list[tuple[Any, bytes]], start: Any, limit: int
) -> tuple[list[tuple[Any, Any]], Any, bool]:
    """Lay changed rows over packed ones, up to where both slices are complete."""
    full = [rows[-1][0] for rows in (changed, packed) if len(rows) == limit]
    merged: dict[Any, Any] = dict(packed)
    merged.update(changed)
    keys = sorted(merged)
    if full:
        bound = min(full)
        keys = [key for key in keys if not bound < key]
    rows = [(key, merged[key]) for key in keys]
    rows = [row for row in rows if row[1] is not TOMBSTONE and row[1] is not ABSENT]
    return rows, keys[-1] if keys else start, bool(full)


def corrected(rows: list[tuple[Any, Any]], older: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Return a slice of rows with what was changed in its range since: ABSENT for no row."""
    if not older:
        return rows
    corrected = dict(rows)
    corrected.update(older)
    return [(key, corrected[key]) for key in sorted(corrected) if corrected[key] is not ABSENT]


def _shape_text(shape: KeyShape) -> str:
    if not isinstance(shape, tuple):
        return shape.__name__
    names = ", ".join(kind.__name__ for kind in shape)
    return f"tuple[{names}]" if len(shape) > 1 else f"tuple[{names}, ...]"
