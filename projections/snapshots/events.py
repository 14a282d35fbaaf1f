"""The events of the snapshot domain: what they are called and what they hold.

They stay readable for ever: a tag is never given another meaning, and a change of `data` gets a
new schema version, which `apply` must then tell apart. Every event of a snapshot carries its id,
so that its history can be followed through renames. Labels hold no empty values: a label set to
"" is removed before the event is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from projections.snapshots.model import Info, Kind, Usage

CREATED = "snapshot.created"
COMMITTED = "snapshot.committed"
UPDATED = "snapshot.updated"
REMOVED = "snapshot.removed"
IMPORTED = "snapshot.imported"
ID_COUNTER_IMPORTED = "snapshot.id-counter-imported"
IDS_RESERVED = "snapshot.ids-reserved"

OF_ONE_SNAPSHOT = frozenset((CREATED, COMMITTED, UPDATED, REMOVED, IMPORTED))
"""The events that are about one snapshot, and carry its id."""

FIELDS = {
    CREATED: ("id", "kind", "key", "parent", "labels", "time_ns"),
    COMMITTED: ("id", "key", "name", "parent", "labels", "inodes", "size", "time_ns"),
    UPDATED: ("id", "name", "labels", "time_ns"),
    REMOVED: ("id", "key"),
    IMPORTED: (
        "id",
        "kind",
        "name",
        "parent",
        "labels",
        "inodes",
        "size",
        "created_ns",
        "updated_ns",
    ),
    ID_COUNTER_IMPORTED: ("last_id",),
    IDS_RESERVED: ("last_id",),
}
"""What the data of each event holds."""


def id_in(event: Event) -> int | None:
    """Return the id of the snapshot that an event is about; None if it is about none.

    Whoever emits events by hand may have left the id out where the tables do not need it.
    """
    if event.type not in OF_ONE_SNAPSHOT:
        return None
    number = event.data.get("id") if isinstance(event.data, dict) else None
    return number if isinstance(number, int) else None


def id_key(number: int) -> str:
    """Return the key under which everything about a snapshot is found; no name can be like it."""
    return f"\0{number}"


def keys_in(event: Event) -> Iterator[str]:
    """Yield what an event of one snapshot can be looked up by: its id, and the names it deals with.

    Not the name that new labels are for: the snapshot got that in another event, of the same id, so
    that whoever looks for the snapshots of a name need not read each change of their labels.
    """
    number = id_in(event)
    if number is None:
        return
    yield id_key(number)
    if event.type == UPDATED:
        return
    for field in ("key", "name"):
        name = event.data.get(field)
        if isinstance(name, str):
            yield name


def created(
    *,
    id_number: int,
    kind: Kind,
    key: str,
    parent: str,
    labels: Mapping[str, str],
    time_ns: int,
    is_reserved: bool = False,
) -> Event:
    """Return the event of an active snapshot or view being created.

    Its version is 2 where the id had been reserved: the counter is there or further already.
    """
    data = {
        "id": id_number,
        "kind": str.__str__(kind),  # its value, without the detour of an enumeration
        "key": key,
        "parent": parent,
        "labels": dict(labels),
        "time_ns": time_ns,
    }
    return Event(CREATED, data, 2 if is_reserved else 1)


def committed(
    *,
    id_number: int,
    key: str,
    name: str,
    parent: str,
    labels: Mapping[str, str],
    usage: Usage,
    time_ns: int,
) -> Event:
    """Return the event of an active snapshot being committed under a name."""
    data = {
        "id": id_number,
        "key": key,
        "name": name,
        "parent": parent,
        "labels": dict(labels),
        "inodes": usage.inodes,
        "size": usage.size,
        "time_ns": time_ns,
    }
    return Event(COMMITTED, data)


def updated(*, id_number: int, name: str, labels: Mapping[str, str], time_ns: int) -> Event:
    """Return the event of a snapshot's labels being replaced by others."""
    data = {"id": id_number, "name": name, "labels": dict(labels), "time_ns": time_ns}
    return Event(UPDATED, data)


def removed(*, id_number: int, key: str) -> Event:
    """Return the event of a snapshot being removed."""
    return Event(REMOVED, {"id": id_number, "key": key})


def imported(*, id_number: int, info: Info, usage: Usage) -> Event:
    """Return the event of a snapshot being taken over from another store, as it is there."""
    data = {
        "id": id_number,
        "kind": info.kind.value,
        "name": info.name,
        "parent": info.parent,
        "labels": dict(info.labels),
        "inodes": usage.inodes,
        "size": usage.size,
        "created_ns": info.created_ns,
        "updated_ns": info.updated_ns,
    }
    return Event(IMPORTED, data)


def id_counter_imported(last_id: int) -> Event:
    """Return the event of the id counter being taken over from another store."""
    return Event(ID_COUNTER_IMPORTED, {"last_id": last_id})


def ids_reserved(last_id: int) -> Event:
    """Return the event of all ids up to one being given to no snapshot that comes later."""
    return Event(IDS_RESERVED, {"last_id": last_id})
