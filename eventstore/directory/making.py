"""Making a store at a path: one rule for whatever does more than open a new, empty one.

Who makes a store holds the lock of its place from before the first file to after the last one. The
first file is the mark, `MAKING`, which says what for; it is on stable storage before any other, and
the last thing to go, once all others are. So whatever is found beside a mark that nobody holds the
lock of was written by a making that was cut short. It is no store, nothing in it was ever promised
to anyone, and the next making may clear it away and begin again. A file next to the store's
directory, as a repair may make one, belongs to the making too: the mark names it, durably, before
it is made (`create_beside`).

Nothing else is ever removed: not what has a name that no store's file has, no file outside that the
mark does not name, and nothing at all by who could not take the lock. (An open of a *new* store
needs no mark: the name of the first segment is what makes it.)
"""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from eventstore.directory.contents import full_disk_is_told, require_own, sync_names_above
from eventstore.directory.hold import hold_fit
from eventstore.errors import StoreExistsError
from eventstore.files.content import read_file
from eventstore.files.paths import join, parent
from eventstore.format.names import (
    ARCHIVE_NAME,
    CHECKPOINTS_NAME,
    DIRECTORY_NAMES,
    DURABLE_NAME,
    ERASING_NAME,
    INDEX_NAME,
    LADDER_NAME,
    LOCK_NAME,
    MAKING_NAME,
    TEMPORARY_SUFFIX,
    TORN_NAME,
    TREE_NAME,
    WAL_NAME,
    parse_archive_name,
    parse_checkpoint_name,
    parse_delta_name,
    parse_index_name,
    parse_leaves_name,
    parse_rung_name,
    parse_segment_name,
)
from eventstore.format.names import beside as beside_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.files.guarded import GuardedFileSystem
    from eventstore.files.interface import File, FileSystem
    from eventstore.options import StoreOptions

# Room for a path in which every character is escaped.
_MARK_BYTES_MAX = 64 * 1024

_FILES_MADE: dict[str, Callable[[str], object]] = {
    WAL_NAME: parse_segment_name,
    CHECKPOINTS_NAME: lambda name: parse_delta_name(name) or parse_checkpoint_name(name),
    ARCHIVE_NAME: parse_archive_name,
    TORN_NAME: lambda name: None,
    INDEX_NAME: parse_index_name,
    TREE_NAME: parse_leaves_name,
    LADDER_NAME: parse_rung_name,
}
"""By directory, what tells the files that a making may have written; none is ever torn."""
_ROOT_FILES_MADE = (DURABLE_NAME, ERASING_NAME)
"""In the store's own directory."""


class _Entry(NamedTuple):
    """A file, or what stands in the place of one, at the place of a store.

    Attributes:
        directory: the store's directory that it is in; empty for the store's own.
        name: in that directory.
        is_file: whether it is a regular file.
    """

    directory: str
    name: str
    is_file: bool

    @property
    def is_unfinished(self) -> bool:
        """Whether it may be left of an open, or a making, that has promised nothing yet."""
        if not self.directory:
            return self.is_file and self.name in (LOCK_NAME, MAKING_NAME)
        return self.is_file and self.name.endswith(TEMPORARY_SUFFIX)

    @property
    def is_made(self) -> bool:
        """Whether a making may have written it, after its mark."""
        if not self.is_file:
            return False
        if self.name.endswith(TEMPORARY_SUFFIX):
            return bool(self.directory) or self.name.startswith(_ROOT_FILES_MADE)
        if not self.directory:
            return self.name in _ROOT_FILES_MADE
        return _FILES_MADE[self.directory](self.name) is not None


@contextlib.contextmanager
def making(
    file_system: FileSystem,
    path: str,
    purpose: str,
    options: StoreOptions,
    *,
    lock_timeout_seconds: float | None = None,
) -> Iterator[GuardedFileSystem]:
    """Hold a place while a store is made there, which is one once the block has ended well.

    What the block writes must be on stable storage when it ends. After an error in it the place is
    as free as before; what can't be removed keeps its mark.

    Args:
        file_system: that the store is made on.
        path: of the new store.
        purpose: what for, in words that an operator knows.
        options: of the store, which say where it may be.
        lock_timeout_seconds: how long to wait for another process; None not at all.

    Yields:
        the file system as the holder of the lock sees it.

    Raises:
        StoreExistsError: a store, or something else, is at the path.
        NotAStoreError: the path leads through something that is no directory.
        StoreLockedError: another process has the place.
        ForeignOwnerError: the directory is another user's.
        UnsupportedFileSystemError: the path is on a network file system.
        StorageFullError: there is no space.
    """
    require = partial(_require_free, path=path, options=options)
    with full_disk_is_told(path, "free some space and do it again"):
        guarded = hold_fit(file_system, path, options, lock_timeout_seconds, require)
        try:
            try:
                # While the mark that an earlier making has left still says what is its own.
                _clear_beside(guarded, path)
                _mark(guarded, path, purpose)
                _clear(guarded, path)
                sync_names_above(guarded, path)
                yield guarded
            except BaseException:
                # The error that led here is the news, and the mark tells of what is left.
                with contextlib.suppress(OSError):
                    _undo(guarded, path)
                raise
            _remove_mark(guarded, path)
        finally:
            guarded.release()


