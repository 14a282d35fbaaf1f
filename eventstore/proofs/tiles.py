"""Tiles: a tree as files of 256 hashes (c2sp.org/tlog-tiles), for anyone to fetch. Pure.

Tile n of level l holds the roots of the full subtrees of 256^l leaves, from number 256 n on: of
level 0 the hashes of leaves. All but the last tile of a level are full, and never change. A log
entry is the digest of a batch; entries are published in bundles of 256 beside their tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.proofs.tree import HASH_BYTES, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT

_ENTRY_LENGTH = bytes((0, HASH_BYTES))
"""A uint16, big-endian: every entry has the 32 bytes of a digest."""


class Tile(NamedTuple):
    """Where a tile is in its tree.

    Attributes:
        level: 0 for leaves.
        number: of the tile among those of its level.
        width: how many hashes it holds: 256, or fewer for the last of a level.
    """

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where the tile is published."""
        return f"tile/{self.level}/{_numbered(self.number, self.width)}"

    @property
    def entries_path(self) -> str:
        """Where the entries of a tile of level 0 are published."""
        return f"tile/entries/{_numbered(self.number, self.width)}"


def tiles_of(size: int, old_size: int = 0) -> Iterator[Tile]:
    """Yield the tiles of a tree that one of an older size has not, lowest level first."""
    level = 0
    while size:
        first = old_size // TILE_WIDTH
        full, rest = divmod(size, TILE_WIDTH)
        for number in range(first, full):
            yield Tile(level, number, TILE_WIDTH)
        if rest and size > old_size:
            yield Tile(level, full, rest)
        size, old_size = full, first
        level += 1


def subtree(row: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Return the nodes above a row of up to 256, level by level, the row itself first.

    Where the last of a level has no neighbour, the level above ends before it.
    """
    levels = [row]
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        levels.append(row)
    return levels


def entry_bundle(digests: Iterable[bytes]) -> bytes:
    """Return entries as they are published: the length of each before it."""
    return b"".join(_ENTRY_LENGTH + digest for digest in digests)


def _numbered(index: int, width: int) -> str:
    """Return a tile's number as groups of three digits, all but the last one marked with x."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03d}")
    number = "/".join(groups)
    return number if width == TILE_WIDTH else f"{number}.p/{width}"
