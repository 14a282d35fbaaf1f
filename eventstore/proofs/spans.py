"""Spans of leaves: 65,536 batches by their digests, in memory or in a file.

A span knows the digests of each of its tiles of 256, and the roots of those that are full. One in
memory grows, until it is full; one in a file is read a tile at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eventstore.format.leaves import DIGEST_BYTES, ROW_LEAVES, SPAN_LEAVES
from eventstore.proofs.leaf_files import Parts, read_roots, read_rows
from eventstore.proofs.tiles import subtree
from eventstore.proofs.tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.proofs.leaf_files import LeafFile


class Span(Protocol):
    """Up to 65,536 leaves side by side."""

    @property
    def count(self) -> int:
        """How many leaves."""

    def roots(self) -> Sequence[bytes]:
        """Return the roots of the tiles that are full."""

    def digests(self, tile: int) -> list[bytes]:
        """Return the digests of a tile of this span."""


class MemorySpan:
    """A span that grows.

    Attributes:
        saved_count: how many of the leaves a file holds.
    """

    def __init__(self, digests: bytes = b"", saved_count: int = 0) -> None:
        self._digests = bytearray(digests)
        self._roots: list[bytes] = []
        self.saved_count = saved_count

    @property
    def count(self) -> int:
        """How many leaves."""
        return len(self._digests) // DIGEST_BYTES

    @property
    def is_full(self) -> bool:
        """Whether the next leaf belongs to another span."""
        return self.count == SPAN_LEAVES

    def append(self, digest: bytes) -> None:
        """Add a leaf."""
        self._digests += digest

    def roots(self) -> Sequence[bytes]:
        """Return the roots of the tiles that are full. Each is made once: two hashes a leaf."""
        while len(self._roots) < self.count // ROW_LEAVES:
            row = [leaf_hash(digest) for digest in self.digests(len(self._roots))]
            self._roots.append(subtree(row)[-1][0])
        return self._roots

    def digests(self, tile: int) -> list[bytes]:
        """Return the digests of a tile of this span."""
        row_bytes = ROW_LEAVES * DIGEST_BYTES
        return split(bytes(self._digests[tile * row_bytes : (tile + 1) * row_bytes]))

    def parts(self) -> Parts:
        """Return what a leaf file is made of."""
        return Parts(bytes(self._digests), b"".join(self.roots()))


class FileSpan:
    """A full span in a file.

    Attributes:
        leaf_file: the file.
    """

    def __init__(self, file_system: FileSystem, leaf_file: LeafFile, store_id: bytes) -> None:
        self._file_system = file_system
        self.leaf_file = leaf_file
        self._store_id = store_id

    @property
    def count(self) -> int:
        """How many leaves."""
        return self.leaf_file.leaf_count

    def roots(self) -> Sequence[bytes]:
        """Return the roots of the tiles; raises as `read_roots` does."""
        return read_roots(self._file_system, self.leaf_file, self._store_id)

    def digests(self, tile: int) -> list[bytes]:
        """Return the digests of a tile of this span; raises as `read_rows` does."""
        return split(read_rows(self._file_system, self.leaf_file, self._store_id, [tile]))


def split(digests: bytes) -> list[bytes]:
    """Return digests that stand one after the other."""
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]
