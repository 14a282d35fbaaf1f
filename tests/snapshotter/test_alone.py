"""No containerd goes on with a database that is taken from it, whenever it opens that.

bbolt opens its file, and then waits for the lock: so it does here, in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from snapshotter.metadata_db import containerds_metadata
from support.syscalls import watched

from projections.snapshots import FailedPreconditionError
from projections.snapshots.boltwriter import bolt_file
from snapledger.snapshotter.renaming import rename_snapshotter
from snapledger.snapshotter.takeover import take_over

if TYPE_CHECKING:
    from collections.abc import Callable

DATABASE = Path(__file__).parent.parent / "data/containerd/containerd-overlayfs-metadata.db"


@pytest.fixture
def place(memory_place: Path) -> Path:
    """A directory in memory."""
    return memory_place


def taking_over(place: Path) -> tuple[Path, Callable[[], object]]:
    root = place / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "snapshots").mkdir(parents=True)
    shutil.copy(DATABASE, root / "metadata.db")
    return root / "metadata.db", lambda: take_over(str(root))


def renaming(place: Path) -> tuple[Path, Callable[[], object]]:
    database = place / "bolt/meta.db"
    shutil.rmtree(database.parent, ignore_errors=True)
    database.parent.mkdir()
    database.write_bytes(bolt_file(containerds_metadata(b"overlayfs")))
    return database, lambda: rename_snapshotter(str(database), "overlayfs", "ledger")


COMMANDS = pytest.mark.parametrize("prepare", [taking_over, renaming])


class Opener:
    """Opens a file in a thread before a call of a number, and goes on once it has, or waits."""

    def __init__(self, path: Path, at: int) -> None:
        self.inode: int | None = None
        self.name = ""
        self.has_come = False
        self._path = path
        self._at = at
        self._file: Any = None
        self._thread = threading.Thread(target=self._open)

    def __call__(self, number: int) -> None:
        if number == self._at:
            self.has_come = True
            waiting = f":{self._path.stat().st_ino} " if self._path.exists() else "none"
            self._thread.start()
            while self._thread.is_alive() and not is_waited_for(waiting):
                time.sleep(0.001)

    def _open(self) -> None:
        try:
            self._file = self._path.open("r+b")
        except FileNotFoundError:
            return
        self.inode = os.fstat(self._file.fileno()).st_ino
        self.name = os.readlink(f"/proc/self/fd/{self._file.fileno()}")

    def wait(self) -> None:
        """Return once it has come to an end."""
        if self.has_come:
            self._thread.join()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def is_waited_for(inode: str) -> bool:
    """Return whether somebody waits for a lease on a file."""
    locks = Path("/proc/locks").read_text().splitlines()
    return any("BREAKING" in line and inode in line for line in locks)


@pytest.fixture
def leases(place: Path) -> None:
    """The file system gives leases."""
    with (place / "leased").open("wb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            pytest.skip(f"no leases on the file system of {place}: {error.strerror}")


@pytest.mark.usefixtures("leases")
@COMMANDS
def test_whoever_opens_it_at_any_moment_has_what_is_there_afterwards(
    prepare: Callable[[Path], tuple[Path, Callable[[], object]]], place: Path, deep: bool
) -> None:
    at, refused, done, goes_on = 1, 0, 0, True
    while goes_on:
        database, command = prepare(place)
        before, content = database.stat().st_ino, database.read_bytes()
        opener = Opener(database, at)
        try:
            with watched(opener):
                command()
            opener.wait()
            done += 1
            assert opener.inode != before
        except FailedPreconditionError:
            opener.wait()
            refused += 1
            assert opener.inode == before == database.stat().st_ino
            assert database.read_bytes() == content
        opener.close()
        if opener.inode == before:
            command()
        goes_on = opener.has_come
        at += 1 if deep or prepare is renaming else 3
    assert refused > 3
    assert done > 0


@pytest.mark.usefixtures("leases")
@pytest.mark.parametrize(("prepare", "at"), [(taking_over, 20), (renaming, 4)])
def test_a_file_that_somebody_waits_for_is_not_even_moved_and_nothing_is_left_beside_it(
    prepare: Callable[[Path], tuple[Path, Callable[[], object]]], at: int, place: Path
) -> None:
    database, command = prepare(place)
    opener = Opener(database, at)
    with watched(opener), pytest.raises(FailedPreconditionError, match="meanwhile"):
        command()
    opener.wait()
    assert opener.name == str(database)
    opener.close()
    assert not {"metadata", "metadata.db.snapledger-old"} & {*os.listdir(database.parent)}


@pytest.mark.usefixtures("leases")
@COMMANDS
def test_a_file_that_somebody_has_open_without_its_lock_is_left_alone(
    prepare: Callable[[Path], tuple[Path, Callable[[], object]]], place: Path
) -> None:
    database, command = prepare(place)
    before = {*os.listdir(database.parent)}
    with database.open("rb"), pytest.raises(FailedPreconditionError, match="stop containerd"):
        command()
    assert {*os.listdir(database.parent)} - {"snapshotter.lock"} == before
    command()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES])
@COMMANDS
def test_without_leases_it_goes_on_and_says_what_it_can_not_tell(
    prepare: Callable[[Path], tuple[Path, Callable[[], object]]],
    number: int,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = fcntl.fcntl

    def without(file: Any, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(number, os.strerror(number))
        return real(file, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", without)
    database, command = prepare(place)
    content = database.read_bytes()
    with database.open("r+b") as containerds, caplog.at_level(logging.WARNING):
        command()
        containerds.write(b"written by a containerd that has waited")
    assert "be sure that it is stopped" in caplog.text
    [kept] = database.parent.glob(f"{database.name}.*")
    assert kept.read_bytes() == content


@COMMANDS
def test_a_copy_is_kept_under_a_name_that_nothing_else_has(
    prepare: Callable[[Path], tuple[Path, Callable[[], object]]], place: Path
) -> None:
    database, command = prepare(place)
    command()
    [kept] = database.parent.glob(f"{database.name}.*")
    content = kept.read_bytes()
    database, command = prepare(place)
    kept.write_bytes(b"something else")
    command()
    assert kept.read_bytes() == b"something else"
    assert Path(f"{kept}-2").read_bytes() == content
