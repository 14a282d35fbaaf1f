"""Signed notes: a text and signatures under it (c2sp.org/signed-note).

A note is the text, an empty line, and for each signature a line: an em dash, the key's name, and
base64 of the key id and the signature. Signatures of keys that the reader does not know are passed
over; one of a key that it knows and that does not hold refuses the note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.errors import ProofError
from eventstore.proofs.encoding import decoded, from_base64, to_base64
from eventstore.proofs.keys import KEY_ID_BYTES, is_key_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventstore.proofs.keys import SigningKey, VerifierKey

SIGNATURES_MAX = 100

_SIGNATURE_START = "\N{EM DASH} "


def sign_note(text: str, *keys: SigningKey) -> bytes:
    """Return a text with a signature of each key under it.

    Args:
        text: ends in a newline, and holds no control character but newlines.
        keys: at least one.

    Raises:
        ValueError: the text can't be that of a note, or there is no key.
    """
    message = text.encode("utf-8")
    if not text.endswith("\n") or any(each < " " and each != "\n" for each in text):
        raise ValueError("a note's text ends in a newline and holds no other control character")
    if not keys:
        raise ValueError("a note is signed by at least one key")
    lines = [_signature_line(key, message) for key in keys]
    return (text + "\n" + "".join(lines)).encode("utf-8")


def open_note(note: bytes, known: Iterable[VerifierKey]) -> str:
    """Return the text of a note that a known key has signed.

    Raises:
        ProofError: it is no note, no known key has signed it, or a signature does not hold.
    """
    characters = decoded(note, "the note")
    body, separator, signatures = characters.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise ProofError("not a signed note: it has no signatures behind an empty line")
    text = body + "\n"
    message = text.encode("utf-8")
    keys = {(key.name, key.key_id): key for key in known}
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise ProofError(f"the note has more than {SIGNATURES_MAX} signatures")
    is_signed = False
    for name, key_id, signature in map(_parsed_signature, lines):
        key = keys.get((name, key_id))
        if key is None:
            continue
        if not key.holds(signature, message):
            raise ProofError(f"the signature of {name} does not hold: the text was changed")
        is_signed = True
    if not is_signed:
        names = ", ".join(sorted({key.name for key in keys.values()})) or "any known key"
        raise ProofError(f"the note is not signed by the key of {names}")
    return text


def _signature_line(key: SigningKey, message: bytes) -> str:
    signature = key.verifier_key.key_id + key.sign(message)
    return f"{_SIGNATURE_START}{key.name} {to_base64(signature)}\n"


def _parsed_signature(line: str) -> tuple[str, bytes, bytes]:
    """Return key name, key id and signature."""
    name, _, encoded = line.removeprefix(_SIGNATURE_START).partition(" ")
    if not line.startswith(_SIGNATURE_START) or not is_key_name(name):
        raise ProofError(f"not a signature line: {line[:80]!r}")
    data = from_base64(encoded, "a signature")
    if len(data) <= KEY_ID_BYTES:
        raise ProofError("a signature is too short")
    return name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:]
