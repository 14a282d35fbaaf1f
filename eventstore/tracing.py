"""Spans of write transactions for OpenTelemetry, where `opentelemetry-api` is installed.

    with traced(store.transaction(writable=True, actor="puller")) as tx:
        ...

The span's events tell the waits apart: from its start to `begun` the writer lock was waited for,
from `appended` to its end the sync. Without the package, `traced` is the transaction alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from eventstore.handle.write_transaction import WriteTransaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Tracer

W = TypeVar("W", bound=WriteTransaction)


@contextmanager
def traced(
    transaction: W, name: str = "snapledger.transaction", *, tracer: Tracer | None = None
) -> Iterator[W]:
    """Enter a write transaction in a span of its own; it ends as in a with statement.

    Its attributes are actor, reason and request id of the transaction, and its revision if it has
    committed. An error that ends it is recorded.

    Args:
        transaction: that has not begun.
        name: of the span.
        tracer: that makes the span; that of the library unless given.
    """
    tracer = tracer or _tracer_of_library()
    if tracer is None:
        with transaction:
            yield transaction
        return
    stated = transaction.metadata._asdict().items()
    attributes: dict[str, Any] = {
        f"snapledger.{part}": text for part, text in stated if text is not None
    }
    with tracer.start_as_current_span(name, attributes=attributes) as span:
        transaction.call_when_appended(lambda: span.add_event("appended"))
        with transaction:
            span.add_event("begun")
            yield transaction
        if transaction.receipt is not None:
            span.set_attribute("snapledger.revision", transaction.receipt.revision)


def _tracer_of_library() -> Tracer | None:
    try:
        from opentelemetry.trace import get_tracer  # noqa: PLC0415 - it need not be there
    except ImportError:
        return None
    return get_tracer("snapledger")
