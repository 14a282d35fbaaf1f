"""The place of a store: whether one is there, whether one may be made there, and making it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eventstore import format as layout
from eventstore.errors import NotAStoreError, UnsupportedFileSystemError
from eventstore.filesystem import join, parent

if TYPE_CHECKING:
    from eventstore.filesystem import FileSystem

_ROOT_NAMES = frozenset(
    (
        layout.LOCK_NAME,
        layout.DURABLE_NAME,
        layout.DURABLE_NAME + layout.TEMPORARY_SUFFIX,
        *layout.DIRECTORY_NAMES,
    )
)


def require_local(file_system: FileSystem, path: str) -> None:
    """Check that a path is on a file system that can keep what a store promises.

    Raises:
        UnsupportedFileSystemError: it is not known to be.
    """
    kind = file_system.network_type(path)
    if kind is not None:
        raise UnsupportedFileSystemError(
            f"{path}: on a file system of type {kind}, which is not known to be local: its locks "
            "and syncs may not hold; put the store on a local disk, or take the risk with "
            "StoreOptions(allow_network_file_system=True)"
        )


def require_store(file_system: FileSystem, path: str, *, may_create: bool) -> None:
    """Check that a store is at the path, or may be made there.

    Raises:
        NotAStoreError: a file is there, a directory of something else, or nothing although
            something must be.
    """
    if not file_system.exists(path):
        if may_create:
            return
        raise NotAStoreError(f"{path}: there is no store; check the path")
    if not file_system.is_directory(path):
        raise NotAStoreError(f"{path}: not a directory (a link is not followed), so no store")
    _require_no_link(file_system, path)
    names = file_system.list_directory(path)
    strangers = [name for name in names if name not in _ROOT_NAMES]
    if strangers:
        raise NotAStoreError(
            f"{path}: not a store: the directory holds {strangers[0]!r}; give the path of a "
            "store, of an empty directory or of nothing"
        )
    # `durable` is made after the log, so where it is alone the log is lost: damage, found later.
    if not may_create and layout.WAL_NAME not in names and layout.DURABLE_NAME not in names:
        raise NotAStoreError(f"{path}: the directory holds no store; check the path")
    for name in layout.DIRECTORY_NAMES:
        directory = join(path, name)
        if not file_system.exists(directory):
            continue
        if not file_system.is_directory(directory):
            raise NotAStoreError(f"{directory}: must be a directory")
        _require_no_link(file_system, directory)


def being_made(path: str) -> NotAStoreError:
    """Return the error of who meets a store that is still being made, or whose making was cut."""
    return NotAStoreError(
        f"{path}: the store is still being made: try again, or let an open finish it"
    )


def require_remains(file_system: FileSystem, path: str) -> None:
    """Check that something of a store is at the path, however damaged.

    A store that has lost its log may have a checkpoint or an archive left.

    Raises:
        NotAStoreError: a file is there, a directory of something else, or nothing.
    """
    directories = [join(path, name) for name in (layout.CHECKPOINTS_NAME, layout.ARCHIVE_NAME)]
    has_remains = any(
        file_system.is_directory(directory) and file_system.list_directory(directory)
        for directory in directories
    )
    require_store(file_system, path, may_create=has_remains)


def make_root(file_system: FileSystem, path: str) -> None:
    """Make the store's own directory and those above it, as far as they are missing.

    Their names are durable once `sync_names_above` has returned.

    Raises:
        NotAStoreError: something else is in the way.
    """
    missing = []
    directory = path
    while not file_system.exists(directory):
        missing.append(directory)
        directory = parent(directory)
    for directory in reversed(missing):
        # Another process may be making the same store; the lock decides between the two.
        try:
            file_system.make_directory(directory)
        except FileExistsError:
            pass
        except NotADirectoryError as error:
            raise NotAStoreError(
                f"{path}: {parent(directory)} is not a directory, so no store can be made there"
            ) from error


def sync_names_above(file_system: FileSystem, path: str) -> None:
    """Make the name of the store's directory durable, and those of directories made for it.

    This includes directories made by an earlier attempt that was killed before it got here: such
    a directory holds nothing but the next one on the way to the store.
    """
    above = parent(path)
    # Who may not read a directory can't sync it, and has not made it.
    with contextlib.suppress(PermissionError):
        file_system.sync_directory(above)
        if above != parent(above) and len(file_system.list_directory(above)) == 1:
            sync_names_above(file_system, above)


def _require_no_link(file_system: FileSystem, directory: str) -> None:
    """Refuse a link in the store's tree: writes and removals must not reach what it points to."""
    name = file_system.find_link(directory)
    if name is not None:
        raise NotAStoreError(
            f"{join(directory, name)}: a symbolic link, where a store has only directories and "
            "files of its own; put what it points to in its place"
        )
