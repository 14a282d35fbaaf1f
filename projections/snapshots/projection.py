"""The snapshots projection: events to tables, and the indexes that walks use.

Tables:
- `snapshots`: key or name → (id, Info, Usage), with indexes by parent, by kind, by label, of which
  an entry is a pair of the label's key and value, and by suffix (`suffix_of`);
- `snapshot_children`: name → the number of children, of snapshots that have some; so that a removal
  asks for them in O(1) from the first call on;
- `snapshot_counters`: "last_id" → the highest id given out; "last_intent" → the number of the last
  intent;
- `snapshot_intents`: number → an open intent (`projections.snapshots.intents`);
- `snapshot_requests`, `snapshot_request_order`: requests that may be repeated, by their id, and the
  ids by revision (`projections.snapshots.requests`).

Version 1 had three tables in place of the indexes, and did not count children: `upgrade` does.
Version 2 had neither intents nor requests.
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eventstore import Projection, TableSpec
from projections.snapshots import events, intents, requests
from projections.snapshots.errors import InvalidArgumentError, NotFoundError, SnapshotError
from projections.snapshots.model import Info, Kind, Usage
from projections.snapshots.validation import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from eventstore import Event, ReadableTable, WritableTable

SNAPSHOTS = "snapshots"
CHILDREN = "snapshot_children"
COUNTERS = "snapshot_counters"
LAST_ID = "last_id"
BY_PARENT = "by_parent"
BY_KIND = "by_kind"
BY_LABEL = "by_label"
BY_SUFFIX = "by_suffix"

Row = tuple[str, Info, Usage]
"""A row of the `snapshots` table: id, info, usage."""
PlainRow = tuple[int, str, str, "dict[str, str]", int, int, int, int]
"""The same as it is packed: id, parent, kind, labels, created, updated, inodes, size."""

_KINDS = {kind.value: kind for kind in Kind}
_new_tuple = tuple.__new__
_NO_LABELS: Mapping[str, str] = MappingProxyType({})
_NO_USAGE = Usage()
_REFUSALS = (KeyError, TypeError, ValueError, AttributeError)
"""What folding data raises that has not the fields, or not the types, of its event."""


_INTENT_METADATA = (("actor",), ("reason",), ("request_id",))


class SnapshotsProjection(Projection):
    """Folds snapshot events into the tables above."""

    name = "snapshots"
    version = 3

    def __init__(self) -> None:
        indexes = {BY_PARENT: _parent, BY_KIND: _kind, BY_LABEL: _labels, BY_SUFFIX: _suffix}
        texts: dict[str, Callable[[Any], Iterable[str]]] = {
            BY_PARENT: _itself,
            BY_KIND: _itself,
            BY_LABEL: _key_and_value,
        }
        self.tables = (
            TableSpec(
                SNAPSHOTS, encode=encode_row, decode=decode_row, indexes=indexes, texts=texts
            ),
            TableSpec(CHILDREN),
            TableSpec(COUNTERS),
            intents.INTENTS,
            requests.REQUESTS,
            requests.ORDER,
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

    def upgrade(self, version: int, tables: Mapping[str, WritableTable]) -> bool:
        """Carry older tables over: the rows that they have are the same."""
        if version == 2:
            return True
        if version != 1:
            return False
        for parent, count in _child_counts(tables[SNAPSHOTS]).items():
            tables[CHILDREN].put(parent, count)
        return True

    def keys(self, event: Event) -> Iterator[str]:
        """Yield the id in an event of one snapshot, and the names that are given or taken by it.

        Of an intent, the id that it has reserved, and the key that it is for.
        """
        if event.type in intents.FIELDS:
            return intents.keys_in(event)
        return events.keys_in(event)

    def erasable(self, event: Event, path: tuple[str, ...]) -> bool:
        """Say that the value of a label may be erased: nothing refers to it.

        So may the metadata that an intent holds a copy of.
        """
        if event.type == intents.BEGUN:
            return path in _INTENT_METADATA
        return event.type in events.OF_ONE_SNAPSHOT and len(path) == 2 and path[0] == "labels"

    def check(self, tables: Mapping[str, ReadableTable]) -> None:
        """Check parents, numbers of children and ids; O(n).

        Raises:
            AssertionError: they do not agree.
        """
        last_id = tables[COUNTERS].get(LAST_ID, 0)
        ids = set()
        for name, (snapshot_id, info, _) in tables[SNAPSHOTS].items():
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
        last_intent = tables[COUNTERS].get(intents.LAST_INTENT, 0)
        for number, intent in tables[intents.INTENTS.name].items():
            if not 0 < number <= last_intent:
                raise AssertionError(f"intent {number} is open, the counter is at {last_intent}")
            if intent.id is not None and not 0 < int(intent.id) <= last_id:
                raise AssertionError(
                    f"intent {number} has id {intent.id}, the counter is at {last_id}"
                )
        by_revision = {row[0]: name for name, row in tables[requests.REQUESTS.name].items()}
        if dict(tables[requests.ORDER.name].items()) != by_revision:
            raise AssertionError("the requests do not agree with their order")
        if tables[COUNTERS].get(requests.REQUEST_COUNT, 0) != len(by_revision):
            raise AssertionError("the number of requests is wrong")
        if dict(tables[CHILDREN].items()) != _child_counts(tables[SNAPSHOTS]):
            raise AssertionError("the numbers of children do not agree with the snapshots")


def _fold(event: Event, tables: Mapping[str, WritableTable]) -> None:
    data = event.data
    match event.type:
        case events.CREATED:
            info = Info(
                data["key"],
                data["parent"],
                _KINDS.get(data["kind"]) or Kind(data["kind"]),
                _read_only(data["labels"]),
                data["time_ns"],
                data["time_ns"],
            )
            _insert(tables, (str(data["id"]), info, _NO_USAGE))
            if event.version == 1:  # else the id had been reserved
                tables[COUNTERS].put(LAST_ID, data["id"])
        case events.COMMITTED:
            info = Info(
                data["name"],
                data["parent"],
                Kind.COMMITTED,
                _read_only(data["labels"]),
                data["time_ns"],
                data["time_ns"],
            )
            usage = Usage(data["inodes"], data["size"])
            _replace(tables, data["key"], (str(data["id"]), info, usage))
        case events.UPDATED:
            _update(tables, data["name"], _read_only(data["labels"]), data["time_ns"])
        case events.REMOVED:
            _delete(tables, data["key"])
        case events.IMPORTED:
            info = Info(
                data["name"],
                data["parent"],
                _KINDS.get(data["kind"]) or Kind(data["kind"]),
                _read_only(data["labels"]),
                data["created_ns"],
                data["updated_ns"],
            )
            usage = Usage(data["inodes"], data["size"])
            _insert(tables, (str(data["id"]), info, usage))
        case events.ID_COUNTER_IMPORTED | events.IDS_RESERVED:
            tables[COUNTERS].put(LAST_ID, data["last_id"])
        case intents.BEGUN | intents.ENDED:
            intents.fold(event, tables, tables[COUNTERS])
        case requests.DONE:
            requests.fold(event, tables, tables[COUNTERS])


def _refusal(event: Event, tables: Mapping[str, WritableTable], error: Exception) -> SnapshotError:
    """Return what is raised for an event that can't be folded, since whoever made it was wrong."""
    data, what = event.data, f"event {event.type!r}"
    if not isinstance(data, dict):
        return InvalidArgumentError(f"{what}: its data must be a dictionary, not {shown(data)}")
    fields = {**events.FIELDS, **intents.FIELDS, **requests.FIELDS}[event.type]
    missing = [field for field in fields if field not in data]
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
    if info.parent:
        _count_child(tables[CHILDREN], info.parent)


