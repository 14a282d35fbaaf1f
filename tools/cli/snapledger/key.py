"""`snapledger key`: make a key that signs what a store says of itself."""

from __future__ import annotations

import click

from eventstore.proofs import SigningKey
from snapledger import output
from snapledger.arguments import checked_path, json_option
from snapledger.keys import write_key

_EXAMPLE = """\b
Example: a key for one store:
  snapledger key new node-7.key --origin example.com/node-7"""


@click.group(
    "key",
    no_args_is_help=False,
    subcommand_metavar="new FILE [OPTIONS]...",
    epilog=_EXAMPLE,
)
def command() -> None:
    """Make keys that sign heads and proofs."""


@command.command("new", epilog=_EXAMPLE)
@click.argument("file", metavar="FILE", callback=checked_path)
@click.option(
    "--origin",
    required=True,
    metavar="NAME",
    help="The name of the store to the outside, such as example.com/node-7: no spaces, no plus.",
)
@json_option
def new(file: str, origin: str, as_json: bool) -> None:
    """Write a new private key to FILE, which only its owner may read, and print the public one.

    FILE must not be there yet, nor in a store. Give the verifier key to whoever is to check what
    is signed, and take the same key for one store only: its name says which store speaks.

    JSON: file, origin, verifier_key.
    """
    try:
        key = SigningKey.generate(origin)
    except ValueError as error:
        raise click.UsageError(f"--origin: {error}", click.get_current_context()) from error
    write_key(file, key)
    if as_json:
        output.write_json({"file": file, "origin": origin, "verifier_key": str(key.verifier_key)})
    else:
        output.write_line(str(key.verifier_key))
