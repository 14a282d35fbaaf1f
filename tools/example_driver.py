"""A small snapshot driver, as an example: it unpacks layers into directories beside its store.

It does what containerd does for an image: for each layer it prepares an active snapshot on top of
the layer before, fills the snapshot's directory, and commits it under the name of the chain so
far. Each step is one transaction that says who and why. The last layer ends it: in the middle of
the transaction that would commit it, the driver kills itself, as a power cut would.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path

from projections.snapshots import Kind, MetaStore, Usage

ACTOR = "example-driver"
LAYERS = (
    {"bin/sh": 120_000, "etc/os-release": 260},
    {"usr/lib/libweb.so": 400_000},
    {"srv/index.html": 4_000, "srv/style.css": 1_200},
)
LAST_LAYER = {"etc/web.conf": 900}


def chain_name(parent: str, layer: dict[str, int]) -> str:
    """Return the name of a layer on top of its parent: it binds all layers below."""
    return "sha256:" + hashlib.sha256(f"{parent} {sorted(layer.items())}".encode()).hexdigest()


def prepare(store: MetaStore, key: str, parent: str) -> str:
    """Make an active snapshot and return its id."""
    with store.transaction(writable=True, actor=ACTOR, reason=f"prepare {key}") as transaction:
        return transaction.create_snapshot(Kind.ACTIVE, key, parent).id


def unpack(directory: Path, layer: dict[str, int]) -> Usage:
    """Write a layer's files and return what they take on the disk."""
    for name, size_bytes in layer.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xa5" * size_bytes)
    statuses = [path.lstat() for path in directory.rglob("*")]
    return Usage(inodes=len(statuses), size=sum(512 * status.st_blocks for status in statuses))


def main(store_path: str, snapshots_path: str) -> None:
    """Unpack the layers, then be killed in the middle of the last one's transaction."""
    parent = ""
    with MetaStore.open(store_path) as store:
        for number, layer in enumerate((*LAYERS, LAST_LAYER), 1):
            name = chain_name(parent, layer)
            key = f"extract-{number}"
            usage = unpack(Path(snapshots_path, prepare(store, key, parent)), layer)
            reason = f"unpack layer {number} of web:1.4"
            with store.transaction(writable=True, actor=ACTOR, reason=reason) as transaction:
                transaction.commit_active(key, name, usage, labels={"image": "web:1.4"})
                if layer is LAST_LAYER:
                    print(f"layer {number}: in the middle of its transaction: SIGKILL", flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
            print(f"layer {number}: {name}", flush=True)
            print(f"         receipt {transaction.receipt}", flush=True)
            parent = name


if __name__ == "__main__":
    main(*sys.argv[1:])
