"""The snapshots projection: events to tables, and the indexes that walks use.

Tables:
- `snapshots`: key or name → (id, Info, Usage);
- `snapshots_by_parent`, `snapshots_by_kind`, `snapshots_by_label`: one row an entry, whose key is
  the indexed text, NUL, and the snapshot's name; the value is None;
- `snapshot_counters`: "last_id" → the highest id given out.

The separator works because names hold no NUL: operations and imports refuse one. A label whose
key or value holds one is left out of the index, and a walk that asks for it doesn't use the index.

`check` holds the indexes against the snapshots.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eventstore import Projection, TableSpec
from projections.snapshots import events
from projections.snapshots.errors import InvalidArgumentError, NotFoundError, SnapshotError
from projections.snapshots.model import Info, Kind, Usage
from projections.snapshots.validation import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eventstore import Event, ReadableTable, WritableTable

SNAPSHOTS = "snapshots"
BY_PARENT = "snapshots_by_parent"
BY_KIND = "snapshots_by_kind"
BY_LABEL = "snapshots_by_label"
COUNTERS = "snapshot_counters"
LAST_ID = "last_id"

Row = tuple[str, Info, Usage]
"""A row of the `snapshots` table: id, info, usage."""

SEPARATOR = "\0"
_AFTER_SEPARATOR = "\1"
_NO_LABELS: Mapping[str, str] = MappingProxyType({})
_NO_USAGE = Usage()
_REFUSALS = (KeyError, TypeError, ValueError, AttributeError)
"""What folding data raises that has not the fields, or not the types, of its event."""


def index_range(*parts: str) -> tuple[str, str]:
    """Return start and stop of the index rows that begin with these indexed texts."""
    prefix = SEPARATOR.join(parts)
    return prefix + SEPARATOR, prefix + _AFTER_SEPARATOR


def name_in(index_key: str) -> str:
    """Return the snapshot's name in the key of an index row."""
    return index_key[index_key.rindex(SEPARATOR) + 1 :]


class SnapshotsProjection(Projection):
    """Folds snapshot events into the tables above."""

    name = "snapshots"
    version = 1

    def __init__(self) -> None:
        self.tables = (
            TableSpec(SNAPSHOTS, encode=_encode_row, decode=_decode_row),
            TableSpec(BY_PARENT),
            TableSpec(BY_KIND),
            TableSpec(BY_LABEL),
            TableSpec(COUNTERS),
        )

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        """Fold one event into the tables; events of other domains change nothing.

        Raises:
            InvalidArgumentError: the event's data can't be right.
            NotFoundError: it is about a snapshot that is not there.
        """
        try:
            _fold(event, tables)
        except _REFUSALS as error:
            raise _refusal(event, tables, error) from error

    def check(self, tables: Mapping[str, ReadableTable]) -> None:
        """Check indexes, parents and ids against the snapshots; O(n).

        Raises:
            AssertionError: they do not agree.
        """
        expected: dict[str, set[str]] = {BY_PARENT: set(), BY_KIND: set(), BY_LABEL: set()}
        last_id = tables[COUNTERS].get(LAST_ID, 0)
        ids = set()
        for name, (snapshot_id, info, _) in tables[SNAPSHOTS].items():
            for table, key in _index_entries(info):
                expected[table].add(key)
            ids.add(snapshot_id)
            if info.name != name:
                raise AssertionError(f"the row of {name!r} holds the info of {info.name!r}")
            if not 0 < int(snapshot_id) <= last_id:
                raise AssertionError(f"{name!r} has id {snapshot_id}, the counter is at {last_id}")
            parent = tables[SNAPSHOTS].get(info.parent) if info.parent else None
            if info.parent and (parent is None or parent[1].kind is not Kind.COMMITTED):
                raise AssertionError(f"{name!r} has no committed parent {info.parent!r}")
        if len(ids) != sum(1 for _ in tables[SNAPSHOTS].items()):
            raise AssertionError("two snapshots have the same id")
        for table, keys in expected.items():
            if {key for key, _ in tables[table].items()} != keys:
                raise AssertionError(f"index {table} does not agree with the snapshots")


