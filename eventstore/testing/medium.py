"""The medium: what is on stable storage, and what is still on its way there.

A node is a file or a directory. Each knows what is *durable*, what is *cached* (what a running
process sees) and the *changes* between the two, in the order in which they were made. Nodes are
immutable values and content is `bytes`, so a copy of a medium shares everything with the
original, and a crash can be looked into after every operation at the price of two dictionaries.
The price is one copy of a file for each write: use segments of some KiB.

The model, against which `eventstore/FORMAT.md`, "Assumptions about the medium" can be held:

- a synced byte stays, also when bytes beside it in its sector are written later;
- a pending write may be lost, be there, be there in part (any sectors of it, or cut at any byte),
  and in any order with others, whatever the order in which they were made;
- where a pending write extends a file, the length may arrive without the bytes: they are zeros;
- a store into a shared block is a pending write like any other;
- a created, renamed or removed name is pending until its directory is synced: syncing the file
  does not help. A rename within a directory is there or is not, one across directories is two
  changes. A directory whose name is lost is lost with all that is in it;
- a *failed sync of a file* leaves its changes cached and for ever in doubt: no later sync makes
  them durable, although it succeeds (Linux marks pages clean that it could not write). A failed
  sync of a directory leaves its changes pending: names go through the file system's journal,
  which works or is stopped for good.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = 0
"""The number of the root directory."""


class Standing(enum.Enum):
    """What a sync can still do about a change."""

    PENDING = "pending"
    DOUBTFUL = "doubtful"
    """A sync that failed has given it up: it may be durable, and no sync will make it so."""
    CERTAIN = "certain"
    """Durable, but kept as a change because a doubtful one was made before it."""


class Change(NamedTuple):
    """A write to a file, or a new length for it.

    Attributes:
        offset_bytes: where the data goes; the new length if there is no data.
        data: what was written; None for a new length.
        standing: whether it can still become durable.
    """

    offset_bytes: int
    data: bytes | None
    standing: Standing = Standing.PENDING

    def applied_to(self, content: bytes) -> bytes:
        """Return a content with this change made."""
        if self.data is None:
            return content[: self.offset_bytes].ljust(self.offset_bytes, b"\0")
        return overwritten(content, self.offset_bytes, self.data)


class FileNode(NamedTuple):
    """A file."""

    durable: bytes = b""
    cached: bytes = b""
    changes: tuple[Change, ...] = ()


class EntryChange(NamedTuple):
    """Names of one directory that change together: each with its node, or None if it goes."""

    entries: tuple[tuple[str, int | None], ...]

    def applied_to(self, names: dict[str, int]) -> dict[str, int]:
        """Return the names of a directory with this change made."""
        changed = dict(names)
        for name, number in self.entries:
            if number is None:
                changed.pop(name, None)
            else:
                changed[name] = number
        return changed


class DirectoryNode(NamedTuple):
    """A directory. Its names are never changed in place, so that copies may share them."""

    durable: dict[str, int]
    cached: dict[str, int]
    changes: tuple[EntryChange, ...] = ()


Node = FileNode | DirectoryNode


def overwritten(content: bytes, offset_bytes: int, data: bytes) -> bytes:
    """Return a content with bytes written into it, zeros before them where it was shorter."""
    start = content[:offset_bytes].ljust(offset_bytes, b"\0")
    return b"".join((start, data, content[offset_bytes + len(data) :]))


class Medium:
    """All nodes of a file system, by number.

    Attributes:
        nodes: every node that was ever made; those without a name are unreachable.
    """

    __slots__ = ("nodes",)

    def __init__(self, nodes: dict[int, Node] | None = None) -> None:
        self.nodes: dict[int, Node] = {ROOT: DirectoryNode({}, {})} if nodes is None else nodes

    def copy(self) -> Medium:
        """Return a medium in the same state."""
        return Medium(dict(self.nodes))

    def file(self, number: int) -> FileNode:
        """Return a node that is a file."""
        node = self.nodes[number]
        if not isinstance(node, FileNode):
            raise TypeError(f"node {number} is a directory")
        return node

    def directory(self, number: int) -> DirectoryNode:
        """Return a node that is a directory."""
        node = self.nodes[number]
        if not isinstance(node, DirectoryNode):
            raise TypeError(f"node {number} is a file")
        return node

    def add(self, node: Node) -> int:
        """Add a node that has no name yet, and return its number."""
        number = len(self.nodes)
        self.nodes[number] = node
        return number

    def change_file(self, number: int, change: Change) -> None:
        """Make a change to a file; it is pending."""
        node = self.file(number)
        self.nodes[number] = FileNode(
            node.durable, change.applied_to(node.cached), (*node.changes, change)
        )

    def change_names(self, number: int, *entries: tuple[str, int | None]) -> None:
        """Change names of a directory, all or none of them; the change is pending."""
        node = self.directory(number)
        change = EntryChange(entries)
        self.nodes[number] = DirectoryNode(
            node.durable, change.applied_to(node.cached), (*node.changes, change)
        )

    def sync_file(self, number: int) -> None:
        """Make the pending changes of a file durable."""
        node = self.file(number)
        if any(change.standing is Standing.DOUBTFUL for change in node.changes):
            changes = tuple(
                change
                if change.standing is Standing.DOUBTFUL
                else change._replace(standing=Standing.CERTAIN)
                for change in node.changes
            )
            self.nodes[number] = node._replace(changes=changes)
        elif node.changes:
            self.nodes[number] = FileNode(node.cached, node.cached)

    def fail_sync_of_file(self, number: int) -> None:
        """Give the pending changes of a file up: they are in doubt from now on."""
        node = self.file(number)
        changes = tuple(
            change._replace(standing=Standing.DOUBTFUL)
            if change.standing is Standing.PENDING
            else change
            for change in node.changes
        )
        self.nodes[number] = node._replace(changes=changes)

    def sync_directory(self, number: int) -> None:
        """Make the names in a directory durable."""
        node = self.directory(number)
        if node.changes:
            self.nodes[number] = DirectoryNode(node.cached, node.cached)

    def files(self) -> dict[str, bytes]:
        """Return the cached content of every file by its path."""
        return {path: content for path, content in self._named() if content is not None}

    def fingerprint(self) -> frozenset[tuple[str, bytes | None]]:
        """Return a value that two media share if a process sees the same on both."""
        return frozenset(self._named())

    def _named(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield every path that a process sees, with the content if it is a file."""
        waiting = [("", self.directory(ROOT))]
        while waiting:
            prefix, directory = waiting.pop()
            for name, number in directory.cached.items():
                node = self.nodes[number]
                path = f"{prefix}/{name}"
                if isinstance(node, FileNode):
                    yield path, node.cached
                else:
                    yield path, None
                    waiting.append((path, node))
