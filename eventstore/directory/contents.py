"""The place of a store: what is there, whose it is, and the directories that lead to it.

Making a store is `eventstore.directory.making`; this says how a place looks before and after.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eventstore.errors import (
    ForeignOwnerError,
    NotAStoreError,
    StorageFullError,
    UnsupportedFileSystemError,
)
from eventstore.files.content import read_file
from eventstore.files.failures import is_full
from eventstore.files.paths import join, parent
from eventstore.format.manifest import MANIFEST_NAME, is_name_of_backup
from eventstore.format.names import (
    ANSWER_NAME,
    ARCHIVE_NAME,
    CHECKPOINTS_NAME,
    DIRECTORY_NAMES,
    DURABLE_NAME,
    ERASING_NAME,
    LOCK_NAME,
    MAKING_NAME,
    REQUEST_NAME,
    TEMPORARY_SUFFIX,
    WAL_NAME,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.files.interface import FileSystem

_PURPOSE_BYTES_MAX = 400

_ROOT_NAMES = frozenset(
    (
        LOCK_NAME,
        DURABLE_NAME,
        DURABLE_NAME + TEMPORARY_SUFFIX,
        MAKING_NAME,
        REQUEST_NAME,
        ANSWER_NAME,
        ANSWER_NAME + TEMPORARY_SUFFIX,
        ERASING_NAME,
        ERASING_NAME + TEMPORARY_SUFFIX,
        *DIRECTORY_NAMES,
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
            f"{path}: its file system, of type {kind}, is not known to be local: locks and syncs "
            "may not hold there",
            "put the store on a local disk, or take the risk with "
            "StoreOptions(allow_network_file_system=True)",
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
    names = file_system.list_directory(path)
    # `durable` is made after the log, so where it is alone the log is lost: damage, found later.
    has_log = WAL_NAME in names or DURABLE_NAME in names
    strangers = [name for name in names if name not in _ROOT_NAMES]
    if has_log or not strangers:
        # In what is no store, a link is none of our business.
        _require_no_link(file_system, path)
    if MANIFEST_NAME in strangers and all(
        name == MANIFEST_NAME or is_name_of_backup(name) for name in strangers
    ):
        raise NotAStoreError(
            f"{path}: not a store, but a backup of one, by its {MANIFEST_NAME}; restore it to a "
            "new path to use it"
        )
    if strangers:
        places = "store, of an empty directory or of nothing" if may_create else "store"
        raise NotAStoreError(
            f"{path}: not a store: the directory holds {strangers[0]!r}; give the path of a "
            f"{places}"
        )
    if not may_create and not has_log:
        raise NotAStoreError(f"{path}: the directory holds no store; check the path")
    for name in DIRECTORY_NAMES:
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


def require_made(file_system: FileSystem, path: str, *, is_held: bool = False) -> None:
    """Check that what is at the path is not half made.

    Args:
        file_system: to look by.
        path: of a store's directory.
        is_held: whether the caller has the lock, so that nobody can be at it.

    Raises:
        NotAStoreError: a store is being made there, or its making was cut short.
    """
    mark = join(path, MAKING_NAME)
    if not file_system.exists(mark):
        return
    purpose = _purpose(file_system, mark)
    remedy = "do that again with the same path, or remove the directory"
    if is_held:
        raise NotAStoreError(f"{path}: no store: {purpose} was cut short here; {remedy}")
    raise NotAStoreError(
        f"{path}: no store yet: {purpose} is under way here, or was cut short; wait for its end; "
        f"if nothing is at work, {remedy}"
    )


def _purpose(file_system: FileSystem, mark: str) -> str:
    """Return what a store was being made for, as far as the mark says so: a cut may tear it."""
    try:
        first, *_ = read_file(file_system, mark, _PURPOSE_BYTES_MAX).split(b"\n")
    except OSError:
        first = b""
    text = first.decode(errors="replace").strip()
    return "".join(c if c.isprintable() else "?" for c in text) or "the making of a store"


def require_own(file_system: FileSystem, path: str) -> None:
    """Check that the directories of a store, as far as they are there, are this user's.

    Who owns one may put anything into the place of what is in it, at any time.

    Raises:
        ForeignOwnerError: one belongs to another user.
    """
    for directory in (path, *(join(path, name) for name in DIRECTORY_NAMES)):
        if file_system.is_directory(directory) and not file_system.owns(directory):
            raise ForeignOwnerError(
                f"{directory}: belongs to another user than this process acts for",
                "act as its owner, or take the risk with StoreOptions(allow_foreign_owner=True)",
            )


def require_files(file_system: FileSystem, path: str) -> None:
    """Check that what an open would lock or remove are files.

    Raises:
        NotAStoreError: the lock file is something else, or a directory has the name of a temporary
            file.
    """
    require_lock_file(file_system, path)
    for directory in (path, *(join(path, name) for name in DIRECTORY_NAMES)):
        if not file_system.is_directory(directory):
            continue
        for name in file_system.list_directory(directory):
            entry = join(directory, name)
            if name.endswith(TEMPORARY_SUFFIX) and file_system.is_directory(entry):
                raise NotAStoreError(
                    f"{entry}: a directory, where a store has only files; move it elsewhere"
                )


def require_lock_file(file_system: FileSystem, path: str) -> None:
    """Check that the lock file, if there is one, is a file.

    Raises:
        NotAStoreError: it is something else.
    """
    lock = join(path, LOCK_NAME)
    if file_system.exists(lock) and not file_system.is_file(lock):
        raise NotAStoreError(
            f"{lock}: a store's lock must be a regular file, and this is none; move it elsewhere"
        )


@contextlib.contextmanager
def full_disk_is_told(path: str, remedy: str) -> Iterator[None]:
    """Turn the system's error for a full disk into the engine's.

    Raises:
        StorageFullError: there was no space for something in the block.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise StorageFullError(f"{path}: no space ({error}); nothing was lost", remedy) from error


def require_remains(file_system: FileSystem, path: str) -> None:
    """Check that something of a store is at the path, however damaged.

    A store that has lost its log may have a checkpoint or an archive left.

    Raises:
        NotAStoreError: a file is there, a directory of something else, a half made store, or
            nothing.
    """
    require_made(file_system, path)
    directories = [join(path, name) for name in (CHECKPOINTS_NAME, ARCHIVE_NAME)]
    has_remains = any(
        file_system.is_directory(directory) and file_system.list_directory(directory)
        for directory in directories
    )
    require_store(file_system, path, may_create=has_remains)


def make_root(file_system: FileSystem, path: str) -> bool:
    """Make the store's own directory and those above it, as far as they are missing.

    Their names are durable once `sync_names_above` has returned.

    Returns:
        whether this call has made the store's own.

    Raises:
        NotAStoreError: something else is in the way.
    """
    missing = []
    made = False
    directory = path
    while not file_system.exists(directory):
        missing.append(directory)
        directory = parent(directory)
    for directory in reversed(missing):
        # Another process may be making the same store; the lock decides between the two.
        try:
            file_system.make_directory(directory)
            made = directory == path
        except FileExistsError:
            pass
        except NotADirectoryError as error:
            raise NotAStoreError(
                f"{path}: {parent(directory)} is not a directory, so no store can be made there"
            ) from error
    return made


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
