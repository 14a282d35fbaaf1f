"""Everything that needs rich. Text is given to it as `Text`, which it does not look into."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_COUNTS_BETWEEN_UPDATES = 1_000
_QUIET_SECONDS = 1.0
"""What takes less shows no bar."""
_GAP = 2
"""Between two columns of a table."""
_COLUMN_MIN = 2
"""So much of a column is seen however narrow the terminal is; beyond, it breaks the lines."""
_COLUMNS_PER_DEPTH = 4
_LABEL_COLUMNS_MIN = 24
"""So much of a label is seen however deep it stands; beyond, the terminal breaks the lines."""


def draw_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table, a line a row; what does not fit into a column is cut, with an ellipsis."""
    needed = [
        max(map(cell_len, (column, *(row[number] for row in rows))))
        for number, column in enumerate(columns)
    ]
    console = Console(file=sys.stdout)
    widths = fitted(needed, console.width - _GAP * (len(columns) - 1))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, _GAP - 1))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(_cut(column), overflow="ellipsis", no_wrap=True, width=width)
    for row in rows:
        table.add_row(*map(_cut, row))
    _print(table, sum(widths) + _GAP * (len(columns) - 1))


def fitted(widths: Sequence[int], columns: int) -> list[int]:
    """Return widths that fit into so many columns, as far as they can: the widest are cut first.

    Args:
        widths: that are wanted.
        columns: that there are for all of them.
    """
    most = max(widths, default=0)
    while most > _COLUMN_MIN and sum(min(width, most) for width in widths) > columns:
        most -= 1
    cut = [min(width, most) for width in widths]
    # What the last step has left over goes to the first that were cut.
    for number, width in enumerate(widths):
        if cut[number] < width and sum(cut) < columns:
            cut[number] += 1
    return cut


def draw_tree(nodes: Sequence[tuple[int, str]]) -> None:
    """Draw a tree of nodes, depth first, each with its depth: at most one more than before."""
    root = Tree("", hide_root=True)
    path = [root]
    deepest = 0
    for depth, label in nodes:
        deepest = max(deepest, depth)
        del path[depth + 1 :]
        path.append(path[-1].add(_cut(label)))
    _print(root, _LABEL_COLUMNS_MIN + _COLUMNS_PER_DEPTH * deepest)


@contextmanager
def draw_progress(label: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show on stderr how far something is, and how long it will take; it leaves nothing behind.

    Nothing is shown in the first second.
    """
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        *((BarColumn(), MofNCompleteColumn()) if total else (TextColumn("{task.fields[count]}"),)),
        *((TimeRemainingColumn(),) if total else (TimeElapsedColumn(),)),
        console=Console(file=sys.stderr),
        transient=True,
    )
    task = bar.add_task(label, total=total, count="")

    def show_count(count: int) -> None:
        if count % _COUNTS_BETWEEN_UPDATES == 0:
            bar.update(task, completed=count, count=f"{count:,}")

    starting = threading.Timer(_QUIET_SECONDS, bar.start)
    starting.daemon = True
    starting.start()
    try:
        yield show_count
    finally:
        starting.cancel()
        starting.join()
        bar.stop()


def _cut(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _print(drawing: Table | Tree, columns_min: int) -> None:
    console = Console(file=sys.stdout)
    console.width = max(console.width, columns_min)
    console.print(drawing)
