"""Everything that needs rich. Text is given to it as `Text`, which it does not look into."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_COUNTS_BETWEEN_UPDATES = 1_000
_COLUMNS_MIN = 60
"""Below this rich leaves columns out; the terminal may break the lines instead."""
_COLUMNS_PER_DEPTH = 4


def draw_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table; what does not fit into a column is folded, never cut."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    _print(table, _COLUMNS_MIN)


def draw_tree(nodes: Sequence[tuple[int, str]]) -> None:
    """Draw a tree of nodes, depth first, each with its depth: at most one more than before."""
    root = Tree("", hide_root=True)
    path = [root]
    deepest = 0
    for depth, label in nodes:
        deepest = max(deepest, depth)
        del path[depth + 1 :]
        path.append(path[-1].add(Text(label, overflow="fold")))
    _print(root, _COLUMNS_MIN + _COLUMNS_PER_DEPTH * deepest)


@contextmanager
def draw_progress(label: str) -> Iterator[Callable[[int], object]]:
    """Show a spinner on stderr, with the last count, until the end; it leaves nothing behind."""
    console = Console(file=sys.stderr)
    with console.status(Text(label)) as status:

        def show_count(count: int) -> None:
            if count % _COUNTS_BETWEEN_UPDATES == 0:
                status.update(Text(f"{label} {count:,}"))

        yield show_count


def _print(drawing: Table | Tree, columns_min: int) -> None:
    console = Console(file=sys.stdout)
    console.width = max(console.width, columns_min)
    console.print(drawing)
