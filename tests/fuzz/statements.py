"""What is fuzzed of what others say: heads, proofs, keys, receipts, leaf files, requests.

A target is what `fuzz.targets` says. Texts under a signature have a second target that signs
whatever they are.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from fuzz.files import STORE_ID, BytesFileSystem

from eventstore.errors import CorruptionError, FormatVersionError, ProofError
from eventstore.format.leaves import DIGEST_BYTES, pack_leaves
from eventstore.format.request import pack_request, unpack_answer, unpack_request
from eventstore.handle.receipt import Receipt
from eventstore.proofs.keys import SigningKey, VerifierKey
from eventstore.proofs.leaf_files import LeafFile, read_roots, read_rows
from eventstore.proofs.note import sign_note
from eventstore.proofs.texts import open_consistency, open_head, open_inclusion
from eventstore.proofs.tree import TreeHead, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAVES = 300
"""More than a tile, less than two."""

KEY = SigningKey("example.com/fuzzed", bytes(32))
OLD_HEAD = TreeHead(1, leaf_hash(hashlib.sha256(b"1").digest()))


def leaves(data: bytes) -> None:
    """A leaf file, by the name of one of 300 leaves."""
    file_system, file = BytesFileSystem(data), LeafFile("fuzzed", 1, LEAVES)
    try:
        roots = read_roots(file_system, file, STORE_ID)
        digests = read_rows(file_system, file, STORE_ID, (0, 1))
    except (CorruptionError, FormatVersionError):
        return
    if (len(roots), len(digests)) != (1, LEAVES * DIGEST_BYTES):
        raise AssertionError("a leaf file has other leaves than its name states")


def sealed_leaves(data: bytes) -> None:
    """The same with right checksums, of any number of leaves and roots."""
    count = int.from_bytes(data[:2], "little") % (2 * LEAVES)
    digests = (data[2:] * count)[: count * DIGEST_BYTES]
    content = pack_leaves(STORE_ID, 1, digests, data[2 : 2 + DIGEST_BYTES])
    leaves(content)
    with contextlib.suppress(CorruptionError, FormatVersionError):
        roots = read_roots(BytesFileSystem(content), LeafFile("fuzzed", 1, count), STORE_ID)
        if len(roots) != count // 256:
            raise AssertionError("a leaf file has roots of tiles that are not full")


def proof(data: bytes) -> None:
    """A signed head, an inclusion proof, a consistency proof."""
    key = KEY.verifier_key
    with contextlib.suppress(ProofError):
        open_head(data, key)
    with contextlib.suppress(ProofError):
        open_inclusion(data, key).check()
    with contextlib.suppress(ProofError):
        open_consistency(data, key, OLD_HEAD).check(OLD_HEAD)


def signed_proof(data: bytes) -> None:
    """The same where the head says whatever it says under a signature that holds."""
    before, _, text = data.decode("utf-8", "replace").rpartition("\n\n")
    try:
        signed = sign_note(text, KEY)
    except ValueError:
        return
    proof(signed)
    proof(before.encode() + b"\n\n" + signed)


def key_text(data: bytes) -> None:
    """A key as text, of which each has one spelling."""
    text = data.decode("utf-8", "surrogateescape")
    kinds: Sequence[type[VerifierKey | SigningKey]] = (VerifierKey, SigningKey)
    for kind in kinds:
        try:
            key = kind.parse(text)
        except ProofError as error:
            if kind is SigningKey and len(text) > 40 and text[-40:] in str(error):
                raise AssertionError("a message shows what may be secret") from error
        else:
            if str(key) != text:
                raise AssertionError("a key was read that is spelt otherwise")


def receipt(data: bytes) -> None:
    """A receipt as text."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ValueError):
        if Receipt.parse(str(Receipt.parse(text))) != Receipt.parse(text):
            raise AssertionError("a receipt says another thing the second time")


def request(data: bytes) -> None:
    """What one process asks of another, and is answered."""
    token = unpack_request(data)
    if token is not None and unpack_request(pack_request(token)) != token:
        raise AssertionError("a token was read that nobody writes")
    answer = unpack_answer(data)
    if answer is not None and not all(isinstance(name, str) for name in answer.counts):
        raise AssertionError("an answer counts what has no name")
