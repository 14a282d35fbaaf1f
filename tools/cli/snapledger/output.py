"""Where things are written, and whether they are drawn or plain.

Drawn is for eyes: rich tables and trees, as wide as the terminal. Plain is for programs: lines of
tab-separated fields, as wide as they are, written as they come. Output is drawn on a terminal
without NO_COLOR, and only as long as someone may want to look through it: rich takes about half a
millisecond a row.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import click

from snapledger.text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

DRAWN_ROWS_MAX = 2_000


def is_drawn(stream: TextIO | None) -> bool:
    """Return whether what goes to a stream may be drawn."""
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def write_json(document: Mapping[str, Any]) -> None:
    """Write a JSON document as one line of ASCII."""
    click.echo(json.dumps(document, ensure_ascii=True, allow_nan=False))


def write_json_list(
    document: Mapping[str, Any], name: str, items: Iterable[Mapping[str, Any]]
) -> None:
    """Write a JSON document that ends with a list, as one line, the items as they come.

    Args:
        document: all fields before the list.
        name: of the list.
        items: of the list; memory holds one of them.
    """
    head = json.dumps(document, ensure_ascii=True, allow_nan=False)
    start = f"{head[:-1]}{', ' if document else ''}{json.dumps(name)}: ["
    for item in items:
        click.echo(start + json.dumps(item, ensure_ascii=True, allow_nan=False), nl=False)
        start = ", "
    click.echo("]}" if start == ", " else f"{start}]}}")


def write_line(text: str) -> None:
    """Write a line of text, which must be printable already."""
    click.echo(text)


def write_text(text: bytes) -> None:
    """Write a text that is signed: each byte as it is."""
    click.echo(text, nl=False)


def write_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Write one field a line, its name first; the values must be printable already."""
    pairs = list(fields)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        write_line(f"{name:<{width}}  {value}".rstrip())


def write_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    facts: Collection[str] = (),
    first_to_go: Sequence[str] = (),
) -> None:
    """Write rows of printable cells below the names of the columns.

    Args:
        columns: their names; a narrow terminal shows fewer, which is mentioned.
        rows: of cells.
        facts: the names of columns that are never cut.
        first_to_go: the names of columns that are left out before the last one is.
    """
    left = iter(rows)
    if is_drawn(sys.stdout):
        first = list(islice(left, DRAWN_ROWS_MAX + 1))
        if len(first) <= DRAWN_ROWS_MAX:
            from snapledger.drawing import draw_table  # noqa: PLC0415 - imports rich

            left_out = draw_table(columns, first, facts, first_to_go)
            if left_out:
                import shutil  # noqa: PLC0415 - with all that compresses archives

                said = f"note: no room for {', '.join(left_out)} on this terminal"
                for line in textwrap.wrap(said, shutil.get_terminal_size().columns):
                    click.echo(line, err=True)
            return
        left = chain(first, left)
    write_line("\t".join(columns))
    for row in left:
        write_line("\t".join(row))


def write_tree(rows: Iterable[tuple[int, str, str]]) -> None:
    """Write a tree: of its nodes, depth first, the depth, the name and what is said of it."""
    nodes = list(rows)
    if is_drawn(sys.stdout) and len(nodes) <= DRAWN_ROWS_MAX:
        from snapledger.drawing import draw_tree  # noqa: PLC0415 - imports rich

        draw_tree(nodes)
        return
    for depth, name, facts in nodes:
        write_line("  " * depth + name + facts)


@contextmanager
def told_after(what: str) -> Iterator[None]:
    """Say of a change that is made that it is, where what was to be said of it can't be written.

    Args:
        what: was done.

    Raises:
        ClickException: the output can't be written. Not where its reader has gone away.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(
            f"{what}; that is done, but the output can't be written: {error.strerror or error}"
        ) from error


def note(message: str) -> None:
    """Mention something on stderr that is no failure."""
    click.echo(f"note: {one_line(message)}", err=True)


class Shown(Protocol):
    """What `progress` gives."""

    def __call__(self, count: int, total: int | None = None, label: str | None = None) -> object:
        """Take the count that is reached, from 1 on.

        Args:
            count: that is reached.
            total: the count at the end, where that is known only now.
            label: what goes on now, where that is another thing than before.
        """


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Shown]:
    """Show on a terminal how far something is that takes more than a second.

    Args:
        label: what goes on.
        total: the count at the end, which makes the remaining time known; None if that is not.

    Yields:
        what takes the count that is reached.
    """
    if not is_drawn(sys.stderr):
        yield lambda count, total=None, label=None: None
        return
    from snapledger.drawing import draw_progress  # noqa: PLC0415 - imports rich

    with draw_progress(label, total) as show_count:
        yield show_count
