"""Import of a containerd snapshotter's `metadata.db` into a new store.

Everything becomes one batch: ids, names, parents, kinds, labels, usage, nanosecond times and the
id counter are kept, and the metadata of the batch says where it all came from. The database is
read and checked as a whole before the store is made, so a damaged or foreign file makes none. An
import that was cut short leaves what is no store, and can be run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import gc
import hashlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from eventstore import StoreExistsError, StoreOptions
from projections.snapshots import events
from projections.snapshots.boltfile import BoltFormatError
from projections.snapshots.containerd_db import ContainerdSnapshots, read_snapshots
from projections.snapshots.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from projections.snapshots.metastore import MetaStore
from projections.snapshots.validation import check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from eventstore import Receipt

_BATCH_BYTES_LIMIT = 1024 * 1024 * 1024
_BATCH_BYTES_PER_DATABASE_BYTE = 4
"""An event repeats its field names, which the database stores as short bucket keys."""


class ImportReport(NamedTuple):
    """What was imported.

    Attributes:
        snapshot_count: how many snapshots.
        last_id: where the id counter stands.
        sha256: of the database file, as hexadecimal digits.
        receipt: of the batch.
    """

    snapshot_count: int
    last_id: int
    sha256: str
    receipt: Receipt


def import_containerd(
    database: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    actor: str = "import",
    options: StoreOptions | None = None,
    on_snapshot: Callable[[int, int], object] = lambda done, total: None,
) -> ImportReport:
    """Make a store at a path from a containerd snapshotter's database.

    Args:
        database: the `metadata.db`; it is only read.
        store: where the store is made: nothing, or an empty directory, must be there.
        actor: for the metadata of the batch.
        options: of the new store; the batch cap is raised as far as the import needs.
        on_snapshot: called with how many snapshots are taken over, and how many there are.

    Raises:
        InvalidArgumentError: the file is damaged, larger than 1 GiB, or not a snapshotter's
            database; or a snapshot has a name that none may be given here, such as one with a NUL
            character.
        FailedPreconditionError: another process has it open for writing.
        AlreadyExistsError: something is at the store's path.
        StoreLockedError: another process has, or makes, a store there.
        EventStoreError: the store can't be made; as of `EventStore.create`.
        OSError: the file can't be read.
    """
    path = os.fspath(database)
    with open(path, "rb", opener=_opened_at_once) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPreconditionError(
                f"{path}: another process (containerd?) has the database open for writing: stop "
                "it, or import a copy of the file"
            ) from None
        data = read_still(file, path)
    return import_read(data, path, store, actor=actor, options=options, on_snapshot=on_snapshot)


def read_still(file: BinaryIO, path: str) -> bytes:
    """Read a database that the caller has open, and keeps from being written to.

    Raises:
        InvalidArgumentError: it is no regular file, or larger than any database that fits.
    """
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgumentError(f"{path}: not a regular file; no store was made")
    if status.st_size > _BATCH_BYTES_LIMIT:
        raise InvalidArgumentError(
            f"{path}: {status.st_size} bytes; a database of more than {_BATCH_BYTES_LIMIT} "
            "does not fit into one batch; no store was made"
        )
    return file.read(status.st_size)


def import_read(
    data: bytes,
    database: str,
    store: str | os.PathLike[str],
    *,
    actor: str,
    options: StoreOptions | None = None,
    on_snapshot: Callable[[int, int], object] = lambda done, total: None,
    before_end: Callable[[], object] = lambda: None,
) -> ImportReport:
    """Do what `import_containerd` does with a database that was read already.

    Args:
        data: what was read.
        database: the path that it was read from.
        store: as of `import_containerd`, like all that is not named here.
        actor: the same.
        options: the same.
        on_snapshot: the same.
        before_end: called once all is written; if it raises, there is no store.

    Raises:
        Exception: as `import_containerd` does, and what `before_end` raises.
    """
    with _collector_at_rest():
        content = _read_content(database, data)
        sha256 = hashlib.sha256(data).hexdigest()
        reason = f"import of containerd database {os.path.abspath(database)} (SHA-256 {sha256})"
        room = _with_room(options, len(data))
        try:
            receipt = _write(store, content, actor, reason, room, on_snapshot, before_end)
        except StoreExistsError as error:
            raise AlreadyExistsError(str(error)) from error
        return ImportReport(len(content.snapshots), content.last_id, sha256, receipt)


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Keep the collector of cyclic garbage from looking at what an import makes meanwhile.

    There is no garbage in it before the end, and to look at it over and over takes a fifth of the
    time of an import.
    """
    was_enabled = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_content(path: str, data: bytes) -> ContainerdSnapshots:
    """Return what a database holds, if all of it can be taken over.

    Raises:
        InvalidArgumentError: it can't.
    """
    try:
        content = read_snapshots(data)
        for snapshot in content.snapshots:
            check_key(snapshot.info.name, "name")
    except (BoltFormatError, InvalidArgumentError) as error:
        raise InvalidArgumentError(f"{path}: {error}; no store was made") from error
    return content


def _opened_at_once(path: str, flags: int) -> int:
    """Open a file; one that is a pipe without waiting for whoever writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _with_room(options: StoreOptions | None, database_bytes: int) -> StoreOptions:
    base = StoreOptions() if options is None else options
    if not isinstance(base, StoreOptions):
        raise TypeError(f"options must be a StoreOptions, not a {type(base).__name__}")
    needed = min(_BATCH_BYTES_LIMIT, _BATCH_BYTES_PER_DATABASE_BYTE * database_bytes)
    return dataclasses.replace(base, batch_bytes_max=max(base.batch_bytes_max, needed))


def _write(
    path: str | os.PathLike[str],
    content: ContainerdSnapshots,
    actor: str,
    reason: str,
    options: StoreOptions,
    on_snapshot: Callable[[int, int], object],
    before_end: Callable[[], object],
) -> Receipt:
    with MetaStore.create(path, purpose=reason, options=options) as store:
        with store.transaction(writable=True, actor=actor, reason=reason) as transaction:
            for done, snapshot in enumerate(content.snapshots, 1):
                transaction.emit(
                    events.imported(id_number=snapshot.id, info=snapshot.info, usage=snapshot.usage)
                )
                on_snapshot(done, len(content.snapshots))
            transaction.emit(events.id_counter_imported(content.last_id))
        if transaction.receipt is None:
            raise RuntimeError("a batch with events was committed without a receipt")
        before_end()
        return transaction.receipt
