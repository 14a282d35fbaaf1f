"""Times as people write them: `1h`, `yesterday 14:00`, `2026-11-24`, ISO with a zone or without.

A time without a zone is one of the local zone, as `date` shows it; TZ may name another.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from snapledger.text import parse_time

_NS_PER_SECOND = 1_000_000_000
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(?:\d{1,9}[smhdw])+(?: ago)?", re.ASCII)
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_DAYS = {"today": 0, "yesterday": 1}
_DAY = re.compile(r"(today|yesterday|\d{4}-\d\d-\d\d)(?: (\d\d:\d\d(?::\d\d)?))?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", re.ASCII)
_CLOCK = re.compile(r"\d\d:\d\d(?::\d\d)?", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?", re.ASCII)

FORMS = "1h (ago), 2d, today, 'yesterday 14:00', 14:00, 2026-11-24, 2026-11-24T03:10:30.5Z"


def parse_moment(text: str, now: datetime | None = None) -> int:
    """Return a time as nanoseconds since the epoch.

    Args:
        text: what somebody wrote.
        now: an aware datetime in the local zone; this moment unless given.

    Raises:
        ValueError: it is none of the forms, or no time.
    """
    now = now or datetime.now().astimezone()
    try:
        return _parsed(text.strip(), now)
    except (ValueError, OverflowError) as error:
        why = f" ({error})" if _DATE.match(text) else ""
        raise ValueError(f"{text!r} is not a time such as {FORMS}{why}") from error


def parse_duration(text: str) -> float:
    """Return a duration such as 12h or 30d in seconds.

    Raises:
        ValueError: it is none.
    """
    if not _AGO.fullmatch(text) or text.endswith("ago"):
        raise ValueError(f"{text!r} is not a duration such as 90s, 12h, 30d or 8w")
    return float(sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text)))


def _parsed(text: str, now: datetime) -> int:
    if text == "now":
        return _ns(now)
    if _AGO.fullmatch(text):
        seconds = sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
        return _ns(now) - seconds * _NS_PER_SECOND
    if _CLOCK.fullmatch(text):
        text = f"today {text}"
    if match := _DAY.fullmatch(text):
        day, clock = match.groups()
        if day in _DAYS:
            day = (now.date() - timedelta(days=_DAYS[day])).isoformat()
        return _ns(datetime.fromisoformat(f"{day} {clock or '00:00'}").astimezone())
    if _LOCAL.fullmatch(text):
        whole, _, fraction = text.partition(".")
        local = datetime.fromisoformat(whole).astimezone()
        return _ns(local) + int(fraction.ljust(9, "0"))
    return parse_time(text)


def _ns(time: datetime) -> int:
    return int(time.timestamp()) * _NS_PER_SECOND + time.microsecond * 1000