def create_beside(guarded: GuardedFileSystem, path: str) -> File:
    """Create the file next to a store that is being made, `format.beside`, as a part of its making.

    Whoever undoes or repeats the making removes it. What somebody else has put there stays.

    Raises:
        StoreExistsError: something is there.
    """
    beside = beside_path(path)
    require_nothing_beside(guarded, path)
    mark = guarded.open(join(path, MAKING_NAME), writable=True)
    try:
        mark_bytes = mark.size_bytes()
        mark.write(mark_bytes, _claim(beside))
        mark.sync()
        try:
            return guarded.create(beside)
        except FileExistsError:
            mark.truncate(mark_bytes)
            mark.sync()
            raise StoreExistsError(f"{beside}: something was put there meanwhile") from None
    finally:
        mark.close()


def require_nothing_beside(file_system: FileSystem, path: str) -> None:
    """Check that the place of the file next to a store, `format.beside`, is free.

    Raises:
        StoreExistsError: something is there.
    """
    beside = beside_path(path)
    if file_system.exists(beside):
        raise StoreExistsError(
            f"{beside}: batches without a place in the new store would go here; move it elsewhere"
        )


def _claim(beside: str) -> bytes:
    """Return the line of a mark that says which file outside the store's directory is its own."""
    return b"beside: " + json.dumps(beside).encode() + b"\n"


def _clear_beside(guarded: GuardedFileSystem, path: str) -> None:
    """Remove the file next to the store if the mark names it; return once that is durable."""
    mark, beside = join(path, MAKING_NAME), beside_path(path)
    if not guarded.exists(beside) or not guarded.exists(mark) or guarded.is_directory(beside):
        return
    lines = read_file(guarded, mark, _MARK_BYTES_MAX).splitlines(keepends=True)
    if _claim(beside) in lines[1:]:
        guarded.remove(beside)
        guarded.sync_directory(parent(beside))


def _require_free(file_system: FileSystem, path: str, options: StoreOptions) -> None:
    """Check that nothing is at a path but what an open or a making has left unfinished."""
    if not file_system.exists(path):
        return
    if not file_system.is_directory(path):
        raise StoreExistsError(f"{path}: no directory (a link is not followed): give a new path")
    if not options.allow_foreign_owner:
        require_own(file_system, path)
    taken = [entry for entry in _entries(file_system, path) if not entry.is_unfinished]
    # Looked for last: who has seen another making's files sees its mark, unless it has ended.
    if file_system.exists(join(path, MAKING_NAME)):
        taken = [entry for entry in taken if not entry.is_made]
    if taken:
        is_store = any(entry.is_made for entry in taken)
        name = min(join(entry.directory, entry.name) for entry in taken)
        raise StoreExistsError(
            f"{path}: {'a store' if is_store else f'something, {name!r},'} is there already: "
            "give a new path, or that of an empty directory"
        )


def _entries(file_system: FileSystem, path: str) -> Iterator[_Entry]:
    """Yield what is at the place of a store, but for the directories that a store has."""
    for name in file_system.list_directory(path):
        entry = join(path, name)
        if name not in DIRECTORY_NAMES or not file_system.is_directory(entry):
            yield _Entry("", name, file_system.is_file(entry))
            continue
        for inner in file_system.list_directory(entry):
            yield _Entry(name, inner, file_system.is_file(join(entry, inner)))


def _mark(guarded: GuardedFileSystem, path: str, purpose: str) -> None:
    """Write the mark, durably; one that is there already is written over, and never away."""
    mark = join(path, MAKING_NAME)
    file = guarded.open(mark, writable=True) if guarded.exists(mark) else guarded.create(mark)
    try:
        file.truncate(0)
        line = "".join(character if character.isprintable() else "?" for character in purpose)
        file.write(0, line.encode() + b"\n")
        file.sync()
    finally:
        file.close()
    guarded.sync_directory(path)


def _clear(guarded: GuardedFileSystem, path: str) -> None:
    """Remove what a making has written, beside its mark; return once that is durable."""
    for entry in [*_entries(guarded, path)]:
        if entry.is_made:
            guarded.remove(join(path, entry.directory, entry.name))
    for name in DIRECTORY_NAMES:
        directory = join(path, name)
        if guarded.is_directory(directory):
            guarded.sync_directory(directory)
            if not guarded.list_directory(directory):
                guarded.remove_directory(directory)
    guarded.sync_directory(path)


def _undo(guarded: GuardedFileSystem, path: str) -> None:
    """Leave the place as it was found."""
    _clear_beside(guarded, path)
    _clear(guarded, path)
    _remove_mark(guarded, path)
    if guarded.made_root and guarded.list_directory(path) == [LOCK_NAME]:
        # Under both locks, the one on the directory included: who waits for it finds it gone.
        guarded.remove(join(path, LOCK_NAME))
        guarded.remove_directory(path)


def _remove_mark(guarded: GuardedFileSystem, path: str) -> None:
    mark = join(path, MAKING_NAME)
    if guarded.exists(mark):
        guarded.remove(mark)
    guarded.sync_directory(path)
