"""What keys, names, labels and usage must be, whatever the store holds.

The texts and numbers that come back are of exactly `str` and `int`, which is all that the log
keeps; a value of a subclass, such as a member of an enumeration, is kept as the text or number
that it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from projections.snapshots.errors import InvalidArgumentError
from projections.snapshots.model import KEY_BYTES_MAX, LABEL_PAIR_BYTES_MAX, Usage

_INT64_MAX = 2**63 - 1
_SHOWN_CHARACTERS_MAX = 80
_ID_DIGITS_END = 20
"""No id has so many digits."""


def shown(value: object) -> str:
    """Return a value as a message shows it: cut short if it is long."""
    if isinstance(value, str):
        cut = str.__getitem__(value, slice(_SHOWN_CHARACTERS_MAX))
        return repr(cut) + "…" * (len(value) > len(cut))
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number in it has too many digits; it is too deep
        text = f"a {type(value).__name__}"
    return text[:_SHOWN_CHARACTERS_MAX] + "…" * (len(text) > _SHOWN_CHARACTERS_MAX)


def checked_text(text: str, what: str) -> str:
    """Return a text that refers to something.

    Raises:
        InvalidArgumentError: it is no text.
    """
    if type(text) is str:
        return text
    if not isinstance(text, str):
        raise InvalidArgumentError(
            f"the {what} must be a str, not {shown(text)} of type {type(text).__name__}"
        )
    return str.__str__(text)


def check_key(key: str, what: str) -> None:
    """Check a key or a name that is about to be taken.

    Raises:
        InvalidArgumentError: it is empty, too long, or holds NUL or a lone surrogate.
    """
    if not key:
        raise InvalidArgumentError(f"the {what} is empty: give one")
    if "\0" in key:
        raise InvalidArgumentError(f"the {what} {shown(key)} holds a NUL character")
    size = len(key) if key.isascii() else _size_bytes(key, what)
    if size > KEY_BYTES_MAX:
        raise InvalidArgumentError(
            f"the {what} {shown(key)} takes {size} bytes: at most {KEY_BYTES_MAX} are allowed"
        )


def check_text(text: str, what: str) -> None:
    """Check a text that the log is to hold, whatever it says.

    Raises:
        InvalidArgumentError: it holds a lone surrogate.
    """
    _size_bytes(text, what)


def id_number(text: str) -> int:
    """Return the number of the id that a text is, 0 if it is none: ids have no zeros in front."""
    if len(text) < _ID_DIGITS_END and text.isascii() and text.isdecimal() and text[0] != "0":
        return int(text)
    return 0


def checked_id_number(snapshot_id: str) -> int:
    """Return the number of an id.

    Raises:
        InvalidArgumentError: it is none.
    """
    text = checked_text(snapshot_id, "id")
    if not (text.isascii() and text.isdecimal()) or text[0] == "0":
        raise InvalidArgumentError(f"{shown(text)} is no id: ids are whole numbers, as text")
    return int(text[:_ID_DIGITS_END])  # so many digits are beyond every id


def checked_mapping(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return labels as they were given, an empty mapping for None.

    Raises:
        InvalidArgumentError: they are no mapping.
    """
    if labels is None:
        return {}
    # Asking an abstract class takes longer than all the rest.
    if type(labels) is not dict and not isinstance(labels, Mapping):
        raise InvalidArgumentError(
            f"labels must be a mapping from str to str, not {shown(labels)} of type "
            f"{type(labels).__name__}"
        )
    return labels


def checked_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels without the empty values, which mean "remove".

    Raises:
        InvalidArgumentError: they are no mapping, a key or value is no text, a key is empty, or a
            pair is too long.
    """
    kept: dict[str, str] = {}
    given = labels if type(labels) is dict else checked_mapping(labels)
    for key, value in given.items():
        if (
            (type(key) is type(value) is str and key and value)
            and (key.isascii() and value.isascii())
            and len(key) + len(value) <= LABEL_PAIR_BYTES_MAX
        ):
            kept[key] = value  # almost every label, at half the cost of what follows
            continue
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidArgumentError(
                f"label {shown(key)}: {shown(value)}: keys and values of labels must be str"
            )
        size = _size_bytes(key, "label key") + _size_bytes(value, "label value")
        if size > LABEL_PAIR_BYTES_MAX:
            raise InvalidArgumentError(
                f"label {shown(key)} takes {size} bytes with its value: at most "
                f"{LABEL_PAIR_BYTES_MAX} are allowed"
            )
        if value and not key:
            raise InvalidArgumentError(f"a label with value {shown(value)} has an empty key")
        if value:
            kept[str.__str__(key)] = str.__str__(value)
    return kept


def checked_usage(usage: Usage) -> Usage:
    """Return a usage of plain ints.

    Raises:
        InvalidArgumentError: it is no `Usage`; or a part is no int, negative, or over 63 bits.
    """
    if type(usage) is Usage:
        # Almost always, in a quarter of the time that the rest takes.
        inodes, size = usage
        if type(inodes) is type(size) is int and 0 <= inodes <= _INT64_MAX >= size >= 0:
            return usage
    if not isinstance(usage, tuple) or len(usage) != len(Usage._fields):
        raise InvalidArgumentError(f"the usage must be Usage(inodes, size), not {shown(usage)}")
    for name, value in zip(Usage._fields, usage, strict=True):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT64_MAX:
            raise InvalidArgumentError(
                f"usage {name} must be a whole number from 0 to {_INT64_MAX}, not {shown(value)}"
            )
    return Usage(*map(int, usage))


def _size_bytes(text: str, what: str) -> int:
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"the {what} {shown(text)} holds a lone surrogate, which is not text"
        ) from None
