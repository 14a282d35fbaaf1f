"""`snapledger info`: show one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from projections.snapshots import Kind
from snapledger import output
from snapledger.arguments import at_option, json_option, store_argument
from snapledger.one_snapshot import snapshot_of
from snapledger.reading import begin, open_for_reading
from snapledger.records import SNAPSHOT_FIELDS, snapshot_record
from snapledger.text import format_size, format_time, label_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projections.snapshots import Info, Usage
    from snapledger.arguments import Moment

_HELP = f"""Show the snapshot that has KEY as its key or name.

Of one that was removed, or committed under a name since, the error says when, by whom and why.

JSON: revision, snapshot {{{SNAPSHOT_FIELDS}}}.
"""

_EXAMPLE = """\b
Example: what became of a snapshot, and who removed it:
  snapledger info STORE sha256:5f70bf18 --at yesterday"""


@click.command("info", help=_HELP, epilog=_EXAMPLE)
@store_argument
@click.argument("key", metavar="KEY")
@at_option
@json_option
def command(store: str, key: str, moment: Moment | None, as_json: bool) -> None:
    """Show one snapshot."""
    with open_for_reading(store) as opened, begin(opened, moment) as transaction:
        snapshot_id, info, usage = snapshot_of(opened, transaction, key)
        if as_json:
            snapshot = snapshot_record(snapshot_id, info, usage)
            output.write_json({"revision": transaction.revision, "snapshot": snapshot})
        else:
            output.write_fields(_fields(snapshot_id, info, usage))


def _fields(snapshot_id: str, info: Info, usage: Usage) -> Iterator[tuple[str, str]]:
    yield "name", printable(info.name)
    yield "id", snapshot_id
    yield "kind", str(info.kind)
    yield "parent", printable(info.parent)
    yield "created", format_time(info.created_ns)
    yield "updated", format_time(info.updated_ns)
    if info.kind is Kind.COMMITTED:
        yield "size", format_size(usage.size)
        yield "inodes", str(usage.inodes)
    for key, value in sorted(info.labels.items()):
        yield "label", label_text(key, value)
