"""A file system in memory that knows what a power cut would leave of it.

`SimulatedFileSystem` stands where the engine's local file system does (the protocols in
`eventstore.files.interface`); one contract test suite runs against both. Its state is a `Medium`.
It keeps a step for every operation that changed the medium, whichever thread made it, in the order
in which they took effect, each with the medium after it: so a crash at any of them can be looked
into later, without running the workload again.

Three ways to end it:
- `after_power_cut` gives a file system on one of the images that the power cut may leave;
- `after_kill` gives one as it is when only the processes died: what was cached can still be seen,
  and what was pending is still pending;
- `cut_power` ends this one: every call from then on raises `PowerCutError`.

Thread safe: one lock is held for each call. Not simulated: permissions, links, space.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from eventstore.testing.faults import Call, Failure, PowerCutError
from eventstore.testing.handles import SimulatedFile, SimulatedFileLock, SimulatedSharedBlock
from eventstore.testing.images import crash_images, draw_image
from eventstore.testing.medium import (
    ROOT,
    Change,
    DirectoryNode,
    FileNode,
    Medium,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.files.interface import File, FileLock, SharedBlock
    from eventstore.testing.faults import FaultHook
    from eventstore.testing.images import CrashImage


class Step(NamedTuple):
    """An operation that changed the medium, or what of it is pending.

    Attributes:
        name: such as "write" or "sync_directory".
        path: that it was about.
        node: that it was about; None for the making of the file system.
        medium: as it was afterwards.
    """

    name: str
    path: str
    node: int | None
    medium: Medium


class SimulatedFileSystem:
    """A file system in memory; see the module.

    Attributes:
        medium: as it is now.
        steps: every operation that changed the medium; the first one is its making.
        calls: how many calls there were, those that only read included.
        fault: asked about every call; None to let all succeed.
    """

    def __init__(
        self,
        medium: Medium | None = None,
        *,
        fault: FaultHook | None = None,
        keep_steps: bool = True,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Make one.

        Args:
            medium: to start from; an empty one unless given.
            fault: says which calls fail.
            keep_steps: whether to keep a step for each operation, and with it the medium.
            sleep: lets some seconds go by, for who waits for a change of a shared block.
        """
        self.medium = medium or Medium()
        self.fault = fault
        self.calls = 0
        self.steps = [Step("start", "/", None, self.medium.copy())]
        self._keeps_steps = keep_steps
        self.sleep = sleep
        self._lock = threading.RLock()  # a fault hook may look, or cut the power
        self._held: set[int] = set()
        self._open_files = 0
        self._power_ends_at: int | None = None

    @property
    def open_files(self) -> int:
        """How many files and mappings are open."""
        return self._open_files

    @property
    def position(self) -> int:
        """How many operations have changed the medium so far."""
        return len(self.steps) - 1

    def cut_power(self, *, after_calls: int = 0) -> None:
        """Let every call raise `PowerCutError`, after so many more have been made."""
        with self._lock:
            self._power_ends_at = self.calls + after_calls

    def after_kill(self) -> SimulatedFileSystem:
        """Return the file system as the next process sees it when this one was killed."""
        with self._lock:
            return SimulatedFileSystem(self.medium.copy())

    def after_power_cut(self, random: Random | None = None) -> SimulatedFileSystem:
        """Return the file system on one image that a power cut may leave, drawn.

        Args:
            random: what draws it; one of seed 0 unless given.
        """
        with self._lock:
            draw = random or Random(0)  # noqa: S311
            return SimulatedFileSystem(draw_image(self.medium, draw).medium)

    def images(self, limit: int, random: Random) -> Iterator[CrashImage]:
        """Yield the images that a power cut may leave of it as it is now; see `crash_images`."""
        with self._lock:
            medium = self.medium.copy()
        return crash_images(medium, limit, random)

    # The protocol `eventstore.files.local.FileSystem`.

    def create(self, path: str) -> File:
        """Make a new empty file, open for reading and writing; raise if there is one."""
        with self._lock:
            self._enter("create", path)
            directory, name = self._directory_of(path)
            if name in self.medium.directory(directory).cached:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            number = self.medium.add(FileNode())
            self.medium.change_names(directory, (name, number))
            self._leave("create", path, directory)
            return self._opened(path, number, writable=True)

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open a regular file that is there."""
        with self._lock:
            self._enter("open", path)
            number = self._find(path)
            if not isinstance(self.medium.nodes[number], FileNode):
                code = errno.EISDIR if writable else errno.EINVAL
                raise OSError(code, os.strerror(code), path)
            return self._opened(path, number, writable=writable)

    def exists(self, path: str) -> bool:
        """Say whether there is anything at the path."""
        with self._lock:
            self._enter("exists", path)
            return self._find_or_none(path) is not None

    def is_directory(self, path: str) -> bool:
        """Say whether a directory is at the path."""
        with self._lock:
            self._enter("is_directory", path)
            number = self._find_or_none(path)
            return number is not None and isinstance(self.medium.nodes[number], DirectoryNode)

    def is_file(self, path: str) -> bool:
        """Say whether a file is at the path."""
        with self._lock:
            self._enter("is_file", path)
            number = self._find_or_none(path)
            return number is not None and isinstance(self.medium.nodes[number], FileNode)

    def find_link(self, path: str) -> str | None:
        """Return None: a simulated medium has no links."""
        _ = path
        return None

    def size_bytes(self, path: str) -> int:
        """Return the length of the file at the path."""
        with self._lock:
            self._enter("size_bytes", path)
            node = self.medium.nodes[self._find(path)]
            return len(node.cached)

    def list_directory(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        with self._lock:
            self._enter("list_directory", path)
            return sorted(self.medium.directory(self._find_directory(path)).cached)

    def make_directory(self, path: str) -> None:
        """Make a directory; its parent must be there."""
        with self._lock:
            self._enter("make_directory", path)
            directory, name = self._directory_of(path)
            if name in self.medium.directory(directory).cached:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            self.medium.change_names(directory, (name, self.medium.add(DirectoryNode({}, {}))))
            self._leave("make_directory", path, directory)

    def remove_directory(self, path: str) -> None:
        """Remove a directory, which must be empty."""
        with self._lock:
            self._enter("remove_directory", path)
            if self.medium.directory(self._find_directory(path)).cached:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
            directory, name = self._directory_of(path)
            self.medium.change_names(directory, (name, None))
            self._leave("remove_directory", path, directory)

    def owns(self, path: str) -> bool:
        """Say yes: a simulated medium has one user."""
        _ = path
        return True

    def make_private(self, path: str) -> None:
        """Do nothing: a simulated medium has one user."""

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it."""
        with self._lock:
            self._enter("rename", source)
            number = self._find(source)
            old, old_name = self._directory_of(source)
            new, new_name = self._directory_of(target)
            replaced = self.medium.directory(new).cached.get(new_name)
            if replaced == number:
                return
            if replaced is not None and isinstance(self.medium.nodes[replaced], DirectoryNode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
            if old == new:
                self.medium.change_names(old, (old_name, None), (new_name, number))
            else:
                self.medium.change_names(new, (new_name, number))
                self._leave("rename", target, new)
                self.medium.change_names(old, (old_name, None))
            self._leave("rename", target, old)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._lock:
            self._enter("remove", path)
            if isinstance(self.medium.nodes[self._find(path)], DirectoryNode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            directory, name = self._directory_of(path)
            self.medium.change_names(directory, (name, None))
            self._leave("remove", path, directory)

    def sync_directory(self, path: str) -> None:
        """Return once the names in a directory are on stable storage."""
        with self._lock:
            self._enter("sync_directory", path)
            number = self._find_directory(path)
            self.medium.sync_directory(number)
            self._leave("sync_directory", path, number)

    def share(self, path: str, size_bytes: int, *, writable: bool) -> SharedBlock:
        """Map the start of a file that is at least that long."""
        with self._lock:
            self._enter("share", path)
            number = self._find(path)
            if len(self.medium.file(number).cached) < size_bytes:
                raise ValueError("mmap length is greater than file size")
            self._open_files += 1
            return SimulatedSharedBlock(self, path, number, size_bytes, writable=writable)

    def lock(self, path: str, describe: Callable[[], bytes]) -> FileLock | bytes:
        """Try to lock a file, made if need be, and write a description of the holder into it.

        Returns:
            the lock, or the description that its present holder wrote.
        """
        with self._lock:
            self._enter("lock", path)
            directory, name = self._directory_of(path)
            number = self.medium.directory(directory).cached.get(name)
            if number is None:
                number = self.medium.add(FileNode())
                self.medium.change_names(directory, (name, number))
                self._leave("lock", path, directory)
            if isinstance(self.medium.nodes[number], DirectoryNode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if number in self._held:
                return self.medium.file(number).cached
            description = describe()
            self.medium.change_file(number, Change(0, description))
            self.medium.change_file(number, Change(len(description), None))
            self._leave("lock", path, number)
            self._held.add(number)
            return SimulatedFileLock(self, number)

    def stand_in_line(self, path: str) -> None:
        """Return None: nobody waits on a simulated medium."""
        _ = path

    def network_type(self, path: str) -> str | None:
        """Return None: a simulated medium is local."""
        _ = path
        return None

    def call_in_forked_child(self, method: Callable[[], None]) -> None:
        """Do nothing: a simulated process does not fork."""

    # For the files.

    def read_node(self, path: str, number: int, offset_bytes: int, size_bytes: int) -> bytes:
        """Return cached bytes of a file."""
        with self._lock:
            self._enter("read", path)
            return self.medium.file(number).cached[offset_bytes : offset_bytes + size_bytes]

    def size_of_node(self, path: str, number: int) -> int:
        """Return the cached length of a file."""
        with self._lock:
            self._enter("size_bytes", path)
            return len(self.medium.file(number).cached)

    def change_node(self, name: str, path: str, number: int, change: Change) -> None:
        """Change a file, or a part of the change if the call fails in its midst."""
        with self._lock:
            failure = self._failure(name, path)
            data = change.data
            if failure is not None and data is not None:
                taken = data[: int(len(data) * failure.written_fraction)]
                change = change._replace(data=taken)
            if failure is None or change.data:
                self.medium.change_file(number, change)
                self._leave(name, path, number)
            if failure is not None:
                raise _error(failure, path)

    def sync_node(self, path: str, number: int) -> None:
        """Make the pending changes of a file durable."""
        with self._lock:
            failure = self._failure("sync", path)
            if failure is None:
                self.medium.sync_file(number)
            else:
                self.medium.fail_sync_of_file(number)
            self._leave("sync", path, number)
            if failure is not None:
                raise _error(failure, path)

    def load_node(self, number: int, size_bytes: int) -> bytes:
        """Return mapped bytes; memory is read without a call."""
        with self._lock:
            return self.medium.file(number).cached[:size_bytes]

    def forget_open_file(self) -> None:
        """Count a file as closed."""
        with self._lock:
            self._open_files -= 1

    def release_node(self, number: int) -> None:
        """Let the next one lock a file."""
        with self._lock:
            self._held.discard(number)

    def _opened(self, path: str, number: int, *, writable: bool) -> SimulatedFile:
        self._open_files += 1
        return SimulatedFile(self, path, number, writable=writable)

    def _is_dark(self) -> bool:
        return self._power_ends_at is not None and self.calls >= self._power_ends_at

    def _failure(self, name: str, path: str) -> Failure | None:
        if self._is_dark():
            raise PowerCutError(path)
        self.calls += 1
        return self.fault(Call(self.calls, name, path)) if self.fault is not None else None

    def _enter(self, name: str, path: str) -> None:
        failure = self._failure(name, path)
        if failure is not None:
            raise _error(failure, path)

    def _leave(self, name: str, path: str, node: int) -> None:
        if self._keeps_steps:
            self.steps.append(Step(name, path, node, self.medium.copy()))

    def _find_or_none(self, path: str) -> int | None:
        nodes = self.medium.nodes
        number = ROOT
        for name in path.split("/"):
            if name:
                node = nodes[number]
                found = node.cached.get(name) if isinstance(node, DirectoryNode) else None
                if found is None:
                    return None
                number = found
        return number

    def _find(self, path: str) -> int:
        number = self._find_or_none(path)
        if number is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return number

    def _find_directory(self, path: str) -> int:
        number = self._find(path)
        if not isinstance(self.medium.nodes[number], DirectoryNode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return number

    def _directory_of(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self._find_directory(above), name


def _error(failure: Failure, path: str) -> OSError:
    code = failure.error_number
    return OSError(code, os.strerror(code), path)
