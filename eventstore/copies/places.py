"""Where a backup is: a directory, or what a URL of fsspec names.

A backup is a flat set of files. Each is written whole under a name that says what it holds, and
never changes; only the manifest is replaced, at once. A directory is locked while a backup is
written to it, and what is written is on stable storage; what is at a URL is as safe as that
service keeps what it has taken.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from eventstore.directory.contents import full_disk_is_told, sync_names_above
from eventstore.directory.hold import hold
from eventstore.errors import (
    BackupError,
    NotAStoreError,
    StoreExistsError,
    StoreLockedError,
)
from eventstore.files.content import read_file, write_file
from eventstore.files.failures import is_gone, is_no_file, is_no_place
from eventstore.files.paths import absolute, join, parent, resolved
from eventstore.files.remote import RemoteFiles
from eventstore.format.manifest import (
    MANIFEST_NAME,
    MANIFEST_START,
    is_name_of_backup,
)
from eventstore.format.names import DURABLE_NAME, LOCK_NAME, TEMPORARY_SUFFIX, WAL_NAME

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from eventstore.files.interface import FileSystem

T = TypeVar("T")

_LOCAL_SCHEME = "file://"


class BackupPlace(Protocol):
    """The files of one backup.

    Attributes:
        name: for messages.
        is_locked: whether nobody else can be writing there.
    """

    name: str
    is_locked: bool

    def held(self) -> AbstractContextManager[BackupPlace]:
        """Have it for oneself, as far as that is possible, for writing: made if need be."""

    def sizes_bytes(self) -> dict[str, int]:
        """Return the files that are there, and their lengths; none where nothing is."""

    def read(self, name: str, size_bytes_max: int) -> bytes:
        """Return the content of a file, or no more than so many bytes from its start.

        Raises:
            FileNotFoundError: it is not there.
        """

    def write(self, name: str, data: bytes) -> None:
        """Write a file whose content its name tells."""

    def replace(self, name: str, data: bytes) -> None:
        """Write a file that may be there, so that it has either content at any moment."""

    def remove(self, name: str) -> None:
        """Remove a file."""


def place_of(target: str | os.PathLike[str], file_system: FileSystem) -> BackupPlace:
    """Return the place that a path or a URL names.

    Raises:
        BackupError: a URL needs fsspec, or names nothing that it knows.
        ValueError: the path is none.
    """
    if isinstance(target, str) and target.startswith(_LOCAL_SCHEME):
        target = target.removeprefix(_LOCAL_SCHEME)
    elif isinstance(target, str) and "://" in target:
        return RemotePlace(RemoteFiles(target))
    return DirectoryPlace(file_system, absolute(target, of="the backup"))


def require_backup_place(name: str, names: list[str]) -> None:
    """Check that nothing but a backup, or the beginning of one, is in a place.

    Raises:
        BackupError: something else is.
    """
    for each in names:
        if each not in (LOCK_NAME, MANIFEST_NAME) and not is_name_of_backup(each):
            raise BackupError(
                f"{name}: not the place of a backup: it holds {each!r}; give a new path, or that "
                "of an empty directory"
            )


def require_apart(place: BackupPlace, path: str) -> None:
    """Check that neither of a backup and a store is in the directory of the other.

    Raises:
        BackupError: one is.
    """
    if not isinstance(place, DirectoryPlace):
        return
    store, backup = join(resolved(path), ""), join(resolved(place.name), "")
    if backup.startswith(store) and backup != store:
        raise BackupError(f"{place.name}: a backup can't be in the store: give another place")
    if store.startswith(backup) and backup != store:
        raise BackupError(f"{path}: a store can't be in the backup: give another path")


def require_outside(file_system: FileSystem, path: str) -> None:
    """Check that a store which is to be made would be in no backup and in no other store.

    Neither could be used any more, since it would hold something that is not its own.

    Raises:
        BackupError: it would be in a backup.
        StoreExistsError: it would be in a store.
    """
    above = parent(resolved(path))
    while above != parent(above):
        if _is_there(file_system, above, _is_backup):
            raise BackupError(
                f"{path}: a store can't be in a backup, which is at {above}: give another path"
            )
        if _is_there(file_system, above, _is_store):
            raise StoreExistsError(
                f"{path}: a store can't be in another one, which is at {above}: give another path"
            )
        above = parent(above)


def _is_there(
    file_system: FileSystem, directory: str, is_it: Callable[[FileSystem, str], bool]
) -> bool:
    """Say whether something is in a directory, which may be none, or another user's."""
    try:
        return is_it(file_system, directory)
    except OSError:
        return False


def _is_backup(file_system: FileSystem, directory: str) -> bool:
    start = read_file(file_system, join(directory, MANIFEST_NAME), len(MANIFEST_START))
    return start == MANIFEST_START


def _is_store(file_system: FileSystem, directory: str) -> bool:
    return file_system.is_directory(join(directory, WAL_NAME)) and file_system.is_file(
        join(directory, DURABLE_NAME)
    )