def _fold(event: Event, tables: Mapping[str, WritableTable]) -> None:
    data = event.data
    match event.type:
        case events.CREATED:
            info = Info(
                data["key"],
                data["parent"],
                Kind(data["kind"]),
                _read_only(data["labels"]),
                data["time_ns"],
                data["time_ns"],
            )
            _insert(tables, (str(data["id"]), info, _NO_USAGE))
            tables[COUNTERS].put(LAST_ID, data["id"])
        case events.COMMITTED:
            _delete(tables, data["key"])
            info = Info(
                data["name"],
                data["parent"],
                Kind.COMMITTED,
                _read_only(data["labels"]),
                data["time_ns"],
                data["time_ns"],
            )
            usage = Usage(data["inodes"], data["size"])
            _insert(tables, (str(data["id"]), info, usage))
        case events.UPDATED:
            _update(tables, data["name"], _read_only(data["labels"]), data["time_ns"])
        case events.REMOVED:
            _delete(tables, data["key"])
        case events.IMPORTED:
            info = Info(
                data["name"],
                data["parent"],
                Kind(data["kind"]),
                _read_only(data["labels"]),
                data["created_ns"],
                data["updated_ns"],
            )
            usage = Usage(data["inodes"], data["size"])
            _insert(tables, (str(data["id"]), info, usage))
        case events.ID_COUNTER_IMPORTED:
            tables[COUNTERS].put(LAST_ID, data["last_id"])


def _refusal(event: Event, tables: Mapping[str, WritableTable], error: Exception) -> SnapshotError:
    """Return what is raised for an event that can't be folded, since whoever made it was wrong."""
    data, what = event.data, f"event {event.type!r}"
    if not isinstance(data, dict):
        return InvalidArgumentError(f"{what}: its data must be a dictionary, not {shown(data)}")
    missing = [field for field in events.FIELDS[event.type] if field not in data]
    if missing:
        return InvalidArgumentError(f"{what}: its data lacks {', '.join(map(repr, missing))}")
    what += f" of id {shown(data['id'])}" if "id" in data else ""
    name = data["name"] if event.type == events.UPDATED else data.get("key")
    if isinstance(error, KeyError) and isinstance(name, str) and name not in tables[SNAPSHOTS]:
        return NotFoundError(f"{what}: there is no snapshot {shown(name)}")
    return InvalidArgumentError(f"{what}: {type(error).__name__}: {error}")


def _insert(tables: Mapping[str, WritableTable], row: Row) -> None:
    info = row[1]
    tables[SNAPSHOTS].put(info.name, row)
    for table, key in _index_entries(info):
        tables[table].put(key, None)


def _delete(tables: Mapping[str, WritableTable], name: str) -> None:
    for table, key in _index_entries(tables[SNAPSHOTS][name][1]):
        tables[table].delete(key)
    tables[SNAPSHOTS].delete(name)


def _update(
    tables: Mapping[str, WritableTable], name: str, labels: Mapping[str, str], time_ns: int
) -> None:
    snapshot_id, info, usage = tables[SNAPSHOTS][name]
    new = info._replace(labels=labels, updated_ns=time_ns)
    before, after = set(_index_entries(info)), set(_index_entries(new))
    for table, key in before - after:
        tables[table].delete(key)
    for table, key in after - before:
        tables[table].put(key, None)
    tables[SNAPSHOTS].put(name, (snapshot_id, new, usage))


def _index_entries(info: Info) -> Iterator[tuple[str, str]]:
    name = info.name
    yield BY_PARENT, f"{info.parent}\0{name}"
    yield BY_KIND, f"{info.kind.value}\0{name}"
    for key, value in info.labels.items():
        if SEPARATOR not in key and SEPARATOR not in value:
            yield BY_LABEL, f"{key}\0{value}\0{name}"


def _read_only(labels: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(labels)) if labels else _NO_LABELS


def _encode_row(row: Row) -> tuple[Any, ...]:
    snapshot_id, info, usage = row
    labels = dict(info.labels)
    times = (info.created_ns, info.updated_ns)
    return (int(snapshot_id), info.parent, info.kind.value, labels, *times, *usage)


def _decode_row(name: str, plain: tuple[Any, ...]) -> Row:
    if type(name) is not str:
        raise TypeError("a name must be a text")
    id_number, parent, kind, labels, created_ns, updated_ns, inodes, size = plain
    info = Info(name, parent, Kind(kind), _read_only(labels), created_ns, updated_ns)
    return str(id_number), info, Usage(inodes, size)
