"""A lock that one thread releases in the instant in which another goes by its directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from eventstore.files import handles
from eventstore.files.interface import FileLock, GuardedPath
from eventstore.files.local import LocalFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eventstore.files.handles import LocalFileLock


@pytest.fixture
def lock(tmp_path: Path) -> LocalFileLock:
    (tmp_path / "store" / "wal").mkdir(parents=True)
    lock = LocalFileSystem().lock(str(tmp_path / "store" / "LOCK"), lambda: b"held")
    assert isinstance(lock, handles.LocalFileLock)
    return lock


@pytest.fixture
def others(tmp_path: Path) -> Iterator[list[int]]:
    """Descriptors of a directory of somebody else."""
    (tmp_path / "other").mkdir()
    opened: list[int] = []
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def released_before(
    call: Callable[..., Any], lock: FileLock, other: Path, opened: list[int]
) -> Callable[..., Any]:
    """Return a call before which the lock is released, and its numbers go to another directory."""
    open_now = os.open

    def released(*arguments: Any, **keywords: Any) -> Any:
        lock.release()
        opened.extend(open_now(other, os.O_RDONLY) for _ in range(8))
        return call(*arguments, **keywords)

    return released


def test_what_is_in_a_released_directory_is_not_looked_for_in_another_one(
    tmp_path: Path, lock: LocalFileLock, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = GuardedPath(str(tmp_path / "store" / "wal"), str(tmp_path / "store"), lock)
    with monkeypatch.context() as patch:
        opened = released_before(os.open, lock, tmp_path / "other", others)
        patch.setattr(os, "open", opened)
        assert LocalFileSystem().exists(path)
    with pytest.raises(OSError, match="released"):
        LocalFileSystem().exists(path)


def test_released_directory_is_not_taken_for_one_that_was_moved(
    tmp_path: Path, lock: LocalFileLock, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        looked = released_before(os.fstat, lock, tmp_path / "other", others)
        patch.setattr(os, "fstat", looked)
        assert not lock.has_left(str(tmp_path / "store"))


def test_released_lock_leaves_no_descriptor_open(tmp_path: Path, lock: LocalFileLock) -> None:
    before = len(os.listdir("/proc/self/fd"))
    lock.release()
    assert len(os.listdir("/proc/self/fd")) == before - 2
    taken = LocalFileSystem().lock(str(tmp_path / "store" / "LOCK"), lambda: b"held again")
    assert isinstance(taken, handles.LocalFileLock)
    taken.release()
