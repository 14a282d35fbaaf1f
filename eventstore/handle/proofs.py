"""What a handle proves of its batches: receipts, and the tree over those that readers are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from eventstore.arguments import checked_int, checked_whole, excerpt
from eventstore.errors import ProofError, ReceiptError
from eventstore.handle import history
from eventstore.handle.reading import Reading
from eventstore.handle.receipt import Receipt, require_own

if TYPE_CHECKING:
    from eventstore.event import Batch
    from eventstore.handle.opening import Opened
    from eventstore.proofs.publishing import PublishedTree
    from eventstore.proofs.store_tree import StoreTree
    from eventstore.proofs.tree import ConsistencyProof, InclusionProof, TreeHead


class Proofs(Reading):
    """What a handle proves to its user, and lets him prove to others.

    The modules of the tree are imported when it is asked for: an open does without.
    """

    def __init__(self, parts: Opened) -> None:
        super().__init__(parts)
        self._made_tree: StoreTree | None = None

    def check_receipt(self, receipt: Receipt) -> Batch:
        """Return the batch that a receipt was given for.

        Reads and verifies up to 128 batches before it too; where its segment has no index yet, all
        before it in its segment, about 17 µs for each.

        Raises:
            ReceiptError: it was not given by this store, or the history is another one.
            CompactedError: the batch is no longer kept.
            TypeError: it is no receipt, as `Receipt.parse` makes one of a text.
        """
        self._closing.require_open()
        if not isinstance(receipt, Receipt):
            raise TypeError(f"a receipt must be a Receipt, not {excerpt(receipt)}")
        require_own(receipt, self.store_id, self._shown_revision())
        revision = receipt.revision
        found = history.batches(self._log, revision, revision, self._upcasters)
        [batch] = self._closing.told_amid(found)
        if batch.digest != receipt.digest:
            raise ReceiptError(f"revision {receipt.revision} has another digest than the receipt")
        return batch

    def tree_head(self, size: int | None = None) -> TreeHead:
        """Return the head of the Merkle tree over the first so many batches.

        O(batches since the last call) for the first 256 hashes, O(log n) for the rest. Sign it
        (`eventstore.proofs.head_text`) and give it away: whoever has it can later be shown that
        nothing before was altered, dropped or reordered.

        Args:
            size: how many batches; None for all that readers are shown.

        Raises:
            CompactedError: batches were dropped before the store kept a tree.
            CorruptionError: a batch is damaged, or leaves of dropped ones are.
            ValueError: there are fewer batches.
            TypeError: the size is no int.
        """
        tree, shown = self._grown()
        return tree.head(_checked_size(size, shown))

    def inclusion_proof(self, revision: int | Receipt, size: int | None = None) -> InclusionProof:
        """Return why a batch is in the tree, kept or dropped by retention.

        Args:
            revision: of the batch, or the receipt of its commit.
            size: of the tree; None for all batches that readers are shown.

        Raises:
            ReceiptError: it was not given by this store, or the history is another one.
            ValueError: there is no such revision, or there are fewer batches than the size.
            CompactedError: as of `tree_head`.
            CorruptionError: as of `tree_head`.
            TypeError: one of them has another type.
        """
        tree, shown = self._grown()
        size = _checked_size(size, shown)
        receipt = revision if isinstance(revision, Receipt) else None
        if receipt is not None:
            require_own(receipt, self.store_id, shown)
            revision = receipt.revision
        revision = checked_int(cast("int", revision), "a revision")
        if not 1 <= revision <= size:
            raise ValueError(f"revision {excerpt(revision)} is not in a tree of {size} batches")
        proof = tree.inclusion(revision, size)
        if receipt is not None and proof.digest != receipt.digest:
            raise ReceiptError(f"revision {revision} has another digest than the receipt")
        return proof

    def consistency_proof(self, old: int | TreeHead, size: int | None = None) -> ConsistencyProof:
        """Return why the tree continues an older one: all of that, unaltered, in its order.

        Args:
            old: the older head, or its size.
            size: of the newer tree; None for all batches that readers are shown.

        Raises:
            ProofError: the tree does not continue the older one: the store has fewer batches, or
                the head is of another history.
            ValueError: the older size is negative, or larger than the newer one; or there are fewer
                batches than the newer one.
            CompactedError: as of `tree_head`.
            CorruptionError: as of `tree_head`.
            TypeError: one of them has another type.
        """
        from eventstore.proofs.tree import TreeHead  # noqa: PLC0415

        tree, shown = self._grown()
        size = _checked_size(size, shown)
        old_size = checked_whole(old.size if isinstance(old, TreeHead) else old, "a size", 0)
        if old_size > shown:
            raise ProofError(
                f"{self.path}: the store has {shown} batches, fewer than the "
                f"{excerpt(old_size)} of the older head: the end of its log was cut off, or the "
                "head is of another store"
            )
        if old_size > size:
            raise ValueError(f"a tree of {size} batches can't continue one of {old_size}")
        proof = tree.consistency(old_size, size)
        if isinstance(old, TreeHead):
            proof.check(old)
        return proof

    def published_tree(self) -> PublishedTree:
        """Return the tree as files that anyone can fetch; raises as `tree_head` does."""
        from eventstore.proofs.publishing import PublishedTree  # noqa: PLC0415

        return PublishedTree(*self._grown())

    @property
    def _tree(self) -> StoreTree:
        """The tree, which grows when it is asked; that of the log, saved by compaction, is another.

        Where two threads make one at once, each goes on with its own.
        """
        if self._made_tree is None:
            from eventstore.proofs.store_tree import StoreTree  # noqa: PLC0415

            self._made_tree = (
                StoreTree.of_log(self._log)
                if self._file_system is None
                else StoreTree.of_files(self._file_system, self.path, self._log.store_id)
            )
        return self._made_tree

    def _grown(self) -> tuple[StoreTree, int]:
        """Return the tree with everything that readers are shown, and how much that is."""
        self._closing.require_open()
        shown = self._shown_revision()
        with self._closing.told():
            tree = self._tree
            tree.grow(shown)
        return tree, shown


def _checked_size(size: int | None, shown: int) -> int:
    if size is None:
        return shown
    if checked_whole(size, "a size", 0) > shown:
        raise ValueError(f"there are no {excerpt(size)} batches: the store is at {shown}")
    return size
