"""`snapledger load`: make a store of a dump."""

from __future__ import annotations

import sys

import click

from eventstore import DumpError
from projections.snapshots import MetaStore
from snapledger import output
from snapledger.arguments import checked_path, checked_store_path, json_option
from snapledger.text import printable

_STDIN = "-"


_EXAMPLE = """\b
Example: a store of what dump has written:
  snapledger load store.jsonl STORE"""


@click.command("load", epilog=_EXAMPLE)
@click.argument("file", metavar="FILE", callback=checked_path)
@click.argument("path", metavar="PATH", callback=checked_store_path)
@json_option
def command(file: str, path: str, as_json: bool) -> None:
    """Make the new store PATH of FILE, as `dump` has written it; "-" is stdin.

    Nothing may be at PATH. The history is equal: the same store id, revisions, times and digests,
    so that receipts, heads and proofs of the dumped store hold. So retire that one. A line that
    was changed, left out or put elsewhere is refused with its number, and nothing is left at PATH.

    Example: snapledger load metadata.jsonl /var/lib/driver/metadata

    JSON: store_id, revision, digest.
    """
    try:
        with (
            sys.stdin.buffer if file == _STDIN else open(file, "rb") as lines,
            output.progress("loading batch") as show_count,
        ):
            report = MetaStore.load(lines, path, on_batch=show_count)
    except DumpError as error:
        raise click.ClickException(f"{file}: {error}; no store was made") from error
    with output.told_after(f"{path}: the store is there"):
        if as_json:
            output.write_json(
                {
                    "store_id": report.store_id.hex(),
                    "revision": report.revision,
                    "digest": report.digest.hex(),
                }
            )
            return
        output.write_fields(
            [
                ("new store", printable(path)),
                ("store id", report.store_id.hex()),
                ("revision", str(report.revision)),
                ("digest", report.digest.hex()),
                ("history", "that of the dumped store, which is to be retired"),
            ]
        )
