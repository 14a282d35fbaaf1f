"""The shapes of the JSON output. Scripts depend on them: fields may be added, never changed.

Ids are strings, as containerd's. A time is there twice: `*_ns` as nanoseconds since the epoch, and
without the suffix in RFC 3339, UTC.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from projections.snapshots import Kind, events
from snapledger.text import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventstore import Batch, Event
    from projections.snapshots import Info, Usage

SNAPSHOT_FIELDS = (
    "id, name, kind, parent, labels, created, created_ns, updated, updated_ns, "
    "usage {inodes, size}; usage is null until the snapshot is committed"
)


def snapshot_record(snapshot_id: str, info: Info, usage: Usage) -> dict[str, Any]:
    """Return a snapshot; see `SNAPSHOT_FIELDS`."""
    return {
        "id": snapshot_id,
        "name": info.name,
        "kind": info.kind.value,
        "parent": info.parent,
        "labels": dict(info.labels),
        "created": format_time(info.created_ns),
        "created_ns": info.created_ns,
        "updated": format_time(info.updated_ns),
        "updated_ns": info.updated_ns,
        "usage": usage._asdict() if info.kind is Kind.COMMITTED else None,
    }


def batch_record(batch: Batch, shown: Iterable[Event]) -> dict[str, Any]:
    """Return a batch with those of its events that are to be shown."""
    return {
        "revision": batch.revision,
        "time": format_time(batch.time_ns),
        "time_ns": batch.time_ns,
        "actor": batch.metadata.actor,
        "reason": batch.metadata.reason,
        "request_id": batch.metadata.request_id,
        "digest": batch.digest.hex(),
        "events": [event_record(event) for event in shown],
        **({"fields": json_value(dict(batch.fields))} if batch.fields else {}),
        **({"redacted": True} if batch.is_redacted else {}),
    }


def event_record(event: Event) -> dict[str, Any]:
    """Return an event; of a domain that is not ours with its data as it is."""
    data = json_value(event.data)
    if event.type in events.OF_ONE_SNAPSHOT:
        if "id" in data:
            data["id"] = str(data["id"])
        for name in [name for name in data if name.endswith("_ns")]:
            data[name.removesuffix("_ns")] = format_time(data[name])
    elif event.type == events.ID_COUNTER_IMPORTED:
        data["last_id"] = str(data["last_id"])
    return {"type": event.type, "version": event.version, "data": data}


def json_value(value: Any) -> Any:
    """Return plain data of any domain as JSON has it: bytes become base64, keys become strings."""
    # Loops: a comprehension would need twice the frames for data that is nested to the limit.
    if isinstance(value, dict):
        named = {}
        for key, each in value.items():
            named[key if isinstance(key, str) else str(json_value(key))] = json_value(each)
        return named
    if isinstance(value, list):
        items = []
        for each in value:
            items.append(json_value(each))
        return items
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
