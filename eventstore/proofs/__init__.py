"""What an outsider can check: a Merkle tree over the batches, and signed texts about it.

The store makes the proofs (`EventStore.tree_head`, `inclusion_proof`, `consistency_proof`). Their
checks, keys, and the texts of C2SP need no store.
"""

from eventstore.proofs.frontier import Frontier
from eventstore.proofs.keys import SigningKey, VerifierKey
from eventstore.proofs.note import open_note, sign_note
from eventstore.proofs.publishing import PublishedTree
from eventstore.proofs.texts import (
    consistency_text,
    head_text,
    inclusion_text,
    open_consistency,
    open_head,
    open_inclusion,
)
from eventstore.proofs.tiles import Tile, tiles_of
from eventstore.proofs.tree import ConsistencyProof, InclusionProof, TreeHead, leaf_hash

__all__ = [
    "ConsistencyProof",
    "Frontier",
    "InclusionProof",
    "PublishedTree",
    "SigningKey",
    "Tile",
    "TreeHead",
    "VerifierKey",
    "consistency_text",
    "head_text",
    "inclusion_text",
    "leaf_hash",
    "open_consistency",
    "open_head",
    "open_inclusion",
    "open_note",
    "sign_note",
    "tiles_of",
]
