"""A tree for tests that is kept whole in memory, by the definition of RFC 6962 alone."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from eventstore.proofs import ConsistencyProof, InclusionProof, SigningKey, TreeHead
from eventstore.proofs.tree import consistency_path, inclusion_path

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = SigningKey("example.com/node-7", bytes(range(32)))
OTHER_KEY = SigningKey("example.com/node-7", bytes(32))


def digests_of(count: int) -> list[bytes]:
    return [sha256(b"batch %d" % number).digest() for number in range(count)]


class WholeTree:
    """Every leaf, and every hash computed by the recursion of the RFC."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self._hash = cache(self._range_hash)

    def head(self, size: int | None = None) -> TreeHead:
        size = len(self.leaves) if size is None else size
        return TreeHead(size, self._hash(0, size) if size else sha256().digest())

    def node(self, level: int, index: int) -> bytes:
        assert (index + 1) << level <= len(self.leaves), "no full subtree of this tree"
        return self._hash(index << level, (index + 1) << level)

    def inclusion(self, revision: int, size: int | None = None) -> InclusionProof:
        head = self.head(size)
        path = inclusion_path(revision - 1, head.size, self.node)
        return InclusionProof(revision, self.leaves[revision - 1], head, path)

    def consistency(self, old_size: int, size: int | None = None) -> ConsistencyProof:
        head = self.head(size)
        return ConsistencyProof(old_size, head, consistency_path(old_size, head.size, self.node))

    def _range_hash(self, low: int, high: int) -> bytes:
        if high - low == 1:
            return sha256(b"\x00" + self.leaves[low]).digest()
        split = 1
        while split * 2 < high - low:
            split *= 2
        left, right = self._hash(low, low + split), self._hash(low + split, high)
        return sha256(b"\x01" + left + right).digest()
