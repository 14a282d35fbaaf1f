"""Tables and versions: one mechanism for isolation, rollback and checkpoints.

The writer changes tables in place. Versions form a forward chain of nodes, one for each batch.
Before a key is changed, its value is put into the *newest* node's undo map, unless the map holds
the key already: so the undo map of a node tells, for every key changed since, what it was at that
node. A reader holds the node that was durable when it began. To read a key it takes the table's
value first and walks the chain second: the first undo map that holds the key has the value as it
was, and if none does, the value just taken stands. The writer does the two in the other order
(undo first, table second), so that a reader needs no lock.

What everybody is shown is computed, never announced: the last node, of those that are linked
without a gap, whose revision is durable. A link is never taken back, and neither is a durable
revision; so whoever has learned of a revision, from whomever, sees at least that one in whatever
he asks next, and nobody has to wait for a thread that has yet to announce it.

- *Rollback* puts the values back and leaves the undo map alone: what it says of its node stays
  true, and a reader may have taken an uncommitted value an instant before.
- *Commit* links a new node; it is shown once its revision is durable. Nodes behind all readers are
  freed by reference counting.
- *A failed sync* leaves the nodes after the durable one where they are: readers begin at the
  durable one, and no write transaction begins on that handle any more, so nobody sees them.
- A long-lived reader folds the undo maps it has passed into one of its own, so that its reads
  stay O(1) in the number of commits since, and the nodes it has passed can be freed.
- What an idle reader pins is merged from the writer's side, now and then (`thinning`): a version
  takes over the undo maps of some behind it, and its link skips them. So a map may also grow after
  it has a successor, by what stays true of its version, and a reader takes the link before the map.
- Ordered scans take short slices under the table's lock, which excludes the writer for some
  microseconds, and then correct each slice by the undo maps in the same way.
- The writer's own scans, in `Projection.apply` and between the events of a transaction, are
  corrected by the journal of the transaction, from the entry on at which they began. So what they
  see depends neither on when a slice is taken nor on how the rows are split between checkpoint and
  memory, and a replay sees the same.

A table is a SortedDict of changed rows over the packed rows of the checkpoint that it was loaded
from. Invariants: a key is at most once in each; a TOMBSTONE stands only over a packed row; a
value of type `bytes` is packed and means the same as when unpacked.
"""

from __future__ import annotations

import os
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from sortedcontainers import SortedDict

from eventstore.arguments import excerpt
from eventstore.errors import CorruptionError, ProjectionError, TransactionClosedError
from eventstore.format.codec import (
    INT_MAX,
    INT_MIN,
    DecodeError,
    key_shape,
    pack,
    require_plain_row,
    unpack_row,
)
from eventstore.locks import refuse_reentry
from eventstore.packed import ABSENT, PackedRows
from eventstore.thinning import Thinning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventstore.event import Event
    from eventstore.format.codec import KeyShape
    from eventstore.projection import Projection, TableSpec

_FIRST_SLICE_ROWS = 16
_SLICE_ROWS_MAX = 256
# What a value raises that `encode` is not made for, or that can't be packed. Nothing else is taken
# for that: it may be what a signal handler raised, or that there is no memory.
_UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class _Tombstone:
    def __repr__(self) -> str:
        return "TOMBSTONE"


TOMBSTONE = _Tombstone()
"""In a table's changed rows: the packed row under it is deleted."""


class Durability(Protocol):
    """What knows which revisions are on stable storage, as a log does."""

    @property
    def durable_revision(self) -> int:
        """The highest such revision; it never falls."""


class Node:
    """A version: the state after one batch. It holds what later batches have changed of it.

    Attributes:
        revision: of the batch.
        digest: its chain digest.
        time_ns: its time.
        undo: for each table, what keys that were changed later held at this version.
        next: the version after it; None for the newest.
    """

    __slots__ = ("__weakref__", "digest", "next", "revision", "time_ns", "undo")

    def __init__(self, revision: int, digest: bytes, time_ns: int) -> None:
        self.revision = revision
        self.digest = digest
        self.time_ns = time_ns
        self.undo: dict[Table, dict[Any, Any]] = {}
        self.next: Node | None = None


