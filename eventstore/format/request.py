"""What one process asks of the one that has a store open, and its answer: two small files.

Each is a line of JSON that ends with a line feed, so that a half-written one is told. They are
messages, not data: nothing that the store promises is in them, and nothing in them is believed
beyond that somebody who may write here has asked.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

REQUEST_BYTES_MAX = 4096
"""What is longer is no request and no answer."""

_TOKEN = re.compile(r"[0-9a-f]{32}")
_ERROR_CHARACTERS_MAX = 1000


class Answer(NamedTuple):
    """What came of a request.

    Attributes:
        token: of the request.
        counts: what was done, by name; empty where it failed.
        error: why it failed; None where it did not.
    """

    token: str
    counts: dict[str, int]
    error: str | None


def pack_request(token: str) -> bytes:
    """Return a request for a compaction; the token, 32 hexadecimal digits, comes back with it."""
    return _line({"compact": token})


def unpack_request(data: bytes) -> str | None:
    """Return the token of a request; None if it is not whole, or none."""
    token = _fields(data).get("compact")
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else None


def pack_answer(answer: Answer) -> bytes:
    """Return an answer; a long error is cut."""
    error = None if answer.error is None else answer.error[:_ERROR_CHARACTERS_MAX]
    # Without what JSON would write in six bytes, so that it is short enough to be read.
    if error is not None:
        error = "".join(one if " " <= one <= "~" else "?" for one in error)
    return _line({"answered": answer.token, "counts": answer.counts, "error": error})


def unpack_answer(data: bytes) -> Answer | None:
    """Return an answer; None if it is not whole, or none."""
    fields = _fields(data)
    token, counts, error = fields.get("answered"), fields.get("counts"), fields.get("error")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    if not isinstance(counts, dict) or not all(type(each) is int for each in counts.values()):
        return None
    if error is not None and not isinstance(error, str):
        return None
    return Answer(token, counts, error)


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=True).encode("ascii") + b"\n"


def _fields(data: bytes) -> dict[str, Any]:
    if len(data) > REQUEST_BYTES_MAX or not data.endswith(b"\n"):
        return {}
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
