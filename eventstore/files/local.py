"""The file system of this machine.

With `handles`, `descriptors`, `platform` and `mounts` this is all that calls the operating system
for files. It promises:
- directories are made 0700 and files 0600 whatever the umask;
- a file is opened as `descriptors` says;
- `File.sync` reaches stable storage, and reads and writes are whole or raise.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from eventstore.files.content import read_file
from eventstore.files.descriptors import (
    FILE_MODE,
    directory_of,
    flocked,
    give_to_owner,
    is_kind,
    low_descriptors_taken,
    open_descriptor,
    open_directory,
    status,
)
from eventstore.files.failures import limits_are_told
from eventstore.files.forwarding import ForwardingFileSystem
from eventstore.files.handles import LocalFile, LocalFileLock, LocalSharedBlock
from eventstore.files.interface import GuardedPath
from eventstore.files.line import place_in_line
from eventstore.files.platform import (
    network_type,
    require_known_platform,
    run_in_forked_child,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import File, FileLock, FileSystem, SharedBlock
    from eventstore.files.line import Place

_DIRECTORY_MODE = 0o700
_OTHERS_MODE = 0o077
_DESCRIPTION_BYTES_MAX = 4096


def local_file_system() -> FileSystem:
    """Return the file system of this machine.

    Raises:
        UnsupportedPlatformError: no sync of this platform is known to reach stable storage.
    """
    require_known_platform()
    return LocalFileSystem()


def is_of_this_machine(file_system: FileSystem) -> bool:
    """Say whether what is opened on a file system holds something of this machine.

    What stands in front of the machine's own does (`forwarding`); a simulated one, such as that of
    `eventstore.testing`, goes with the objects that it is made of.
    """
    while isinstance(file_system, ForwardingFileSystem):
        file_system = file_system.behind
    return isinstance(file_system, LocalFileSystem)


class LocalFileSystem:
    """The file system of the operating system."""

    def create(self, path: str) -> File:
        """Make a new empty file, open for reading and writing; raise if there is one."""
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            # A umask can only take permissions away from the mode given to open.
            os.fchmod(descriptor, FILE_MODE)
            give_to_owner(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return LocalFile(path, descriptor)

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open a regular file that is there."""
        # Without O_NONBLOCK, a pipe in the place of a file would block the open for ever.
        mode = os.O_RDWR if writable else os.O_RDONLY
        descriptor = open_descriptor(path, mode | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return LocalFile(path, descriptor)

    def exists(self, path: str) -> bool:
        """Say whether there is anything at the path, a dangling link included."""
        try:
            status(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_directory(self, path: str) -> bool:
        """Say whether a directory, and not a link to one, is at the path."""
        return is_kind(path, stat.S_ISDIR)

    def is_file(self, path: str) -> bool:
        """Say whether a regular file, and neither a link to one nor a device, is at the path."""
        return is_kind(path, stat.S_ISREG)

    def find_link(self, path: str) -> str | None:
        """Return the name of a symbolic link in a directory, if there is one."""
        descriptor = open_directory(path)
        try:
            with limits_are_told(path), os.scandir(descriptor) as entries:
                return min((entry.name for entry in entries if entry.is_symlink()), default=None)
        finally:
            os.close(descriptor)

    def size_bytes(self, path: str) -> int:
        """Return the length of the file at the path."""
        return status(path).st_size

    def list_directory(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        descriptor = open_directory(path)
        try:
            # It takes a descriptor of its own.
            with limits_are_told(path):
                return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def make_directory(self, path: str) -> None:
        """Make a directory; its parent must be there."""
        with directory_of(path) as (name, directory):
            os.mkdir(name, _DIRECTORY_MODE, dir_fd=directory)
            made = os.stat(name, dir_fd=directory, follow_symlinks=False)
            # Only under a umask that denies its owner something; then it can't be opened either.
            if stat.S_IMODE(made.st_mode) & _DIRECTORY_MODE != _DIRECTORY_MODE:
                os.chmod(name, _DIRECTORY_MODE, dir_fd=directory)
        if os.geteuid() == 0:
            descriptor = open_directory(path)
            try:
                give_to_owner(path, descriptor)
            finally:
                os.close(descriptor)

    def remove_directory(self, path: str) -> None:
        """Remove a directory, which must be empty."""
        with directory_of(path) as (name, directory):
            os.rmdir(name, dir_fd=directory)

    def owns(self, path: str) -> bool:
        """Say whether a directory belongs to the user that this process acts for."""
        return status(path).st_uid == os.geteuid()

    def make_private(self, path: str) -> None:
        """Take all permissions on a directory from everyone but its owner."""
        if stat.S_IMODE(status(path).st_mode) & _OTHERS_MODE:
            descriptor = open_descriptor(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fchmod(descriptor, _DIRECTORY_MODE)
            finally:
                os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it."""
        with (
            directory_of(target) as (new_name, new_directory),
            directory_of(source) as (name, directory),
        ):
            os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=new_directory)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with directory_of(path) as (name, directory):
            os.unlink(name, dir_fd=directory)

    def sync_directory(self, path: str) -> None:
        """Return once the names in a directory are on stable storage."""
        descriptor = open_directory(path)
        try:
            os.fsync(descriptor)
            # An xfs that has just shut down, after an I/O error, has dropped the change of names.
            # Nothing is left for its fsync to wait for, which then succeeds; reading does not.
            with limits_are_told(path), os.scandir(descriptor) as entries:
                next(entries, None)
        finally:
            os.close(descriptor)

    def share(self, path: str, size_bytes: int, *, writable: bool) -> SharedBlock:
        """Map the start of a file that is at least that long."""
        # Without O_NONBLOCK, a pipe in the place of a file would block the open for ever.
        mode = os.O_RDWR if writable else os.O_RDONLY
        file = LocalFile(path, open_descriptor(path, mode | os.O_NONBLOCK))
        try:
            # The mapping keeps a duplicate of the descriptor, and that takes the lowest free one.
            with limits_are_told(path), low_descriptors_taken():
                mapping = file.mapped(size_bytes)
        except BaseException:
            file.close()
            raise
        if not writable:
            file.close()
        return LocalSharedBlock(mapping, size_bytes, file if writable else None)

    def lock(self, path: str, describe: Callable[[], bytes]) -> FileLock | bytes:
        """Try to lock a file, made if need be, and write a description of the holder into it.

        Its directory is locked as well, so that the lock outlives the file.

        Returns:
            the lock, or the description that its present holder wrote.
        """
        # The directory first: who deletes or replaces the lock file leaves that one locked.
        directory = flocked(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        if directory is None:
            return self._description_in(path)
        lock = LocalFileLock(directory)
        try:
            guarded_path = GuardedPath(path, os.path.dirname(path), lock)
            if self.exists(guarded_path) and not self.is_file(guarded_path):
                # The description of the holder would be written to a device.
                raise OSError(errno.EINVAL, "the lock file is no regular file", path)
            descriptor = self._flocked_or_made(guarded_path)
            if descriptor is None:
                lock.release()
                return self._description_in(path)
            lock.add(descriptor)
            self._check_still_named(path, descriptor)
            os.fchmod(descriptor, FILE_MODE)
            description = describe()
            with limits_are_told(path):
                os.pwrite(descriptor, description, 0)
                os.ftruncate(descriptor, len(description))
        except BaseException:
            lock.release()
            raise
        return lock

    def stand_in_line(self, path: str) -> Place | None:
        """Return a place among those who wait for the lock on a file; None if there is no line."""
        try:
            descriptor = open_descriptor(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            return None  # whoever locks the file finds out why
        place = place_in_line(descriptor)
        if place is None:
            os.close(descriptor)
        return place

    @staticmethod
    def _flocked_or_made(path: GuardedPath) -> int | None:
        """Return a descriptor of a lock file with a flock; None if another one holds it."""
        try:
            descriptor = flocked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return flocked(path, os.O_RDWR)
        if descriptor is not None:
            try:
                give_to_owner(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def _description_in(self, path: str) -> bytes:
        """Return what the holder of a lock wrote, as far as it is of a sane length.

        It only names the holder: where it can't be read, nothing is said, and nothing else lost.
        """
        try:
            return read_file(self, path, _DESCRIPTION_BYTES_MAX)
        except OSError:
            return b""

    @staticmethod
    def _check_still_named(path: str, descriptor: int) -> None:
        """Raise unless the locked file is the one that the path names.

        Someone who deletes or replaces the lock file would let a second writer lock the new one.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(path), os.fstat(descriptor)):
                return
        raise OSError(errno.ESTALE, "the lock file was replaced while it was being locked", path)

    def network_type(self, path: str) -> str | None:
        """Return the type of the network file system that a path is on; None for a local one."""
        with limits_are_told(path):
            return network_type(os.path.realpath(path))

    def call_in_forked_child(self, method: Callable[[], None]) -> None:
        """Have a method run in every child that this process forks, while its object is there."""
        run_in_forked_child(method)
