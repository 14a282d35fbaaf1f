"""The Merkle tree: against the definition, public vectors, and everything that a proof is not."""

from __future__ import annotations

from base64 import b64decode
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proofs import WholeTree, digests_of

from eventstore import ProofError
from eventstore.proofs import ConsistencyProof, Frontier, InclusionProof, TreeHead, leaf_hash
from eventstore.proofs.tree import EMPTY_ROOT, tree_root

TREE = WholeTree(digests_of(140))
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 140)

# The leaves and the roots that the authors of Certificate Transparency test with.
PUBLIC_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
PUBLIC_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class PublicProof(NamedTuple):
    """A proof of the test data of github.com/transparency-dev/merkle, testdata/."""

    first: int
    size: int
    path: tuple[str, ...]


PUBLIC_INCLUSION = [
    PublicProof(
        0,
        8,
        (
            "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=",
            "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
            "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ=",
        ),
    ),
    PublicProof(
        5,
        8,
        (
            "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=",
            "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
            "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=",
        ),
    ),
    PublicProof(
        1,
        5,
        (
            "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=",
            "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
            "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=",
        ),
    ),
]
PUBLIC_CONSISTENCY = [
    PublicProof(
        1,
        8,
        (
            "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=",
            "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
            "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ=",
        ),
    ),
    PublicProof(
        6,
        8,
        (
            "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o=",
            "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
            "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=",
        ),
    ),
    PublicProof(
        2,
        5,
        (
            "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
            "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=",
        ),
    ),
]


def decoded(path: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(map(b64decode, path))


def grown(digests: list[bytes]) -> Frontier:
    frontier = Frontier()
    for digest in digests:
        frontier.append(digest)
    return frontier


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_public_ones(size: int) -> None:
    public = TreeHead(size, bytes.fromhex(PUBLIC_ROOTS[size]))
    assert grown(PUBLIC_LEAVES[:size]).head() == public
    assert TreeHead(size, tree_root(size, WholeTree(PUBLIC_LEAVES).node)) == public


@pytest.mark.parametrize("public", PUBLIC_INCLUSION)
def test_inclusion_proofs_are_the_public_ones(public: PublicProof) -> None:
    proof = WholeTree(PUBLIC_LEAVES).inclusion(public.first + 1, public.size)
    assert proof.path == decoded(public.path)
    proof.check()


@pytest.mark.parametrize("public", PUBLIC_CONSISTENCY)
def test_consistency_proofs_are_the_public_ones(public: PublicProof) -> None:
    tree = WholeTree(PUBLIC_LEAVES)
    proof = tree.consistency(public.first, public.size)
    assert proof.path == decoded(public.path)
    proof.check(tree.head(public.first))


@pytest.mark.parametrize("size", range(141))
def test_a_frontier_has_the_root_by_definition(size: int) -> None:
    assert grown(list(TREE.leaves[:size])).head() == TREE.head(size)
    assert tree_root(size, TREE.node) == TREE.head(size).root


def test_a_frontier_goes_on_from_its_hashes() -> None:
    before = grown(list(TREE.leaves[:77]))
    after = Frontier(before.size, before.hashes)
    for digest in TREE.leaves[77:]:
        after.append(digest)
    assert after.head() == TREE.head()


def test_a_frontier_with_too_few_hashes_is_refused() -> None:
    with pytest.raises(ValueError, match="3 full subtrees"):
        Frontier(7, TREE.leaves[:2])


@pytest.mark.parametrize("size", SIZES)
def test_every_batch_of_every_tree_is_proved(size: int) -> None:
    for revision in range(1, size + 1):
        proof = TREE.inclusion(revision, size)
        proof.check()
        assert len(proof.path) <= (size - 1).bit_length()


@pytest.mark.parametrize("size", SIZES)
def test_every_tree_is_proved_to_continue_every_older_one(size: int) -> None:
    for old_size in range(size + 1):
        TREE.consistency(old_size, size).check(TREE.head(old_size))


@given(size=st.integers(1, 140), data=st.data())
def test_a_proof_with_anything_changed_is_refused(size: int, data: st.DataObject) -> None:
    revision = data.draw(st.integers(1, size))
    proof = TREE.inclusion(revision, size)
    at = data.draw(st.integers(0, 31))
    wrong = [
        proof._replace(digest=flipped(proof.digest, at)),
        proof._replace(head=TreeHead(size, flipped(proof.head.root, at))),
        proof._replace(path=(*proof.path, TREE.leaves[0])),
        proof._replace(path=(TREE.leaves[0], *proof.path)),
    ]
    wrong += [
        proof._replace(path=(*proof.path[:place], flipped(step, at), *proof.path[place + 1 :]))
        for place, step in enumerate(proof.path)
    ]
    wrong += [
        proof._replace(path=proof.path[:place] + proof.path[place + 1 :])
        for place in range(len(proof.path))
    ]
    wrong += [proof._replace(revision=other) for other in range(size + 2) if other != revision]
    for each in wrong:
        with pytest.raises(ProofError):
            each.check()


@given(size=st.integers(1, 140), data=st.data())
def test_a_consistency_proof_with_anything_changed_is_refused(
    size: int, data: st.DataObject
) -> None:
    old = TREE.head(data.draw(st.integers(1, size)))
    proof = TREE.consistency(old.size, size)
    at = data.draw(st.integers(0, 31))
    wrong = [
        (proof, TreeHead(old.size, flipped(old.root, at))),
        (proof._replace(head=TreeHead(size, flipped(proof.head.root, at))), old),
        (proof._replace(path=(*proof.path, TREE.leaves[0])), old),
        (proof._replace(path=(TREE.leaves[0], *proof.path)), old),
    ]
    for place, step in enumerate(proof.path):
        changed = (*proof.path[:place], flipped(step, at), *proof.path[place + 1 :])
        wrong.append((proof._replace(path=changed), old))
        wrong.append((proof._replace(path=proof.path[:place] + proof.path[place + 1 :]), old))
    for other in range(size + 2):
        if other != old.size:
            wrong.append((proof, TreeHead(other, old.root)))
            wrong.append((proof._replace(old_size=other), TreeHead(other, old.root)))
    for each, older in wrong:
        with pytest.raises(ProofError):
            each.check(older)


def test_another_history_does_not_continue_an_old_head() -> None:
    reordered = [*TREE.leaves[:9], TREE.leaves[10], TREE.leaves[9], *TREE.leaves[11:]]
    altered = [flipped(TREE.leaves[0], 3), *TREE.leaves[1:]]
    dropped = [*TREE.leaves[:5], *TREE.leaves[6:]]
    for leaves in (reordered, altered, dropped):
        with pytest.raises(ProofError, match="does not continue"):
            WholeTree(leaves).consistency(40).check(TREE.head(40))


def test_a_head_that_is_smaller_tells_of_a_log_cut_off() -> None:
    with pytest.raises(ProofError, match="the end of the log was cut off"):
        ConsistencyProof(40, TREE.head(39), ()).check(TREE.head(40))


def test_nothing_continues_from_an_empty_tree_but_its_own_root() -> None:
    ConsistencyProof(0, TREE.head(5), ()).check(TreeHead(0, EMPTY_ROOT))
    with pytest.raises(ProofError, match="does not continue"):
        ConsistencyProof(0, TREE.head(5), ()).check(TreeHead(0, TREE.head(1).root))


def test_a_hash_within_the_tree_does_not_pass_for_a_batch() -> None:
    inner = TREE.node(1, 0)
    with pytest.raises(ProofError, match="does not lead"):
        InclusionProof(1, inner, TREE.head(2), ()).check()
    assert leaf_hash(inner) != inner