def _delete(tables: Mapping[str, WritableTable], name: str) -> None:
    parent = tables[SNAPSHOTS][name][1].parent
    tables[SNAPSHOTS].delete(name)
    if parent:
        _discount_child(tables[CHILDREN], parent)


def _replace(tables: Mapping[str, WritableTable], name: str, row: Row) -> None:
    """Delete a row and insert another, which most often has the same parent."""
    snapshots, parent, info = tables[SNAPSHOTS], tables[SNAPSHOTS][name][1].parent, row[1]
    snapshots.delete(name)
    snapshots.put(info.name, row)
    if parent != info.parent:
        if parent:
            _discount_child(tables[CHILDREN], parent)
        if info.parent:
            _count_child(tables[CHILDREN], info.parent)


def _count_child(children: WritableTable, parent: str) -> None:
    children.put(parent, children.get(parent, 0) + 1)


def _discount_child(children: WritableTable, parent: str) -> None:
    count = children[parent]
    if count > 1:
        children.put(parent, count - 1)
    else:
        children.delete(parent)


def _update(
    tables: Mapping[str, WritableTable], name: str, labels: Mapping[str, str], time_ns: int
) -> None:
    snapshot_id, old, usage = tables[SNAPSHOTS][name]
    # Written out, this takes half of the time that `_replace` does.
    info = Info(old.name, old.parent, old.kind, labels, old.created_ns, time_ns)
    tables[SNAPSHOTS].put(name, (snapshot_id, info, usage))


