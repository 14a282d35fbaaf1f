"""Sectors that can't be read, and things that are no files: found, named, and worked around."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest
from support.engine import (
    SMALL,
    add,
    balance,
    checkpoints,
    flip,
    open_store,
    records,
    segments,
    tree,
)
from support.ledger import Ledger, Totals

from eventstore import repair_store, verify_store
from eventstore.files.handles import LocalFile
from eventstore.files.local import LocalFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from eventstore.files.interface import File

LEDGER = [Ledger(), Totals()]
BLOCK_BYTES = 4096


class BadFile(LocalFile):
    """A file with one block that can't be read."""

    __slots__ = ("bad_offset",)

    bad_offset: int

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        end = min(offset_bytes + size_bytes, self.size_bytes())
        if offset_bytes < self.bad_offset + BLOCK_BYTES and self.bad_offset < end:
            raise OSError(errno.EIO, "Input/output error", self.path)
        return super().read(offset_bytes, size_bytes)


class BadMedium(LocalFileSystem):
    """The real file system, with one bad block in one file."""

    def __init__(self, path: Path, offset: int) -> None:
        self._place = str(path), offset

    def open(self, path: str, *, writable: bool = False) -> File:
        path_of_bad, offset = self._place
        if path != path_of_bad:
            return super().open(path, writable=writable)
        flags = os.O_RDWR if writable else os.O_RDONLY
        file = BadFile(path, os.open(path, flags | os.O_CLOEXEC))
        file.bad_offset = offset
        return file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of 60 batches in segments of two blocks, with checkpoints at 20 and 40."""
    path = tmp_path / "store"
    options = SMALL.__class__(segment_bytes=2 * BLOCK_BYTES, background=False)
    with open_store(path, options=options) as store:
        for _ in range(2):
            add(store, 20, "n" * 300)
            store.checkpoint()
        add(store, 20, "n" * 300)
    return path


def test_an_open_falls_back_from_a_checkpoint_that_can_not_be_read(path: Path) -> None:
    newest = checkpoints(path)[-1]
    with open_store(path, file_system=BadMedium(newest, 0)) as store:
        assert store.recovery.checkpoint_revision == 20
        assert store.recovery.damaged_checkpoints == (str(newest),)
        assert balance(store) == 60


def test_a_verification_names_what_can_not_be_read(path: Path) -> None:
    for file in (*checkpoints(path), *segments(path)):
        report = verify_store(path, LEDGER, file_system=BadMedium(file, 0))
        assert [
            problem.path for problem in report.problems if "can't be read" in problem.reason
        ] == [str(file)]


def _revision_without(file: Path, offset: int) -> int:
    """Return what can be reached without a block: a checkpoint holds the state at 40."""
    if file.suffix == ".ckpt":
        return 60
    broken = [
        record.revision
        for record in records(file)
        if record.offset_bytes < offset + BLOCK_BYTES and record.end_bytes > offset
    ]
    return min((revision - 1 for revision in broken if revision > 40), default=60)


def test_a_repair_loses_no_more_than_what_can_not_be_read(path: Path, tmp_path: Path) -> None:
    before = tree(path)
    for number, file in enumerate((*checkpoints(path), *segments(path))):
        size = file.stat().st_size
        for offset in range(0, size, BLOCK_BYTES):
            output = tmp_path / f"new-{number}-{offset}"
            report = repair_store(path, output, LEDGER, file_system=BadMedium(file, offset))
            assert any(
                (found.path, found.offset_bytes) == (str(file), offset)
                and "can't be read" in found.reason
                for found in report.damage
            )
            assert report.revision == _revision_without(file, offset)
            with open_store(output) as store:
                assert balance(store) == report.revision
                assert store.verify().is_sound
    assert tree(path) == before


def test_a_repair_does_without_the_durable_file(path: Path, tmp_path: Path) -> None:
    medium = BadMedium(path / "durable", 0)
    report = repair_store(path, tmp_path / "new", LEDGER, file_system=medium)
    assert report.is_complete
    assert [found.path for found in report.damage] == [str(path / "durable")]
    assert not verify_store(path, LEDGER, file_system=medium).is_sound


def test_lost_batches_are_named_although_something_else_is_damaged(path: Path) -> None:
    flip(checkpoints(path)[0], 200)
    segments(path)[-1].unlink()
    for quick in (False, True):
        problems = verify_store(path, LEDGER, quick=quick).problems
        assert problems[0].path == str(checkpoints(path)[0])
        assert any("60 had been acknowledged" in problem.reason for problem in problems)


@pytest.mark.parametrize("kind", ["pipe", "directory", "socket"])
def test_what_is_no_file_is_damage_and_nothing_waits_for_it(
    path: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_in_place_of(file: Path) -> None:
        file.unlink()
        if kind == "pipe":
            os.mkfifo(file)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                monkeypatch.chdir(file.parent)  # the name of a socket must be short
                listening.bind(file.name)
        else:
            file.mkdir()

    first = segments(path)[0]
    held = records(first)
    put_in_place_of(first)
    for quick in (False, True):
        report = verify_store(path, LEDGER, quick=quick)
        assert [problem.path for problem in report.problems] == [str(first)]
    repaired = repair_store(path, tmp_path / "new", LEDGER)
    assert repaired.revision == 60
    assert repaired.lost[0].last == held[-1].revision
    assert repaired.lost[0].is_in_state
    if kind == "pipe":
        put_in_place_of(path / "durable")
        assert not verify_store(path, LEDGER, quick=True).is_sound
