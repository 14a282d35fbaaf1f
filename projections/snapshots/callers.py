"""Functions that a driver gives to be called: handlers of intents, the work of a request.

All are plain functions. An async one would only make a coroutine that nobody awaits, and the store
would take its work for done.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def refuse_async(function: object, what: str) -> None:
    """Refuse an async function before anything is done.

    Raises:
        TypeError: it is one.
    """
    of_class = vars(type(function)).get("__call__")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(of_class):
        raise _async_error(what)


def called(what: str, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Return what a function does.

    Raises:
        TypeError: it has given an awaitable.
        Exception: what it raises.
    """
    given = function(*arguments, **keywords)
    if inspect.isawaitable(given):
        if inspect.iscoroutine(given):
            given.close()
        raise _async_error(what)
    return given


def _async_error(what: str) -> TypeError:
    return TypeError(
        f"{what} is an async function, which nobody would await: give a plain function; it is "
        "called in a thread that may wait"
    )
