r"""How untrusted text, times and sizes are shown.

Names, labels, actors and reasons come from whoever writes to the store. A terminal acts on
control characters, a line break fakes a line, and characters that change the writing direction
or have no width make one name look like another. So whatever is not printable is shown as Python
would write it (`\x1b`, `\n`, `\u202e`), and the backslash as two, so that no two texts look alike.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from snapledger.wording import counted

_NS_PER_SECOND = 1_000_000_000
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?) ?(?:([KMGTPE])(iB|B)?|B)?", re.ASCII | re.IGNORECASE)
_NEEDS_QUOTES = re.compile(r'[\s"=]|^$')
_RFC3339 = re.compile(
    r"(?P<clock>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?P<seconds>:\d\d)?)"
    r"(?(seconds)(?:\.(?P<fraction>\d{1,9}))?)"
    r"(?P<zone>[Zz]|[+-]\d\d:?\d\d)",
    re.ASCII,
)


def printable(text: str) -> str:
    """Return an untrusted text in printable characters; different texts stay different."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(each) if each != "\\" else "\\\\" for each in text)


def one_line(message: str) -> str:
    """Return a message as one printable line; its own backslashes are left alone."""
    return "".join(_escaped(each) for each in message)


def quoted(text: str) -> str:
    """Return an untrusted text in printable characters, in quotes if it has spaces or = or "."""
    shown = printable(text)
    if not _NEEDS_QUOTES.search(shown):
        return shown
    return '"' + shown.replace('"', '\\"') + '"'


def label_text(key: str, value: str) -> str:
    """Return a label as text shows it everywhere: printable already, and unlike any other."""
    return f"{quoted(key)}={quoted(value)}"


def format_time(time_ns: int) -> str:
    """Return nanoseconds since the epoch as RFC 3339 in UTC, with all nine digits."""
    seconds, fraction = divmod(time_ns, _NS_PER_SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{fraction:09d}Z"


def parse_time(text: str) -> int:
    """Return a time as nanoseconds since the epoch: in RFC 3339, or as that with less.

    The seconds may be left out, and the colon of the zone, as `date +%FT%T%z` does.

    Raises:
        ValueError: it is none, as one without a zone is none.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2026-11-24T03:10:30.5Z")
    whole = datetime.fromisoformat(f"{match['clock']}{match['zone'].upper()}")
    fraction = (match["fraction"] or "").ljust(9, "0")
    return int(whole.timestamp()) * _NS_PER_SECOND + int(fraction)


def format_size(size_bytes: int) -> str:
    """Return a number of bytes, and what it is in a larger unit."""
    value, unit = float(size_bytes), ""
    for larger in _UNITS:
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    exact = counted(size_bytes, "byte")
    return f"{exact} ({value:.1f} {unit})" if unit else exact


def parse_size(text: str) -> int:
    """Return the number of bytes that a text such as 500, 64K, 1.5G, 1GiB or 1GB says.

    K, M and so on are powers of 1024, KB and MB of 1000, as in GNU's tools.

    Raises:
        ValueError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!a} is no size such as 500, 64K, 1.5G, 1GiB or 1GB (1000 MB)")
    from fractions import Fraction  # noqa: PLC0415 - a fiftieth of what a verb takes to start

    number, unit, suffix = match.groups()
    if unit is None:
        factor = 1
    else:
        thousand = 1000 if (suffix or "").upper() == "B" else 1024
        factor = thousand ** ("KMGTPE".index(unit.upper()) + 1)
    return int(Fraction(number) * factor)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
