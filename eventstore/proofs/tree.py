"""The Merkle tree of RFC 6962 over the batches of a store, and what is proved with it. Pure.

A leaf's data is the digest of a batch, 32 bytes; the leaf's number is the batch's revision - 1. A
*node* is the root of a full subtree: node (level, index) covers the leaves from index * 2^level on,
2^level of them. Every other hash follows from nodes, O(log n) of them, so whoever makes a proof
needs a function that gives nodes and nothing else; whoever checks one needs nothing.

The hashes: RFC 6962, 2.1. The proofs: 2.1.1 and 2.1.2 there. The checks: RFC 9162, 2.1.3.2 and
2.1.4.2, which are loops over the proof, so that a proof of any length costs no more than its bytes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import ProofError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    NodeReader = Callable[[int, int], bytes]
    """Gives the node of a level and an index."""

HASH_BYTES = 32
SIZE_MAX = 2**63 - 1
"""No tree is larger: Go's sizes are of that kind, and a proof then has at most 63 hashes."""

EMPTY_ROOT = sha256().digest()


class TreeHead(NamedTuple):
    """A tree in 40 bytes: it binds every batch, and the order of them.

    Attributes:
        size: the number of batches, and so the revision of the last one.
        root: 32 bytes; the Merkle tree hash of RFC 6962.
    """

    size: int
    root: bytes


class InclusionProof(NamedTuple):
    """Why a batch is in a tree.

    Attributes:
        revision: of the batch.
        digest: of the batch, 32 bytes.
        head: of the tree.
        path: the hashes beside the way from the leaf to the root, lowest first.
    """

    revision: int
    digest: bytes
    head: TreeHead
    path: tuple[bytes, ...]

    def check(self) -> None:
        """Check that the head has this batch in this place.

        Raises:
            ProofError: the proof does not show it.
        """
        if not 1 <= self.revision <= self.head.size:
            raise ProofError(
                f"revision {self.revision} is not in a tree of {self.head.size} batches"
            )
        root = _root_by_path(leaf_hash(self.digest), self.revision - 1, self.head.size, self.path)
        if root != self.head.root:
            raise ProofError(
                f"the proof does not lead from revision {self.revision} to the head of "
                f"{self.head.size} batches: batch, revision, proof or head is another one"
            )


class ConsistencyProof(NamedTuple):
    """Why a tree begins with all of an older one, unaltered and in its order.

    Attributes:
        old_size: the number of batches of the older tree.
        head: of the newer tree.
        path: the hashes that show it.
    """

    old_size: int
    head: TreeHead
    path: tuple[bytes, ...]

    def check(self, old: TreeHead) -> None:
        """Check that the head continues an older one.

        Raises:
            ProofError: the proof does not show it.
        """
        if old.size != self.old_size:
            raise ProofError(
                f"the proof is for a head of {self.old_size} batches, the older head has {old.size}"
            )
        if old.size > self.head.size:
            raise ProofError(
                f"the newer head has {self.head.size} batches, fewer than the {old.size} of the "
                "older one: the end of the log was cut off"
            )
        if not _continues(old, self.head, self.path):
            raise ProofError(
                f"the head of {self.head.size} batches does not continue the one of {old.size}: "
                "something before was altered, dropped or reordered, or the proof is another one"
            )


def leaf_hash(digest: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + digest).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of what is above two others."""
    return sha256(b"\x01" + left + right).digest()


def tree_root(size: int, node: NodeReader) -> bytes:
    """Return the root of a tree. O(log size)."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that a leaf is in a tree, lowest hash first. O(log size) hashes.

    Args:
        index: of the leaf, less than the size.
        size: of the tree.
        node: gives nodes of the tree.
    """
    path = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _largest_power_below(high - low)
        if index < middle:
            path.append(_range_root(middle, high, node))
            high = middle
        else:
            path.append(_range_root(low, middle, node))
            low = middle
    return tuple(reversed(path))


def consistency_path(old_size: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that a tree continues one of an older size. O(log size) hashes.

    Args:
        old_size: of the older tree, at most the size; of 0 there is nothing to prove.
        size: of the tree.
        node: gives nodes of the tree.
    """
    if old_size == 0:
        return ()
    path = []
    low, high = 0, size
    while high != old_size:
        middle = low + _largest_power_below(high - low)
        if old_size <= middle:
            path.append(_range_root(middle, high, node))
            high = middle
        else:
            path.append(_range_root(low, middle, node))
            low = middle
    if low:  # else this is the older root, which the one who checks has
        path.append(_range_root(low, high, node))
    return tuple(reversed(path))


def _largest_power_below(count: int) -> int:
    """Return the largest power of two that is less than a count of at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _full_subtrees(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield level and index of the nodes that cover leaves side by side, largest first.

    `low` must be a multiple of the largest power of two that is not greater than their number.
    """
    while low < high:
        level = (high - low).bit_length() - 1
        yield level, low >> level
        low += 1 << level


def _range_root(low: int, high: int, node: NodeReader) -> bytes:
    *others, last = (node(level, index) for level, index in _full_subtrees(low, high))
    for left in reversed(others):
        last = node_hash(left, last)
    return last


def _root_by_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root to which a path leads; None if it is too short or too long for the tree."""
    place, last = index, size - 1
    found = leaf
    for beside in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            found = node_hash(beside, found)
            while place and not place & 1:
                place >>= 1
                last >>= 1
        else:
            found = node_hash(found, beside)
        place >>= 1
        last >>= 1
    return found if last == 0 else None


def _continues(old: TreeHead, new: TreeHead, path: Sequence[bytes]) -> bool:
    if old.size == 0:
        return not path and old.root == EMPTY_ROOT
    if old.size == new.size:
        return not path and old.root == new.root
    place, last = old.size - 1, new.size - 1
    while place & 1:
        place >>= 1
        last >>= 1
    # The older tree is one full subtree: its root begins the proof, and is left out of it.
    hashes = list(path) if place else [old.root, *path]
    if not hashes:
        return False
    old_root = new_root = hashes[0]
    for beside in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_root = node_hash(beside, old_root)
            new_root = node_hash(beside, new_root)
            while place and not place & 1:
                place >>= 1
                last >>= 1
        else:
            new_root = node_hash(new_root, beside)
        place >>= 1
        last >>= 1
    return last == 0 and old_root == old.root and new_root == new.root
