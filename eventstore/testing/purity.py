"""What a fold must be, and what is said when it is not.

`watched` puts a guard around projections: an `apply` that changes its event's data, or a row
without `put` or `delete`, is refused on the spot, and so is a `tables` that states one thing now
and another when it is read again; an error of `apply` or `check` says whose it is. `check_fold`
compares a store's tables with a fold of its batches, row by row: they differ when `apply` depends
on anything but the event and its tables, or when a value does not survive `TableSpec.encode` and
`decode`. `check_ignores_unknown` tries an event that nobody knows.

`keys` is asked of each event that is applied, since a store asks it much later: when it writes an
index of the past, where an error stops compaction.

A guard looks at every row twice an event, so it is for small stores.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from eventstore.errors import ReentrantUseError
from eventstore.event import Event
from eventstore.format.codec import pack
from eventstore.projection import Projection
from eventstore.recovery.replay import start_state
from eventstore.tables.table import Tables
from eventstore.testing.oracle import difference, folded
from eventstore.testing.report import InconsistencyError, in_words

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from eventstore.projection import (
        ReadableTable,
        ReadableTables,
        TableSpec,
        WritableTable,
        WritableTables,
    )
    from eventstore.store import EventStore
    from eventstore.upcasting import Upcaster

PROBE_EVENT = Event("testing.probe", {})
"""Committed to every recovered store; projections ignore it, as all that they do not know."""


def watched(projections: Iterable[Projection]) -> tuple[Projection, ...]:
    """Return projections that refuse what a fold must not do, and name whoever raises.

    Raises:
        InconsistencyError: the tables that one states differ when they are read again.
    """
    return tuple(Watched(projection) for projection in projections)


def check_ignores_unknown(projections: Iterable[Projection]) -> None:
    """Try an event of a type that no projection knows.

    Raises:
        InconsistencyError: one raises on it, or has wrong keys for it.
    """
    for projection in projections:
        try:
            start_state([projection], None).apply(PROBE_EVENT)
        except Exception as error:
            raise InconsistencyError(
                f"{_name(projection)}: Projection.apply must ignore event types it does not know: "
                f"it raised {type(error).__name__} on {PROBE_EVENT.type!r}: {in_words(error)}"
            ) from error
        _require_sound_keys(projection, PROBE_EVENT)


def check_fold(store: EventStore, projections: Sequence[Projection]) -> None:
    """Compare the tables of a store that keeps all its batches with a fold of these.

    Raises:
        InconsistencyError: they differ; names the table and the row.
    """
    events = (event for batch in store.batches() for event in batch.events)
    expected = folded(projections, events)
    with store.transaction() as reader:
        found = {name: dict(reader.items(name)) for name in expected}
    problem = difference(found, expected)
    if problem is not None:
        raise InconsistencyError(f"the tables are not the fold of the batches: {problem}")


class _WatchedTable:
    """A table that remembers the keys that were changed through it."""

    def __init__(self, name: str, table: WritableTable) -> None:
        self._name = name
        self._table = table
        self.changed: set[Any] = set()

    def get(self, key: Any, default: Any = None) -> Any:
        return self._table.get(key, default)

    def __getitem__(self, key: Any) -> Any:
        return self._table[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._table

    def items(self, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        return self._table.items(start, stop)

    def by_index(self, index: str, entry: Hashable) -> Iterator[tuple[Any, Any]]:
        return self._table.by_index(index, entry)

    def put(self, key: Any, value: Any) -> None:
        self._table.put(key, value)
        self.changed.add(key)
        found = self._table.get(key)
        # What is not equal to itself, as NaN, at least looks the same.
        if found != value and repr(found) != repr(value):
            raise InconsistencyError(
                f"table {self._name!r}, row {key!r}: {value!r} was put, and a read gives {found!r}"
                ", as a checkpoint would: TableSpec.decode must give back what encode was given"
            )

    def delete(self, key: Any) -> None:
        self._table.delete(key)
        self.changed.add(key)


class Watched(Projection):
    """Another projection, and what it must not do.

    Attributes:
        applied_events: how many events it was given.
    """

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.name = projection.name
        self.version = projection.version
        self.tables = projection.tables
        self.upcasters = {
            place: _watched_upcaster(upcaster) for place, upcaster in projection.upcasters.items()
        }
        self.applied_events = 0
        self._require_same_tables()

    def apply(self, event: Event, tables: WritableTables) -> None:
        """Apply, and look at what that did."""
        name = _name(self._projection)
        self._require_same_tables()
        self.applied_events += 1
        data, rows = pack(event.data), self._rows(tables)
        seen = Tables((table, _WatchedTable(table, tables[table])) for table in tables)
        try:
            self._projection.apply(event, cast("WritableTables", seen))
        except BaseException as error:
            error.add_note(f"{name}.apply raised this on {event.type!r} {event.data!r}")
            if isinstance(error, ReentrantUseError):
                error.add_note(
                    f"{name}.apply has called the transaction that applies its event: apply only "
                    "folds; what follows from an event is emitted by whoever emits that"
                )
            raise
        if pack(event.data) != data:
            raise InconsistencyError(
                f"{name}.apply changed the data of the event {event.type!r}, which is now "
                f"{event.data!r}: an event is what happened; change a copy"
            )
        after = self._rows(tables)
        for table, before in rows.items():
            for key in before:
                if key not in seen[table].changed and after[table].get(key) != before[key]:
                    raise InconsistencyError(
                        f"{name}.apply changed the value in table {table!r}, row {key!r} without "
                        f"put, on {event.type!r}: it is now {tables[table].get(key)!r}; values are "
                        "immutable, as is an event's data that is kept as one: put a new one"
                    )
        _require_sound_keys(self._projection, event)

    def upgrade(self, version: int, tables: WritableTables) -> bool:
        """Carry over the tables of another version, or not."""
        return self._projection.upgrade(version, tables)

    def keys(self, event: Event) -> Iterable[str]:
        """Return the keys of an event, by which histories find it."""
        return self._projection.keys(event)

    def erasable(self, event: Event, path: tuple[str, ...]) -> bool:
        """Return whether a field may be erased."""
        return self._projection.erasable(event, path)

    def check(self, tables: ReadableTables) -> None:
        """Check, and say whose check has failed."""
        try:
            self._projection.check(tables)
        except BaseException as error:
            error.add_note(f"{_name(self._projection)}.check raised this")
            raise

    def _require_same_tables(self) -> None:
        first, again = _table_names(self), _table_names(self._projection)
        if first != again:
            raise InconsistencyError(
                f"{_name(self._projection)}.tables is {first!r} and, read again, {again!r}: a "
                "projection has the same tables for ever; state them once, as a tuple"
            )

    def _rows(self, tables: Mapping[str, ReadableTable]) -> dict[str, dict[Any, bytes]]:
        # By look-ups, which share a decoded value for some time: what is changed in place is there.
        return {
            spec.name: {
                key: _encoded(spec, tables[spec.name].get(key))
                for key, _ in tables[spec.name].items()
            }
            for spec in self.tables
        }


@cache  # so that projections which share one still do
def _watched_upcaster(upcaster: Upcaster) -> Upcaster:
    """Return an upcaster that refuses to change what it is given."""

    def watching(data: Any) -> Any:
        before = pack(data)
        after = upcaster(data)
        if pack(data) != before:
            raise InconsistencyError(
                f"the upcaster {getattr(upcaster, '__name__', upcaster)} changed the data that it "
                f"was given, which is now {data!r}: return other data; change a copy"
            )
        return after

    return watching


def _require_sound_keys(projection: Projection, event: Event) -> None:
    """Ask for the keys of an event twice, and compare."""
    name, place = _name(projection), f"the event {event.type!r} {event.data!r}"
    first, again = (_keys(projection, deepcopy(event), f"{name}.keys", place) for _ in range(2))
    if set(first) != set(again):
        raise InconsistencyError(
            f"{name}.keys gave {first!r} on {place}, and then {again!r}: keys are found again in "
            "the log, so make them from nothing but the event"
        )


def _keys(projection: Projection, event: Event, name: str, place: str) -> tuple[str, ...]:
    data = pack(event.data)
    try:
        found: Any = projection.keys(event)
        # What has no parts is shown as it is; a text by itself would be one key for each letter.
        found = tuple(found) if hasattr(found, "__iter__") and type(found) is not str else found
    except Exception as error:
        raise InconsistencyError(
            f"{name} raised {type(error).__name__} on {place}: {in_words(error)}: "
            "keys must accept every event, or the store can't be compacted"
        ) from error
    if not isinstance(found, tuple) or not all(map(_is_text, found)):
        raise InconsistencyError(f"{name} gave {found!r} on {place}: return a tuple of texts")
    if pack(event.data) != data:
        raise InconsistencyError(
            f"{name} changed the data of {place}: an event is what happened; change a copy"
        )
    return found


def _is_text(key: object) -> bool:
    if not isinstance(key, str):
        return False
    try:
        key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _table_names(projection: Projection) -> object:
    """Return the names of the tables that a projection states; what is none is left to an open."""
    tables: object = projection.tables
    if not isinstance(tables, (tuple, list)):
        return tables
    return [getattr(spec, "name", spec) for spec in tables]


def _encoded(spec: TableSpec, value: Any) -> bytes:
    return pack(spec.encode(value))


def _name(projection: Projection) -> str:
    return type(projection).__name__
