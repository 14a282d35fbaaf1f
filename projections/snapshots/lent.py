"""A write transaction that is lent to a function of the driver's, which can't end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from projections.snapshots.callers import called
from projections.snapshots.errors import FailedPreconditionError
from projections.snapshots.transaction import SnapshotWriteTransaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore import Receipt

T = TypeVar("T")


class LentTransaction(SnapshotWriteTransaction):
    """Commits what a function has done together with what is to be recorded of it."""

    __slots__ = ("_borrower",)

    def lent(self, what: str, function: Callable[[SnapshotWriteTransaction], T]) -> T:
        """Return what a function does with this, which neither commits it nor rolls it back.

        Args:
            what: the function is, for messages.
            function: to be called.

        Raises:
            TypeError: it has given an awaitable.
            Exception: what it raises.
        """
        self._borrower = what
        try:
            return called(what, function, self)
        finally:
            del self._borrower

    def commit(self) -> Receipt | None:
        """See `WriteTransaction.commit`."""
        self._require_returned()
        return super().commit()

    def rollback(self) -> None:
        """See `WriteTransaction.rollback`."""
        self._require_returned()
        super().rollback()

    def _require_returned(self) -> None:
        what = getattr(self, "_borrower", None)
        if what is not None:
            raise FailedPreconditionError(
                f"{what} can't end its transaction: what it does is committed, with the record of "
                "it, when it returns, and rolled back when it raises"
            )
