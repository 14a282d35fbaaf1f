"""Lines of JSON that say all of a batch, and reading them without trust.

Of the data of events, bytes are `{"$bytes": base64}`, floats that are no number
`{"$float": text}`, and a dictionary that has a key which is no text, or starts with `$`, is
`{"$dict": [key, value, …]}`.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import math
from typing import Any

_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class LineError(Exception):
    """A line that is not JSON of this kind."""


def json_line(fields: dict[str, Any]) -> bytes:
    """Return fields, of which `json_value` has made the values, as a line."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def json_value(value: Any) -> Any:
    """Return the data of an event as JSON that says all of it."""
    # Loops: a comprehension would need twice the frames for data that is nested to the limit.
    if isinstance(value, dict):
        pairs: list[Any] = []
        for key, each in value.items():
            pairs.append((key, json_value(each)))
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(pairs)
        flat = []
        for key, each in pairs:
            flat += [json_value(key), each]
        return {"$dict": flat}
    if isinstance(value, list):
        items = []
        for each in value:
            items.append(json_value(each))
        return items
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return value


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the fields of a line, with the data of events as it was.

    Raises:
        LineError: it is not UTF-8, begins with a byte order mark, is no JSON object, is nested too
            deep, names a field twice, or holds a number that is none.
    """
    if line.startswith(codecs.BOM_UTF8):
        raise LineError("a byte order mark stands before it, which some editors put there")
    try:
        fields = json.loads(
            line.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise LineError(f"not UTF-8: {error}") from error
    except RecursionError as error:
        raise LineError("nested too deep") from error
    except ValueError as error:
        raise LineError(f"not JSON: {error}") from error
    if type(fields) is not dict:
        raise LineError("not a JSON object")
    return fields


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """Return what an object stands for; objects inside have been looked at already."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise LineError("an object names a field twice")
    marked = [name for name in fields if name.startswith("$")]
    if not marked:
        return fields
    if len(fields) > 1:
        raise LineError(f"a field beside {marked[0][:20]!r}")
    [(name, value)] = pairs
    if name == "$bytes" and type(value) is str:
        return _bytes(value)
    if name == "$float" and type(value) is str and value in _FLOATS:
        return _FLOATS[value]
    if name == "$dict" and type(value) is list and len(value) % 2 == 0:
        return _dictionary(value)
    raise LineError(f"{name[:20]!r} with a value that it can't have")


def _dictionary(flat: list[Any]) -> dict[Any, Any]:
    try:
        made = dict(zip(flat[::2], flat[1::2], strict=True))
    except TypeError as error:
        raise LineError(f"a key that can be none: {error}") from error
    if 2 * len(made) < len(flat):
        raise LineError("a dictionary has a key twice")
    return made


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LineError(f"not base64: {error}") from error


def _no_number(text: str) -> Any:
    raise LineError(f"{text} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise LineError(f"the number {text[:40]} is out of range")
    return value
