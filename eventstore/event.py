"""What the log is made of, as users see it: events, their metadata, and batches of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

Plain = Any
"""A value of None, bool, int, float, str, bytes, and lists, tuples and dicts of these."""

FIELDS_TYPE = "batch.fields"
"""The event that holds the further fields of a batch (`acting_as`); it comes first."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Metadata(NamedTuple):
    """Who and why: the metadata of a transaction, each part optional."""

    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None


class TransactionArguments(TypedDict, total=False):
    """The keyword arguments of a transaction, for whoever passes them on with their types.

    `EventStore.transaction` says what they are for.
    """

    actor: str | None
    reason: str | None
    request_id: str | None
    timeout: float | None


class Event(NamedTuple):
    """An immutable fact of the domain.

    Attributes:
        type: a stable tag, kept in the log for ever.
        data: the fact, of plain types; not to be changed once emitted.
        version: schema version of `data`.
    """

    type: str
    data: Plain
    version: int = 1


class Batch(NamedTuple):
    """The events of one transaction, as the log keeps them.

    Attributes:
        revision: 1, 2, 3 …
        time_ns: nanoseconds since the epoch, never less than the batch before.
        metadata: who and why.
        events: in the order in which they were emitted.
        digest: chain digest.
        is_redacted: whether parts of it were erased (`eventstore.erasing`): the digest is that of
            the whole.
    """

    revision: int
    time_ns: int
    metadata: Metadata
    events: tuple[Event, ...]
    digest: bytes
    is_redacted: bool = False

    @property
    def time(self) -> datetime:
        """The time in UTC, cut to the microseconds that a datetime holds."""
        return EPOCH + timedelta(microseconds=self.time_ns // 1000)

    @property
    def fields(self) -> Mapping[str, str]:
        """The further fields that `acting_as` stated; empty if there were none."""
        first = self.events[0] if self.events else None
        return dict(first.data) if first is not None and first.type == FIELDS_TYPE else {}
