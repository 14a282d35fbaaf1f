"""Who is asking: metadata of transactions that need not be passed through every layer.

`acting_as` states them for the `contextvars` context: this thread, or this task and those that it
starts. What a transaction is given itself goes before.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from eventstore.arguments import excerpt
from eventstore.errors import InvalidEventError
from eventstore.event import FIELDS_TYPE, Event, Metadata
from eventstore.format.codec import checked_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Acting(NamedTuple):
    """What is stated of whoever is asking.

    Attributes:
        metadata: for batches that are not given their own.
        fields: further ones, text by text.
    """

    metadata: Metadata = Metadata()
    fields: Mapping[str, str] = MappingProxyType({})


ACTING: ContextVar[Acting | None] = ContextVar("eventstore_acting", default=None)
"""What is stated in this context; None if nothing is."""


@contextmanager
def acting_as(
    *,
    actor: str | None = None,
    reason: str | None = None,
    request_id: str | None = None,
    **fields: str,
) -> Iterator[None]:
    """State who acts in this block, and why: for each write transaction that does not say it.

    Blocks may be nested: what an inner one leaves out stays as the outer one has it. Further
    fields, such as a namespace, become the first event of the batch, of type "batch.fields", in
    which `Batch.fields` finds them.

    Raises:
        InvalidEventError: one of them is not a text.
    """
    outer = ACTING.get() or Acting()
    metadata = merged(Metadata(actor, reason, request_id), outer.metadata)
    for name, text in fields.items():
        if type(text) is not str:
            raise InvalidEventError(
                f"the {name} of a transaction must be a text, not {excerpt(text)}"
            )
    token = ACTING.set(Acting(checked_metadata(metadata), {**outer.fields, **fields}))
    try:
        yield
    finally:
        ACTING.reset(token)


def merged(given: Metadata, stated: Metadata) -> Metadata:
    """Return metadata with what was not given as it was stated."""
    return Metadata(*(b if a is None else a for a, b in zip(given, stated, strict=True)))


def fields_event(fields: Mapping[str, str]) -> Event:
    """Return the event that holds the fields of a batch."""
    return Event(FIELDS_TYPE, dict(fields))
