"""The texts that an outsider gets: signed heads, receipts that stand alone, consistency proofs.

Byte for byte the formats of C2SP, so that others' tools read them:

- a head is a checkpoint of c2sp.org/tlog-checkpoint: origin, size and root in a signed note;
- an inclusion proof is a c2sp.org/tlog-proof, with the batch's digest as its extra data, so that
  who has the text needs nothing else: index = revision - 1;
- a consistency proof is the body of an `add-checkpoint` request of c2sp.org/tlog-witness.

The origin is the name of the key. A reader refuses a head of another origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.errors import ProofError
from eventstore.proofs.encoding import (
    decoded,
    from_base64,
    hash_from_base64,
    number_from,
    to_base64,
)
from eventstore.proofs.note import open_note, sign_note
from eventstore.proofs.tree import HASH_BYTES, ConsistencyProof, InclusionProof, TreeHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.proofs.keys import SigningKey, VerifierKey

INCLUSION_START = "c2sp.org/tlog-proof@v1"
CONSISTENCY_START = "old "

_PATH_MAX = 63
_EXTRA = "extra "
_INDEX = "index "


def head_text(head: TreeHead, key: SigningKey) -> bytes:
    """Return a signed head: a checkpoint of c2sp.org/tlog-checkpoint."""
    return sign_note(f"{key.name}\n{head.size}\n{to_base64(head.root)}\n", key)


def open_head(text: bytes, key: VerifierKey) -> TreeHead:
    """Return the head that a key has signed.

    Lines behind the root are passed over, as c2sp.org/tlog-checkpoint says: they are signed too.

    Raises:
        ProofError: it is no head, or none that this key has signed for its own origin.
    """
    lines = open_note(text, [key]).removesuffix("\n").split("\n")
    if len(lines) < 3 or "" in lines:
        raise ProofError("not a head: one has origin, size and root, a line each")
    origin, size, root = lines[:3]
    if origin != key.name:
        raise ProofError(f"the head is of {origin[:80]!r}, the key of {key.name!r}")
    return TreeHead(number_from(size, "the size"), hash_from_base64(root, "the root"))


def inclusion_text(proof: InclusionProof, key: SigningKey) -> bytes:
    """Return a receipt that stands alone: a c2sp.org/tlog-proof under a signed head."""
    lines = [
        INCLUSION_START,
        _EXTRA + to_base64(proof.digest),
        f"{_INDEX}{proof.revision - 1}",
        *map(to_base64, proof.path),
    ]
    return _joined(lines, head_text(proof.head, key))


def open_inclusion(text: bytes, key: VerifierKey, digest: bytes | None = None) -> InclusionProof:
    """Return a proof that was checked: the signature, and the way from the batch to the head.

    Args:
        text: what `inclusion_text` returns.
        key: whose signature counts.
        digest: of the batch that must be the one; needed where the text has no extra data.

    Raises:
        ProofError: it is no such text, the key has not signed it, or it proves nothing of this
            batch.
    """
    lines, signed = _split(text)
    if lines.pop(0) != INCLUSION_START:
        raise ProofError(f"not an inclusion proof: one begins with {INCLUSION_START}")
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = from_base64(lines.pop(0).removeprefix(_EXTRA), "the extra data")
    if not lines or not lines[0].startswith(_INDEX):
        raise ProofError("the inclusion proof has no index")
    index = number_from(lines.pop(0).removeprefix(_INDEX), "the index")
    path = _path(lines)
    proof = InclusionProof(index + 1, _agreed(extra, digest), open_head(signed, key), path)
    proof.check()
    return proof


def consistency_text(proof: ConsistencyProof, key: SigningKey) -> bytes:
    """Return a consistency proof: the body of a c2sp.org/tlog-witness `add-checkpoint`."""
    lines = [f"{CONSISTENCY_START}{proof.old_size}", *map(to_base64, proof.path)]
    return _joined(lines, head_text(proof.head, key))


def open_consistency(text: bytes, key: VerifierKey, old: TreeHead) -> ConsistencyProof:
    """Return a proof that was checked: the signature, and that the head continues an older one.

    Args:
        text: what `consistency_text` returns.
        key: whose signature counts.
        old: the older head, as it was kept.

    Raises:
        ProofError: it is no such text, the key has not signed it, or the head does not continue
            the older one.
    """
    lines, signed = _split(text)
    first = lines.pop(0)
    if not first.startswith(CONSISTENCY_START):
        raise ProofError(f"not a consistency proof: one begins with {CONSISTENCY_START!r}")
    old_size = number_from(first.removeprefix(CONSISTENCY_START), "the older size")
    proof = ConsistencyProof(old_size, open_head(signed, key), _path(lines))
    proof.check(old)
    return proof


def _joined(lines: Sequence[str], signed: bytes) -> bytes:
    return ("\n".join(lines) + "\n\n").encode("ascii") + signed


def _split(text: bytes) -> tuple[list[str], bytes]:
    """Return the lines before the first empty one, and the signed head behind it."""
    before, separator, signed = decoded(text, "the proof").partition("\n\n")
    if not separator:
        raise ProofError("not a proof: it has no head behind an empty line")
    return before.split("\n"), signed.encode("utf-8")


def _path(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > _PATH_MAX:
        raise ProofError(f"the proof has {len(lines)} hashes, none has more than {_PATH_MAX}")
    return tuple(hash_from_base64(line, "a hash of the proof") for line in lines)


def _agreed(extra: bytes | None, digest: bytes | None) -> bytes:
    """Return the digest that a text states, or that the caller does; both must be the same."""
    stated = extra if digest is None else digest
    if stated is None:
        raise ProofError("the proof does not state the digest of its batch: give the receipt")
    if digest is not None and extra is not None and extra != digest:
        raise ProofError("the proof is of a batch with another digest")
    if len(stated) != HASH_BYTES:
        raise ProofError(f"the digest of a batch has {HASH_BYTES} bytes, this one {len(stated)}")
    return stated
