"""The tree of a writer grows by what that has appended, and is the tree of the log."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, open_store
from support.proofs import WholeTree, digests_of

from eventstore import CorruptionError
from eventstore.files.local import local_file_system
from eventstore.log import digests
from eventstore.log.digests import AppendedDigests
from eventstore.proofs.store_tree import StoreTree, WriterSource

if TYPE_CHECKING:
    from pathlib import Path

ALL = digests_of(100)


@pytest.fixture(autouse=True)
def _parts_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_PART_BATCHES", 8)
    monkeypatch.setattr(digests, "_PARTS_MAX", 4)


def appended(after: int, until: int) -> AppendedDigests:
    """Return what a handle has appended behind one revision, up to another."""
    made = AppendedDigests(after, ALL[after - 1] if after else bytes(32))
    for digest in ALL[after:until]:
        made.add(digest)
    return made


@pytest.mark.parametrize("first", range(41, 74))
def test_digests_begin_where_they_are_asked_for_or_are_first_known(first: int) -> None:
    start, previous, given = appended(40, 72).take(first, 72)
    assert start == first
    assert list(given) == ALL[first - 1 : 72]
    assert previous == (ALL[first - 2] if first <= 72 else b"")


def test_the_oldest_are_dropped_where_nobody_takes_them() -> None:
    start, previous, given = appended(0, 100).take(1, 100)
    assert start == 73
    assert previous == ALL[71]
    assert list(given) == ALL[72:]


def test_what_was_given_is_dropped_and_the_rest_follows() -> None:
    made = appended(0, 30)
    for before, last in pairwise((0, 5, 8, 19, 30)):
        start, _, given = made.take(before + 1, last)
        assert (start, list(given)) == (before + 1, ALL[before:last])
    start, _, given = made.take(1, 30)
    assert (start, list(given)) == (25, ALL[24:30])


def test_what_the_writer_drops_meanwhile_is_given_all_the_same() -> None:
    made = appended(0, 10)
    start, _, given = made.take(1, 10)
    for digest in ALL[10:]:
        made.add(digest)
    assert (start, list(given)) == (1, ALL[:10])


def test_a_tree_grows_by_the_log_and_then_by_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for _ in range(3):
        with open_store(path, options=SMALL) as store:
            for count in (1, 7, 60, 8):
                add(store, count)
                store.compact()
            whole = WholeTree([batch.digest for batch in store.batches()])
        saved = StoreTree.of_files(local_file_system(), str(path), store.store_id)
        # The leaf files hold all of it, so that none of these is read from the log.
        [*_, newest] = sorted((path / "tree").iterdir())
        assert newest.name.endswith(f"-{len(whole.leaves)}.leaves")
        saved.grow(len(whole.leaves))
        assert saved.head(len(whole.leaves)) == whole.head()


def test_leaves_that_the_writer_does_not_continue_are_refused(tmp_path: Path) -> None:
    source = WriterSource(local_file_system(), str(tmp_path), bytes(16), appended(40, 48))
    assert list(source.digests(41, 47, ALL[39])) == ALL[40:47]
    with pytest.raises(CorruptionError, match="revision 40 is not the batch"):
        list(source.digests(41, 47, bytes(32)))
