"""`snapledger verify`: check a head or a proof without the store."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import click

from eventstore import ProofError, Receipt
from eventstore.proofs import open_consistency, open_head, open_inclusion
from snapledger import output
from snapledger.arguments import checked_path, json_option
from snapledger.keys import read_text, verifier_key

if TYPE_CHECKING:
    from eventstore.proofs import TreeHead, VerifierKey

_TEXT_BYTES_MAX = 64 * 1024
_MEANINGS = {
    "head": "yes: signed by that key, as it is",
    "inclusion": "yes: the batch of that revision is in the signed tree",
    "consistency": "yes: the signed tree continues the older head, which is in it unaltered",
}
_INCLUSION = b"c2sp.org/tlog-proof@"
_CONSISTENCY = b"old "


def parsed_receipt(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> Receipt | None:
    """Return the receipt that an option holds."""
    if text is None:
        return None
    try:
        return Receipt.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=context, param=parameter) from error


_EXAMPLE = """\b
Example: what a node has sent:
  snapledger verify proof.txt --vkey "$VKEY" --old head.txt"""


@click.command("verify", epilog=_EXAMPLE)
@click.argument("file", metavar="FILE", callback=checked_path)
@click.option(
    "--vkey",
    "key",
    required=True,
    metavar="KEY",
    callback=verifier_key,
    help="The verifier key that `key new` has printed.",
)
@click.option(
    "--old",
    "old_file",
    metavar="FILE",
    help="The older head, as it was kept; a consistency proof is checked against it.",
)
@click.option(
    "--receipt",
    metavar="RECEIPT",
    callback=parsed_receipt,
    help="A receipt of a commit: the inclusion proof must be of its revision and digest. It does "
    "not name the store, so the store's id in the receipt is not compared.",
)
@json_option
def command(
    file: str, key: VerifierKey, old_file: str | None, receipt: Receipt | None, as_json: bool
) -> None:
    """Check the head, the inclusion proof or the consistency proof in FILE; "-" is stdin.

    No store is needed, and nothing but FILE, the key and, for a consistency proof, the older head
    is believed. What does not hold, in any byte, ends with exit code 4.

    JSON: kind (head, inclusion or consistency), origin, size, root (base64, as in the text), and of
    an inclusion revision and digest, of a consistency old_size.
    """
    text = read_text(file, _TEXT_BYTES_MAX)
    context = click.get_current_context()
    try:
        if text.startswith(_INCLUSION):
            record = _inclusion(text, key, receipt)
        elif text.startswith(_CONSISTENCY):
            if old_file is None:
                message = "a consistency proof is checked against an older head: give it by --old"
                raise click.UsageError(message, context)
            record = _consistency(text, key, read_text(old_file, _TEXT_BYTES_MAX))
        else:
            record = _of_head("head", key, open_head(text, key))
    except ProofError as error:
        raise ProofError(f"{file}: {error}") from error
    # Not before: what does not hold is no text of another kind.
    if old_file is not None and record["kind"] != "consistency":
        raise click.UsageError(f"{file} is no consistency proof: it takes no --old", context)
    if receipt is not None and record["kind"] != "inclusion":
        raise click.UsageError(f"{file} is no inclusion proof: it takes no --receipt", context)
    if as_json:
        output.write_json(record)
    else:
        fields = [(name.replace("_", " "), str(value)) for name, value in record.items()]
        output.write_fields([*fields, ("holds", _MEANINGS[record["kind"]])])


def _inclusion(text: bytes, key: VerifierKey, receipt: Receipt | None) -> dict[str, Any]:
    proof = open_inclusion(text, key)
    if receipt is not None and receipt.revision != proof.revision:
        raise ProofError(
            f"the proof is of revision {proof.revision}, the receipt of {receipt.revision}"
        )
    if receipt is not None and receipt.digest != proof.digest:
        raise ProofError(
            f"the batch of revision {proof.revision} has another digest than the receipt"
        )
    return {
        **_of_head("inclusion", key, proof.head),
        "revision": proof.revision,
        "digest": proof.digest.hex(),
    }


def _consistency(text: bytes, key: VerifierKey, old_text: bytes) -> dict[str, Any]:
    try:
        old = open_head(old_text, key)
    except ProofError as error:
        raise ProofError(f"the older head: {error}") from error
    proof = open_consistency(text, key, old)
    return {**_of_head("consistency", key, proof.head), "old_size": proof.old_size}


def _of_head(kind: str, key: VerifierKey, head: TreeHead) -> dict[str, Any]:
    root = b64encode(head.root).decode("ascii")
    return {"kind": kind, "origin": key.name, "size": head.size, "root": root}
