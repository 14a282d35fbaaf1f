"""A really full file system: creates are refused, and everything that helps still works.

Each round fills the file system to the last block, from another file, at a random moment; then
snapshots are created until that is refused, removed, read, compacted, in random order; the store
is sometimes reopened meanwhile; at last the space is given back.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from kernel.mounts import loop_image, memory_file_system
from support.engine import run_python

from eventstore import Retention, StorageFullError, StoreOptions, Verdict
from projections.snapshots import Kind, MetaStore, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MIB = 1024 * 1024
_ATTEMPTS = 10_000
_REMOVALS = 12
_FAULTS = ("acknowledged_lost", "phantom", "wrong_verdict")
# The log grows faster than the state, since a segment's space is what is prepared for a checkpoint.
_REASON = "because " * 200
_OPTIONS = StoreOptions(
    segment_bytes=256 * 1024, background=False, retention=Retention(revisions=500)
)


_WRITE_DURABLE_WITHOUT_SPACE = """
import contextlib, os, subprocess, sys
from pathlib import Path
from support.engine import add, balance, open_store
directory = Path(sys.argv[1])
with open_store(directory / "store") as store:
    with open_store(directory / "store", read_only=True) as follower:
        add(store, 3)
        os.sync()
        # From now on the two files share their block, and the next write needs a new one.
        copy = ["cp", "--reflink=always", str(directory / "store" / "durable"), str(directory)]
        subprocess.run(copy, check=True)
        with open(directory / "filler", "ab", buffering=0) as filler:
            for size_bytes in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while filler.write(bytes(size_bytes)):
                        pass
                os.sync()
        add(store, 1)
        print(balance(store), balance(follower))
        os.unlink(directory / "filler")
        os.sync()
        add(store, 1)
        print(balance(store), balance(follower))
"""


def test_a_durable_file_without_space_of_its_own_ends_neither_process_nor_commits(
    tmp_path: Path,
) -> None:
    with loop_image(tmp_path, "xfs") as image:
        process = run_python(_WRITE_DURABLE_WITHOUT_SPACE, image.mount_point)
        output, complaints = process.communicate()
        assert process.returncode == 0, complaints
        assert output == "4 3\n5 5\n"


class _FullDisk:
    """A store that is written in rounds, with what must be in it."""

    def __init__(self, mount_point: Path, choice: random.Random) -> None:
        self._path = mount_point / "store"
        self._filler = mount_point / "filler"
        self._random = choice
        self._store = MetaStore.open(self._path, options=_OPTIONS)
        self._names: dict[str, str] = {}
        self._made = 0
        self.counts = dict.fromkeys(
            ("rounds", "creates_refused", "removals", "compactions", "reopened", *_FAULTS), 0
        )
        # Two checkpoints are always kept: only from the third on does one replace another.
        for _ in range(2):
            self._create()
            self._store.compact()

    def run_round(self) -> None:
        while len(self._names) > 100:
            self._remove_some()
        for _ in range(self._random.randrange(50, 200)):
            self._create()
        # Full is what the disk gets while space is prepared; it is prepared in the background.
        while not self._store.stats()["spare_ready"]:
            self._create()
        self._fill()
        self._create_until_refused()
        acts = [self._remove_some, self._compact, self._read, self._reopen]
        for act in self._random.choices(acts, weights=(4, 2, 2, 1), k=6):
            act()
        self._remove_some()
        self._read()
        self._filler.unlink()
        for _ in range(20):
            self._create()
        self._store.compact()
        self._read()
        assert self._store.verify().is_sound
        self.counts["rounds"] += 1

    def close(self) -> None:
        self._store.close()

    def _create(self) -> None:
        self._made += 1
        name, label = f"layer-{self._made}", f"{self._made}" * self._random.randrange(1, 30)
        with self._store.transaction(writable=True, reason=_REASON) as transaction:
            transaction.create_snapshot(Kind.ACTIVE, f"{name}-making")
            transaction.commit_active(f"{name}-making", name, Usage(1, 1), {"label": label})
        self._names[name] = label

    def _create_until_refused(self) -> None:
        for _ in range(_ATTEMPTS):
            try:
                self._create()
            except StorageFullError:
                self.counts["creates_refused"] += 1
                return
        raise AssertionError("a full disk takes everything")

    def _remove_some(self) -> None:
        for name in self._random.sample(sorted(self._names), min(_REMOVALS, len(self._names))):
            with self._store.transaction(writable=True) as transaction:
                transaction.remove(name)
            del self._names[name]
            self.counts["removals"] += 1

    def _compact(self) -> None:
        self._store.compact()
        self.counts["compactions"] += 1

    def _read(self) -> None:
        with self._store.transaction() as transaction:
            found = {info.name: info.labels["label"] for info in transaction.walk_info()}
        self.counts["acknowledged_lost"] += len(self._names.items() - found.items())
        self.counts["phantom"] += len(found.items() - self._names.items())
        assert found == self._names
        self._store.check()

    def _reopen(self) -> None:
        self._store.close()
        self._store = MetaStore.open(self._path, options=_OPTIONS)
        self.counts["reopened"] += 1
        verdict = self._store.recovery.verdict
        self.counts["wrong_verdict"] += verdict is not Verdict.CLEAN
        assert verdict is Verdict.CLEAN

    def _fill(self) -> None:
        """Leave not a byte."""
        with self._filler.open("ab", buffering=0) as file:
            for size_bytes in (_MIB, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size_bytes)):
                        pass


@contextlib.contextmanager
def _small_file_system(kind: str, directory: Path) -> Iterator[Path]:
    if kind == "tmpfs":
        with memory_file_system(directory, 6 * _MIB) as mount_point:
            yield mount_point
    else:
        with loop_image(directory, kind, 8 * _MIB) as image:
            yield image.mount_point


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk_refuses_creates_and_lets_go_on_all_else(
    kind: str, tmp_path: Path, deep: bool, kernel_seed: int, record_proof: Callable[..., None]
) -> None:
    with _small_file_system(kind, tmp_path) as mount_point:
        disk = _FullDisk(mount_point, random.Random(kernel_seed))
        try:
            for _ in range(100 if deep else 4):
                disk.run_round()
        finally:
            disk.close()
    record_proof(f"full disk {kind}", **disk.counts)
