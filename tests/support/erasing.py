"""Stores that hold a secret, and a look at everything that is in their files."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore, SnapshotsProjection

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "Jane Q. Public"
SMALL = StoreOptions(segment_bytes=4096, background=False)
OWNER = ("data", "labels", "owner")
PROJECTIONS = [SnapshotsProjection()]


def fill(path: Path, retention: Retention | None = None) -> list[Any]:
    """Make a store with the secret in archive, log and active segment; return the receipts."""
    receipts = []
    options = SMALL
    if retention is not None:
        options = StoreOptions(segment_bytes=4096, background=False, retention=retention)
    with MetaStore.open(path, options=options) as store:
        for number in range(60):
            actor = SECRET if number == 7 else "puller"
            with store.transaction(writable=True, actor=actor, reason=f"pull {number}") as tx:
                owner = SECRET if number % 20 == 5 else "nobody"
                labels = {"owner": owner, "note": "n" * 150}
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels=labels)
            receipts.append(tx.receipt)
            if number in (15, 30, 45):
                store.compact()
    return receipts


FIELDS: dict[int, list[tuple[str, ...]]] = {6: [OWNER], 26: [OWNER], 46: [OWNER], 8: [("actor",)]}


def everything(path: Path) -> bytes:
    """Return all bytes of a store, unpacked where they are packed."""
    found = []
    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            found.append(gzip.decompress(content) if file.name.endswith(".gz") else content)
            for place in range(len(content)):
                if content[place : place + 1] == b"\x78":
                    unpacker = zlib.decompressobj()
                    try:
                        found.append(unpacker.decompress(content[place:]))
                    except zlib.error:
                        continue
    return b"\n".join(found)
