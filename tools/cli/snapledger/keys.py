"""Files of keys: where a private key is written, and how it is read again."""

from __future__ import annotations

import os
import sys

import click

from eventstore import ProofError
from eventstore.proofs import SigningKey, VerifierKey

_KEY_BYTES_MAX = 4096
_LOCK = "LOCK"
_STDIN = "-"
_IN_STORES = ("wal", "durable", "MAKING")


def write_key(path: str, key: SigningKey) -> None:
    """Write a new private key where nothing is yet, for its owner's eyes only, durably."""
    require_outside_stores(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError as error:
        raise click.ClickException(
            f"{path}: something is there already, and a key is never written over; nothing was done"
        ) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(f"{key}\n")
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(path)  # a key that is half written would refuse the next one
        raise
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_key(path: str) -> SigningKey:
    """Return the private key in a file.

    Raises:
        click.ClickException: there is none in it.
    """
    try:
        text = read_text(path, _KEY_BYTES_MAX)
        return SigningKey.parse(text.decode("utf-8", "replace").removesuffix("\n"))
    except FileNotFoundError:
        raise click.ClickException(
            f"{path}: there is no key; `snapledger key new` makes one"
        ) from None
    except ProofError as error:
        raise click.ClickException(f"{path}: {error}; `snapledger key new` makes one") from None


def verifier_key(context: click.Context, parameter: click.Parameter, text: str) -> VerifierKey:
    """Return the verifier key that an option names."""
    try:
        return VerifierKey.parse(text)
    except ProofError as error:
        message = f"{error}, as `snapledger key new` has printed it, and `key show` does"
        raise click.BadParameter(message, ctx=context, param=parameter) from error


def read_text(path: str, bytes_max: int) -> bytes:
    """Return the content of a file that is no longer than any of its kind; "-" is stdin."""
    with sys.stdin.buffer if path == _STDIN else open(path, "rb") as file:
        text = file.read(bytes_max + 1)
    if len(text) > bytes_max:
        raise ProofError(f"{path}: longer than any text that is expected here")
    return text


def require_outside_stores(path: str) -> None:
    """Refuse a path in a store: only the store's own files are there, and backups take them."""
    directory = os.path.realpath(os.path.abspath(path))
    while True:
        names = [name for name in (_LOCK, *_IN_STORES) if _is_in(directory, name)]
        if _LOCK in names and len(names) > 1:
            raise click.ClickException(
                f"{path}: in the store {directory}, where only its own files may be; nothing was "
                "done"
            )
        above = os.path.dirname(directory)
        if above == directory:
            return
        directory = above


def _is_in(directory: str, name: str) -> bool:
    return os.path.lexists(os.path.join(directory, name))
