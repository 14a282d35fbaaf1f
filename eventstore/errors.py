"""Every error of the engine.

A message says what happened, where, and what to do next. Where what to do next is a call of this
library, it stands apart (`EventStoreError.remedy`), so that a program whose user makes no calls can
say something else. An operation that raises one of these has changed nothing, unless the class says
otherwise; a checkpoint or a compaction goes step by step, and the steps before the error stay done.
"""

from __future__ import annotations


class EventStoreError(Exception):
    """Base of every error that the engine raises on its own account.

    Attributes:
        what: what happened, and where.
        remedy: what a program that uses the library can do about it, in terms of the library;
            empty where `what` says all. The text of the error is both.
    """

    def __init__(self, what: str = "", remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class CorruptionError(EventStoreError):
    """Bytes on disk are damaged where an acknowledged batch, or its digest, must be.

    If an open raises it, the store is unchanged, but for LOCK, which names that open as its last
    holder. If a compaction does, it has left the damaged file as it was. If a checkpoint does, it
    could not be read back and was removed, and the store is as before.

    Attributes:
        path: the damaged file, or the directory where a file is missing.
        offset_bytes: where in the file the damage starts.
        reason: what is wrong there.
    """

    def __init__(self, path: str, offset_bytes: int, reason: str) -> None:
        super().__init__(
            f"{path}: damaged at byte {offset_bytes}: {reason}; keep a copy of "
            "the store and run `snapledger check` on it"
        )
        self.path = path
        self.offset_bytes = offset_bytes
        self.reason = reason


class ErasureError(EventStoreError):
    """Something can't be erased, or is erased already; this call erased nothing."""


class FormatVersionError(EventStoreError):
    """A file's format version is newer than this release; the store is unchanged, but for LOCK."""

    def __init__(self, path: str, found_version: int, known_version: int) -> None:
        super().__init__(
            f"{path}: format version {found_version} is newer than {known_version}, the newest "
            "that this release reads; open the store with the release that wrote it or a later one"
        )
        self.path = path
        self.found_version = found_version
        self.known_version = known_version


class NotAStoreError(EventStoreError):
    """There is no store at the path, and none may be made there."""


class StoreExistsError(EventStoreError, FileExistsError):
    """A new store can't be made at a path where a store, or anything else, is already."""


class ForeignOwnerError(EventStoreError, PermissionError):
    """The store's directories belong to another user, and the options do not allow that.

    Or this user may not read a file of it. That says nothing of the file, so nothing is decided
    without it, and the store is unchanged, but for LOCK.
    """


class StoreLockedError(EventStoreError):
    """Another handle holds the store; the message names the process."""


class WriterBusyError(StoreLockedError):
    """Another transaction holds the writer lock; the message names it."""


class OvertakenError(EventStoreError):
    """A writer changed what was being read, each time that it was tried: nothing is known of it."""


class ReentrantUseError(EventStoreError):
    """A signal handler or a finalizer called into the operation that it has interrupted.

    It would wait for ever, or change a transaction amid a change. Set a flag there, and use the
    store after it returns. `Projection.apply` gets it too, if it emits into the transaction that
    applies its event, or ends that: the event would be half applied. Let whoever emits do so.
    """


class StoreFailedError(EventStoreError):
    """An earlier write or sync of this handle failed, so it acknowledges nothing more.

    Reads go on with the durable state. Reopening the store recovers every acknowledged batch;
    whether the batch that met the failure is among them is only known then.
    """


class StoreClosedError(EventStoreError):
    """The store was closed, or the process forked since it was opened."""


class StorageFullError(EventStoreError):
    """There is no space for the next segment, checkpoint or archive file.

    Nothing was acknowledged and the handle stays usable; free some space and try again.
    """


class SystemLimitError(EventStoreError, OSError):
    """This process, or the machine, may open no more files, or a file may not get that long.

    Nothing was lost, and the handle stays usable, unless a commit met it: then the handle has
    failed (`StoreFailedError`). Raise the limit and try again.

    Attributes:
        errno: EMFILE, ENFILE or EFBIG.
    """

    def __init__(self, what: str, number: int) -> None:
        super().__init__(what)
        self.errno = number

    def __str__(self) -> str:
        # That of `OSError` leaves the text out once somebody has noted a file name.
        return self.what


class TransactionClosedError(EventStoreError):
    """The transaction has been committed or rolled back."""


class ReadOnlyStoreError(EventStoreError):
    """The store or the transaction is open for reading only."""


class CompactedError(EventStoreError):
    """The batches asked for are no longer kept.

    Attributes:
        asked_revision: the one asked for.
        oldest_revision: the first one that can still be read; of states, whose state can be told.
    """

    def __init__(
        self, asked_revision: int, oldest_revision: int, *, is_of_state: bool = False
    ) -> None:
        which = (
            f"the state at revision {asked_revision} is no longer kept, nor what it is made of"
            if is_of_state
            else f"revision {asked_revision} is no longer kept"
        )
        super().__init__(
            f"{which}: the oldest one left is {oldest_revision}; those before were dropped "
            "by retention, left out by a repair or removed by hand"
        )
        self.asked_revision = asked_revision
        self.oldest_revision = oldest_revision


class InvalidEventError(EventStoreError, ValueError):
    """An event holds something that the log can't keep and give back unchanged."""


class ActorRequiredError(EventStoreError):
    """A write transaction says of nobody that he acts, and `StoreOptions.require_actor` is set."""


class BatchTooLargeError(EventStoreError):
    """The events of one transaction take more bytes than one batch may."""


class ProjectionError(EventStoreError):
    """The projections given do not fit together, or do not fit what the store holds."""


class ReceiptError(EventStoreError):
    """A receipt does not match the store's history."""


class ProofError(EventStoreError):
    """A proof, a signed head or a key is none, or does not hold: it is to be refused."""


class BackupError(EventStoreError):
    """There is no backup, it is of another history, or something else is at its place."""


class DamagedBackupError(CorruptionError):
    """A file of a backup is missing, cut short, or not what the manifest says.

    Nothing was changed, and nothing was made of it.
    """

    def __init__(self, path: str, offset_bytes: int, reason: str) -> None:
        EventStoreError.__init__(
            self,
            f"{path}: damaged at byte {offset_bytes}: {reason}; do not rely on this backup: make "
            "a new one at another place, or restore from another one",
        )
        self.path = path
        self.offset_bytes = offset_bytes
        self.reason = reason


class DumpError(EventStoreError):
    """A dump can't be loaded: a line of it is not what must stand there; no store was made.

    Attributes:
        line: its number, from 1.
        reason: what is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class UnsupportedPlatformError(EventStoreError):
    """This operating system has no sync that is known to reach stable storage."""


class UnsupportedFileSystemError(EventStoreError):
    """The store would be on a network file system, and the options do not allow that."""


def what_of(error: BaseException) -> str:
    """Return what an error says, without the calls of the library that are its remedy: for logs."""
    return error.what if isinstance(error, EventStoreError) else text_of(error)


def text_of(error: BaseException) -> str:
    """Return what an error says; its type where that is nothing, as with most interrupts."""
    return str(error) or type(error).__name__
