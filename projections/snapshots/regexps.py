r"""The regular expressions of filters: Go's language, run by RE2.

Both are unanchored searches without look-around and references, in time linear in the text, so
no expression can hang a walk. As in containerd, one that doesn't parse is no error: it matches
nothing, and is logged. The two engines differ little:

- What Go accepts and RE2 may not is an error here, so that no snapshot is left out silently:
  expressions longer than `PATTERN_BYTES_MAX` or compiled to more than RE2 does in
  `PATTERN_MEMORY_BYTES`, and classes `\p{…}` that RE2 doesn't know (since Go 1.25 there are
  names such as `\p{Letter}`; RE2 wants `\pL`).
- What RE2 accepts and Go refuses matches nothing: `\C`, and group names outside ASCII.
- Go refuses expressions that nest more than 1,000 deep, RE2 doesn't; here they match.
- RE2 sees `\B` between the bytes of one character that isn't ASCII, Go doesn't.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, TypeAlias

import re2

from projections.snapshots.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

Search: TypeAlias = "Callable[[str], bool]"

PATTERN_BYTES_MAX = 4_096
"""The longest regular expression, in bytes of UTF-8: as long as the longest label."""

PATTERN_MEMORY_BYTES = 262_144
"""RE2's memory for one regular expression; it bounds the compiled program, hence the time.

With RE2's default of 8 MiB, `[ab]{0,990}` repeated 80 times takes 18 s to compile and 12 s to
search the longest key. With this bound the worst expressions found take 0.25 s to compile
and 7 s to search the longest key, and ordinary ones are as fast as with the default.
"""

_METACHARACTER = re.compile(r"[\\.+*?()|\[\]{}^$]")
_QUOTED_OR_ESCAPE = re.compile(r"\\Q.*?(?:\\E|\Z)|\\(?P<letter>.)", re.DOTALL)
_BEYOND_RE2 = (
    "pattern too large",
    r"invalid character class range: \p",
    r"invalid character class range: \P",
)

_logger = logging.getLogger("projections.snapshots")


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False  # it would write to the process's stderr
    options.max_mem = PATTERN_MEMORY_BYTES
    # Nobody asks what the groups matched, and RE2 may spend a thousand times as long on that.
    options.never_capture = True
    return options


_OPTIONS = _options()


class _UnreadableError(Exception):
    """Go can't read a pattern, or reads it as something that no text can be."""

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"regular expression {pattern!r} matches nothing: {reason}")


def compile_search(pattern: str) -> Search:
    """Return a function that tells whether the pattern matches somewhere in a text.

    The texts are valid Unicode, as names and labels are; the pattern may be anything.

    Raises:
        InvalidArgumentError: the pattern is longer, larger or newer than this module can follow.
    """
    try:
        return _search(pattern)
    except _UnreadableError as error:
        _logger.warning("%s", error)
        return lambda text: False


def require_readable(pattern: str) -> None:
    """Refuse a pattern that `compile_search` takes and lets match nothing.

    Raises:
        InvalidArgumentError: it is one, or as `compile_search`.
    """
    try:
        _search(pattern)
    except _UnreadableError as error:
        raise InvalidArgumentError(str(error)) from None


def _search(pattern: str) -> Search:
    try:
        size_bytes = len(pattern.encode())
    except UnicodeEncodeError:
        raise _UnreadableError(pattern, "not valid UTF-8") from None
    if size_bytes > PATTERN_BYTES_MAX:
        raise InvalidArgumentError(
            f"expected a regular expression of {PATTERN_BYTES_MAX} bytes at most, "
            f"found {size_bytes} bytes"
        )
    if not _METACHARACTER.search(pattern):
        # Plain text is common (a piece of a digest), and ten times faster without RE2.
        return lambda text: pattern in text
    return _compile(pattern)


def _compile(pattern: str) -> Search:
    try:
        compiled = re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        if reason.startswith(_BEYOND_RE2):
            raise InvalidArgumentError(
                f"expected a regular expression that RE2 can compile: {reason}"
            ) from None
        raise _UnreadableError(pattern, reason) from None
    if not all(name.isascii() for name in compiled.groupindex):
        raise _UnreadableError(pattern, "group names are ASCII")
    if any(found["letter"] == "C" for found in _QUOTED_OR_ESCAPE.finditer(pattern)):
        raise _UnreadableError(pattern, r"invalid escape sequence: \C")
    # A search in bytes spares re2 from translating the match's position into characters.
    search: Callable[[bytes], object] = compiled.search
    return lambda text: search(text.encode()) is not None
