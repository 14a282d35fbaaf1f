"""The texts of C2SP: their bytes, and that each other text is refused."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proofs import KEY, OTHER_KEY, WholeTree, digests_of

from eventstore import ProofError
from eventstore.proofs import (
    SigningKey,
    TreeHead,
    consistency_text,
    head_text,
    inclusion_text,
    open_consistency,
    open_head,
    open_inclusion,
    sign_note,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TREE = WholeTree(digests_of(300))
VERIFIER = KEY.verifier_key
HEAD = head_text(TREE.head(), KEY)
RECEIPT = inclusion_text(TREE.inclusion(18), KEY)
CONTINUED = consistency_text(TREE.consistency(130), KEY)
OLD = TREE.head(130)

OPENERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "head": (HEAD, lambda text: open_head(text, VERIFIER)),
    "inclusion": (RECEIPT, lambda text: open_inclusion(text, VERIFIER)),
    "consistency": (CONTINUED, lambda text: open_consistency(text, VERIFIER, OLD)),
}


def base64(data: bytes) -> str:
    return b64encode(data).decode()


def test_a_head_is_a_checkpoint_of_c2sp() -> None:
    body = f"example.com/node-7\n300\n{base64(TREE.head().root)}\n"
    assert sign_note(body, KEY) == HEAD
    assert HEAD.decode().startswith(body + "\n— example.com/node-7 ")
    assert open_head(HEAD, VERIFIER) == TREE.head()


def test_the_head_of_an_empty_store_has_size_0() -> None:
    empty = WholeTree([]).head()
    text = head_text(empty, KEY)
    assert text.startswith(b"example.com/node-7\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
    assert open_head(text, VERIFIER) == empty


def test_an_inclusion_proof_is_a_tlog_proof_of_c2sp() -> None:
    proof = TREE.inclusion(18)
    lines = RECEIPT.decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", f"extra {base64(proof.digest)}", "index 17"]
    assert lines[3 : 3 + len(proof.path)] == [base64(step) for step in proof.path]
    assert "\n".join(lines[3 + len(proof.path) :]) == "\n" + HEAD.decode()
    assert open_inclusion(RECEIPT, VERIFIER) == proof


def test_a_consistency_proof_is_the_body_of_a_witness_request() -> None:
    proof = TREE.consistency(130)
    lines = ["old 130", *(base64(step) for step in proof.path), "", HEAD.decode()]
    assert CONTINUED.decode() == "\n".join(lines)
    assert open_consistency(CONTINUED, VERIFIER, OLD) == proof


def test_a_proof_without_extra_data_needs_the_digest() -> None:
    proof = TREE.inclusion(18)
    lines = RECEIPT.decode().split("\n")
    bare = "\n".join(lines[:1] + lines[2:]).encode()
    with pytest.raises(ProofError, match="give the receipt"):
        open_inclusion(bare, VERIFIER)
    assert open_inclusion(bare, VERIFIER, proof.digest) == proof
    with pytest.raises(ProofError, match="does not lead"):
        open_inclusion(bare, VERIFIER, TREE.leaves[3])


def test_a_proof_of_another_batch_than_asked_for_is_refused() -> None:
    with pytest.raises(ProofError, match="another digest"):
        open_inclusion(RECEIPT, VERIFIER, TREE.leaves[3])


@pytest.mark.parametrize("kind", OPENERS)
def test_every_flipped_bit_of_every_text_is_refused(kind: str) -> None:
    text, open_text = OPENERS[kind]
    open_text(text)
    for at in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[at] ^= 1 << bit
            with pytest.raises(ProofError):
                open_text(bytes(changed))


@pytest.mark.parametrize("kind", OPENERS)
def test_every_byte_left_out_or_put_twice_is_refused(kind: str) -> None:
    text, open_text = OPENERS[kind]
    for at in range(len(text)):
        for changed in (text[:at] + text[at + 1 :], text[:at] + text[at : at + 1] + text[at:]):
            if changed != text:
                with pytest.raises(ProofError):
                    open_text(changed)


@pytest.mark.parametrize("kind", OPENERS)
def test_every_prefix_and_anything_behind_is_refused(kind: str) -> None:
    text, open_text = OPENERS[kind]
    for length in range(len(text)):
        with pytest.raises(ProofError):
            open_text(text[:length])
    for behind in (b"\n", b" ", b"x", text):
        with pytest.raises(ProofError):
            open_text(text + behind)


@given(text=st.binary(max_size=400))
def test_any_bytes_are_refused_with_the_one_error(text: bytes) -> None:
    for _, open_text in OPENERS.values():
        with pytest.raises(ProofError):
            open_text(text)


@given(data=st.data())
def test_lines_that_moved_are_refused(data: st.DataObject) -> None:
    for text, open_text in OPENERS.values():
        lines = text.split(b"\n")
        moved = data.draw(st.permutations(lines))
        if moved != lines:
            with pytest.raises(ProofError):
                open_text(b"\n".join(moved))


def test_another_key_of_the_same_name_is_refused() -> None:
    other = OTHER_KEY.verifier_key
    with pytest.raises(ProofError, match="not signed by the key"):
        open_head(HEAD, other)
    with pytest.raises(ProofError, match="not signed by the key"):
        open_inclusion(RECEIPT, other)
    with pytest.raises(ProofError, match="not signed by the key"):
        open_consistency(CONTINUED, other, OLD)


def test_one_text_does_not_pass_for_another() -> None:
    for kind, (_, open_text) in OPENERS.items():
        for other, (text, _) in OPENERS.items():
            if other != kind:
                with pytest.raises(ProofError):
                    open_text(text)


def test_a_head_of_another_origin_is_refused() -> None:
    lent = SigningKey("example.com/node-8", KEY.seed)
    text = sign_note(f"example.com/node-7\n3\n{base64(TREE.head(3).root)}\n", lent)
    with pytest.raises(ProofError, match=r"the head is of 'example\.com/node-7'"):
        open_head(text, lent.verifier_key)


def test_lines_behind_the_root_are_passed_over() -> None:
    text = sign_note(f"{KEY.name}\n3\n{base64(TREE.head(3).root)}\nextension\n", KEY)
    assert open_head(text, VERIFIER) == TREE.head(3)


@pytest.mark.parametrize("size", ["", "03", "+3", "-3", "3 ", "٣", "3.0", "9223372036854775808"])
def test_a_size_that_is_not_written_as_sizes_are_is_refused(size: str) -> None:
    text = sign_note(f"{KEY.name}\n{size}\n{base64(TREE.head(3).root)}\n", KEY)
    with pytest.raises(ProofError):
        open_head(text, VERIFIER)


def test_a_proof_with_more_hashes_than_any_tree_is_refused() -> None:
    proof = TREE.inclusion(18)
    text = inclusion_text(proof._replace(path=proof.path * 8), KEY)
    with pytest.raises(ProofError, match="more than 63"):
        open_inclusion(text, VERIFIER)


def test_a_head_of_a_fork_is_refused_against_the_old_one() -> None:
    fork = WholeTree([*TREE.leaves[:129], *reversed(TREE.leaves[129:])])
    text = consistency_text(fork.consistency(130), KEY)
    with pytest.raises(ProofError, match="does not continue"):
        open_consistency(text, VERIFIER, OLD)


def test_a_proof_from_another_size_than_the_old_heads_is_refused() -> None:
    with pytest.raises(ProofError, match="the older head has 131"):
        open_consistency(CONTINUED, VERIFIER, TREE.head(131))


def test_the_largest_tree_has_a_proof_that_fits() -> None:
    size = 2**63 - 1
    text = head_text(TreeHead(size, bytes(32)), KEY)
    assert open_head(text, VERIFIER).size == size
