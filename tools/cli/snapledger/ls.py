"""`snapledger ls`: list snapshots."""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from projections.snapshots import Kind
from projections.snapshots.projection import decode_row
from projections.snapshots.walk import plain_rows
from snapledger import output
from snapledger.arguments import (
    at_option,
    filters_argument,
    json_option,
    limit_option,
    store_argument,
)
from snapledger.filtering import mention_useless
from snapledger.reading import snapshots_at
from snapledger.records import SNAPSHOT_FIELDS, snapshot_record
from snapledger.text import format_time, label_text, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from projections.snapshots import Info, SnapshotTransaction, Usage
    from projections.snapshots.projection import PlainRow
    from snapledger.arguments import Moment

    Row = tuple[str, Info, Usage]

_COLUMNS = "id,kind,size,name,parent"
_FACTS = ("ID", "KIND", "SIZE", "INODES", "CREATED", "UPDATED")
_OF_A_LABEL = "labels."
_NAME = "name"
_CELLS: dict[str, Callable[[str, Info, Usage], str]] = {
    "id": lambda snapshot_id, info, usage: snapshot_id,
    "kind": lambda snapshot_id, info, usage: str(info.kind),
    "size": lambda snapshot_id, info, usage: _if_committed(info, usage.size),
    "inodes": lambda snapshot_id, info, usage: _if_committed(info, usage.inodes),
    "name": lambda snapshot_id, info, usage: printable(info.name),
    "parent": lambda snapshot_id, info, usage: printable(info.parent),
    "created": lambda snapshot_id, info, usage: format_time(info.created_ns),
    "updated": lambda snapshot_id, info, usage: format_time(info.updated_ns),
    "labels": lambda snapshot_id, info, usage: " ".join(
        label_text(key, value) for key, value in sorted(info.labels.items())
    ),
}
_PLACES = {"id": 0, "kind": 2, "size": 7, "created": 4, "updated": 5}
"""Where in a `PlainRow` what can be sorted by stands."""

_HELP = f"""List the snapshots that match any FILTER, or all, in byte order of their names.

Filters are containerd's: 'name==KEY', 'parent==NAME', 'kind==active', 'labels.a==1',
'name~=/REGEXP/'; a comma between two in one FILTER means both. Quote them for the shell. The
key of a label that has more than letters, digits, _ and dots stands in double quotes, as in
'labels."containerd.io/gc.root"', and so does a value with a comma or a space.

The size is in bytes, "-" until the snapshot is committed.

JSON: revision, snapshots [{SNAPSHOT_FIELDS}].
"""
_EXAMPLE = """\b
Example: the ten largest snapshots of an image, with their label:
  snapledger ls STORE 'labels.image==web:1.4' --sort size --reverse -n 10 \\
    --columns size,name,labels.image"""


def parsed_columns(
    context: click.Context, parameter: click.Parameter, text: str
) -> tuple[str, ...]:
    """Return the columns that an option lists; a label's key may have anything but a comma."""
    columns = tuple(text.split(","))
    for column in columns:
        if column not in _CELLS and not (
            column.startswith(_OF_A_LABEL) and len(column) > len(_OF_A_LABEL)
        ):
            known = ", ".join(_CELLS)
            message = f"no column {column!a}: there are {known} and labels.KEY"
            raise click.BadParameter(message, ctx=context, param=parameter)
    return columns


@click.command("ls", help=_HELP, epilog=_EXAMPLE)
@store_argument
@filters_argument
@at_option
@click.option(
    "--sort",
    "order",
    type=click.Choice([_NAME, *_PLACES]),
    default=_NAME,
    help="By this; equal ones by their names.",
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option(
    "--columns",
    metavar="NAME,...",
    callback=parsed_columns,
    default=_COLUMNS,
    show_default=True,
    help=f"What is shown: {', '.join(_CELLS)}, labels.KEY. JSON has all of it.",
)
@limit_option
@json_option
def command(
    store: str,
    filters: tuple[str, ...],
    moment: Moment | None,
    order: str,
    reverse: bool,
    columns: tuple[str, ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """List snapshots."""
    with snapshots_at(store, moment) as transaction:
        mention_useless(filters)
        found = islice(_found(transaction, filters, order, limit, reverse=reverse), limit)
        if as_json:
            records = (snapshot_record(*row) for row in found)
            output.write_json_list({"revision": transaction.revision}, "snapshots", records)
        else:
            titles = [each if each.startswith(_OF_A_LABEL) else each.upper() for each in columns]
            output.write_table([printable(each) for each in titles], _cells(found, columns), _FACTS)


def _found(
    transaction: SnapshotTransaction,
    filters: tuple[str, ...],
    order: str,
    limit: int | None,
    *,
    reverse: bool,
) -> Iterable[Row]:
    """Return what matches in an order; equal ones are in that of their names, either way round."""
    if order == _NAME and not reverse:
        return transaction.walk(*filters)
    if order == _NAME:
        found = plain_rows(transaction, filters, reverse=True)
    else:
        found = _sorted(plain_rows(transaction, filters), _PLACES[order], limit, reverse=reverse)
    return (decode_row(*row) for row in found)


def _sorted(
    rows: Iterator[tuple[str, PlainRow]], place: int, limit: int | None, *, reverse: bool
) -> Iterator[tuple[str, PlainRow]]:
    """Return rows sorted by one of their fields.

    With a limit no more than those are kept, and nothing is made of the others but what they are
    sorted by: to keep and sort all of 100,000 takes 0.35 s more.
    """

    def key(row: tuple[str, PlainRow]) -> Any:
        return row[1][place]

    if limit is None:
        return iter(sorted(rows, key=key, reverse=reverse))
    return iter((heapq.nlargest if reverse else heapq.nsmallest)(limit, rows, key=key))


def _cells(found: Iterable[Row], columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    readers = [_CELLS.get(each) or _label_reader(each[len(_OF_A_LABEL) :]) for each in columns]
    for row in found:
        yield tuple(read(*row) for read in readers)


def _label_reader(key: str) -> Callable[[str, Info, Usage], str]:
    return lambda snapshot_id, info, usage: printable(info.labels.get(key, ""))


def _if_committed(info: Info, value: int) -> str:
    return str(value) if info.kind is Kind.COMMITTED else "-"
