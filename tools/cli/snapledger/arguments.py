"""The arguments and options that verbs have in common, and the ranges of the others.

Whatever stands on the command line is checked here, so that what can't be meant is a usage error
before anything is opened, and nothing further in has to expect it.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from snapledger.text import parse_size
from snapledger.times import FORMS, parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable


_INT64_MAX = 2**63 - 1
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_WAIT_SECONDS_MAX = 365 * 24 * 60 * 60


class _Whole(click.IntRange):
    """A whole number: unlike a plain range it says what was meant."""

    def __init__(self, name: str, least: int, example: str) -> None:
        super().__init__(min=least, max=_INT64_MAX)
        self.name = name
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(
                f"{value!a} is no {self.name}: that is a whole number from {self.min} on, such as "
                f"{self._example}",
                param,
                ctx,
            )


REVISION = _Whole("revision", 1, "12")
COUNT = _Whole("count", 0, "20")


class _Size(click.ParamType[int]):
    """A number of bytes, with a unit as GNU's tools have them: K is KiB, KB is 1000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        try:
            size = parse_size(value)
            if size > _INT64_MAX:
                raise ValueError(f"{value!a} is more than any disk holds")
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return size


SIZE = _Size()


class _Seconds(click.FloatRange):
    """A time to wait: unlike a plain range it has no NaN, which is neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number of seconds."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


SECONDS = _Seconds(min=0, max=_WAIT_SECONDS_MAX)


class Moment(NamedTuple):
    """A point in the past of a store: one of the two is given.

    Attributes:
        revision: of a batch.
        time_ns: nanoseconds since the epoch.
    """

    revision: int | None = None
    time_ns: int | None = None


class Range(NamedTuple):
    """What lies between two moments: after the first, up to the second.

    Attributes:
        after: None from the beginning on.
        until: None up to now.
    """

    after: Moment | None
    until: Moment | None


def checked_path(context: click.Context, parameter: click.Parameter, path: str) -> str:
    """Return a path; an empty one, from an unset variable, would mean the current directory."""
    if not path:
        raise click.BadParameter("the path is empty", ctx=context, param=parameter)
    try:
        if b"\0" in os.fsencode(path):
            raise ValueError("a NUL character is in it")
    except ValueError as error:
        raise click.BadParameter(
            f"no file can have the path {path!a}: {error}", ctx=context, param=parameter
        ) from error
    return path


def checked_store_path(context: click.Context, parameter: click.Parameter, path: str) -> str:
    """Return the path of a store; a URL would name a directory `https:`."""
    if _URL.match(path):
        raise click.BadParameter(
            f"a store is on a local disk, and {path!a} is a URL: only a backup can be at one",
            ctx=context,
            param=parameter,
        )
    return checked_path(context, parameter, path)


def checked_text(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """Return a text for the history, which keeps Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(
            f"{text!a} is not text in UTF-8", ctx=context, param=parameter
        ) from error
    return text


def checked_filters(
    context: click.Context, parameter: click.Parameter, filters: tuple[str, ...]
) -> tuple[str, ...]:
    """Return filters, each of which can be parsed, with the regular expressions in it."""
    from projections.snapshots import InvalidArgumentError  # noqa: PLC0415 - the library
    from projections.snapshots.filters import parse_filter  # noqa: PLC0415

    try:
        for text in filters:
            # containerd lets a regular expression that doesn't parse match nothing; a person who
            # mistyped one would take that for an answer.
            parse_filter(text, is_strict=True)
    except InvalidArgumentError as error:
        raise click.BadParameter(str(error), ctx=context, param=parameter) from error
    return filters


def parsed_moment(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> Moment | None:
    """Return the moment that a revision, or a time, names."""
    return None if text is None else moment_of(text, context, parameter)


def moment_of(
    text: str, context: click.Context | None = None, parameter: click.Parameter | None = None
) -> Moment:
    """Return the moment that a revision, or a time, names.

    Raises:
        BadParameter: it is neither.
    """
    if text.isascii() and text.isdecimal():
        # Cut first: Python refuses to read numbers of thousands of digits.
        revision = int(text.lstrip("0")[: len(str(_INT64_MAX)) + 1] or "0")
        if revision > _INT64_MAX:
            raise click.BadParameter(
                f"a revision is at most {_INT64_MAX}", ctx=context, param=parameter
            )
        return Moment(revision=revision)
    try:
        return Moment(time_ns=parse_moment(text))
    except ValueError as error:
        raise click.BadParameter(
            f"neither a revision, such as 12, nor a time: {error}",
            ctx=context,
            param=parameter,
        ) from error


def range_of(text: str) -> Range | None:
    """Return the range that A..B names, one of which may be missing; None for a text without "..".

    Raises:
        UsageError: A or B is no moment, which it says, or both are missing.
    """
    first, dots, second = text.partition("..")
    if not dots:
        return None
    what = f"{text!a} is no range A..B"
    if not (first or second):
        raise click.UsageError(f"{what}: it has neither A nor B", click.get_current_context())
    moments = []
    for name, half in (("A", first), ("B", second)):
        try:
            moments.append(moment_of(half) if half else None)
        except click.BadParameter as error:
            raise click.UsageError(
                f"{what}: {name} is {error.message}", click.get_current_context()
            ) from error
    return Range(*moments)


def require_forward(between: Range) -> None:
    """Refuse a range that goes backwards in every store.

    Raises:
        UsageError: it does. `git log` would print nothing, and leave it to be guessed why.
    """
    first, last = between.after, between.until
    if first is None or last is None:
        return
    for one, other in ((first.revision, last.revision), (first.time_ns, last.time_ns)):
        if one is not None and other is not None and one > other:
            raise click.UsageError(
                "a range goes from a revision or a time to a later one: give the two the other way "
                "round",
                click.get_current_context(),
            )


store_argument: Callable[..., Any] = click.argument(
    "store", metavar="STORE", callback=checked_store_path
)
filters_argument: Callable[..., Any] = click.argument(
    "filters", metavar="[FILTER]...", nargs=-1, callback=checked_filters
)
json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON, with the fields named above."
)
at_option: Callable[..., Any] = click.option(
    "--at",
    "moment",
    metavar="REVISION|TIME",
    callback=parsed_moment,
    help=f"Look at the store as it was after a revision, or at a time: {FORMS}. A time without a "
    "zone is local.",
)
limit_option: Callable[..., Any] = click.option(
    "-n", "--limit", type=COUNT, metavar="COUNT", help="At most this many."
)
key_option: Callable[..., Any] = click.option(
    "--key",
    "key_file",
    required=True,
    metavar="FILE",
    callback=checked_path,
    help="The private key, as `key new` has written it.",
)
size_option: Callable[..., Any] = click.option(
    "--size",
    type=COUNT,
    metavar="SIZE",
    help="Of the first so many batches, instead of all.",
)
