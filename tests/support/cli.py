"""What the tests of the command line share: stores to look at, and how the program is run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from eventstore import StoreOptions
from projections.snapshots import Kind, MetaStore, Usage

ROOT = Path(__file__).parent.parent.parent
DATABASE = ROOT / "tests/data/containerd/containerd-overlayfs-metadata.db"
OPTIONS = StoreOptions(segment_bytes=64 * 1024, background=False)
LAYER = "sha256:" + "ab" * 32
PROGRAM = (sys.executable, "-m", "snapledger")

HOLDER = """
import sys
from eventstore import StoreOptions
from projections.snapshots import Kind, MetaStore

options = StoreOptions(segment_bytes=64 * 1024, background=False)
with MetaStore.open(sys.argv[1], options=options) as store:
    print("open", flush=True)
    for line in sys.stdin:
        with store.transaction(writable=True, actor="holder") as transaction:
            transaction.create_snapshot(Kind.ACTIVE, line.strip())
        print("committed", flush=True)
"""
"""A process that holds a store, and creates a snapshot for each line that it reads."""


class Result(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Result]
Holder = subprocess.Popen[str]


def leave_intents(store: MetaStore) -> None:
    """Leave two intents open, a staged one and one that a crash has left."""
    with store.transaction(writable=True, actor="puller", request_id="req-9") as transaction:
        made = transaction.create_snapshot(Kind.ACTIVE, "extract-2")
        store.stage(transaction, "rename", "extract-2", {"from": "new-1\n"}, id=made.id)
    with store.intent("unpack", "layer", {"sum": bytes(range(32)), "to": None}, actor="runtime"):
        pass


def tell_story(path: Path) -> None:
    """Make a store whose five batches are the life of a layer and a view on it."""
    with MetaStore.open(path, options=OPTIONS) as store:
        with store.transaction(
            writable=True, actor="puller", reason="unpack web:1.4", request_id="req-7"
        ) as transaction:
            transaction.create_snapshot(Kind.ACTIVE, "extract-1", labels={"stage": "unpack"})
        with store.transaction(writable=True, actor="puller") as transaction:
            transaction.commit_active("extract-1", LAYER, Usage(12, 688128), {"stage": "done"})
        with store.transaction(writable=True, actor="operator") as transaction:
            transaction.update_info(LAYER, {"keep": "a b=c"})
        with store.transaction(writable=True) as transaction:
            transaction.create_snapshot(Kind.VIEW, "view-1", parent=LAYER)
        with store.transaction(writable=True) as transaction:
            transaction.remove("view-1")
