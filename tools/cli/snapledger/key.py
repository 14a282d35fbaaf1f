"""`snapledger key`: make a key that signs what a store says of itself."""

from __future__ import annotations

import click

from eventstore.proofs import SigningKey
from snapledger import output
from snapledger.arguments import checked_path, json_option
from snapledger.keys import read_key, write_key

_EXAMPLE = """\b
Example: a key for one store:
  snapledger key new node-7.key --origin example.com/node-7"""

_SHOW_EXAMPLE = """\b
Example: for somebody who is to check what this key has signed:
  snapledger key show node-7.key"""


@click.group(
    "key",
    no_args_is_help=False,
    invoke_without_command=True,
    subcommand_metavar="new|show FILE [OPTIONS]...",
    epilog=_EXAMPLE,
)
@click.pass_context
def command(context: click.Context) -> None:
    """Make keys that sign heads and proofs: new makes one, show prints its verifier key again."""
    if context.invoked_subcommand is None:
        raise click.UsageError("say whether a key is to be made (new) or shown (show)", context)


def _write(file: str, key: SigningKey, *, as_json: bool) -> None:
    verifier_key = key.verifier_key
    if as_json:
        record = {"file": file, "origin": verifier_key.name, "verifier_key": str(verifier_key)}
        output.write_json(record)
    else:
        output.write_line(str(verifier_key))


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
    with output.told_after(
        f"{file}: the key is there, and `key show` prints what was to be printed"
    ):
        _write(file, key, as_json=as_json)


@command.command("show", epilog=_SHOW_EXAMPLE)
@click.argument("file", metavar="FILE", callback=checked_path)
@json_option
def show(file: str, as_json: bool) -> None:
    """Print the verifier key of the private key in FILE, as `key new` has printed it.

    JSON: file, origin, verifier_key.
    """
    _write(file, read_key(file), as_json=as_json)