def _child_counts(snapshots: ReadableTable) -> dict[str, int]:
    return dict(Counter(row[1].parent for _, row in snapshots.items() if row[1].parent))


def _parent(name: str, row: Row) -> tuple[str]:
    _ = name
    return (row[1].parent,)


def _kind(name: str, row: Row) -> tuple[str]:
    _ = name
    return (row[1].kind._value_,)


def _labels(name: str, row: Row) -> Iterable[tuple[str, str]]:
    _ = name
    return row[1].labels.items()


def _itself(entry: str) -> tuple[str]:
    return (entry,)


def _key_and_value(label: tuple[str, str]) -> tuple[str, str]:
    return label


def _suffix(name: str, row: Row) -> tuple[str]:
    _ = row
    return (suffix_of(name),)


def suffix_of(name: str) -> str:
    """Return the key in a name of containerd's, NAMESPACE/NUMBER/KEY; another name as it is."""
    parts = name.split("/", 2)
    if len(parts) == 3 and parts[0] and parts[2] and parts[1].isascii() and parts[1].isdecimal():
        return parts[2]
    return name


def _read_only(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return labels that nobody can change.

    Raises:
        TypeError: a key or a value is no text.
        AttributeError: they are no mapping.
    """
    if not labels.items():
        return _NO_LABELS
    for key, value in labels.items():
        if type(key) is not str or type(value) is not str:
            raise TypeError(f"label {shown(key)}: {shown(value)} is not of texts")
    return MappingProxyType(dict(labels))


def encode_row(row: Row) -> PlainRow:
    """Return a row as it is packed."""
    snapshot_id, (_, parent, kind, labels, created_ns, updated_ns), (inodes, size) = row
    # The attribute behind `value`, which takes a third of the time of all the rest.
    text = kind._value_
    # Of a read-only view, as all labels of rows are, a copy takes a quarter of the time of `{**…}`.
    plain: dict[str, str] = labels.copy()  # type: ignore[attr-defined]
    return int(snapshot_id), parent, text, plain, created_ns, updated_ns, inodes, size


def decode_row(name: str, plain: PlainRow) -> Row:
    """Return a row as it was before it was packed."""
    if type(name) is not str:
        raise TypeError("a name must be a text")
    id_number, parent, kind, labels, created_ns, updated_ns, inodes, size = plain
    # Without the functions around it, this takes half of the time, and a walk does it for each row.
    read_only = MappingProxyType(labels) if labels else _NO_LABELS
    info = _new_tuple(Info, (name, parent, _KINDS[kind], read_only, created_ns, updated_ns))
    return str(id_number), info, _new_tuple(Usage, (inodes, size))