Change = tuple["Table", Any, Any]
"""A table, a key of it, and what that held before it was changed, perhaps packed or ABSENT."""


class Table:
    """An ordered map, changed by one writer at a time and read as it is now.

    This is the face that the writer, `Projection.apply` and write transactions see. Readers of
    older versions go through a `View`.
    """

    __slots__ = (
        "_decode",
        "_encode",
        "_is_listing",
        "_is_plain",
        "_is_torn",
        "_key_shape",
        "_lock",
        "_packed",
        "_rows",
        "_state",
        "name",
    )

    def __init__(self, spec: TableSpec, state: State, packed: PackedRows | None) -> None:
        self.name = spec.name
        self._encode = spec.encode
        self._decode = spec.decode
        self._is_plain = spec.is_plain
        self._state = state
        self._packed = packed
        self._rows: SortedDict[Any, Any] = SortedDict()
        # Set while a row is being written: an interrupt may have left the order without the row,
        # or with one that is gone. Mended by the next one who needs the order.
        self._is_torn = False
        # Of all keys; None until the first one is seen.
        self._key_shape: KeyShape | None = None
        self._lock = threading.RLock()
        # Set while the order is being read: look-ups don't wait for that.
        self._is_listing = False

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
        journal = self._state.journal
        return self._items_since(journal, len(journal), start, stop)

    def _items_since(
        self, journal: list[Change], place: int, start: Any, stop: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield rows as they were when the journal ended at a place."""
        limit, inclusive, more = _FIRST_SLICE_ROWS, True, True
        first_olds: SortedDict[Any, Any] = SortedDict()
        while more:
            if self._state.journal is not journal:
                raise TransactionClosedError(
                    f"an iteration over table {self.name!r} goes on although its transaction has "
                    "ended: begin another one"
                )
            rows, last, more = self.slice(start, stop, limit, inclusive=inclusive)
            for table, key, old in journal[place:]:
                if table is self:
                    first_olds.setdefault(key, old)
            place = len(journal)
            between = first_olds.irange(start, last if more else stop, (inclusive, more))
            for key, value in _corrected(rows, {key: first_olds[key] for key in between}):
                yield key, self.decoded(key, value)
            start, inclusive, limit = last, False, min(4 * limit, _SLICE_ROWS_MAX)

    def put(self, key: Any, value: Any) -> None:
        """Set the value of a key, unless a checkpoint would not give both back. O(log n).

        Raises:
            TypeError, ValueError: it would not, or the key is of another shape than the others;
                nothing was changed.
        """
        kind = type(value)
        if not self._is_plain:
            self._require_packable(key, value)
        elif value is not None and not (
            (kind is str and value.isascii()) or (kind is int and INT_MIN <= value <= INT_MAX)
        ):
            self._require_plain(key, value)
        kind = type(key)
        with self._lock:
            if self._is_torn:
                self._mend()
            # The common keys are seen through here, since a call takes a tenth of a `put`.
            if kind is not self._key_shape or not (
                (kind is str and key.isascii()) or (kind is int and INT_MIN <= key <= INT_MAX)
            ):
                self._require_key(key)
            self._state.remember(self, key, self.raw(key))
            self._write(key, value)

    def delete(self, key: Any) -> None:
        """Remove a key that is there; KeyError if it is not. O(log n).

        Raises:
            TypeError: the key is equal to one that is there, as True is to 1, but not the same.
        """
        with self._lock:
            if self._is_torn:
                self._mend()
            old = self.raw(key)
            if old is ABSENT:
                raise KeyError(key)
            if type(key) is not self._key_shape:
                self._require_key(key)
            self._state.remember(self, key, old)
            self._discard(key)

    def renew_lock(self) -> None:
        """Replace the lock, in the child of a fork: no thread is there to release the old one."""
        self._lock = threading.RLock()

    def restore(self, key: Any, old: Any) -> None:
        """Put back what a key held before a change; for rollback only."""
        with self._lock:
            if self._is_torn:
                self._mend()
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
        """Decode a value and keep it decoded, unless the row has been changed since or is busy."""
        value = self.decoded(key, packed)
        # Not while somebody lists the table, nor amid a change that this has interrupted.
        if not self._is_listing and not self._lock._is_owned():  # type: ignore[attr-defined]
            with self._lock:
                if self._is_torn:
                    self._mend()
                current = self._rows.get(key, ABSENT)
                if current is packed or (current is ABSENT and self._packed is not None):
                    self._write(key, value)
        return value

    def packed(self, key: Any, value: Any) -> bytes:
        """Return a value as checkpoints hold it.

        Raises:
            ProjectionError: it can't be packed: `encode` does not do any more what it did in `put`.
        """
        if type(value) is bytes:
            return value
        try:
            return pack(self._encode(value))
        except _UNFIT as error:
            raise ProjectionError(
                f"a checkpoint can't keep the value of {self._shown(key)}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def slice(
        self, start: Any, stop: Any, limit: int, *, inclusive: bool
    ) -> tuple[list[tuple[Any, Any]], Any, bool]:
        """Return the first rows of a range as they are kept, perhaps packed.

        Returns:
            the rows; the last key looked at; whether there may be more after it.
        """
        refuse_reentry(self._lock)
        with self._lock:
            self._is_listing = True
            if self._is_torn:
                self._mend()
            keys = list(islice(self._rows.irange(start, stop, (inclusive, False)), limit))
            changed = [(key, self._rows[key]) for key in keys]
            self._is_listing = False
        if self._packed is None:
            return changed, keys[-1] if keys else start, len(keys) == limit
        packed = self._packed.slice(start, stop, limit, inclusive=inclusive)
        return _merged(changed, packed, start, limit)

    def take_rows(self, other: Table) -> None:
        """Take over the rows of another table of the same specification; before any reader."""
        self._packed, self._rows = other._packed, other._rows
        self._key_shape = other._key_shape

    def row_count(self) -> int:
        """Return the number of rows as they are now. O(changed rows)."""
        packed = self._packed
        refuse_reentry(self._lock)
        with self._lock:
            if self._is_torn:
                self._mend()
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
        with self._lock:
            if self._is_torn:
                self._mend()
        self._rows._check()  # type: ignore[attr-defined]  # sortedcontainers' own invariants
        if self._packed is not None:
            self._packed.check()
        for key, value in self._rows.items():
            over_packed = self._packed is not None and self._packed.get(key) is not ABSENT
            if value is TOMBSTONE and not over_packed:
                raise AssertionError(f"table {self.name!r}: a tombstone over nothing at {key!r}")

    def _require_plain(self, key: Any, value: Any) -> None:
        """Refuse a value that does not come back as it is, where no `encode` changes it."""
        try:
            if isinstance(value, bytes):
                raise TypeError("a value can't be bytes: wrap it in a tuple")
            require_plain_row(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refusal(key, error, "; or give the TableSpec encode and decode") from error

    def _require_packable(self, key: Any, value: Any) -> None:
        """Refuse a value that `encode` does not make something of that can be packed."""
        try:
            if isinstance(value, bytes):
                raise TypeError("a value can't be bytes: wrap it in a tuple")
            pack(self._encode(value))
        except _UNFIT as error:
            raise self._refusal(key, error, "; TableSpec.encode must return plain data") from error

    def _require_key(self, key: Any) -> None:
        """Refuse a key that does not come back as it is, or is of another shape than the others.

        A table that has been emptied may only get keys of another shape after a reopen: readers
        may be at versions with the old ones. A replay, which may begin before that, goes along.
        """
        try:
            shape = key_shape(key)
            if self._key_shape is None and self._packed is not None:
                for known, _ in self._packed.slice(None, None, 1, inclusive=True):
                    self._key_shape = key_shape(known)
            if self._key_shape is None:
                self._key_shape = shape
            elif shape != self._key_shape:
                if not self._state.is_replaying or self._has_rows():
                    raise TypeError(
                        f"the other keys are of {_shape_text(self._key_shape)}, not of "
                        f"{_shape_text(shape)}: use one shape of keys for each table"
                    )
                self._rows, self._packed, self._key_shape = SortedDict(), None, shape
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refusal(key, error) from error

    def _has_rows(self) -> bool:
        rows = self._rows
        if any(value is not TOMBSTONE for value in rows.values()):
            return True
        # Each tombstone stands over one packed row.
        return self._packed is not None and len(rows) < self._packed.row_count

    def _refusal(self, key: Any, error: Exception, advice: str = "") -> TypeError | ValueError:
        kind = ValueError if isinstance(error, (ValueError, OverflowError)) else TypeError
        return kind(f"{self._shown(key)} can't be put: {error}{advice}")

    def _shown(self, key: Any) -> str:
        return f"table {self.name!r}, key {excerpt(key)}"

    def _discard(self, key: Any) -> None:
        if self._packed is not None and self._packed.get(key) is not ABSENT:
            self._write(key, TOMBSTONE)
        else:
            # It may not be there: an interrupt may have come between undo map and table.
            self._is_torn = True
            self._rows.pop(key, None)
            self._is_torn = False

    def _write(self, key: Any, value: Any) -> None:
        """Set a row; the caller holds the lock, and has mended the table."""
        self._is_torn = True
        self._rows[key] = value
        self._is_torn = False

    def _mend(self) -> None:
        """Make the order anew, which an interrupt has torn; the caller holds the lock.

        A SortedDict is a dict and a list of its keys. Each is changed in one step, but not both.
        """
        self._rows = SortedDict(list(dict.items(self._rows)))  # type: ignore[arg-type]
        self._is_torn = False

    def _undecodable(self, key: Any, error: Exception) -> CorruptionError:
        path = self._packed.path if self._packed is not None else ""
        return CorruptionError(
            path,
            0,
            f"{self._shown(key)} can't be decoded ({type(error).__name__}: {error}): the "
            "checkpoint is damaged, or TableSpec.decode does not read what encode has written",
        )

    def decoded(self, key: Any, value: Any) -> Any:
        """Return a value that may be packed, decoded but not kept so: for scans."""
        if type(value) is not bytes:
            return value
        try:
            decoded = self._decode(key, unpack_row(value))
        except (*_UNFIT, DecodeError, RecursionError) as error:
            raise self._undecodable(key, error) from error
        if type(decoded) is bytes:
            # It would be taken for a packed one.
            raise ProjectionError(f"{self._shown(key)}: TableSpec.decode must not return bytes")
        return decoded


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
    rows = [(key, merged[key]) for key in keys if merged[key] is not TOMBSTONE]
    return rows, keys[-1] if keys else start, bool(full)


def _corrected(rows: list[tuple[Any, Any]], older: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
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


class View:
    """A reader's place in the chain: all tables as they were at one version.

    Reading from several threads at once is safe. Reads are O(1), scans O(log n) to start.
    """

    __slots__ = ("_folding", "_is_folding", "_merged", "_node")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._merged: dict[Table, SortedDict[Any, Any]] | None = None
        # Set while the order in the dictionaries may not fit them, also after an interrupt.
        self._is_folding = False
        # Held while the three above are changed, or read together: one for each process, since
        # nobody would release in the child of a fork what another thread held.
        self._folding: dict[int, threading.RLock] = {}

    def get(self, table: Table, key: Any, default: Any = None) -> Any:
        """Return the value of a key as it was at this version, or the default."""
        value = table.raw(key)
        node = self._node
        if node.next is not None or self._merged is not None:
            value = self._older(table, key, value)
        elif node.undo:
            undo = node.undo.get(table)
            if undo is not None:
                value = undo.get(key, value)
        if type(value) is bytes:
            return table.unpacked(key, value)
        return default if value is ABSENT else value

    def items(self, table: Table, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) as they were, in key order, from `start` on and before `stop`."""
        for key, value in self.raw_items(table, start, stop):
            yield key, table.decoded(key, value)

    def raw_items(
        self, table: Table, start: Any = None, stop: Any = None
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) as `items` does, but the values as they are kept, perhaps packed."""
        limit, inclusive, more = _FIRST_SLICE_ROWS, True, True
        while more:
            rows, last, more = table.slice(start, stop, limit, inclusive=inclusive)
            yield from self._corrected(table, rows, start, last if more else stop, inclusive, more)
            start, inclusive, limit = last, False, min(4 * limit, _SLICE_ROWS_MAX)

    def _older(self, table: Table, key: Any, value: Any) -> Any:
        folding = self._own_lock()
        with folding:
            node = self._advance()
            merged = self._merged.get(table) if self._merged is not None else None
            if merged is not None and key in merged:
                return merged[key]
        undo = node.undo.get(table)
        return value if undo is None else undo.get(key, value)

    def _own_lock(self) -> threading.RLock:
        """Return the lock of this process, for use in a with statement."""
        process = os.getpid()
        lock = self._folding.get(process)
        if lock is None:
            # In one step: another thread may be here too.
            lock = self._folding.setdefault(process, threading.RLock())
        refuse_reentry(lock)
        return lock

    def _advance(self) -> Node:
        """Fold the undo maps of all versions but the newest into this view's own."""
        if self._node.next is not None:
            self._fold()
        return self._node

    def _fold(self) -> None:
        """Fold the undo maps of versions with a successor, where nothing is changed any more.

        Where a key is in several, the oldest holds; so folding one again changes nothing.
        """
        merged_tables = self._merged or {}
        if self._is_folding:
            # An interrupt may have torn a dictionary from the order of its keys (`Table._mend`).
            merged_tables = {
                table: SortedDict(list(dict.items(merged)))  # type: ignore[arg-type]
                for table, merged in merged_tables.items()
            }
        self._merged = merged_tables
        self._is_folding = True
        node = self._node
        # The link first and copies of the maps second: they may be merged meanwhile (`thinning`).
        while (following := node.next) is not None:
            for table, undo in node.undo.copy().items():
                merged = merged_tables.setdefault(table, SortedDict())
                for key, old in undo.copy().items():
                    merged.setdefault(key, old)
            node = following
        self._node = node
        self._is_folding = False

    def _corrected(
        self,
        table: Table,
        rows: list[tuple[Any, Any]],
        start: Any,
        stop: Any,
        inclusive: bool,
        stop_inclusive: bool,
    ) -> Iterable[tuple[Any, Any]]:
        """Return a slice of rows as they were at this version."""
        folded: list[tuple[Any, Any]] = []
        folding = self._own_lock()
        with folding:
            node = self._advance()
            merged = self._merged.get(table) if self._merged is not None else None
            if merged:
                between = merged.irange(start, stop, (inclusive, stop_inclusive))
                folded = [(key, merged[key]) for key in between]
        older: dict[Any, Any] = {}
        undo = node.undo.get(table)
        if undo:
            # A copy made in one step, because the writer may be adding to the map.
            older = {
                key: old
                for key, old in undo.copy().items()
                if _within(key, start, stop, inclusive, stop_inclusive)
            }
        older.update(folded)
        return _corrected(rows, older)


def _within(key: Any, start: Any, stop: Any, inclusive: bool, stop_inclusive: bool) -> bool:
    if start is not None and not (start < key or (inclusive and start == key)):
        return False
    return stop is None or key < stop or (stop_inclusive and key == stop)


class State:
    """All tables of a store, the chain of versions, and the projections that change them.

    One thread at a time calls the methods that change something; the store sees to that.

    Attributes:
        tables: every table by name.
        newest: the last node of the chain: what the next batch builds on.
        durable: a node on the way to the one that is shown, or that one; see `shown`.
        is_replaying: whether the events since `begin` are from the log.
        journal: what the events since `begin` have changed, in order, also those undone: to put
            the old values back in reverse order is right all the same. It only grows until the
            transaction ends; then another list takes its place.
    """

    def __init__(
        self,
        projections: Iterable[Projection],
        start: Node,
        packed: dict[str, PackedRows] | None = None,
    ) -> None:
        """Start with the tables of a checkpoint, or with empty ones.

        Args:
            projections: that the tables belong to.
            start: the version that `packed` holds.
            packed: the rows of each table, by its name.
        """
        self._projections: list[tuple[Projection, dict[str, Table]]] = []
        self.tables: dict[str, Table] = {}
        for projection in projections:
            own = {
                spec.name: Table(spec, self, (packed or {}).get(spec.name))
                for spec in projection.tables
            }
            self.tables.update(own)
            self._projections.append((projection, own))
        self.newest = self.durable = start
        self._thinning = Thinning()
        self.is_replaying = False
        self.journal: list[Change] = []
        # The journal while an event is being applied, else None.
        self._open_journal: list[Change] | None = None
        # What `apply` has raised after it had undone everything.
        self._undone: BaseException | None = None

    def apply(self, event: Event) -> None:
        """Fold an event into all tables on top of the newest version; on an error, undo it."""
        journal = self._open_journal = self.journal
        start = len(journal)
        self._undone = None
        try:
            for projection, tables in self._projections:
                projection.apply(event, tables)
        except BaseException as error:
            # Where this is interrupted, a rollback undoes all of it again.
            self._undo(journal[start:])
            self._undone = error
            raise
        finally:
            self._open_journal = None

    def has_undone(self, error: BaseException) -> bool:
        """Say whether all of the last event was undone before `apply` raised an error."""
        undone, self._undone = self._undone, None
        return undone is error

    def begin(self, *, is_replaying: bool = False) -> None:
        """Start to remember changes for `commit` or `rollback`.

        What a transaction has left that nobody ended, or whose rollback was interrupted, is undone
        first.
        """
        self.rollback()
        self.is_replaying = is_replaying
        self._thinning.step(self.newest, self.durable)

    def rows_added(self) -> int:
        """Return how many more rows there are since `begin`: negative if more were deleted."""
        first_olds: dict[tuple[int, Any], tuple[Table, Any]] = {}
        for table, key, old in self.journal:
            first_olds.setdefault((id(table), key), (table, old))
        return sum(
            (table.raw(key) is not ABSENT) - (old is not ABSENT)
            for (_, key), (table, old) in first_olds.items()
        )

    def commit(self, revision: int, digest: bytes, time_ns: int) -> Node:
        """Make the changes since `begin` a version; it is shown once it is durable.

        First they can no longer be taken back: whoever is shown the version finds them.
        """
        self.journal = []
        node = Node(revision, digest, time_ns)
        self.newest.next = node
        self.newest = node
        return node

    def rollback(self) -> None:
        """Take the changes since `begin` back; if an interrupt ends this, call it again."""
        if self.journal:
            self._undo(self.journal)
            self.journal = []

    def renew_locks(self) -> None:
        """Replace the locks of all tables, in the child of a fork, where transactions may go on."""
        for table in self.tables.values():
            table.renew_lock()

    def adopt(self, rebuilt: State) -> None:
        """Take over all tables of another state at the same revision; before any reader."""
        for name, table in rebuilt.tables.items():
            self.tables[name].take_rows(table)

    def shown(self, log: Durability) -> Node:
        """Return the version that everybody is shown: the newest one that is linked and durable.

        Where two threads are here at once, the slower one may set `durable` back. That costs the
        next one some steps, and frees nodes a little later; the answer is the same.
        """
        node = self.durable
        while (following := node.next) is not None:
            # Asked after each link was read: a link may lead past nodes that were merged since.
            if following.revision > log.durable_revision:
                break
            node = following
        self.durable = node
        return node

    def publish(self, node: Node) -> None:
        """Let readers begin at a version that was read from stable storage."""
        self.durable = node

    def remember(self, table: Table, key: Any, old: Any) -> None:
        """Keep what a key holds before it is changed, for readers and for rollback."""
        journal = self._open_journal
        if journal is None:
            raise ProjectionError(
                f"table {table.name!r} was changed outside Projection.apply: emit an event"
            )
        undo = self.newest.undo.get(table)
        if undo is None:
            undo = self.newest.undo[table] = {}
        undo.setdefault(key, old)
        journal.append((table, key, old))

    def check(self) -> None:
        """Check every invariant of tables and projections; O(n).

        Raises:
            AssertionError: one does not hold.
        """
        for table in self.tables.values():
            table.check()
        for projection, tables in self._projections:
            projection.check(tables)

    @staticmethod
    def _undo(journal: list[Change]) -> None:
        for table, key, old in reversed(journal):
            table.restore(key, old)
