"""Go's sumdb/note and sumdb/tlog make and check the same: either side believes the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.foreign import ForeignError
from support.proofs import KEY, WholeTree, digests_of

from eventstore.proofs import (
    ConsistencyProof,
    InclusionProof,
    Tile,
    TreeHead,
    consistency_text,
    head_text,
    inclusion_text,
    leaf_hash,
    open_head,
    open_note,
    sign_note,
    tiles_of,
)

if TYPE_CHECKING:
    from support.foreign import Foreign

TREE = WholeTree(digests_of(700))
SIZES = (1, 2, 3, 6, 7, 8, 64, 100, 255, 256, 257, 511, 512, 513, 700)


@pytest.fixture(scope="module")
def grown(foreign: Foreign) -> Foreign:
    foreign("grow", Leaves=list(TREE.leaves))
    return foreign


def test_notes_are_the_same_bytes(foreign: Foreign) -> None:
    text = "Übung\n\nmacht den Meister\n"
    note = sign_note(text, KEY)
    assert foreign("sign", Skey=str(KEY), Text=text)["Text"] == note.decode()
    assert foreign("open", Vkey=str(KEY.verifier_key), Text=note.decode())["Text"] == text


def test_signed_heads_are_read_by_either_side(grown: Foreign) -> None:
    text = head_text(TREE.head(), KEY)
    body = grown("open", Vkey=str(KEY.verifier_key), Text=text.decode())["Text"]
    signed = grown("sign", Skey=str(KEY), Text=body)["Text"].encode()
    assert signed == text
    assert open_head(signed, KEY.verifier_key) == TREE.head()


def test_what_follows_the_empty_line_is_a_note_to_the_other_side(foreign: Foreign) -> None:
    head = open_note(head_text(TREE.head(), KEY), [KEY.verifier_key])
    for text in (
        inclusion_text(TREE.inclusion(18), KEY),
        consistency_text(TREE.consistency(18), KEY),
    ):
        _, _, note = text.decode().partition("\n\n")
        assert foreign("open", Vkey=str(KEY.verifier_key), Text=note)["Text"] == head


def test_roots_are_the_same(grown: Foreign) -> None:
    for size in range(1, 701):
        assert grown("root", Size=size)["Root"] == TREE.head(size).root


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_proofs_are_the_same_and_believed(grown: Foreign, size: int) -> None:
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        ours = TREE.inclusion(index + 1, size)
        theirs = grown("prove-record", Size=size, Index=index).get("Proof", [])
        assert list(ours.path) == theirs
        InclusionProof(index + 1, ours.digest, ours.head, tuple(theirs)).check()
        request = {"Size": size, "Root": ours.head.root, "Index": index, "Proof": ours.path}
        grown("check-record", Leaf=ours.digest, **request)
        with pytest.raises(ForeignError):
            grown("check-record", Leaf=bytes(32), **request)


@pytest.mark.parametrize("size", SIZES)
def test_consistency_proofs_are_the_same_and_believed(grown: Foreign, size: int) -> None:
    for old_size in {1, 2, 3, size // 3, size // 2, size - 1, size} & set(range(1, size + 1)):
        ours, old = TREE.consistency(old_size, size), TREE.head(old_size)
        theirs = grown("prove-tree", Size=size, Old=old_size).get("Proof", [])
        if old_size < size:  # RFC 6962 gives no proof of a tree to itself; theirs is empty too
            assert list(ours.path) == theirs
        ConsistencyProof(old_size, ours.head, tuple(theirs)).check(old)
        request = {"Size": size, "Root": ours.head.root, "Old": old_size, "Proof": ours.path}
        grown("check-tree", Before=old.root, **request)
        with pytest.raises(ForeignError):
            grown("check-tree", Before=bytes(32), **request)


def test_what_the_other_side_refuses_is_refused_here_too(grown: Foreign) -> None:
    proof = TREE.inclusion(18, 100)
    cut = proof._replace(path=proof.path[:-1])
    with pytest.raises(ForeignError):
        grown(
            "check-record",
            Size=100,
            Root=cut.head.root,
            Index=17,
            Proof=cut.path,
            Leaf=cut.digest,
        )


@pytest.mark.parametrize(("old_size", "size"), [(0, 1), (0, 256), (0, 700), (300, 513), (256, 257)])
def test_tiles_are_the_same_files(grown: Foreign, old_size: int, size: int) -> None:
    theirs = grown("tiles", Old=old_size, Size=size)
    paths = [path.replace("tile/8/", "tile/", 1) for path in theirs["Paths"]]
    content = dict(zip(paths, theirs["Tiles"], strict=True))
    tiles = list(tiles_of(size, old_size))
    # That release lists partial tiles of every width on the way, which nobody needs.
    full = {path for path in paths if ".p/" not in path}
    assert {tile.path for tile in tiles if tile.width == 256} == full
    for tile in tiles:
        first = tile.number * 256
        nodes = [TREE.node(8 * tile.level, at) for at in range(first, first + tile.width)]
        assert content[tile.path] == b"".join(nodes)


@pytest.mark.parametrize("number", [0, 7, 999, 1000, 1234067, 10**9, 2**40])
@pytest.mark.parametrize("width", [1, 255, 256])
def test_tile_paths_are_the_same(foreign: Foreign, number: int, width: int) -> None:
    [theirs] = foreign("tile-path", Level=3, Index=number, Width=width)["Paths"]
    assert Tile(3, number, width).path == theirs.replace("tile/8/", "tile/", 1)


def test_leaf_hashes_are_the_root_of_a_tree_of_one(foreign: Foreign) -> None:
    foreign("grow", Leaves=[TREE.leaves[5]])
    root = foreign("root", Size=1)["Root"]
    assert TreeHead(1, root) == TreeHead(1, leaf_hash(TREE.leaves[5]))
