"""The directories of snapshots: `ROOT/snapshots/ID`, and `new-…` before they have an id.

A stage is filled and synced before the batch that records its name, and renamed after. The names of
stages are random and never used again, so that whatever has one belongs to one attempt only.

**What is synced**: a stage, what its strategy has made in it, and the directory that holds it,
before anything refers to it. xfs, and ext4 with a journal, write the changes of all directories to
one log, in order, so there a sync of what was made last is one of all before it; each further one
would cost a flush of the disk's cache (a third of a Prepare). Elsewhere each is synced. A rename is
not synced: who finds no directory under the id looks for the stage. Removals are not synced: what
comes back after a crash is removed again.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from projections.snapshots import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STAGE_PREFIX = "new-"
REMOVED_PREFIX = "rm-"

_ESCAPED = re.compile(r"\\([0-7]{3})")
"""As /proc/self/mountinfo has spaces and the like in its paths."""
_JOURNAL_TASK = "/sys/fs/ext4/{}/journal_task"
_BLOCK_DEVICE = "/sys/dev/block/{}:{}"
_BLOCK_BYTES = 512
_STAGE_BYTES = 8


class Directories:
    """What is below `ROOT/snapshots`; for any number of threads, of one process."""

    def __init__(self, path: str) -> None:
        """Use a directory; make it, durably, if it is not there."""
        self.path = path
        self._in_flight: set[str] = set()
        self._left: frozenset[str] = frozenset()
        if not self._is_there(path):
            self._make(path)
        # Also if it was there: whoever made it may have been killed before this.
        self._sync(os.path.dirname(path))
        self._is_ordered = self._keeps_order()

    @contextmanager
    def stage(self) -> Iterator[str]:
        """Make an empty stage and give its name; nobody takes it for a leftover until the end.

        Where the block ends by an error, its stage stays in flight until `discard`.
        """
        name = STAGE_PREFIX + secrets.token_hex(_STAGE_BYTES)
        self._in_flight.add(name)
        self._make(self.of(name))
        yield name
        self._in_flight.discard(name)

    def sync_stage(self, filled: list[str]) -> None:
        """Make a stage durable in which these directories were made, in this order."""
        needed = filled[-1:] if self._is_ordered else (*reversed(filled), self.path)
        for directory in needed:
            self._sync(directory)

    def settle(self, stage: str, snapshot_id: str) -> None:
        """Give a stage the name of its snapshot."""
        self._rename(self.of(stage), self.of(snapshot_id))

    def discard(self, stage: str) -> None:
        """Remove a stage that no batch has recorded."""
        self._remove_tree(self.of(stage))
        self._in_flight.discard(stage)

    def remove(self, name: str) -> None:
        """Remove a directory, whatever is in it; that there is none is fine.

        Raises:
            OSError: something of it can't be removed.
        """
        self._remove_tree(self.of(name))

    def of(self, name: str) -> str:
        """Return the path of a snapshot's id or of a stage."""
        return f"{self.path}/{name}"

    def names(self) -> list[str]:
        """Return the names of all that is there."""
        return os.listdir(self.path)

    def is_there(self, name: str) -> bool:
        """Return whether something has a name."""
        return self._is_there(self.of(name))

    def keep(self, stage: str) -> None:
        """Let nobody take a stage for a leftover until the next start."""
        self._in_flight.add(stage)

    def leave(self, names: Iterable[str]) -> list[str]:
        """Take these too for not ours, from now on; return those that were not yet."""
        new = [name for name in names if name not in self._left]
        self._left |= frozenset(new)
        return new

    def is_kept(self, name: str) -> bool:
        """Return whether it is not ours, or a stage that is worked on or of unknown fate."""
        return name in self._left or name in self._in_flight

    # All that is done with the disk, so that a simulated one can take its place.

    def _keeps_order(self) -> bool:
        return keeps_order(self.path)

    def _is_there(self, path: str) -> bool:
        return os.path.lexists(path)

    def _make(self, path: str) -> None:
        os.mkdir(path, 0o700)

    def _rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def _remove_tree(self, path: str) -> None:
        remove_tree(path)

    def _sync(self, path: str) -> None:
        sync(path)


def file_system_of(path: str) -> str:
    """Return the type of the file system that a path is on; "" if that can't be told."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields, _, rest = line.partition(" - ")
                if fields.split()[2] == number:
                    return rest.split()[0]
    except OSError:
        pass
    return ""


def keeps_order(path: str) -> bool:
    """Return whether a sync of one directory there is one of all that was made before it."""
    match file_system_of(path):
        case "xfs":
            return True
        case "ext4":
            return _has_journal(os.stat(path).st_dev)
    return False


def _has_journal(device: int) -> bool:
    """Return whether the ext4 on a device has a journal; False if that can't be told."""
    try:
        block_device = os.readlink(_BLOCK_DEVICE.format(os.major(device), os.minor(device)))
        with open(_JOURNAL_TASK.format(os.path.basename(block_device)), encoding="ascii") as file:
            return file.read().strip().isdecimal()  # of the thread that writes it, else "<none>"
    except OSError:
        return False


def sync(path: str) -> None:
    """Make a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it; what was never mounted, without reading it.

    Raises:
        OSError: something of it can't be removed.
    """
    try:
        for part in ("/fs", "/work", ""):
            try:
                os.rmdir(path + part)
            except FileNotFoundError:
                continue
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise
        _remove_filled(path)


def _remove_filled(path: str) -> None:
    _require_no_mount(path)
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise
    except NotADirectoryError:
        os.unlink(path)


def _require_no_mount(path: str) -> None:
    """Refuse to remove what something is mounted in: that would empty what is mounted first.

    Raises:
        OSError: EBUSY, with the place.
    """
    inside = os.path.realpath(path) + "/"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for mount in mounts:
            place = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), mount.split(" ")[4])
            if f"{place}/".startswith(inside):
                raise OSError(errno.EBUSY, "something is mounted there", place)


def usage(path: str) -> Usage:
    """Return what a tree takes, as containerd counts: each inode once, in blocks of 512 bytes.

    What is removed meanwhile is not counted.

    Raises:
        OSError: a directory can't be read.
    """
    first = os.stat(path, follow_symlinks=False)
    seen = {(first.st_dev, first.st_ino)}
    blocks = first.st_blocks
    pending = [path]
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                inode = (status.st_dev, status.st_ino)
                if inode in seen:
                    continue
                seen.add(inode)
                blocks += status.st_blocks
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return Usage(len(seen), blocks * _BLOCK_BYTES)
