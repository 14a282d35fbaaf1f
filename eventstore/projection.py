"""What a user writes to plug a domain into the store: a pure fold of events into tables.

A projection states its tables and says how each event changes them. It must be *pure*: the same
events give the same tables, today and in a replay in ten years. So no clock, no randomness and no
I/O in `apply`; ids and times are part of the event. Every projection sees every event and ignores
those it does not know, so that several can live in one store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, overload

from eventstore.arguments import excerpt
from eventstore.errors import ProjectionError
from eventstore.upcasting import Upcasters, all_upcasters

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    # For the defaults, by which a bare TableSpec or WritableTable is one of anything.
    from typing_extensions import TypeVar

    from eventstore.event import Event, Plain

    KeyFunction = Callable[[Any, Any], Iterable[Hashable]]
    TextsFunction = Callable[[Any], Iterable[str]]
    Decode = Callable[[Any, Any], Any]

    K = TypeVar("K", default=Any)
    V = TypeVar("V", default=Any)
    V_co = TypeVar("V_co", covariant=True, default=Any)
    D = TypeVar("D")
else:
    from typing import TypeVar

    K, V, D = TypeVar("K"), TypeVar("V"), TypeVar("D")
    V_co = TypeVar("V_co", covariant=True)

_VERSION_MAX = 2**63 - 1


def _encode_unchanged(value: Any) -> Plain:
    return value


def _decode_unchanged(key: Any, plain: Plain) -> Any:
    _ = key
    return plain


@dataclass(frozen=True, slots=True)
class TableSpec(Generic[K, V]):
    """One table of a projection.

    With types, `BALANCES = TableSpec[str, int]("balances")`, it gives them to the table that it
    asks for: `tables[BALANCES]` in `apply`, `tx.table(BALANCES)` in a transaction. The name alone,
    `tables["balances"]`, gives a table of anything.

    What `put` takes comes back the same from a checkpoint; it refuses the rest, so that the event
    is undone and never logged. Types are strict, as in events: what is derived from one, such as
    a member of a `StrEnum`, would come back as that one, so use its `value`.

    Keys are str, int (64 bits), bytes, or tuples of these; in one table all of one type. Its tuples
    have elements of one type, and then any length but 0, or all have the same types in the same
    places. The first key decides that, until the store is opened at a checkpoint that was written
    while the table was empty.

    Values are immutable. Without `encode` and `decode` they are None, bool, int (64 bits), float,
    str, and tuples and dicts of these and of bytes: no lists, which would come back as tuples.
    With them they are anything but bytes, which the engine uses for values that are packed. `put`
    packs what `encode` makes of the value, and a read gets what `decode` makes of that; that the
    two are equal is up to the projection (`eventstore.testing` finds where they are not). What
    `decode` raises reaches a reader as `ProjectionError`, or as `CorruptionError` for a row that
    came from a checkpoint, which may be damaged.

    `indexes` gives the table secondary indexes, which `by_index` of a transaction asks:
    `TableSpec("accounts", indexes={"by_owner": lambda number, account: (account.owner,)})`. They
    are derived from the rows whenever they are asked, and never part of events or checkpoints, so
    a key function may be changed at any time. The first question after an open looks at all rows.
    With `texts`, the first few look for bytes instead, which takes a tenth of the time.

    Attributes:
        name: unique in the store.
        encode: value → plain data for a checkpoint (None, bool, int, float, str, bytes, and
            tuples, lists or dicts of these). Called by each `put`, so make it quick.
        decode: key and plain data → value; arrays arrive as tuples. It gets the key so that
            values that know their key need not be stored with it.
        indexes: for each index, by its name, its key function: key and value → the entries that the
            row has in the index, in a list or a tuple. Entries are equal, or not, as keys of a
            dictionary are. It must be pure.
        texts: for an index, by its name, what gives for an entry some texts that stand in the plain
            data of every row with that entry, such as the entry itself. Of a row without them
            nobody asks whether it has the entry, so that what is wrong here hides rows; `check`
            of the store, and `eventstore.testing`, find that.
    """

    name: str
    encode: Callable[[V], Plain] = _encode_unchanged
    decode: Callable[[K, Plain], V] = _decode_unchanged
    indexes: Mapping[str, Callable[[K, V], Iterable[Hashable]]] = field(default_factory=dict)
    texts: Mapping[str, Callable[[Any], Iterable[str]]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.name)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, types):
            # The types are for type checkers; a frozen object takes no note of them.
            return cls

    @property
    def is_plain(self) -> bool:
        """Whether values stand in a checkpoint as they are."""
        return self.encode is _encode_unchanged and self.decode is _decode_unchanged


class ReadableTable(Protocol[K, V_co]):
    """An ordered map from key to immutable value, as one transaction sees it."""

    @overload
    def get(self, key: K) -> V_co | None: ...
    @overload
    def get(self, key: K, default: D) -> V_co | D: ...
    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or the default. O(1)."""

    def __getitem__(self, key: K) -> V_co: ...
    def __contains__(self, key: K) -> bool: ...

    def items(self, start: K | None = None, stop: K | None = None) -> Iterator[tuple[K, V_co]]:
        """Yield (key, value) in key order, from `start` on and before `stop`.

        They are as of the call: what is changed while the iteration goes on, even by `apply`
        itself, is not seen by it. So live tables and a replay see the same. O(log n) to start.
        """

    def by_index(self, index: str, entry: Hashable) -> Iterator[tuple[K, V_co]]:
        """Yield (key, value) of all rows that have an entry in an index, in key order.

        They are as of the call, as with `items`. O(rows found), and O(rows changed since the index
        was last asked) before; the first time O(n), about 3 µs a row.

        Raises:
            ProjectionError: the table has no such index, or its key function fails.
        """


