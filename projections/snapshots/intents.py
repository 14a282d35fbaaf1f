"""Intents: work outside the store, on a disk or in a device, that a transaction belongs to.

No file system commits a directory and a batch at once. So what is to be done outside is written
down, and what a crash leaves open is known at the next open: what for, by whom, and since when.
There are two orders.

**Begun**: the intent is durable before the work; a later transaction ends it together with what it
was for (`fulfil`). Until then the work is nobody's. It costs one more commit. Whoever wants the id
of the snapshot for the names of the work reserves one: it is never given to another.

    begin, durable | work | transaction: snapshot made, intent ended
                   ^ a crash from here on leaves the intent, and perhaps some of the work

**Staged**: the work is done before, under a name that is given once (`stage_name`). The batch that
makes the snapshot records it, at no further sync; what is left, a rename, comes after the commit,
and is told of by `finished`.

    work, synced | transaction: snapshot made, stage recorded | rename, synced | told
    ^ a stage that no batch knows, for reconcile              ^ an intent, to be finished

This module has the values, the events and their fold; `projections.snapshots.work` what a handle
does with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore import Event, TableSpec
from projections.snapshots.errors import InvalidArgumentError
from projections.snapshots.events import id_key
from projections.snapshots.model import utc
from projections.snapshots.validation import check_key, check_text, checked_text, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from eventstore import Metadata, WritableTable

BEGUN = "intent.begun"
ENDED = "intent.ended"

FIELDS = {
    BEGUN: (
        "number",
        "kind",
        "key",
        "data",
        "id",
        "actor",
        "reason",
        "request_id",
        "time_ns",
        "is_staged",
    ),
    ENDED: ("number", "id", "outcome"),
}
"""What the data of each event holds."""

DONE, UNDONE, SETTLED = "done", "undone", "settled"
"""How an intent ended: by its transaction, given up, or by the handler of its kind."""

LAST_INTENT = "last_intent"
"""The counter of intents, beside that of ids."""

_DATA_TYPES = (str, int, bytes, type(None))
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
"""What the log can hold."""


class Intent(NamedTuple):
    """Work that was begun, or staged, and is not known to have ended.

    Attributes:
        number: of the intent, in the store.
        kind: which handler it is for.
        key: of the snapshot that it is about.
        data: what the handler must know, such as names on the disk; read-only.
        id: of the snapshot: reserved by the intent, or of the one made with it; None for neither.
        actor: who.
        reason: why.
        request_id: on behalf of which request.
        time_ns: when, in nanoseconds since the epoch.
        is_staged: whether what it belongs to has been committed with it, so that the work can only
            be finished; otherwise that has not, and the work can be undone.
    """

    number: int
    kind: str
    key: str
    data: Mapping[str, Any]
    id: str | None
    actor: str | None
    reason: str | None
    request_id: str | None
    time_ns: int
    is_staged: bool

    @property
    def time(self) -> datetime:
        """When it was begun, UTC."""
        return utc(self.time_ns)


def _encode(intent: Intent) -> tuple[Any, ...]:
    _, kind, key, data, snapshot_id, *rest = intent
    return kind, key, {**data}, None if snapshot_id is None else int(snapshot_id), *rest


def _decode(number: int, plain: tuple[Any, ...]) -> Intent:
    kind, key, data, id_number, *rest = plain
    snapshot_id = None if id_number is None else str(id_number)
    return Intent(number, kind, key, MappingProxyType(data), snapshot_id, *rest)


INTENTS = TableSpec[int, Intent]("snapshot_intents", encode=_encode, decode=_decode)
"""Number → intent, of those that are open."""


def begun(
    *,
    number: int,
    kind: str,
    key: str,
    data: Mapping[str, Any],
    id_number: int | None,
    metadata: Metadata,
    time_ns: int,
    is_staged: bool,
) -> Event:
    """Return the event of an intent being begun or staged."""
    actor, reason, request_id = metadata
    return Event(
        BEGUN,
        {
            "number": number,
            "kind": kind,
            "key": key,
            "data": dict(data),
            "id": id_number,
            "actor": actor,
            "reason": reason,
            "request_id": request_id,
            "time_ns": time_ns,
            "is_staged": is_staged,
        },
    )


def ended(intent: Intent, outcome: str) -> Event:
    """Return the event of an intent being ended."""
    id_number = None if intent.id is None else int(intent.id)
    return Event(ENDED, {"number": intent.number, "id": id_number, "outcome": outcome})


def fold(event: Event, tables: Mapping[str, WritableTable], counters: WritableTable) -> None:
    """Fold an event of an intent into the table of those that are open."""
    data = event.data
    if event.type == ENDED:
        tables[INTENTS.name].delete(data["number"])
        return
    fields = [data[name] for name in FIELDS[BEGUN]]
    tables[INTENTS.name].put(data["number"], _decode(fields[0], tuple(fields[1:])))
    counters.put(LAST_INTENT, data["number"])


def keys_in(event: Event) -> Iterator[str]:
    """Yield the id that an intent has, and the key of the snapshot that it is for."""
    data = event.data if isinstance(event.data, dict) else {}
    number, key = data.get("id"), data.get("key")
    if isinstance(number, int):
        yield id_key(number)
    if isinstance(key, str):
        yield key


def checked_intent(intent: Intent) -> Intent:
    """Return an intent.

    Raises:
        InvalidArgumentError: it is none.
    """
    if not isinstance(intent, Intent):
        raise InvalidArgumentError(
            f"{shown(intent)} is no intent: give what `intent` or `stage` gives"
        )
    return intent


def checked_work(kind: str, key: str, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the data of an intent, once kind, key and data are known to be right.

    Raises:
        InvalidArgumentError: kind or key can't be; or the data is not a mapping from text to text,
            whole number of 64 bits, bytes or None.
    """
    check_key(checked_text(kind, "kind of the intent"), "kind of the intent")
    check_key(checked_text(key, "key"), "key")
    if data is not None and not isinstance(data, Mapping):
        raise InvalidArgumentError(f"data of the intent must be a mapping, not {shown(data)}")
    kept = dict(data or {})
    for name, value in kept.items():
        if type(name) is not str or type(value) not in _DATA_TYPES:
            raise InvalidArgumentError(
                f"data of the intent: {shown(name)}: {shown(value)} is not a text with a text, a "
                "whole number, bytes or None"
            )
        check_text(name, "name in the data of the intent")
        if type(value) is str:
            check_text(value, f"text {shown(name)} in the data of the intent")
        if type(value) is int and not _INT_MIN <= value <= _INT_MAX:
            raise InvalidArgumentError(
                f"data of the intent: {shown(name)}: {shown(value)} takes more than 64 bits"
            )
    return kept
