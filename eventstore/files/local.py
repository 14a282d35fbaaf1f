"""The file system of this machine.

With `platform` and `mounts` this is all that calls the operating system for files. It promises:
- a file is never opened through a symbolic link, is closed on exec, and never takes the
  descriptors 0 to 2, so that a stray print can't land in the log;
- directories are made 0700 and files 0600 whatever the umask;
- a `GuardedPath` is reached from the descriptor of the locked directory on, through no link;
- `File.sync` reaches stable storage.

Reads and writes are whole or raise: short transfers are continued here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
from typing import TYPE_CHECKING

from eventstore.files.content import _WINDOW_BYTES, read_file
from eventstore.files.interface import GuardedPath
from eventstore.files.platform import (
    network_type,
    require_known_platform,
    run_in_forked_child,
    sync_descriptor,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.files.interface import File, FileLock, FileSystem, SharedBlock

_DIRECTORY_MODE = 0o700
_OTHERS_MODE = 0o077
_FILE_MODE = 0o600
_FIRST_FREE_DESCRIPTOR = 3
_DESCRIPTION_BYTES_MAX = 4096
_OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def local_file_system() -> FileSystem:
    """Return the file system of this machine.

    Raises:
        UnsupportedPlatformError: no sync of this platform is known to reach stable storage.
    """
    require_known_platform()
    return LocalFileSystem()


@contextlib.contextmanager
def _directory_of(path: str) -> Iterator[tuple[str, int | None]]:
    """Yield a name for what is at a path, and the descriptor of the directory that it is from."""
    if not isinstance(path, GuardedPath) or not isinstance(path.lock, LocalFileLock):
        yield path, None
        return
    above, name = os.path.split(path.inner)
    directory = None
    try:
        directory = path.lock.open_directory(above)
        yield name or ".", directory
    except OSError as error:
        # The system call knows a part of the path only.
        error.filename = str(path)
        raise
    finally:
        if directory is not None:
            os.close(directory)


def _open_directory(path: str) -> int:
    # By its own ".": a path that is not held may well be a link, such as that above a store.
    return _open_descriptor(
        path if isinstance(path, GuardedPath) else os.path.join(path, "."),
        os.O_RDONLY | os.O_DIRECTORY,
    )


def _status(path: str) -> os.stat_result:
    with _directory_of(path) as (name, directory):
        return os.stat(name, dir_fd=directory, follow_symlinks=False)


def _is_kind(path: str, is_of_kind: Callable[[int], bool]) -> bool:
    try:
        return is_of_kind(_status(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _open_descriptor(path: str, flags: int) -> int:
    with _directory_of(path) as (name, directory):
        descriptor = os.open(name, flags | _OPEN_FLAGS, _FILE_MODE, dir_fd=directory)
    if descriptor >= _FIRST_FREE_DESCRIPTOR:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_DESCRIPTOR)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _low_descriptors_taken() -> Iterator[None]:
    """Keep the descriptors 0 to 2 taken, where they are free, by something harmless."""
    placeholders = []
    try:
        while True:
            placeholders.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            if placeholders[-1] >= _FIRST_FREE_DESCRIPTOR:
                break
        yield
    finally:
        for placeholder in placeholders:
            os.close(placeholder)


def _flocked(path: str, flags: int) -> int | None:
    """Return a descriptor with an exclusive flock; None if another one holds it."""
    descriptor = _open_descriptor(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _give_to_owner(path: str, descriptor: int) -> None:
    """Give what this process has just made in a locked directory to the directory's owner.

    Only root can, and only what it has made itself: what was there may be a link to a file of
    another user, put there by the owner.
    """
    if os.geteuid() != 0 or not isinstance(path, GuardedPath):
        return
    if isinstance(path.lock, LocalFileLock):
        owner = path.lock.directory_status()
        if owner.st_uid != 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


class LocalFile:
    """A regular file of the operating system."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends."""
        if size_bytes > _WINDOW_BYTES:
            # The system call is given memory for all of it, although the length may be a lie.
            size_bytes = max(0, min(size_bytes, self.size_bytes() - offset_bytes))
        try:
            data = os.pread(self._descriptor, size_bytes, offset_bytes)
        except OSError as error:
            error.filename = self.path
            raise
        if len(data) == size_bytes or not data:
            return data
        parts = [data]
        done_bytes = len(data)
        while done_bytes < size_bytes and data:
            data = os.pread(self._descriptor, size_bytes - done_bytes, offset_bytes + done_bytes)
            parts.append(data)
            done_bytes += len(data)
        return b"".join(parts)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Write all of the data there, or raise."""
        written = os.pwrite(self._descriptor, data, offset_bytes)
        while written < len(data):
            rest = memoryview(data)[written:]
            more = os.pwrite(self._descriptor, rest, offset_bytes + written)
            if more == 0:
                raise OSError(errno.EIO, "the file takes no more bytes", self.path)
            written += more

    def truncate(self, size_bytes: int) -> None:
        """Cut the file, or extend it with zeros."""
        os.ftruncate(self._descriptor, size_bytes)

    def size_bytes(self) -> int:
        """Return the file's length."""
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        """Return once content and length are on stable storage."""
        sync_descriptor(self._descriptor)

    def mapped(self, size_bytes: int) -> mmap.mmap:
        """Return the start of the file, mapped for reading; ValueError if it is shorter."""
        return mmap.mmap(self._descriptor, size_bytes, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class LocalSharedBlock:
    """The start of a file, mapped for reading, and written like any file.

    Storing into a mapping would take less than the microsecond of a write. But where the page then
    needs a block that is not to be had (a full disk under a file that shares its blocks with a
    copy, a file system that has shut down), the kernel tells a mapping by a signal that ends the
    process, and a write by an error. A reader may catch a write half done, which the checksum in
    the block shows.
    """

    __slots__ = ("_file", "_mapping", "_size_bytes")

    def __init__(self, mapping: mmap.mmap, size_bytes: int, file: LocalFile | None) -> None:
        self._mapping = mapping
        self._size_bytes = size_bytes
        self._file = file

    def load(self) -> bytes:
        """Return the bytes."""
        return self._mapping[: self._size_bytes]

    def store(self, data: bytes) -> None:
        """Replace the bytes."""
        if len(data) != self._size_bytes:
            raise ValueError(f"{len(data)} bytes for a block of {self._size_bytes}")
        self._written_file().write(0, data)

    def sync(self) -> None:
        """Return once the bytes are on stable storage."""
        self._written_file().sync()

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        self._mapping.close()
        if self._file is not None:
            self._file.close()

    def _written_file(self) -> LocalFile:
        if self._file is None:
            raise TypeError("the block was not opened for writing")
        return self._file


def _let_go() -> OSError:
    return OSError(errno.EBADF, "the lock on the store has been released")


class LocalFileLock:
    """Flocks held on an open file and on its directory.

    A fork shares them: they are free when every process has closed the files, or one has unlocked
    them. So the process that took them unlocks them, and a child only closes its copies.
    """

    __slots__ = ("_descriptors", "_process")

    def __init__(self, descriptor: int) -> None:
        self._descriptors = [descriptor]
        self._process = os.getpid()

    def __del__(self) -> None:
        # An interrupt may come before anybody has the lock, or the handle that it is for.
        if hasattr(self, "_process"):
            self.release()

    def add(self, descriptor: int) -> None:
        """Hold another locked file as well."""
        self._descriptors.append(descriptor)

    @property
    def is_held(self) -> bool:
        """Whether this process holds it: not once it was released, and not in a forked child."""
        return bool(self._descriptors) and os.getpid() == self._process

    def open_directory(self, inner: str) -> int:
        """Return a new descriptor of a directory in the locked one; of itself for an empty name."""
        if not self._descriptors:
            raise _let_go()
        flags = _OPEN_FLAGS | os.O_RDONLY | os.O_DIRECTORY
        descriptor = os.open(inner or ".", flags, dir_fd=self._descriptors[0])
        if not self._descriptors:
            # Another thread has released it meanwhile, and its number may be another file's.
            os.close(descriptor)
            raise _let_go()
        return descriptor

    def directory_status(self) -> os.stat_result:
        """Return the status of the locked directory."""
        directory = self.open_directory("")
        try:
            return os.fstat(directory)
        finally:
            os.close(directory)

    def has_left(self, path: str) -> bool:
        """Say whether the directory of the locked file is no longer the one at a path."""
        try:
            directory = self._descriptors[0]
            return not os.path.samestat(os.stat(path), os.fstat(directory))
        except IndexError:
            return False
        except (FileNotFoundError, NotADirectoryError):
            return True

    def release(self) -> None:
        """Let the next one have it; does nothing the second time."""
        while self._descriptors:
            descriptor = self._descriptors.pop()
            try:
                if os.getpid() == self._process:
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)


