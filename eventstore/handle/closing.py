"""What a handle says once it is closed, also to a read that its close has overtaken.

Whoever reads waits for nobody, and so a close doesn't wait for him: it may close a file amid his
read, or before. What he then meets says nothing of the store (`MET_AFTER_A_CLOSE`), and is told as
what it means.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from eventstore.errors import CorruptionError, StoreClosedError
from eventstore.files.failures import raise_if_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.event import Batch

MET_AFTER_A_CLOSE = (OSError, CorruptionError)
"""What a read may meet. A close frees the number of the directory's descriptor, which may then be
another directory's."""


class Closing:
    """Whether a handle is closed, or being closed, and why.

    Attributes:
        reason: why it can't be used any more; None while it can.
    """

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason: str | None = None

    def require_open(self) -> None:
        """Raise `StoreClosedError` once there is a reason to."""
        if self.reason is not None:
            raise StoreClosedError(self.reason)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say that the store was closed, or has gone, also while files were being read.

        Raises:
            StoreClosedError: the store is closed, before or after.
            StoreFailedError: it was moved or removed.
        """
        self.require_open()
        try:
            yield
        except MET_AFTER_A_CLOSE as error:
            self._raise_meaning(error)
            raise

    def told_amid(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield batches, and say that the store was closed, or has gone, meanwhile."""
        try:
            yield from batches
        except MET_AFTER_A_CLOSE as error:
            self._raise_meaning(error)
            raise

    def _raise_meaning(self, error: Exception) -> None:
        if self.reason is not None:
            raise StoreClosedError(self.reason) from error
        raise_if_gone(error)
