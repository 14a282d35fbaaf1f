"""`snapledger tree`: show snapshots below their parents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from projections.snapshots import Kind
from snapledger import output
from snapledger.arguments import COUNT, at_option, json_option, store_argument
from snapledger.reading import snapshots_at
from snapledger.text import printable
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from projections.snapshots import Info, Usage
    from snapledger.arguments import Moment

Row = tuple[str, "Info", "Usage"]
_EXAMPLE = """\b
Example: what is built directly on a layer, a week ago:
  snapledger tree STORE sha256:5f70bf18 --depth 1 --at 7d"""


@click.command("tree", epilog=_EXAMPLE)
@store_argument
@click.argument("key", metavar="[KEY]", required=False)
@click.option(
    "--depth",
    "depth_max",
    type=COUNT,
    metavar="COUNT",
    help="So many levels below KEY, or below the snapshots without a parent; 0 shows these alone. "
    "Of what is left out the number is shown.",
)
@at_option
@json_option
def command(
    store: str, key: str | None, depth_max: int | None, moment: Moment | None, as_json: bool
) -> None:
    """Show all snapshots, each below its parent, siblings in byte order of their names.

    With KEY only that snapshot and those that are built on it. Its depth is 0.

    JSON: revision, snapshots [depth, id, name, kind, parent], in the order of the tree. It is
    flat so that no chain of parents is too deep for a JSON parser.
    """
    with snapshots_at(store, moment) as transaction:
        top = None
        if key is not None:
            snapshot_id, info, usage = transaction.get_info(key)
            top = (snapshot_id, info, usage)
        nodes = depth_first(transaction.walk(), top, depth_max)
        if as_json:
            records = (_record(depth, *row) for depth, row, _ in nodes)
            output.write_json_list({"revision": transaction.revision}, "snapshots", records)
        else:
            output.write_tree(
                (depth, printable(row[1].name), _facts(*row, left_out))
                for depth, row, left_out in nodes
            )


def depth_first(
    found: Iterable[Row], top: Row | None = None, depth_max: int | None = None
) -> Iterator[tuple[int, Row, int]]:
    """Yield the rows, which come in key order, in the order of their tree.

    With each come its depth, and how many that are directly below it are left out.

    Args:
        found: all rows of a store.
        top: whose part of the tree is wanted; None for all of it.
        depth_max: how deep; None without end.
    """
    children: dict[str, list[Row]] = {}
    for row in found:
        children.setdefault(row[1].parent, []).append(row)
    first = children.get("", ()) if top is None else (top,)
    waiting = [(0, row) for row in reversed(first)]
    while waiting:
        depth, row = waiting.pop()
        below = children.get(row[1].name, ())
        if depth_max is None or depth < depth_max:
            yield depth, row, 0
            waiting += [(depth + 1, child) for child in reversed(below)]
        else:
            yield depth, row, len(below)


def _record(depth: int, snapshot_id: str, info: Info, usage: Usage) -> dict[str, Any]:
    _ = usage
    return {
        "depth": depth,
        "id": snapshot_id,
        "name": info.name,
        "kind": info.kind.value,
        "parent": info.parent,
    }


def _facts(snapshot_id: str, info: Info, usage: Usage, left_out: int) -> str:
    kind = "" if info.kind is Kind.COMMITTED else f"{info.kind}, "
    size = f", {counted(usage.size, 'byte')}" if info.kind is Kind.COMMITTED else ""
    more = f"  … {left_out} more below" if left_out else ""
    return f"  ({kind}id {snapshot_id}{size}){more}"
