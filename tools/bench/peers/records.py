"""What peers without a data model of their own store as a record, and as an audit event: JSON."""

from __future__ import annotations

import json
import time

from tools.bench.workload import ACTOR, PARENT, REASON, labels_of

_encode = json.JSONEncoder(separators=(",", ":")).encode


def record_of(number: int, id_number: int) -> bytes:
    """Return the record of a snapshot."""
    now = time.time_ns()
    fields = (id_number, PARENT, "active", labels_of(number), now, now, 0, 0)
    return _encode(fields).encode()


def event_of(number: int, id_number: int, key: str) -> bytes:
    """Return the audit event of its creation: when, who, why, what."""
    what = {"id": id_number, "key": key, "parent": PARENT, "labels": labels_of(number)}
    return _encode((time.time_ns(), ACTOR, REASON, "snapshot.created", what)).encode()
