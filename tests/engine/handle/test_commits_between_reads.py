"""Whatever reads the log while others commit sees no damage in what is on its way.

After each read of the log another thread commits, so that any two reads that belong together have a
commit in between, and so has a read and the question what is durable.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from support.engine import ReadHookedFileSystem, add, balance, open_store
from support.ledger import Ledger, Totals

from eventstore import EventStore, StoreOptions, verify_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eventstore.files.interface import FileSystem

    Work = Callable[[EventStore, Path, FileSystem], None]

COMMITS_MAX = 60
BEFORE = 60
"""Batches that are there at first."""
OPTIONS = StoreOptions(background=False, segment_bytes=8 * 1024)


def verify(store: EventStore, path: Path, files: FileSystem) -> None:
    assert store.verify().is_sound
    assert store.verify(quick=True).is_sound


def verify_path(store: EventStore, path: Path, files: FileSystem) -> None:
    assert verify_store(store.path, [Ledger(), Totals()], file_system=files).is_sound


def batches(store: EventStore, path: Path, files: FileSystem) -> None:
    found = [batch.revision for batch in store.batches()]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= BEFORE
    backwards = [batch.revision for batch in store.batches(reverse=True)]
    assert backwards == list(range(len(backwards), 0, -1))


def past(store: EventStore, path: Path, files: FileSystem) -> None:
    for revision in (1, 20, BEFORE):
        assert store.at(revision).revision == revision
        assert store.replay(revision).revision == revision


def watch(store: EventStore, path: Path, files: FileSystem) -> None:
    found = [batch.revision for batch in islice(store.watch(1), BEFORE + 20)]
    assert found == list(range(1, BEFORE + 21))


def proofs(store: EventStore, path: Path, files: FileSystem) -> None:
    head = store.tree_head()
    store.inclusion_proof(BEFORE).check()
    store.consistency_proof(head).check(head)


def copies(store: EventStore, path: Path, files: FileSystem) -> None:
    assert len(list(store.dump())) > BEFORE
    assert store.backup(path / "backup").revision >= BEFORE


def maintain(store: EventStore, path: Path, files: FileSystem) -> None:
    store.checkpoint()
    store.compact()


READING = [verify, verify_path, batches, past, watch, proofs, copies]


class Commits:
    """Commits one batch after each read of the log by the thread that made this."""

    def __init__(self) -> None:
        self.count = 0
        self.store: EventStore | None = None
        self._reader = threading.get_ident()

    def __call__(self, call: str, path: str) -> None:
        is_of_log = call == "read" and path.endswith((".log", "durable"))
        if not is_of_log or threading.get_ident() != self._reader or self.store is None:
            return
        if self.count < COMMITS_MAX:
            self.count += 1
            thread = threading.Thread(target=add, args=(self.store,))
            thread.start()
            thread.join(0.5)  # it may have to wait for who reads


@pytest.mark.parametrize("work", [*READING, maintain])
def test_a_commit_between_any_two_reads_of_its_own_handle_is_no_damage(
    work: Work, tmp_path: Path
) -> None:
    commits = Commits()
    files = ReadHookedFileSystem(commits)
    with open_store(tmp_path / "store", options=OPTIONS, file_system=files) as store:
        add(store, BEFORE // 2)
        store.compact()
        add(store, BEFORE // 2)
        commits.store = store
        work(store, tmp_path, files)
        assert commits.count > 0
        commits.store = None
        assert balance(store) == BEFORE + commits.count
        assert store.verify().is_sound


@pytest.mark.parametrize("work", READING)
def test_a_commit_between_any_two_reads_of_a_follower_is_no_damage(
    work: Work, tmp_path: Path
) -> None:
    commits = Commits()
    files = ReadHookedFileSystem(commits)
    with open_store(tmp_path / "store", options=OPTIONS) as store:
        add(store, BEFORE // 2)
        store.compact()
        add(store, BEFORE // 2)
        commits.store = store
        with open_store(tmp_path / "store", read_only=True, file_system=files) as follower:
            assert commits.count > 0  # while it was opened
            commits.count = 0
            work(follower, tmp_path, files)
        commits.store = None
        assert store.verify().is_sound
