"""`snapledger tree`: show snapshots below their parents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from projections.snapshots import Kind
from snapledger import output
from snapledger.arguments import at_option, json_option, store_argument
from snapledger.reading import rows, snapshots_at
from snapledger.text import printable
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from projections.snapshots import Info, Usage
    from snapledger.arguments import Moment

Row = tuple[str, "Info", "Usage"]


@click.command("tree")
@store_argument
@at_option
@json_option
def command(store: str, moment: Moment | None, as_json: bool) -> None:
    """Show all snapshots, each below its parent, siblings in byte order of their names.

    JSON: revision, snapshots [depth, id, name, kind, parent], in the order of the tree. It is
    flat so that no chain of parents is too deep for a JSON parser.
    """
    with snapshots_at(store, moment) as transaction:
        nodes = depth_first(rows(transaction))
        if as_json:
            snapshots = [_record(depth, *row) for depth, row in nodes]
            output.write_json({"revision": transaction.revision, "snapshots": snapshots})
        else:
            output.write_tree((depth, _label(*row)) for depth, row in nodes)


def depth_first(found: Iterable[Row]) -> Iterator[tuple[int, Row]]:
    """Yield the rows, which come in key order, in the order of their tree, with their depth."""
    children: dict[str, list[Row]] = {}
    for row in found:
        children.setdefault(row[1].parent, []).append(row)
    waiting = [(0, row) for row in reversed(children.get("", ()))]
    while waiting:
        depth, row = waiting.pop()
        yield depth, row
        waiting += [(depth + 1, child) for child in reversed(children.get(row[1].name, ()))]


def _record(depth: int, snapshot_id: str, info: Info, usage: Usage) -> dict[str, Any]:
    _ = usage
    return {
        "depth": depth,
        "id": snapshot_id,
        "name": info.name,
        "kind": info.kind.value,
        "parent": info.parent,
    }


def _label(snapshot_id: str, info: Info, usage: Usage) -> str:
    kind = "" if info.kind is Kind.COMMITTED else f"{info.kind}, "
    size = f", {counted(usage.size, 'byte')}" if info.kind is Kind.COMMITTED else ""
    return f"{printable(info.name)}  ({kind}id {snapshot_id}{size})"
