"""Stores that hold a secret, and a look at everything that is in their files."""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import HookedFileSystem

from eventstore import EventStore, Retention, StoreOptions
from eventstore.checkpoints.rungs import RungLoader, list_rungs
from eventstore.files.local import local_file_system
from eventstore.testing import STORE_PATH, SimulatedFileSystem
from projections.snapshots import Kind, MetaStore, SnapshotsProjection

if TYPE_CHECKING:
    from pathlib import Path

    from eventstore import Receipt

SECRET = "Jane Q. Public"
SMALL = StoreOptions(segment_bytes=4096, background=False)
OWNER = ("data", "labels", "owner")
PROJECTIONS = [SnapshotsProjection()]


def fill(path: Path, retention: Retention | None = None) -> list[Receipt]:
    """Make a store with the secret in archive, log and active segment; return the receipts."""
    content, receipts = _filled(retention or Retention())
    for name, data in content.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.write_bytes(data)
    return list(receipts)


@functools.cache
def _filled(retention: Retention) -> tuple[dict[str, bytes], tuple[Receipt, ...]]:
    """Make it once, on a disk in memory."""
    disk, receipts = SimulatedFileSystem(), []
    options = replace(SMALL, retention=retention)
    with EventStore.open(STORE_PATH, PROJECTIONS, options=options, file_system=disk) as engine:
        store = MetaStore(engine)
        for number in range(60):
            actor = SECRET if number == 7 else "puller"
            with store.transaction(writable=True, actor=actor, reason=f"pull {number}") as tx:
                owner = SECRET if number % 20 == 5 else "nobody"
                labels = {"owner": owner, "note": "n" * 150}
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels=labels)
            assert tx.receipt is not None
            receipts.append(tx.receipt)
            if number in (15, 30, 45):
                store.compact()
    return _content(disk), tuple(receipts)


def _content(disk: SimulatedFileSystem) -> dict[str, bytes]:
    found = {}
    for name in disk.list_directory(STORE_PATH):
        path = f"{STORE_PATH}/{name}"
        inner = [""] if disk.is_file(path) else [f"/{each}" for each in disk.list_directory(path)]
        for each in inner:
            with contextlib.closing(disk.open(path + each)) as file:
                found[name + each] = file.read(0, file.size_bytes())
    return found


FIELDS: dict[int, list[tuple[str, ...]]] = {6: [OWNER], 26: [OWNER], 46: [OWNER], 8: [("actor",)]}


def cut_short(path: Path, fields: dict[int, list[tuple[str, ...]]] = FIELDS) -> None:
    """Leave an erasure as a kill does: committed, and nothing redacted yet."""

    def fail(call: str, name: str) -> None:
        if call == "create" and name.endswith((".log.tmp", ".gz.tmp")):
            raise OSError(errno.EIO, "no", name)

    files = HookedFileSystem()
    with MetaStore.open(path, options=SMALL, file_system=files) as store:
        files.hook = fail
        with pytest.raises(OSError, match="no"):
            store.erase(fields, actor="dpo", reason="")
        files.hook = lambda call, name: None
    assert (path / "ERASING").exists()


def everything(path: Path) -> bytes:
    """Return all bytes of a store, unpacked where they are packed."""
    found = []
    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            found.append(gzip.decompress(content) if file.name.endswith(".gz") else content)
            for start in re.finditer(b"\x78", content):  # of zlib's
                with contextlib.suppress(zlib.error):
                    found.append(zlib.decompressobj().decompress(content[start.start() :]))
    rungs = list_rungs(local_file_system(), str(path))
    loader = RungLoader(local_file_system(), rungs)
    for rung in rungs:
        found += [chunk.body for chunks in loader.state_by(rung).tables for chunk in chunks]
    return b"\n".join(found)
