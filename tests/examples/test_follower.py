"""The example follower prints what another process commits, as it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore

ROOT = Path(__file__).parent.parent.parent


def follower(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tools.examples.follower", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def create(store: MetaStore, key: str) -> None:
    with store.transaction(writable=True, actor="puller", reason="unpack") as transaction:
        transaction.create_snapshot(Kind.ACTIVE, key, labels={"filling": "x" * 2000})


def test_batches_are_printed_as_they_are_committed_until_it_is_interrupted(tmp_path: Path) -> None:
    options = StoreOptions(segment_bytes=64 * 1024, background=False)
    with MetaStore.open(tmp_path / "store", options=options) as store:
        create(store, "a")
        with follower(store.path, 1) as process:
            assert process.stdout is not None
            assert process.stdout.readline().endswith(" puller: unpack: snapshot.created\n")
            create(store, "b")
            assert process.stdout.readline().startswith("2 ")
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == ("", "")
            assert process.returncode == 0


def test_follower_begins_with_the_oldest_batch_that_is_kept(tmp_path: Path) -> None:
    options = StoreOptions(segment_bytes=8192, background=False, retention=Retention.none())
    with MetaStore.open(tmp_path / "store", options=options) as store:
        for number in range(20):
            create(store, f"key-{number}")
            if number % 5 == 0:
                store.compact()
        oldest = store.event_store.oldest_revision()
        assert oldest > 1
        newest = store.event_store.stats()["revision"]  # of creations, and of what was dropped
        with follower(store.path, 1, 0.1) as process:
            printed, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert printed.splitlines()[0].startswith(f"{oldest} ")
    assert len(printed.splitlines()) == newest - oldest + 1
