"""What the texts of proofs are made of: numbers and base64, each value in one spelling only.

A spelling that a reader accepts beside the one that a writer makes is a text that was changed and
still passes. So base64 with other than zero bits behind its end, and numbers with leading zeros,
signs or digits of other scripts, are refused.
"""

from __future__ import annotations

import base64
import re

from eventstore.errors import ProofError
from eventstore.proofs.tree import HASH_BYTES, SIZE_MAX

TEXT_BYTES_MAX = 64 * 1024
"""No text of a proof is longer: 63 hashes and 16 signatures of 5 kB with room to spare."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


def to_base64(data: bytes) -> str:
    """Return bytes in standard base64 (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """Return what `to_base64` was given.

    Raises:
        ProofError: the text is not what that returns.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        data = None
    if data is None or to_base64(data) != text:
        raise ProofError(f"{what} is no base64: {text[:80]!r}")
    return data


def hash_from_base64(text: str, what: str) -> bytes:
    """Return a hash of 32 bytes.

    Raises:
        ProofError: the text is none.
    """
    data = from_base64(text, what)
    if len(data) != HASH_BYTES:
        raise ProofError(f"{what} has {len(data)} bytes, a hash has {HASH_BYTES}")
    return data


def number_from(text: str, what: str) -> int:
    """Return a whole number from 0 to 2^63 - 1, in decimal.

    Raises:
        ProofError: the text is none, or not the one spelling of its number.
    """
    if not _NUMBER.fullmatch(text) or int(text) > SIZE_MAX:
        raise ProofError(f"{what} is no number from 0 to 2^63 - 1: {text[:80]!r}")
    return int(text)


def decoded(text: bytes, what: str) -> str:
    """Return a text that is UTF-8 without control characters but newlines.

    Raises:
        ProofError: it is not, or it is longer than any text of a proof may be.
    """
    if len(text) > TEXT_BYTES_MAX:
        raise ProofError(f"{what} of {len(text)} bytes is longer than any")
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProofError(f"{what} is not UTF-8") from error
    if "\r" in characters:
        raise ProofError(
            f"{what} has carriage returns: its lines end in a newline alone, as they were signed"
        )
    if any(character < " " and character != "\n" for character in characters):
        raise ProofError(f"{what} holds control characters")
    return characters
