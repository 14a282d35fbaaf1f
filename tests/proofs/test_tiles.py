"""Tiles: the examples of c2sp.org/tlog-tiles."""

from __future__ import annotations

from collections import Counter

import pytest
from support.proofs import WholeTree, digests_of

from eventstore.proofs import Tile, tiles_of
from eventstore.proofs.tiles import entry_bundle, subtree


def test_a_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    tiles = list(tiles_of(70_000))
    full = Counter(tile.level for tile in tiles if tile.width == 256)
    assert full == {0: 273, 1: 1}
    partial = {tile.level: tile.width for tile in tiles if tile.width < 256}
    assert partial == {0: 112, 1: 17, 2: 1}


def test_a_tree_of_256_has_a_full_tile_and_one_above() -> None:
    assert list(tiles_of(256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]


def test_an_empty_tree_has_no_tiles() -> None:
    assert list(tiles_of(0)) == []


@pytest.mark.parametrize("old_size", [0, 1, 255, 256, 257, 511, 69_999, 70_000])
def test_only_tiles_that_an_older_tree_lacks_are_new(old_size: int) -> None:
    new = set(tiles_of(70_000, old_size))
    assert new | set(tiles_of(old_size)) >= set(tiles_of(70_000))
    assert not new & set(tiles_of(old_size))


def test_paths_are_those_of_the_specification() -> None:
    assert Tile(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert Tile(1, 5, 17).path == "tile/1/005.p/17"
    assert Tile(0, 273, 112).entries_path == "tile/entries/273.p/112"


def test_a_bundle_has_the_length_before_each_entry() -> None:
    first, second = digests_of(2)
    assert entry_bundle([first, second]) == b"\x00\x20" + first + b"\x00\x20" + second


@pytest.mark.parametrize("width", [1, 2, 3, 255, 256])
def test_the_nodes_above_a_row_are_those_of_the_tree(width: int) -> None:
    tree = WholeTree(digests_of(width))
    levels = subtree([tree.node(0, at) for at in range(width)])
    for level, nodes in enumerate(levels):
        assert list(nodes) == [tree.node(level, at) for at in range(width >> level)]
