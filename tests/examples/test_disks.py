"""The drivers of qcow2 files and of reflinked data sets, on the real things, and killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from projections.snapshots import FailedPreconditionError
from tools.examples.qcow2 import open_disks
from tools.examples.reflink import open_data_sets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="needs qemu-img: apt install qemu-utils"
)

# Ends the process, as SIGKILL does, at the N-th of these calls.
_DYING = """
import os, sys
from pathlib import Path
sys.path[:0] = {path!r}
left = [{count}]
def dying(function):
    def call(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **options)
    return call
for name in ("mkdir", "rename", "unlink", "fsync", "fdatasync", "chmod"):
    setattr(os, name, dying(getattr(os, name)))
"""
_DISKS = """
from tools.examples.qcow2 import open_disks
with open_disks(Path({root!r})) as disks:
    disks.prepare("a", size_bytes=1 << 20)
    disks.commit("a", "base")
    disks.prepare("b", "base")
    disks.remove("b")
"""
_DATA_SETS = """
from tools.examples.reflink import open_data_sets
with open_data_sets(Path({root!r})) as sets:
    (sets.prepare("a") / "file").write_text("1")
    sets.commit("a", "base")
    sets.prepare("b", "base")
    sets.remove("b")
"""


def killed(program: str, root: Path, count: int) -> bool:
    """Run a program that dies at a step; return whether it got there."""
    text = _DYING.format(path=sys.path, count=count) + program.format(root=str(root))
    done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True, text=True)
    assert done.returncode in {0, -9}, done.stderr
    return done.returncode == -9


@pytest.fixture
def reflinking(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system that shares blocks: an xfs in a file, mounted."""
    if os.geteuid() != 0 or shutil.which("mkfs.xfs") is None:
        pytest.skip("needs root, and mkfs.xfs: apt install xfsprogs")
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, mounted], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"an xfs can't be mounted: {done.stderr.decode().strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


@needs_qemu
def test_disks_are_chains_of_backing_files(tmp_path: Path) -> None:
    with open_disks(tmp_path) as disks:
        base = disks.prepare("a", size_bytes=1 << 20)
        write: list[str | Path] = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 4096", base]
        subprocess.run(write, check=True, capture_output=True)
        disks.commit("a", "base")
        top = disks.prepare("b", "base")
        read: list[str | Path] = ["qemu-io", "-f", "qcow2", "-c", "read -P 7 0 4096", top]
        done = subprocess.run(read, check=True, capture_output=True, text=True)
        assert "Pattern verification failed" not in done.stdout
        with pytest.raises(FailedPreconditionError):
            disks.remove("base")
        disks.remove("b")
        assert not top.exists()
        [entry, *_] = disks.store.history("base")
        assert entry.metadata.actor == "qcow2-example"


@needs_qemu
def test_disks_killed_at_any_step_agree_with_their_metadata(tmp_path: Path, deep: bool) -> None:
    step = 1 if deep else 13
    count = 0
    while killed(_DISKS, tmp_path / str(count), count):
        with open_disks(tmp_path / str(count)) as disks:
            with disks.store.transaction() as now:
                ids = set(now.id_map())
            assert {path.stem for path in disks.directory.iterdir()} == ids
            assert disks.store.intents() == ()
        count += step
    assert count > 0


def test_data_sets_share_blocks_and_are_apart(reflinking: Path) -> None:
    with open_data_sets(reflinking) as sets:
        first = sets.prepare("a")
        (first / "file").write_bytes(b"x" * (4 << 20))
        sets.commit("a", "base")
        before = os.statvfs(reflinking).f_bfree
        second = sets.prepare("b", "base")
        taken = (before - os.statvfs(reflinking).f_bfree) * os.statvfs(reflinking).f_frsize
        assert taken < 1 << 20
        (second / "file").write_bytes(b"y")
        assert (first / "file").read_bytes() == b"x" * (4 << 20)
        sets.remove("b")
        assert {path.name for path in sets.directory.iterdir()} == {"1"}


def test_data_sets_killed_at_any_step_agree_with_their_metadata(
    reflinking: Path, deep: bool
) -> None:
    step = 1 if deep else 13
    count = 0
    while killed(_DATA_SETS, reflinking / "root", count):
        with open_data_sets(reflinking / "root") as sets:
            with sets.store.transaction() as now:
                ids = set(now.id_map())
            assert {path.name for path in sets.directory.iterdir()} == ids
        shutil.rmtree(reflinking / "root")
        count += step
    assert count > 0
