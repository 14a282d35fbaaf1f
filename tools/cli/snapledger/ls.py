"""`snapledger ls`: list snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from projections.snapshots import Kind
from projections.snapshots.filters import parse_filter, resolve_field
from snapledger import output
from snapledger.arguments import at_option, json_option, store_argument
from snapledger.reading import rows, snapshots_at
from snapledger.records import SNAPSHOT_FIELDS, snapshot_record
from snapledger.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from projections.snapshots import Info, Usage
    from snapledger.arguments import Moment

_HELP = f"""List the snapshots that match any FILTER, or all, in byte order of their names.

Filters are containerd's: 'name==KEY', 'parent==NAME', 'kind==active', 'labels.a==1',
'name~=REGEXP'; a comma between two in one FILTER means both. Quote them for the shell.

The size is in bytes, "-" until the snapshot is committed.

JSON: revision, snapshots [{SNAPSHOT_FIELDS}].
"""


@click.command("ls", help=_HELP)
@store_argument
@click.argument("filters", metavar="[FILTER]...", nargs=-1)
@at_option
@json_option
def command(store: str, filters: tuple[str, ...], moment: Moment | None, as_json: bool) -> None:
    """List snapshots."""
    with snapshots_at(store, moment) as transaction:
        found = rows(transaction, *filters)
        for field in _unknown_fields(filters):
            output.note(
                f"no snapshot has a field {field!r}: there are name, parent, kind and labels.KEY"
            )
        if as_json:
            snapshots = [snapshot_record(*row) for row in found]
            output.write_json({"revision": transaction.revision, "snapshots": snapshots})
        else:
            output.write_table(("ID", "KIND", "SIZE", "NAME", "PARENT"), _cells(found))


def _unknown_fields(filters: tuple[str, ...]) -> Iterator[str]:
    paths = (selector.field for text in filters for selector in parse_filter(text).selectors)
    return (".".join(path) for path in dict.fromkeys(paths) if resolve_field(path) is None)


def _cells(found: Iterable[tuple[str, Info, Usage]]) -> Iterator[tuple[str, ...]]:
    for snapshot_id, info, usage in found:
        size = str(usage.size) if info.kind is Kind.COMMITTED else "-"
        yield snapshot_id, str(info.kind), size, printable(info.name), printable(info.parent)
