"""`snapledger head`: sign what a store holds now."""

from __future__ import annotations

import click

from eventstore.proofs import head_text
from snapledger import output
from snapledger.arguments import key_option, size_option, store_argument
from snapledger.keys import read_key
from snapledger.reading import open_for_reading

_EXAMPLE = """\b
Example: for an auditor to keep:
  snapledger head STORE --key node-7.key > head.txt"""


@click.command("head", epilog=_EXAMPLE)
@store_argument
@key_option
@size_option
def command(store: str, key_file: str, size: int | None) -> None:
    """Print the signed head of STORE: its number of batches, and a hash that binds all of them.

    The text is a checkpoint of c2sp.org/tlog-checkpoint, and nothing else is printed. Whoever
    keeps it can later be shown, with `prove --from`, that nothing before was changed.
    """
    key = read_key(key_file)
    with open_for_reading(store) as opened:
        try:
            head = opened.event_store.tree_head(size)
        except ValueError as error:
            raise click.ClickException(f"{store}: {error}; leave --size out for all") from error
    output.write_text(head_text(head, key))
