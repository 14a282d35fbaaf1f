"""The current transaction: that of a with statement, for the functions that are given none.

`MetaStore.transaction_context` makes a transaction the current one of its `contextvars` context;
`projections.snapshots.storage` works on it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from projections.snapshots.errors import NoTransactionError
from projections.snapshots.transaction import SnapshotReadTransaction, SnapshotWriteTransaction

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType
    from typing import Self

    from projections.snapshots.operations import SnapshotTransaction

_current: ContextVar[SnapshotTransaction] = ContextVar("snapledger_transaction")


class CurrentReadTransaction(SnapshotReadTransaction):
    """A read transaction that is the current one in its with statement."""

    __slots__ = ("_token",)

    _token: Token[SnapshotTransaction]

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return super().__enter__()

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._token)
        super().__exit__(error_type, error, traceback)


class CurrentWriteTransaction(SnapshotWriteTransaction):
    """A write transaction that is the current one in its with statement."""

    __slots__ = ("_token",)

    _token: Token[SnapshotTransaction]

    def __enter__(self) -> Self:
        super().__enter__()
        self._token = _current.set(self)
        return self

    def _leave(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            _current.reset(self._token)
        except ValueError as another:  # it was left in another context
            super()._leave(ValueError, another, None)
            raise
        super()._leave(error_type, error, traceback)


def current_transaction() -> SnapshotTransaction:
    """Return the transaction that `MetaStore.transaction_context` has made the current one.

    Raises:
        NoTransactionError: there is none.
    """
    try:
        return _current.get()
    except LookupError:
        raise NoTransactionError(
            "no transaction in context: call this inside `with store.transaction_context():`"
        ) from None