class WritableTable(ReadableTable[K, V], Protocol[K, V]):
    """A table as `Projection.apply` gets it."""

    def put(self, key: K, value: V) -> None:
        """Set the value of a key. O(1).

        Raises:
            TypeError: a checkpoint would not give back key or value as they are (`TableSpec`), or
                the key is of another type than the others; nothing was changed.
            ValueError: the same, where the type fits but not the value; nothing was changed.
        """

    def delete(self, key: K) -> None:
        """Remove a key that is there; KeyError if it is not. O(1)."""


class ReadableTables(Mapping[str, ReadableTable]):
    """The tables of a projection to read, by their names or by their specifications."""

    @overload
    def __getitem__(self, table: str) -> ReadableTable: ...
    @overload
    def __getitem__(self, table: TableSpec[K, V]) -> ReadableTable[K, V]: ...
    @abstractmethod
    def __getitem__(self, table: Any) -> Any: ...


class WritableTables(Mapping[str, WritableTable]):
    """The tables of a projection as `apply` gets them, by their names or specifications."""

    @overload
    def __getitem__(self, table: str) -> WritableTable: ...
    @overload
    def __getitem__(self, table: TableSpec[K, V]) -> WritableTable[K, V]: ...
    @abstractmethod
    def __getitem__(self, table: Any) -> Any: ...


class Projection(ABC):
    """A pure fold of events into tables.

    Attributes:
        name: stable, unique in the store.
        version: raise it when `apply` or the tables change; the store then rebuilds this
            projection from the log when it is next opened, unless `upgrade` carries it over.
        tables: the specifications of its tables.
        upcasters: what reads events of older versions: for the type and version of an event, the
            function that makes the data of the next version of it. `apply` and `keys` are given
            what these lead to, and so is whoever reads the history; the log keeps what was emitted.
            They are as pure as `apply`, for ever, and change nothing that they are given.
            Projections that share a store and a type of event share its upcasters.
    """

    name: str
    version: int
    tables: Sequence[TableSpec]
    upcasters: Upcasters = MappingProxyType({})

    @abstractmethod
    def apply(self, event: Event, tables: WritableTables) -> None:
        """Fold one event into this projection's tables.

        Raise nothing for an event that a transaction has emitted: whoever emits checks first.
        If this raises all the same, the event is undone and the error reaches the emitter. It
        can't emit, commit or roll back itself: that raises `ReentrantUseError`.
        """

    def upgrade(self, version: int, tables: WritableTables) -> bool:
        """Carry over what a checkpoint holds of an older version, where that needs no events.

        So the state outlives a log that retention has dropped, and an open needs no rebuild. It is
        asked whenever a checkpoint of the older version is read, and must be pure, as `apply`.

        Args:
            version: what the checkpoint holds.
            tables: those of this version. One that the checkpoint holds too has its rows, which
                `decode` must be able to read; the others are empty.

        Returns:
            whether the tables are now as this version would have folded them; if not, what was
            done to them is dropped, and the projection rebuilt.
        """
        _ = version, tables
        return False

    def keys(self, event: Event) -> Iterable[str]:
        """Return the keys that an event is about, for `EventStore.history`; none unless overridden.

        They are an index's, and made again from the log: as pure as `apply`, of any event ever
        emitted, and without raising. Raise `version` when they change. Text of any length will do;
        names, ids and whatever else a person would ask by.
        """
        _ = event
        return ()

    def erasable(self, event: Event, path: tuple[str, ...]) -> bool:
        """Say whether a text in an event's data may be erased (`eventstore.erase`).

        It is then asterisks, as many as the text has bytes, for `apply` and for whoever reads the
        history. So it must be none that another event refers to, such as a name, an id or a kind.

        Args:
            event: whose data has a text there.
            path: the keys that lead to it.
        """
        _ = event, path
        return False

    def check(self, tables: ReadableTables) -> None:
        """Check every invariant of the tables; O(n).

        `EventStore.check` calls it, for tests; and a full verification, on the tables that it has
        replayed: what this raises, of whatever type, is then a problem in the report.

        Raises:
            AssertionError: one does not hold.
        """
        _ = tables


