"""Which error of the library is which exit code, and what the line about it says.

What a program could do about an error, in calls of the library, is left out of the line: it says
what somebody at a terminal can do.

An error that is not listed here is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from eventstore import (
    BatchTooLargeError,
    CorruptionError,
    EventStoreError,
    ForeignOwnerError,
    NotAStoreError,
    OvertakenError,
    ProjectionError,
    ProofError,
    StorageFullError,
    StoreLockedError,
    UnsupportedFileSystemError,
)
from projections.snapshots import NotFoundError, SnapshotError

FAILED = 1
DAMAGED = 3
REFUSED = 4
NO_STORE = 10
LOCKED = 11


_REMEDIES: dict[type[EventStoreError], str] = {
    StoreLockedError: "stop that process or wait for it; compact asks it, and waits --wait SECONDS",
    ForeignOwnerError: "run this as the owner; compact has --allow-foreign-owner, for an owner who "
    "must be trusted",
    UnsupportedFileSystemError: "use a path on a local disk",
    ProjectionError: "this command knows snapshots only, as of its release: use the release that "
    "the driver has, or let the driver, which knows all of its store, do it",
    StorageFullError: "free some space and try again",
    OvertakenError: "try again when the driver has less to erase or to compact",
    BatchTooLargeError: "what is in the database does not fit into one batch; no store was made",
}
"""In the place of `EventStoreError.remedy`."""

_REMEDY_OF_SYSTEM = "check the path and who may use what is there"
_OUT_OF_MEMORY = "out of memory: the whole state, and what is made of it, must fit into it"
_TOO_LARGE = "raise the limit on files' sizes (`ulimit -f`), or use a file system that takes it"
_REMEDIES_OF_SYSTEM = {
    errno.EEXIST: "nothing is written over: give a new path, or remove what is there",
    errno.ENOENT: "check the path",
    errno.EISDIR: "give the path of a file",
    errno.ENOTDIR: "check the path: something on it is no directory",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "links lead in a circle there, or one is not followed: give the path itself",
    errno.EACCES: "run this as a user who may use it",
    errno.EPERM: "run this as a user who may use it",
    errno.EFBIG: _TOO_LARGE,
    errno.EROFS: "use a path that can be written to",
}


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
        case RecursionError():
            return Failure(FAILED, str(error))
        case MemoryError():
            return Failure(FAILED, str(error) or _OUT_OF_MEMORY)
        case CorruptionError():
            return Failure(DAMAGED, str(error))
        case ProofError():
            return Failure(REFUSED, str(error))
        case NotAStoreError():
            return Failure(NO_STORE, str(error))
        case StoreLockedError():
            return Failure(LOCKED, _for_operators(error))
        case NotFoundError():
            return Failure(FAILED, f"{error}; `snapledger ls` shows what is there")
        case EventStoreError():
            return Failure(FAILED, _for_operators(error))
        case SnapshotError():
            return Failure(FAILED, str(error))
        case OSError():
            return Failure(FAILED, of_system(error))
        case _:
            return None


def of_system(error: OSError) -> str:
    """Return the text of an error of the system, with what can be done."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "the output"
        return f"{where}: {error.strerror}; free some space and try again"
    if error.filename is None:
        if error.errno == errno.ENOENT and _is_nowhere():
            return "the current directory is no longer there; change to one that is"
        # Writing to a file that is open, as the output is, does not name it.
        remedy = f"; {_TOO_LARGE}" if error.errno == errno.EFBIG else ""
        return f"{error.strerror or error}{remedy}"
    remedy = _REMEDIES_OF_SYSTEM.get(error.errno or 0, _REMEDY_OF_SYSTEM)
    return f"{error.filename}: {error.strerror}; {remedy}"


def _is_nowhere() -> bool:
    """Return whether the current directory was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _for_operators(error: EventStoreError) -> str:
    """Return the text of an error with what can be done at a terminal, not in a program."""
    remedy = _REMEDIES.get(type(error)) if error.remedy else None
    return error.what if remedy is None else f"{error.what}; {remedy}"
