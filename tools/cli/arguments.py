"""The arguments and options that verbs have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tools.cli.text import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable


class Moment(NamedTuple):
    """A point in the past of a store: one of the two is given.

    Attributes:
        revision: of a batch.
        time_ns: nanoseconds since the epoch.
    """

    revision: int | None = None
    time_ns: int | None = None


def checked_path(context: click.Context, parameter: click.Parameter, path: str) -> str:
    """Return a path; an empty one, from an unset variable, would mean the current directory."""
    if not path:
        raise click.BadParameter("the path is empty", ctx=context, param=parameter)
    return path


def parsed_moment(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> Moment | None:
    """Return the moment that a revision, or a time in RFC 3339, names."""
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return Moment(revision=int(text))
    try:
        return Moment(time_ns=parse_time(text))
    except ValueError as error:
        raise click.BadParameter(
            f"neither a revision, such as 12, nor a time: {error}", ctx=context, param=parameter
        ) from error


store_argument: Callable[..., Any] = click.argument("store", metavar="STORE", callback=checked_path)
json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON, with the fields named above."
)
at_option: Callable[..., Any] = click.option(
    "--at",
    "moment",
    metavar="REVISION|TIME",
    callback=parsed_moment,
    help="Look at the store as it was after a revision, or at a time, such as "
    "2026-11-24T03:10:30.5Z; the time must name its zone.",
)
