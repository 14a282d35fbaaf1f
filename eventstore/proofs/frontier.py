"""The right edge of a tree: enough to go on, and to know the root, without anything before it.

A *frontier* holds the roots of the full subtrees that a tree of its size is made of, largest first:
one for each bit of the size that is set. A new leaf makes a subtree of one, and joins equal
neighbours: O(log n) at worst, two hashes on average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.proofs.tree import EMPTY_ROOT, TreeHead, leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterable


class Frontier:
    """A tree that only grows.

    Attributes:
        size: the number of leaves.
        hashes: roots of the full subtrees, largest first.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} full subtrees")

    def append(self, digest: bytes) -> None:
        """Add a batch by its digest. O(1) on average, O(log size) at worst."""
        joined = leaf_hash(digest)
        size = self.size
        while size & 1:
            joined = node_hash(self.hashes.pop(), joined)
            size >>= 1
        self.hashes.append(joined)
        self.size += 1

    def head(self) -> TreeHead:
        """Return the head. O(log size)."""
        if not self.hashes:
            return TreeHead(0, EMPTY_ROOT)
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return TreeHead(self.size, root)
