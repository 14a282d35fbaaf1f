"""A tree of several spans of 65,536 leaves: its files, and what becomes of damage in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine import flip
from support.proofs import digests_of

from eventstore import CompactedError, CorruptionError
from eventstore.files.local import local_file_system
from eventstore.proofs import Frontier, TreeHead
from eventstore.proofs.store_tree import StoreTree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE_ID = bytes(range(16))
COUNT = 140_000
SIZES = (1, 256, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, COUNT)


class Digests:
    """A log of which only the digests count."""

    def __init__(self, oldest: int = 1) -> None:
        self.oldest = oldest

    def oldest_revision(self) -> int:
        return self.oldest

    def digests(self, first: int, last: int, previous_digest: bytes | None) -> Iterator[bytes]:
        if first < self.oldest:
            raise CompactedError(first, self.oldest)
        if previous_digest not in (None, ALL[first - 2] if first > 1 else None):
            raise CorruptionError("log", 0, "it continues another history")
        yield from ALL[first - 1 : last]


ALL = digests_of(COUNT)


@pytest.fixture(scope="module")
def heads() -> dict[int, TreeHead]:
    frontier, heads = Frontier(), {}
    for digest in ALL:
        frontier.append(digest)
        if frontier.size in SIZES:
            heads[frontier.size] = frontier.head()
    return heads


def tree_at(path: Path, oldest: int = 1) -> StoreTree:
    return StoreTree(Digests(oldest), STORE_ID, local_file_system(), str(path))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    (path / "tree").mkdir()
    tree = tree_at(path)
    for size in (40_000, 65_536, 100_000, COUNT):
        tree.grow(size)
        assert tree.save() == size
    return path


def require_all_proved(tree: StoreTree, heads: dict[int, TreeHead]) -> None:
    tree.grow(COUNT)
    for size, head in heads.items():
        assert tree.head(size) == head
        for revision in (1, 256, 257, 65_536, 65_537, 131_073, size):
            if revision <= size:
                proof = tree.inclusion(revision, size)
                assert proof.digest == ALL[revision - 1]
                proof.check()
                assert len(proof.path) <= 18
        for old_size, old in heads.items():
            if old_size <= size:
                tree.consistency(old_size, size).check(old)


def test_a_span_has_one_file_at_the_end(saved: Path) -> None:
    names = sorted(file.name for file in (saved / "tree").iterdir())
    assert names == [
        f"{1:020}-65536.leaves",
        f"{65_537:020}-65536.leaves",
        f"{131_073:020}-8928.leaves",
    ]


def test_proofs_in_memory_hold(heads: dict[int, TreeHead]) -> None:
    require_all_proved(StoreTree(Digests(), STORE_ID, None, ""), heads)


@pytest.mark.parametrize("oldest", [1, 65_000, 139_999, COUNT + 1])
def test_proofs_from_files_hold_whatever_is_left_of_the_log(
    saved: Path, heads: dict[int, TreeHead], oldest: int
) -> None:
    require_all_proved(tree_at(saved, oldest), heads)


def test_a_damaged_span_is_read_from_the_log_and_saved_again(
    saved: Path, heads: dict[int, TreeHead], tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    for file in (saved / "tree").iterdir():
        (tmp_path / "tree" / file.name).write_bytes(file.read_bytes())
    second = tmp_path / "tree" / f"{65_537:020}-65536.leaves"
    flip(second, 5000)
    tree = tree_at(tmp_path)
    tree.grow(COUNT)
    tree.inclusion(65_540, COUNT).check()
    tree.save()
    assert second.read_bytes() == (saved / "tree" / second.name).read_bytes()
    require_all_proved(tree_at(tmp_path, COUNT + 1), heads)


def test_leaves_of_a_log_that_was_longer_go_with_the_next_save(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for file in (saved / "tree").iterdir():
        (tmp_path / "tree" / file.name).write_bytes(file.read_bytes())
    for size, count in ((70_000, 4464), (65_536, 0), (9, 0)):
        tree = tree_at(tmp_path)
        tree.grow(size)
        tree.save()
        names = sorted(file.name for file in (tmp_path / "tree").iterdir())
        expected = [f"{1:020}-{min(size, 65_536)}.leaves"]
        assert names == expected + [f"{65_537:020}-{count}.leaves"] * (count > 0)


def test_a_damaged_span_of_dropped_batches_is_damage(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for file in (saved / "tree").iterdir():
        (tmp_path / "tree" / file.name).write_bytes(file.read_bytes())
    flip(tmp_path / "tree" / f"{65_537:020}-65536.leaves", 5000)
    tree = tree_at(tmp_path, 135_000)
    tree.grow(COUNT)
    with pytest.raises(CorruptionError, match=r"65536\.leaves: damaged at byte 64"):
        tree.inclusion(65_540, COUNT)
    tree.inclusion(5, COUNT).check()
