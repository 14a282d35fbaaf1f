"""Requests that may be repeated: a request id that was committed once gives the first answer again.

The batch that does what a request asks for also records its id, a digest of what it asked for, and
what was answered. So both are there or neither is, after a crash too; and as rows of a table they
outlive restarts and compaction. They are kept in a *window*, so many and so long; each request
takes out some that have left it, which its event states, so that the fold is pure.

A request that failed is not recorded: nothing was changed, and a repetition tries again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore import CompactedError, Event, Receipt, TableSpec
from projections.snapshots.errors import FailedPreconditionError, InvalidArgumentError
from projections.snapshots.model import utc
from projections.snapshots.validation import check_key, check_text, checked_text, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from typing import Self

    from eventstore import EventStore, WritableTable
    from projections.snapshots.operations import SnapshotTransaction
    from projections.snapshots.transaction import SnapshotWriteTransaction

DONE = "request.done"
FIELDS = {DONE: ("id", "revision", "content", "result", "time_ns", "expired_to")}
"""What the data of the event holds."""

REQUESTS = TableSpec[str, Any]("snapshot_requests")
"""Request id → (revision, digest of its content, result, time in nanoseconds)."""

ORDER = TableSpec[int, str]("snapshot_request_order")
"""Revision → request id: the oldest come first."""

REQUEST_COUNT = "requests"
"""The counter of requests that are kept, beside that of ids."""

_EXPIRED_PER_REQUEST = 64
_SECONDS_MAX = 9_223_372_036
"""As many as the nanoseconds that 64 bits can count."""

_DECIMAL_BITS_MAX = 2000
"""Python writes no longer number in decimals where its limit is lowest: 640 digits."""
_SCALARS = (type(None), bool, int, float, str, bytes)


class _Window(NamedTuple):
    seconds: float
    requests: int


class RequestWindow(_Window):
    """How long, and how many, requests are remembered: until either is exceeded.

    Attributes:
        seconds: for so long, up to 292 years.
        requests: the last so many; each takes about half a KB of memory.
    """

    __slots__ = ()

    def __new__(cls, seconds: float = 86_400.0, requests: int = 100_000) -> Self:
        """Make a window.

        Raises:
            InvalidArgumentError: either is no number that time or requests can be counted by.
        """
        # A comparison that NaN fails, and that no number is too large for.
        if not (isinstance(seconds, int | float) and 0 <= seconds <= _SECONDS_MAX):
            raise InvalidArgumentError(
                f"a window of requests lasts from 0 to {_SECONDS_MAX} seconds, not {shown(seconds)}"
            )
        if not (isinstance(requests, int) and requests >= 0):
            raise InvalidArgumentError(
                f"a window of requests has a whole number of them, not {shown(requests)}"
            )
        return super().__new__(cls, seconds, requests)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override] # mypy has its own
        return cls(*iterable)  # so that `_replace` checks, too


class Request(NamedTuple):
    """A request that was committed.

    Attributes:
        id: of the request.
        result: what the first call returned.
        revision: of its batch.
        time_ns: of its commit, in nanoseconds since the epoch.
        receipt: of its commit; None where its batch is no longer kept.
        is_repeat: whether it had been committed before; this call has then changed nothing.
    """

    id: str
    result: Any
    revision: int
    time_ns: int
    receipt: Receipt | None
    is_repeat: bool

    @property
    def time(self) -> datetime:
        """The time of its commit, UTC."""
        return utc(self.time_ns)


def fold(event: Event, tables: Mapping[str, WritableTable], counters: WritableTable) -> None:
    """Fold the event of a request into the tables of those that are remembered."""
    data = event.data
    requests, order = tables[REQUESTS.name], tables[ORDER.name]
    count = counters.get(REQUEST_COUNT, 0)
    for revision, request_id in order.items(stop=data["expired_to"] + 1):
        requests.delete(request_id)
        order.delete(revision)
        count -= 1
    requests.put(data["id"], (data["revision"], data["content"], data["result"], data["time_ns"]))
    order.put(data["revision"], data["id"])
    counters.put(REQUEST_COUNT, count + 1)


def find(store: EventStore, now: SnapshotTransaction, request_id: str) -> Request | None:
    """Return a request that a transaction sees; None if there is none in the window."""
    row = now.get(REQUESTS.name, request_id)
    if row is None:
        return None
    revision, _, result, time_ns = row
    receipt = _receipt(store, revision, request_id)
    return Request(request_id, result, revision, time_ns, receipt, is_repeat=True)


def is_repeat(now: SnapshotTransaction, request_id: str, content: bytes) -> bool:
    """Say whether a request was committed before.

    Raises:
        FailedPreconditionError: it was, but with other content.
    """
    row = now.get(REQUESTS.name, request_id)
    if row is None:
        return False
    if row[1] != content:
        raise FailedPreconditionError(
            f"request {shown(request_id)} was made before, at revision {row[0]}, with other "
            "content: take another id for another request"
        )
    return True


def record(
    tx: SnapshotWriteTransaction,
    request_id: str,
    content: bytes,
    result: Any,
    window: RequestWindow,
) -> Event:
    """Emit and return the event of a request that this transaction has carried out."""
    kept = _checked_result(result)
    now_ns = time.time_ns()
    event = Event(
        DONE,
        {
            "id": request_id,
            "revision": tx.revision + 1,
            "content": content,
            "result": kept,
            "time_ns": now_ns,
            "expired_to": _expired_to(tx, now_ns, window),
        },
    )
    tx.emit(event)
    return event


def checked_id(request_id: str) -> str:
    """Return a request id.

    Raises:
        InvalidArgumentError: it is no text, empty or too long.
    """
    checked = checked_text(request_id, "request id")
    check_key(checked, "request id")
    return checked


def digest_of(content: Any) -> bytes:
    """Return a digest of what a request asks for, the same for equal content.

    Raises:
        InvalidArgumentError: it is not of None, bool, int, float, str, bytes, and sequences and
            mappings of these.
    """
    digest = hashlib.sha256()
    try:
        _feed(digest.update, content)
    except RecursionError:
        raise InvalidArgumentError(
            "the content of a request is nested too deep, or holds itself"
        ) from None
    return digest.digest()


def _feed(update: Callable[[bytes], object], value: Any) -> None:
    # Each begins with what it is, and ends where nothing inside can end: no two are fed alike.
    if isinstance(value, str):
        update(b"s" + repr(str.__str__(value)).encode("utf-8", "surrogatepass"))
    elif isinstance(value, int) and value.bit_length() > _DECIMAL_BITS_MAX:
        update(f"int {value:#x};".encode())
    elif isinstance(value, _SCALARS):
        update(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, Mapping):
        update(b"{")
        for key, each in sorted((digest_of(key), each) for key, each in _pairs(value)):
            update(key)
            _feed(update, each)
        update(b"}")
    elif isinstance(value, list | tuple):
        update(b"[")
        for each in value:
            _feed(update, each)
        update(b"]")
    else:
        raise InvalidArgumentError(f"the content of a request can't have {shown(value)} in it")


def _pairs(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return list(mapping.items())


def _checked_result(result: Any) -> Any:
    parts = result.items() if type(result) is dict else ((None, result),)
    for name, value in parts:
        if type(value) not in _SCALARS or not (name is None or type(name) is str):
            raise InvalidArgumentError(
                f"the result of a request must be None, bool, int, float, str or bytes, or a dict "
                f"from str to these, not {shown(result)}"
            )
        for text in (name, value):
            if type(text) is str:
                check_text(text, "result of a request")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise InvalidArgumentError(
                f"the result of a request has {shown(value)}: a whole number takes 64 bits at most"
            )
    return dict(result) if type(result) is dict else result


def _expired_to(tx: SnapshotTransaction, now_ns: int, window: RequestWindow) -> int:
    """Return the last revision whose request has left the window, or is the last of many; else 0.

    The window has room for the next one then.
    """
    oldest_ns = now_ns - int(window.seconds * 1e9)
    beyond = tx.get("snapshot_counters", REQUEST_COUNT, 0) + 1 - window.requests
    expired = 0
    for place, (revision, request_id) in enumerate(
        islice(tx.items(ORDER.name), _EXPIRED_PER_REQUEST)
    ):
        if place >= beyond and tx.get(REQUESTS.name, request_id)[3] >= oldest_ns:
            break
        expired = revision
    return expired


def _receipt(store: EventStore, revision: int, request_id: str) -> Receipt | None:
    try:
        for batch in store.batches(revision, revision):
            if batch.metadata.request_id == request_id:  # else a repair has numbered them anew
                return Receipt(store.store_id, revision, batch.digest)
    except CompactedError:
        pass
    return None