def checked_projections(projections: Iterable[Projection]) -> tuple[Projection, ...]:
    """Return the projections of a store, once it is known that they can be.

    Raises:
        ProjectionError: something else was given; one states something else than it must; or two
            have the same name, or a table of the same name.
    """
    if isinstance(projections, (Projection, type)):
        raise ProjectionError(f"give a list of projections, not {excerpt(projections)} by itself")
    known = tuple(projections)
    for projection in known:
        _require_projection(projection)
        _require_well_stated(projection)
    names = [projection.name for projection in known]
    tables = [spec.name for projection in known for spec in projection.tables]
    for kind, found in (("projections", names), ("tables", tables)):
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise ProjectionError(f"two {kind} of the store have the name {twice[0]!r}")
    all_upcasters(known)
    return known


def _require_projection(projection: Projection) -> None:
    if isinstance(projection, type) and issubclass(projection, Projection):
        name = projection.__name__
        raise ProjectionError(f"{name} is a class: give an instance of it, such as {name}()")
    if not isinstance(projection, Projection):
        raise ProjectionError(
            f"{excerpt(projection)} is no projection: give instances of subclasses of Projection"
        )


def _require_well_stated(projection: Projection) -> None:
    """Check what a checkpoint will name the projection by: a class may state anything."""
    name, version, tables = (
        getattr(projection, attribute, None) for attribute in ("name", "version", "tables")
    )
    if not _is_name(name):
        kind = type(projection).__name__
        raise ProjectionError(f"the name of a {kind} must be a text, not {excerpt(name)}")
    if type(version) is not int or not 0 <= version <= _VERSION_MAX:
        raise ProjectionError(
            f"the version of projection {name!r} must be a whole number, not {excerpt(version)}"
        )
    if not isinstance(tables, (tuple, list)):
        raise ProjectionError(
            f"the tables of projection {name!r} must be a tuple, not {excerpt(tables)}"
        )
    for spec in tables:
        if not isinstance(spec, TableSpec):
            raise ProjectionError(
                f"a table of projection {name!r} is no TableSpec: {excerpt(spec)}"
            )
        if not _is_name(spec.name):
            raise ProjectionError(
                f"a table of projection {name!r} must have a text as name, not {excerpt(spec.name)}"
            )
        if not callable(spec.encode) or not callable(spec.decode):
            raise ProjectionError(f"encode and decode of table {spec.name!r} must be functions")
        if not _are_indexes(spec.indexes):
            raise ProjectionError(
                f"the indexes of table {spec.name!r} must be functions by the names of the "
                f"indexes, not {excerpt(spec.indexes)}"
            )
        if not _are_indexes(spec.texts) or not set(spec.texts) <= set(spec.indexes):
            raise ProjectionError(
                f"the texts of table {spec.name!r} must be functions by the names of its indexes, "
                f"not {excerpt(spec.texts)}"
            )


def _are_indexes(indexes: object) -> bool:
    return isinstance(indexes, Mapping) and all(
        _is_name(name) and callable(function) for name, function in indexes.items()
    )


def _is_name(name: object) -> bool:
    if type(name) is not str or not name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no checkpoint can keep
        return False
    return True
