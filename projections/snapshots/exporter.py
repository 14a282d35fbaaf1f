"""Export of a store to a containerd snapshotter's `metadata.db`, which containerd opens.

Names, ids, parents, kinds, labels, usage, times and the id counter go along; the history stays. The
file appears whole and durable, or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots.containerd_db import ContainerdSnapshot, ContainerdSnapshots
from projections.snapshots.containerd_writer import write_snapshots
from projections.snapshots.errors import AlreadyExistsError
from projections.snapshots.projection import COUNTERS, LAST_ID, SNAPSHOTS

if TYPE_CHECKING:
    from projections.snapshots.operations import SnapshotTransaction


class ExportReport(NamedTuple):
    """What was exported.

    Attributes:
        snapshot_count: how many snapshots.
        last_id: where the id counter stands.
        revision: of the store whose state it is.
        sha256: of the database file, as hexadecimal digits.
    """

    snapshot_count: int
    last_id: int
    revision: int
    sha256: str


def containerd_bytes(now: SnapshotTransaction) -> bytes:
    """Return the `metadata.db` of what a transaction sees; the same state gives the same bytes."""
    return write_snapshots(_content(now))


def export_containerd(now: SnapshotTransaction, database: str | os.PathLike[str]) -> ExportReport:
    """Write what a transaction sees, now or in the past, as a new `metadata.db`.

    Args:
        now: of `MetaStore.transaction` or `MetaStore.at`.
        database: where the file is made; nothing may be there.

    Raises:
        AlreadyExistsError: something is there.
        OSError: the file can't be written; none was made.
    """
    content = _content(now)
    data = write_snapshots(content)
    _write_new(os.fspath(database), data)
    sha256 = hashlib.sha256(data).hexdigest()
    return ExportReport(len(content.snapshots), content.last_id, now.revision, sha256)


def _content(now: SnapshotTransaction) -> ContainerdSnapshots:
    snapshots = tuple(
        ContainerdSnapshot(int(snapshot_id), info, usage)
        for _, (snapshot_id, info, usage) in now.items(SNAPSHOTS)
    )
    return ContainerdSnapshots(now.get(COUNTERS, LAST_ID, 0), snapshots)


def _write_new(path: str, data: bytes) -> None:
    """Write a file under a name that is free, durable before it has it."""
    directory = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(directory, f".{os.path.basename(path)}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        raise AlreadyExistsError(f"{path}: something is there already; nothing was made") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
