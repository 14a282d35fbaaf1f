"""Which error of the library is which exit code, and what the line about it says.

An error that is not listed here is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

from typing import NamedTuple

from eventstore import CorruptionError, EventStoreError, NotAStoreError, StoreLockedError
from projections.snapshots import NotFoundError, SnapshotError

FAILED = 1
DAMAGED = 3
NO_STORE = 10
LOCKED = 11


class Failure(NamedTuple):
    """How the program ends.

    Attributes:
        exit_code: its exit code.
        message: what happened and what to do.
    """

    exit_code: int
    message: str


def explain(error: Exception) -> Failure | None:
    """Return how the program ends with an error; None for an error that nobody expects."""
    match error:
        case CorruptionError():
            return Failure(DAMAGED, str(error))
        case NotAStoreError():
            return Failure(NO_STORE, str(error))
        case StoreLockedError():
            return Failure(LOCKED, str(error))
        case NotFoundError():
            return Failure(FAILED, f"{error}; `snapledger ls` shows what is there")
        case EventStoreError() | SnapshotError():
            return Failure(FAILED, str(error))
        case OSError(filename=None):
            return Failure(FAILED, f"{error.strerror or error}")
        case OSError():
            path = error.filename
            return Failure(
                FAILED, f"{path}: {error.strerror}; check the path and who may use what is there"
            )
        case _:
            return None
