"""Everything that needs rich. Text is given to it as `Text`, which it does not look into."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len, set_cell_size
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
    from collections.abc import Collection, Iterator, Sequence

    from snapledger.output import Shown

_COUNTS_BETWEEN_UPDATES = 1_000
_FEW = 10_000
"""Of so few each is shown."""
_QUIET_SECONDS = 1.0
"""What takes less shows no bar."""
_GAP = 2
"""Between two columns of a table."""
_CELL_MIN = 8
"""Less of a key, or of another text, is no use: before that, the last column goes."""
_COLUMN_MIN = 2
"""So much of a column is seen however narrow the terminal is; beyond, it breaks the lines."""
_COLUMNS_PER_DEPTH = 4
_LABEL_COLUMNS_MIN = 24
"""So much of a label is seen however deep it stands; beyond, the terminal breaks the lines."""


def draw_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    facts: Collection[str],
    first_to_go: Sequence[str],
) -> list[str]:
    """Draw a table, a line a row; what does not fit into a column is cut, with an ellipsis.

    Args:
        columns: their names.
        rows: of cells.
        facts: the names of columns that stay whole: half a number or a time is worth nothing.
        first_to_go: of columns, where there is no room for all; then the last one goes.

    Returns:
        the names of columns for which there was no room.
    """
    needed = [
        max(map(cell_len, (column, *(row[number] for row in rows))))
        for number, column in enumerate(columns)
    ]
    console = Console(file=sys.stdout)
    shown, left_out = list(range(len(columns))), list[str]()
    while (
        widths := laid_out(
            [(needed[place], columns[place] in facts) for place in shown], console.width
        )
    ) is None and len(shown) > 1:
        names = [columns[place] for place in shown]
        goes = next((name for name in first_to_go if name in names), names[-1])
        left_out.append(goes)
        del shown[names.index(goes)]
    widths = widths or fitted([needed[shown[0]]], console.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, _GAP - 1))
    for place, width in zip(shown, widths, strict=True):
        table.add_column(_cut(columns[place]), overflow="ellipsis", no_wrap=True, width=width)
    for row in rows:
        table.add_row(*(_cut(row[place]) for place in shown))
    _print(table, sum(widths) + _GAP * (len(widths) - 1))
    return left_out


def laid_out(needed: Sequence[tuple[int, bool]], columns: int) -> list[int] | None:
    """Return the widths of the columns of a table; None if there is no room for all.

    Facts stay whole. The others share what is left, if each has enough to be told from its like.

    Args:
        needed: of each the width that is wanted, and whether it is a fact.
        columns: that the terminal has.
    """
    room = columns - _GAP * (len(needed) - 1)
    room -= sum(width for width, is_fact in needed if is_fact)
    texts = [width for width, is_fact in needed if not is_fact]
    got = fitted(texts, room)
    if sum(got) > max(room, 0):
        return None
    if any(width < min(wanted, _CELL_MIN) for width, wanted in zip(got, texts, strict=True)):
        return None
    shared = iter(got)
    return [width if is_fact else next(shared) for width, is_fact in needed]


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


def draw_tree(nodes: Sequence[tuple[int, str, str]]) -> None:
    """Draw a tree of nodes, depth first, each with its depth: at most one more than before.

    Where a line is too long, the name in it is cut, and what is said of it stays.
    """
    columns = Console(file=sys.stdout).width
    root = Tree("", hide_root=True)
    path = [root]
    deepest = 0
    for depth, name, facts in nodes:
        deepest = max(deepest, depth)
        del path[depth + 1 :]
        room = max(_LABEL_COLUMNS_MIN, columns - _COLUMNS_PER_DEPTH * depth)
        path.append(path[-1].add(_cut(shortened(name, room - cell_len(facts)) + facts)))
    _print(root, _LABEL_COLUMNS_MIN + _COLUMNS_PER_DEPTH * deepest)


def shortened(text: str, columns: int) -> str:
    """Return a text that takes no more than so many columns, or eight, cut with an ellipsis."""
    if cell_len(text) <= max(columns, _CELL_MIN):
        return text
    return set_cell_size(text, max(columns, _CELL_MIN) - 1).rstrip() + "…"


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
