"""Native's copies: they end with the driver, and a full disk is one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from snapshotter.client import Client
from snapshotter.test_program import Program

from projections.snapshots import Kind, NotFoundError
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.service import code_of
from snapledger.snapshotter.serving import opened

if TYPE_CHECKING:
    from pathlib import Path

    from projections.snapshots import MetaStore
    from snapledger.snapshotter.metadata import Snapshotter


def put_first(place: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a `cp` of our own before that of the system."""
    (place / "bin").mkdir()
    (place / "bin/cp").write_text(f"#!/bin/sh\n{script}\n")
    (place / "bin/cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(is_so: bool, path: Path) -> None:
    deadline = time.monotonic() + 30
    while path.exists() is not is_so and time.monotonic() < deadline:
        time.sleep(0.02)


def ignore_its_end(client: Client) -> None:
    with pytest.raises(grpc.RpcError):
        client.prepare("b", "base")


def test_a_copy_ends_with_the_driver_that_is_killed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = place / "noted"
    put_first(place, f"echo $$ > {noted}.new; mv {noted}.new {noted}; exec sleep 60", monkeypatch)
    program = Program(place, "--strategy", "native")
    with Client(place / "s") as client:
        client.prepare("a")
        client.commit("a", "base")
        thread = threading.Thread(target=ignore_its_end, args=(client,))
        thread.start()
        wait_until(True, noted)
        program.end(signal.SIGKILL)
        thread.join()
    copying = int(noted.read_text())
    try:
        deadline = time.monotonic() + 10
        while is_alive(copying) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_alive(copying)
    finally:
        if is_alive(copying):
            os.kill(copying, signal.SIGKILL)
    with opened(str(place / "root"), "native", Options()) as (_, settled):
        assert len(settled.removed) == 1


def based(snapshotter: Snapshotter, root: Path, size: int) -> MetaStore:
    """Commit a layer with a file of a size, named `base`."""
    snapshotter.create(Kind.ACTIVE, "a", "", {})
    (root / "snapshots/1/file").write_bytes(b"x" * size)
    snapshotter.commit("a", "base", {})
    return snapshotter.store


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_copy_onto_a_full_disk_is_told_as_one(place: Path) -> None:
    root = place / "root"
    with opened(str(root), "native", Options()) as (snapshotter, _):
        based(snapshotter, root, 500_000)
        (place / "small").mkdir()
        small = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(place / "small")]
        subprocess.run(small, check=True)
        try:
            with pytest.raises(OSError, match="No space left on device") as caught:
                snapshotter._strategy.fill(str(place / "small"), Kind.ACTIVE, "1", {})
        finally:
            subprocess.run(["umount", place / "small"], check=True)
    assert code_of(caught.value) is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("cp: error writing '/x': No space left on device", errno.ENOSPC),
        ("cp: failed to close '/x': Disk quota exceeded\ncp: another", errno.EDQUOT),
        ("cp: cannot open '/x/No space left on device' for reading", None),
        ("cp: cannot open '/x: No space left on device': Permission denied", None),
    ],
)
def test_a_failed_copy_is_of_the_error_that_cp_says(
    place: Path, monkeypatch: pytest.MonkeyPatch, said: str, number: int | None
) -> None:
    root = place / "root"
    (place / "said").write_text(said)
    put_first(place, f"[ $LC_ALL = C ] && cat {place}/said >&2; exit 1", monkeypatch)
    with opened(str(root), "native", Options()) as (snapshotter, _):
        based(snapshotter, root, 1)
        with pytest.raises(OSError, match="cp: ") as caught:
            snapshotter.create(Kind.ACTIVE, "b", "base", {})
        assert caught.value.errno == number
        assert os.listdir(root / "snapshots") == ["1"]
        os.rename(root / "snapshots/1", place / "elsewhere")
        with pytest.raises(NotFoundError, match="has gone"):
            snapshotter.create(Kind.ACTIVE, "b", "base", {})
