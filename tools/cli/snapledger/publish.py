"""`snapledger publish`: a store's tree as static files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from eventstore import ProofError
from eventstore.proofs import head_text, open_head
from snapledger import output
from snapledger.arguments import checked_path, json_option, key_option, store_argument
from snapledger.keys import read_key, read_text, require_outside_stores
from snapledger.reading import open_for_reading
from snapledger.text import printable
from snapledger.wording import counted

if TYPE_CHECKING:
    from eventstore import EventStore
    from eventstore.proofs import SigningKey, TreeHead

_CHECKPOINT = "checkpoint"
_CHECKPOINT_BYTES_MAX = 64 * 1024

_EXAMPLE = """\b
Example: for a web server, every hour:
  snapledger publish STORE /srv/www/node-7 --key node-7.key"""


@click.command("publish", epilog=_EXAMPLE)
@store_argument
@click.argument("directory", metavar="DIR", callback=checked_path)
@key_option
@json_option
def command(store: str, directory: str, key_file: str, as_json: bool) -> None:
    """Write the tree over STORE's batches to DIR, as static files for a web server.

    The files are those of c2sp.org/tlog-tiles: tiles of hashes, bundles of entries (the digests of
    batches, not what is in them), and the signed head as `checkpoint`. Called again, it adds what
    is new. It refuses a DIR whose head STORE does not continue.

    JSON: directory, size, published_before (the size that DIR had), files (how many were written).
    """
    key = read_key(key_file)
    require_outside_stores(directory)
    if os.path.lexists(directory) and not os.path.isdir(directory):
        raise click.ClickException(f"{directory}: no directory; give a new path, or that of one")
    os.makedirs(directory, exist_ok=True)
    with open_for_reading(store) as opened:
        old = _published(directory, key)
        written, size = _publish(opened.event_store, directory, key, old)
    before = 0 if old is None else old.size
    with output.told_after(f"{directory}: published"):
        if as_json:
            output.write_json(
                {
                    "directory": directory,
                    "size": size,
                    "published_before": before,
                    "files": written,
                }
            )
        else:
            output.write_line(
                f"{printable(directory)}: {counted(size, 'batch', 'batches')} published, "
                f"{size - before} of them new; {counted(written, 'file')} written"
            )


def _published(directory: str, key: SigningKey) -> TreeHead | None:
    """Return the head that is published already."""
    path = os.path.join(directory, _CHECKPOINT)
    if not os.path.lexists(path):
        return None
    try:
        return open_head(read_text(path, _CHECKPOINT_BYTES_MAX), key.verifier_key)
    except ProofError as error:
        raise ProofError(f"{path}: {error}; nothing was written") from error


def _publish(
    store: EventStore, directory: str, key: SigningKey, old: TreeHead | None
) -> tuple[int, int]:
    """Write what is new, and the head last, so that who has it finds what it needs."""
    if old is not None:
        store.consistency_proof(old)
    tree = store.published_tree()
    written = 0
    for path, content in tree.files(0 if old is None else old.size):
        _write(os.path.join(directory, path), content)
        written += 1
    head = tree.head
    if head != old:
        _write(os.path.join(directory, _CHECKPOINT), head_text(head, key))
        written += 1
    return written, head.size


def _write(path: str, content: bytes) -> None:
    """Put a file in place, whole and synced."""
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    temporary = path + ".tmp"
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
