"""What keys, names, labels and usage must be, whatever the store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.snapshots.errors import InvalidArgumentError
from projections.snapshots.model import KEY_BYTES_MAX, LABEL_PAIR_BYTES_MAX, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

_INT64_MAX = 2**63 - 1


def check_key(key: str, what: str) -> None:
    """Check a key or a name that is about to be taken.

    Raises:
        InvalidArgumentError: it is no text, empty, too long, or holds NUL or a lone surrogate.
    """
    if not isinstance(key, str):
        raise InvalidArgumentError(f"the {what} must be a str, not {type(key).__name__}")
    if not key:
        raise InvalidArgumentError(f"the {what} is empty: give the snapshot one")
    if "\0" in key:
        raise InvalidArgumentError(f"the {what} {key[:80]!r} holds a NUL character")
    size = len(_encoded(key, what))
    if size > KEY_BYTES_MAX:
        raise InvalidArgumentError(
            f"the {what} {key[:40]!r}… takes {size} bytes: at most {KEY_BYTES_MAX} are allowed"
        )


def checked_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels without the empty values, which mean "remove".

    Raises:
        InvalidArgumentError: a key or value is no text, a key is empty, or a pair is too long.
    """
    kept: dict[str, str] = {}
    for key, value in (labels or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidArgumentError(
                f"label {key!r}: {value!r}: keys and values of labels must be str"
            )
        size = len(_encoded(key, "label key")) + len(_encoded(value, "label value"))
        if size > LABEL_PAIR_BYTES_MAX:
            raise InvalidArgumentError(
                f"label {key[:40]!r} takes {size} bytes with its value: at most "
                f"{LABEL_PAIR_BYTES_MAX} are allowed"
            )
        if value and not key:
            raise InvalidArgumentError(f"a label with value {value!r} has an empty key")
        if value:
            kept[str(key)] = str(value)
    return kept


def checked_usage(usage: Usage) -> Usage:
    """Return a usage of plain ints.

    Raises:
        InvalidArgumentError: a part is no int, negative, or over 63 bits.
    """
    inodes, size = usage
    for name, value in (("inodes", inodes), ("size", size)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT64_MAX:
            raise InvalidArgumentError(
                f"usage {name} must be a whole number from 0 to {_INT64_MAX}, not {value!r}"
            )
    return Usage(int(inodes), int(size))


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"the {what} {text[:80]!r} holds a lone surrogate, which is not text"
        ) from None
