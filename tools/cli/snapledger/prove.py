"""`snapledger prove`: a text by which an outsider checks what a store says."""

from __future__ import annotations

import click

from eventstore.proofs import consistency_text, inclusion_text
from snapledger import output
from snapledger.arguments import COUNT, REVISION, key_option, size_option, store_argument
from snapledger.keys import read_key
from snapledger.reading import open_for_reading

_EXAMPLE = """\b
Example: that the store continues what an auditor has seen:
  snapledger prove STORE --from 1204 --key node-7.key"""


@click.command("prove", epilog=_EXAMPLE)
@store_argument
@click.argument("revision", metavar="[REVISION]", type=REVISION, required=False)
@click.option(
    "--from",
    "old_size",
    type=COUNT,
    metavar="SIZE",
    help="Prove instead that the store continues a head of so many batches.",
)
@key_option
@size_option
def command(
    store: str, revision: int | None, old_size: int | None, key_file: str, size: int | None
) -> None:
    """Print why the batch of REVISION is in STORE, or with --from why STORE continues a head.

    The first is a c2sp.org/tlog-proof with the batch's digest as extra data, the second the body of
    an `add-checkpoint` request of c2sp.org/tlog-witness; each ends in a signed head, and nothing
    else is printed. `verify` checks either of them without the store.

    What retention has dropped is proved as well.
    """
    if (revision is None) == (old_size is None):
        message = "give either REVISION or --from SIZE"
        raise click.UsageError(message, click.get_current_context())
    key = read_key(key_file)
    with open_for_reading(store) as opened:
        try:
            if revision is not None:
                text = inclusion_text(opened.event_store.inclusion_proof(revision, size), key)
            elif old_size is not None:
                proof = opened.event_store.consistency_proof(old_size, size)
                text = consistency_text(proof, key)
        except ValueError as error:
            raise click.ClickException(
                f"{store}: {error}; `snapledger log -n 1` shows the newest revision"
            ) from error
    output.write_text(text)
