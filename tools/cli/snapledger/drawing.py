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
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from snapledger.output import Shown

_COUNTS_BETWEEN_UPDATES = 1_000
_FEW = 10_000
"""Of so few each is shown."""
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


def _columns(total: int | None) -> tuple[ProgressColumn, ...]:
    """Return what is shown of a progress: with a total also how long it will take."""
    label = TextColumn("{task.description}", markup=False)
    if total:
        return label, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return label, TextColumn("{task.fields[count]}"), TimeElapsedColumn()


@contextmanager
def draw_progress(label: str, total: int | None) -> Iterator[Shown]:
    """Show on stderr how far something is, and how long it will take; it leaves nothing behind.

    Nothing is shown in the first second.
    """
    bar = Progress(*_columns(total), console=Console(file=sys.stderr), transient=True)
    task = bar.add_task(label, total=total, count="")
    doing = label, total

    def show_count(count: int, total: int | None = None, label: str | None = None) -> None:
        nonlocal doing
        now = label or doing[0], total or doing[1]
        if now != doing:
            doing = now
            bar.columns = _columns(now[1])
            bar.reset(task, description=now[0], total=now[1], count="")
        if count % _COUNTS_BETWEEN_UPDATES == 0 or (now[1] or _FEW) < _FEW:
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
