"""A dump: everything a store says, as lines of JSON that a person can read and a store can load.

The first line says which store it is and how far it goes; each other line is a batch. Times,
revisions, the digest and what the digest rests on are in it, so that a store which is loaded has
the same chain, and every receipt, head and proof of the old one holds in it. Where JSON can't give
back the very bytes of a batch (a NaN with a payload, bytes that another program has packed), the
line holds these bytes instead. A line of a batch of which parts were erased says that it is
`redacted`: what is left stands there, and the digest that the batch had when it was whole.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from eventstore.errors import BackupError
from eventstore.format.codec import encode_batch, encode_event, salt_of, with_salt
from eventstore.format.jsonlines import json_line, json_value
from eventstore.integrity.redacted import RedactedCheck
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.event import Batch
    from eventstore.log.interface import LogReader
    from eventstore.log.reader import Record

DUMP_FORMAT = "snapledger-dump"
DUMP_VERSION = 1


def dumped_lines(log: LogReader, last_revision: int) -> Iterator[bytes]:
    """Yield the lines of a dump up to a durable revision; memory: one batch.

    Raises:
        CompactedError: batches were dropped meanwhile.
        CorruptionError: a batch is damaged.
        BackupError: an erasure was carried out meanwhile: what vouches for what it has left is
            behind the last revision, and nothing loads these lines without it.
    """
    redacted = RedactedCheck()
    first = log.oldest_revision()
    yield json_line(
        {
            "format": DUMP_FORMAT,
            "version": DUMP_VERSION,
            "store_id": log.store_id.hex(),
            "first_revision": first,
            "revision": last_revision,
        }
    )
    for record in log.read(first, last_revision):
        redacted.take_in(record)
        yield json_line(_fields(record))
    for unnamed in redacted.unnamed():
        raise BackupError(
            f"{unnamed.path}: an erasure was carried out while the store was dumped: dump again; "
            "if that says so too, check the store"
        )


def _fields(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "revision": record.revision,
        "time_ns": record.time_ns,
        "durable_revision": record.durable_revision,
        "digest": record.digest.hex(),
    }
    if record.is_redacted:
        fields["redacted"] = True
    batch = decode_record(record)
    if not _says_all(batch, record.payload):
        return {**fields, "payload": base64.b64encode(record.payload).decode("ascii")}
    events = [
        {"type": event.type, "version": event.version, "data": json_value(event.data)}
        for event in batch.events
    ]
    salt = salt_of(record.payload)
    if salt is not None:
        fields["salt"] = salt.hex()
    return {**fields, **batch.metadata._asdict(), "events": events}


def _says_all(batch: Batch, payload: bytes) -> bool:
    """Say whether the bytes of a batch follow from what it says."""
    if any(_has_nan(event.data) for event in batch.events):
        return False
    try:
        packed = encode_batch(batch.metadata, [encode_event(event) for event in batch.events])
    except ValueError:
        return False
    salt = salt_of(payload)
    return packed == payload if salt is None else with_salt(packed, salt) == payload


def _has_nan(data: Any) -> bool:
    level = [data]
    while level:
        inner: list[Any] = []
        for value in level:
            if isinstance(value, float):
                if math.isnan(value):
                    return True
            elif isinstance(value, dict):
                inner.extend(value)
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        level = inner
    return False