class LocalFileSystem:
    """The file system of the operating system."""

    def create(self, path: str) -> File:
        """Make a new empty file, open for reading and writing; raise if there is one."""
        descriptor = _open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            # A umask can only take permissions away from the mode given to open.
            os.fchmod(descriptor, _FILE_MODE)
            _give_to_owner(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return LocalFile(path, descriptor)

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open a regular file that is there."""
        # Without O_NONBLOCK, a pipe in the place of a file would block the open for ever.
        mode = os.O_RDWR if writable else os.O_RDONLY
        descriptor = _open_descriptor(path, mode | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return LocalFile(path, descriptor)

    def exists(self, path: str) -> bool:
        """Say whether there is anything at the path, a dangling link included."""
        try:
            _status(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_directory(self, path: str) -> bool:
        """Say whether a directory, and not a link to one, is at the path."""
        return _is_kind(path, stat.S_ISDIR)

    def is_file(self, path: str) -> bool:
        """Say whether a regular file, and neither a link to one nor a device, is at the path."""
        return _is_kind(path, stat.S_ISREG)

    def find_link(self, path: str) -> str | None:
        """Return the name of a symbolic link in a directory, if there is one."""
        descriptor = _open_directory(path)
        try:
            with os.scandir(descriptor) as entries:
                return min((entry.name for entry in entries if entry.is_symlink()), default=None)
        finally:
            os.close(descriptor)

    def size_bytes(self, path: str) -> int:
        """Return the length of the file at the path."""
        return _status(path).st_size

    def list_directory(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        descriptor = _open_directory(path)
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def make_directory(self, path: str) -> None:
        """Make a directory; its parent must be there."""
        with _directory_of(path) as (name, directory):
            os.mkdir(name, _DIRECTORY_MODE, dir_fd=directory)
            made = os.stat(name, dir_fd=directory, follow_symlinks=False)
            # Only under a umask that denies its owner something; then it can't be opened either.
            if stat.S_IMODE(made.st_mode) & _DIRECTORY_MODE != _DIRECTORY_MODE:
                os.chmod(name, _DIRECTORY_MODE, dir_fd=directory)
        if os.geteuid() == 0:
            descriptor = _open_directory(path)
            try:
                _give_to_owner(path, descriptor)
            finally:
                os.close(descriptor)

    def remove_directory(self, path: str) -> None:
        """Remove a directory, which must be empty."""
        with _directory_of(path) as (name, directory):
            os.rmdir(name, dir_fd=directory)

    def owns(self, path: str) -> bool:
        """Say whether a directory belongs to the user that this process acts for."""
        return _status(path).st_uid == os.geteuid()

    def make_private(self, path: str) -> None:
        """Take all permissions on a directory from everyone but its owner."""
        if stat.S_IMODE(_status(path).st_mode) & _OTHERS_MODE:
            descriptor = _open_descriptor(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fchmod(descriptor, _DIRECTORY_MODE)
            finally:
                os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it."""
        with (
            _directory_of(target) as (new_name, new_directory),
            _directory_of(source) as (name, directory),
        ):
            os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=new_directory)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with _directory_of(path) as (name, directory):
            os.unlink(name, dir_fd=directory)

    def sync_directory(self, path: str) -> None:
        """Return once the names in a directory are on stable storage."""
        descriptor = _open_directory(path)
        try:
            os.fsync(descriptor)
            # An xfs that has just shut down, after an I/O error, has dropped the change of names.
            # Nothing is left for its fsync to wait for, which then succeeds; reading does not.
            with os.scandir(descriptor) as entries:
                next(entries, None)
        finally:
            os.close(descriptor)

    def share(self, path: str, size_bytes: int, *, writable: bool) -> SharedBlock:
        """Map the start of a file that is at least that long."""
        # Without O_NONBLOCK, a pipe in the place of a file would block the open for ever.
        mode = os.O_RDWR if writable else os.O_RDONLY
        file = LocalFile(path, _open_descriptor(path, mode | os.O_NONBLOCK))
        try:
            # The mapping keeps a duplicate of the descriptor, and that takes the lowest free one.
            with _low_descriptors_taken():
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
        directory = _flocked(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
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
            os.fchmod(descriptor, _FILE_MODE)
            description = describe()
            os.pwrite(descriptor, description, 0)
            os.ftruncate(descriptor, len(description))
        except BaseException:
            lock.release()
            raise
        return lock

    @staticmethod
    def _flocked_or_made(path: GuardedPath) -> int | None:
        """Return a descriptor of a lock file with a flock; None if another one holds it."""
        try:
            descriptor = _flocked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return _flocked(path, os.O_RDWR)
        if descriptor is not None:
            try:
                _give_to_owner(path, descriptor)
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
        return network_type(os.path.realpath(path))

    def call_in_forked_child(self, method: Callable[[], None]) -> None:
        """Have a method run in every child that this process forks, while its object is there."""
        run_in_forked_child(method)
