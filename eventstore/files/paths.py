"""Paths, as text: joined, made absolute, resolved."""

from __future__ import annotations

import os
import re

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def join(*parts: str) -> str:
    """Join parts of a path."""
    return os.path.join(*parts)


def parent(path: str) -> str:
    """Return the path of the directory that holds another path."""
    return os.path.dirname(path)


def absolute(path: str | os.PathLike[str], *, of: str = "the store") -> str:
    """Return a path as an absolute one, so that a later chdir moves nothing.

    Args:
        path: that was given.
        of: what is there, for the message.

    Raises:
        ValueError: it is empty, which would be the working directory; or no file can have it, since
            it holds a NUL character or a lone surrogate that stands for no byte; or it is a URL,
            which would name a directory `https:`.
    """
    text = os.fsdecode(path)
    if not text:
        raise ValueError(f"the path of {of} is empty")
    if _URL.match(text):
        raise ValueError(f"the path of {of} is a URL, and must be one on a local disk: {text!r}")
    if "\0" in text:
        raise ValueError(f"the path of {of} holds a NUL character: {text!r}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ValueError(
            f"the path of {of} holds a lone surrogate, which stands for no byte: {text!r}"
        ) from None
    return os.path.abspath(text)


def resolved(path: str) -> str:
    """Return a path with every link on the way followed, as far as it exists."""
    return os.path.realpath(path)
