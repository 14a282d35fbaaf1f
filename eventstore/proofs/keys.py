"""Keys of signed notes: Ed25519, in the forms of c2sp.org/signed-note and Go's sumdb/note.

A verifier key is `NAME+KEYID+BASE64`, a signing key `PRIVATE+KEY+NAME+KEYID+BASE64`. The key id, 8
hexadecimal digits, is the start of SHA-256(name, newline, 0x01, public key); the base64 is of 0x01
and 32 bytes: the public key, or the seed (RFC 8032) that both halves are derived from.

The arithmetic is that of the package `cryptography`, which the extra `proofs` brings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from eventstore.errors import EventStoreError, ProofError
from eventstore.proofs.encoding import from_base64, to_base64

if TYPE_CHECKING:
    from types import ModuleType

KEY_ID_BYTES = 4
KEY_NAME_BYTES_MAX = 256

_ED25519 = b"\x01"
_ED25519_KEY_BYTES = 32
_SIGNING_PREFIX = "PRIVATE+KEY+"


def is_key_name(name: str) -> bool:
    """Say whether a name may be that of a key: not empty, no space, no plus, no control."""
    return (
        0 < len(name.encode("utf-8", "replace")) <= KEY_NAME_BYTES_MAX
        and not any(character.isspace() or character < " " for character in name)
        and "+" not in name
        and not any("\ud800" <= character <= "\udfff" for character in name)
    )


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key, by which anyone checks what was signed.

    Attributes:
        name: of the key; for a store's heads also the store's origin.
        public_key: 32 bytes.
    """

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """4 bytes that tell keys of one name apart; no more than that."""
        name = self.name.encode("utf-8")
        return sha256(name + b"\n" + _ED25519 + self.public_key).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{to_base64(_ED25519 + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Return the key that `str` of it gives.

        Raises:
            ProofError: the text is no verifier key, or one of another kind.
        """
        name, key_id, public_key = _parts(text, "verifier key")
        key = cls(name, public_key)
        if key.key_id.hex() != key_id:
            raise ProofError("the verifier key's id is not that of its name and key")
        return key

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Say whether a signature of 64 bytes is this key's of a message."""
        ed25519 = _ed25519()
        try:
            key = ed25519.Ed25519PublicKey.from_public_bytes(self.public_key)
            key.verify(signature, message)
        except (ValueError, _invalid_signature()):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half of a key. Its `str` is the secret itself; its `repr` is not.

    Attributes:
        name: of the key; for a store's heads also the store's origin.
        seed: 32 secret bytes.
    """

    name: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """Draw a new key.

        Raises:
            ValueError: the name can't be a key's.
        """
        if not is_key_name(name):
            raise ValueError(
                f"{name[:80]!r} can't name a key: it must be a text of up to "
                f"{KEY_NAME_BYTES_MAX} bytes without spaces and `+`, such as example.com/node-7"
            )
        key = _ed25519().Ed25519PrivateKey.generate()
        return cls(name, key.private_bytes_raw())

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half."""
        key = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifierKey(self.name, key.public_key().public_bytes_raw())

    def __str__(self) -> str:
        key_id = self.verifier_key.key_id.hex()
        return f"{_SIGNING_PREFIX}{self.name}+{key_id}+{to_base64(_ED25519 + self.seed)}"

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Return the key that `str` of it gives.

        Raises:
            ProofError: the text is no signing key, or one of another kind.
        """
        if not text.startswith(_SIGNING_PREFIX):
            raise ProofError(f"not a signing key: one begins with {_SIGNING_PREFIX}")
        name, key_id, seed = _parts(text.removeprefix(_SIGNING_PREFIX), "signing key")
        key = cls(name, seed)
        if key.verifier_key.key_id.hex() != key_id:
            raise ProofError("the signing key's id is not that of its name and key")
        return key

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message: 64 bytes."""
        signature: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)
        return signature


def _parts(text: str, what: str) -> tuple[str, str, bytes]:
    """Return name, key id and key of NAME+KEYID+BASE64. No message shows what may be secret."""
    parts = text.split("+", 2)
    if len(parts) != 3 or not is_key_name(parts[0]):
        raise ProofError(f"not a {what}: one is NAME+KEYID+BASE64")
    try:
        key = from_base64(parts[2], "the key")
    except ProofError:
        raise ProofError(f"the {what}'s last part is no base64") from None
    if key[:1] != _ED25519 or len(key) != 1 + _ED25519_KEY_BYTES:
        raise ProofError(f"the {what} is not one of Ed25519, the only kind that is known here")
    return parts[0], parts[1], key[1:]


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise EventStoreError(
            "signatures need the package `cryptography`, which is not installed: install "
            "snapledger with its extra `proofs`"
        ) from error
    return ed25519


def _invalid_signature() -> type[Exception]:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    return InvalidSignature