class DirectoryPlace:
    """A directory of this machine: 0700 where it is made, its files 0600."""

    def __init__(self, file_system: FileSystem, path: str, *, is_locked: bool = False) -> None:
        self.name = path
        self.is_locked = is_locked
        self._files = file_system

    @contextlib.contextmanager
    def held(self) -> Iterator[DirectoryPlace]:
        """Lock the directory, made if need be.

        Raises:
            BackupError: something else is there.
            StoreLockedError: another backup is written to it.
            StorageFullError: there is no space.
        """
        with self._told():
            if self._files.exists(self.name):
                if not self._files.is_directory(self.name):
                    raise BackupError(f"{self.name}: not a directory (a link is not followed)")
                require_backup_place(self.name, self._files.list_directory(self.name))
            try:
                guarded = hold(self._files, self.name, None)
            except StoreLockedError as error:
                raise StoreLockedError(
                    f"{self.name}: another backup is being written there", "wait for its end"
                ) from error
            except NotAStoreError as error:
                raise BackupError(
                    f"{self.name}: no backup can be made there, since something on the way is no "
                    "directory, or LOCK is no file; give another place"
                ) from error
        try:
            with full_disk_is_told(self.name, "free some space and do it again"):
                require_backup_place(self.name, guarded.list_directory(self.name))
                sync_names_above(guarded, self.name)
                yield DirectoryPlace(guarded, self.name, is_locked=True)
        finally:
            guarded.release()

    def sizes_bytes(self) -> dict[str, int]:
        """Return the files that are there, and their lengths; none where nothing is."""
        found = {}
        with self._told():
            if not self._files.is_directory(self.name):
                return {}
            for name in self._files.list_directory(self.name):
                if self._files.is_file(join(self.name, name)):
                    with contextlib.suppress(FileNotFoundError):
                        found[name] = self._files.size_bytes(join(self.name, name))
        return found

    def read(self, name: str, size_bytes_max: int) -> bytes:
        """Return the content of a file, or no more than so many bytes from its start.

        Raises:
            FileNotFoundError: it is not there.
            BackupError: it can't be read, since something else is there or on the way.
        """
        try:
            return read_file(self._files, join(self.name, name), size_bytes_max)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            if is_gone(error) or not (is_no_place(error) or is_no_file(error)):
                raise
            raise self._unusable(error) from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file whose content its name tells; it is on stable storage after that."""
        self.replace(name, data)

    def replace(self, name: str, data: bytes) -> None:
        """Write a file: content, sync, name, sync of the directory."""
        path = join(self.name, name)
        temporary = path + TEMPORARY_SUFFIX
        if self._files.exists(temporary):
            self._files.remove(temporary)
        write_file(self._files, temporary, data)
        self._files.rename(temporary, path)
        self._files.sync_directory(self.name)

    def remove(self, name: str) -> None:
        """Remove a file, durably: it may hold what was erased."""
        self._files.remove(join(self.name, name))
        self._files.sync_directory(self.name)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say of an odd path that it is one."""
        try:
            yield
        except OSError as error:
            if not is_no_place(error):
                raise
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> BackupError:
        return BackupError(
            f"{self.name}: can't be used for a backup: {error.filename or self.name}: "
            f"{error.strerror}; give another place"
        )


class RemotePlace:
    """What a URL names. Nobody can lock it: two backups at a time must not be written to it."""

    def __init__(self, files: RemoteFiles) -> None:
        self.name = files.url
        self.is_locked = False
        self._files = files

    @contextlib.contextmanager
    def held(self) -> Iterator[RemotePlace]:
        """Make the directory, where there are any.

        Raises:
            BackupError: something else is there.
        """
        self._call(self._files.make_directory)
        require_backup_place(self.name, list(self.sizes_bytes()))
        yield self

    def sizes_bytes(self) -> dict[str, int]:
        """Return the files that are there, and their lengths; none where nothing is."""
        return self._call(self._files.sizes_bytes)

    def read(self, name: str, size_bytes_max: int) -> bytes:
        """Return the content of a file, or no more than so many bytes from its start."""
        return self._call(partial(self._files.read, name, size_bytes_max))

    def write(self, name: str, data: bytes) -> None:
        """Write a file whose content its name tells: one that was cut short is written over."""
        self._call(partial(self._files.write, name, data))

    def replace(self, name: str, data: bytes) -> None:
        """Write a file under another name, then move it into the place of what is there."""
        temporary = name + TEMPORARY_SUFFIX
        self._call(partial(self._files.write, temporary, data))
        self._call(partial(self._files.move, temporary, name))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._call(partial(self._files.remove, name))

    def _call(self, method: Callable[[], T]) -> T:
        """Call a method of a service, whose errors may be of any type."""
        try:
            return method()
        except (FileNotFoundError, BackupError):
            raise
        except Exception as error:
            raise BackupError(f"{self.name}: {type(error).__name__}: {error}") from error
