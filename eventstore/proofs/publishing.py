"""A store's tree as files: tiles of hashes, and bundles of entries (c2sp.org/tlog-tiles).

Whoever publishes writes `files`, syncs them, and only then the signed head as `checkpoint`, so that
a reader who has the head finds what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.proofs.tiles import entry_bundle, tiles_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.proofs.store_tree import StoreTree
    from eventstore.proofs.tree import TreeHead


class PublishedTree:
    """A tree of one size, as what anyone may fetch of it.

    Attributes:
        size: the number of batches.
    """

    def __init__(self, tree: StoreTree, size: int) -> None:
        """Use `EventStore.published_tree`."""
        self._tree = tree
        self.size = size

    @property
    def head(self) -> TreeHead:
        """The head, to be signed and published last, as `checkpoint`."""
        return self._tree.head(self.size)

    def files(self, old_size: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield path and content of each file that a tree of an older size does not have.

        Args:
            old_size: of the tree that was published before.
        """
        for tile in tiles_of(self.size, old_size):
            hashes = self._tree.hashes(tile.level, tile.number, tile.width)
            yield tile.path, b"".join(hashes)
            if tile.level == 0:
                digests = self._tree.digests(tile.number)[: tile.width]
                yield tile.entries_path, entry_bundle(digests)
