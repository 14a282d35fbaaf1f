"""What callers give, checked before it is used and refused in words.

A value of another kind is a TypeError, a number out of range a ValueError; both say what was meant
and what was given. A bool is not taken for a number, nor anything but a bool for a bool: a text
such as "false", out of a configuration file, would switch on what it is to switch off.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from eventstore.event import EPOCH

_SHOWN_BITS_MAX = 256
_SHOWN_CHARACTERS_MAX = 80


def excerpt(value: object) -> str:
    """Return any value as a message shows it: cut short if it is long."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS_MAX:
        # Python refuses to write out numbers of thousands of digits.
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text[:_SHOWN_CHARACTERS_MAX] + "…" * (len(text) > _SHOWN_CHARACTERS_MAX)


def checked_int(value: int, what: str) -> int:
    """Return an int.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {excerpt(value)}")
    return value


def checked_whole(value: int, what: str, least: int, most: int | None = None) -> int:
    """Return a whole number from `least` on, up to `most`.

    Raises:
        TypeError: it is no int.
        ValueError: it is out of range.
    """
    if checked_int(value, what) < least or (most is not None and value > most):
        span = f"from {least} on" if most is None else f"from {least} to {most}"
        raise ValueError(f"{what} must be a whole number {span}, not {excerpt(value)}")
    return value


def checked_flag(value: bool, what: str) -> bool:
    """Return a bool.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, not {excerpt(value)}")
    return value


def checked_text(value: str, what: str) -> str:
    """Return a str.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {excerpt(value)}")
    return value


def time_to_ns(time: datetime | int | None, *, to_end: bool = True) -> int:
    """Return a time as nanoseconds since the epoch; an int already is that.

    Args:
        time: an aware datetime, or nanoseconds.
        to_end: of a datetime, the end of its microsecond, or else the start.

    Raises:
        ValueError: the datetime has no time zone.
        TypeError: it is neither.
    """
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    if not isinstance(time, datetime):
        raise TypeError(f"a time must be a datetime or an int of nanoseconds, not {excerpt(time)}")
    if time.tzinfo is None:
        raise ValueError("the time has no time zone: use an aware datetime, such as UTC")
    # To the end of the microsecond: what was shown as this time had happened by then.
    return (time - EPOCH) // timedelta(microseconds=1) * 1000 + (999 if to_end else 0)
