"""Proofs of a store: through growth, reopening, compaction, retention, damage and forks."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, flip, open_store
from support.ledger import Ledger, Totals
from support.proofs import WholeTree

from eventstore import (
    CompactedError,
    EventStore,
    ProofError,
    ReceiptError,
    Retention,
    repair_store,
)
from eventstore.files.local import local_file_system
from eventstore.format.segment import SEGMENT_HEADER_BYTES
from eventstore.integrity import verification
from eventstore.proofs.store_tree import StoreTree
from eventstore.testing.memory_log import MemoryLog

if TYPE_CHECKING:
    from pathlib import Path

FORGETTING = replace(SMALL, retention=Retention.none())


def whole(store: EventStore) -> WholeTree:
    """Return the tree by definition, of the digests in the log."""
    return WholeTree([batch.digest for batch in store.batches()])


def leaf_files(path: Path) -> list[Path]:
    return sorted((path / "tree").iterdir())


def filled(path: Path, count: int = 300, *, compactions: int = 3) -> WholeTree:
    """Make a store with all of its batches kept, and some of them in leaf files."""
    with open_store(path) as store:
        for _ in range(compactions):
            add(store, count // compactions)
            store.compact()
        return whole(store)


def forget(path: Path) -> int:
    """Drop everything that may be dropped; return the first revision that is left."""
    with open_store(path, options=FORGETTING) as store:
        for _ in range(2):
            add(store, 40)
            store.compact()
        return store.oldest_revision()


def test_heads_are_the_roots_of_the_digests(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        assert store.tree_head() == WholeTree([]).head()
        for _ in range(3):
            add(store, 100)
            tree = whole(store)
            assert store.tree_head() == tree.head()
            for size in (0, 1, 2, 99, 100):
                assert store.tree_head(size) == tree.head(size)


def test_every_revision_is_proved_in_every_tree(tmp_path: Path) -> None:
    filled(tmp_path / "store", 270)
    with open_store(tmp_path / "store") as store:
        tree = whole(store)
        for size in (1, 2, 255, 256, 257, 270):
            for revision in range(1, size + 1, 7):
                assert store.inclusion_proof(revision, size) == tree.inclusion(revision, size)
            for old_size in range(0, size + 1, 7):
                assert store.consistency_proof(old_size, size) == tree.consistency(old_size, size)


def test_a_receipt_is_proved_and_a_foreign_one_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store, open_store(tmp_path / "other") as other:
        [*_, receipt] = add(store, 20)
        [*_, foreign] = add(other, 20)
        assert store.inclusion_proof(receipt).digest == receipt.digest
        with pytest.raises(ReceiptError, match="given by another store"):
            store.inclusion_proof(foreign)
        with pytest.raises(ReceiptError, match="another digest"):
            store.inclusion_proof(receipt._replace(digest=bytes(32)))
        with pytest.raises(ReceiptError, match="revision 21 is not there"):
            store.inclusion_proof(receipt._replace(revision=21))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 20)
        for revision, size in ((0, 20), (21, 20), (-1, 20), (11, 10)):
            with pytest.raises(ValueError, match=f"revision {revision} is not in a tree"):
                store.inclusion_proof(revision, size)
        for size in (21, 2**70):
            with pytest.raises(ValueError, match="there are no"):
                store.tree_head(size)
        with pytest.raises(ValueError, match="from 0 on"):
            store.tree_head(-1)
        with pytest.raises(ValueError, match="can't continue one of 9"):
            store.consistency_proof(9, 8)
        for wrong in ("1", 1.0, True, None):
            with pytest.raises(TypeError):
                store.inclusion_proof(wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                store.consistency_proof(wrong)  # type: ignore[arg-type]


def test_an_old_head_that_the_store_continues_is_proved(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 50)
        old = store.tree_head()
        add(store, 50)
        store.consistency_proof(old).check(old)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_damage_behind_the_saved_leaves_keeps_what_retention_would_drop(
    tmp_path: Path, is_damaged: bool
) -> None:
    path = tmp_path / "store"
    with open_store(path, options=FORGETTING) as store:
        add(store, 80)
        store.compact()
        oldest = store.oldest_revision()
        add(store, 80)
        if is_damaged:
            [*_, active] = sorted((path / "wal").glob("*.log"))
            flip(active, SEGMENT_HEADER_BYTES + 40)
        store.compact()
        assert (store.oldest_revision() == oldest) == is_damaged


def test_a_log_whose_end_was_cut_off_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 50)
    shutil.copytree(path, tmp_path / "older")
    with open_store(path) as store:
        add(store, 10)
        head = store.tree_head()
    with (
        open_store(tmp_path / "older") as store,
        pytest.raises(ProofError, match="has 50 batches, fewer than the 60 of the older head"),
    ):
        store.consistency_proof(head)


def test_a_fork_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 50)
    shutil.copytree(path, tmp_path / "fork")
    with open_store(path) as store:
        add(store, 10)
        head = store.tree_head()
    with open_store(tmp_path / "fork") as store:
        add(store, 20, "another note")
        with pytest.raises(ProofError, match="does not continue"):
            store.consistency_proof(head)
        store.consistency_proof(store.tree_head(50)).check(store.tree_head(50))


@pytest.mark.parametrize("read_only", [False, True])
def test_a_reopened_store_has_the_same_tree(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "store"
    tree = filled(path)
    assert len(leaf_files(path)) == 1
    with open_store(path, read_only=read_only) as store:
        assert store.tree_head() == tree.head()
        assert store.inclusion_proof(7) == tree.inclusion(7)


def test_a_follower_proves_what_the_writer_commits(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as writer, open_store(path, read_only=True) as follower:
        for _ in range(4):
            add(writer, 60)
            writer.compact()
            add(writer, 3)
            assert follower.tree_head() == writer.tree_head() == whole(writer).head()


def test_what_retention_drops_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "store"
    tree = filled(path)
    oldest = forget(path)
    assert oldest > 300
    with open_store(path, options=FORGETTING) as store:
        assert store.tree_head(300) == tree.head()
        proof = store.inclusion_proof(5)
        assert proof.digest == tree.leaves[4]
        proof.check()
        store.consistency_proof(tree.head(), 340).check(tree.head())
        with pytest.raises(CompactedError):
            next(store.batches(5))


def test_the_tree_of_a_dropped_beginning_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "store"
    old = filled(path).head()
    forget(path)
    forget(path)
    with open_store(path, options=FORGETTING) as store:
        add(store, 5)
        store.consistency_proof(old).check(old)
        assert len(leaf_files(path)) == 1


def test_lost_leaf_files_are_read_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "store"
    tree = filled(path)
    shutil.rmtree(path / "tree")
    with open_store(path, read_only=True) as store:
        assert store.tree_head() == tree.head()
    with open_store(path) as store:
        assert store.tree_head() == tree.head()
        store.compact()
    assert len(leaf_files(path)) == 1


def test_each_flipped_byte_of_a_leaf_file_is_made_good_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "store"
    tree = filled(path)
    with open_store(path) as store:
        store_id = store.store_id
    [file] = leaf_files(path)
    content = file.read_bytes()

    def require_made_good(changed: bytes) -> None:
        file.write_bytes(changed)
        found = StoreTree.of_files(local_file_system(), str(path), store_id)
        found.grow(300)
        assert found.inclusion(7, 300) == tree.inclusion(7)

    for at in {*range(70), *range(0, len(content), 97), len(content) - 1}:
        require_made_good(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    for length in (0, 1, 63, 64, 4000, len(content) - 1):
        require_made_good(content[:length])
    require_made_good(content + b"\0")


def test_damaged_leaves_of_dropped_batches_are_said_to_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "store"
    filled(path)
    forget(path)
    [file] = leaf_files(path)
    flip(file, 100)
    with open_store(path, options=FORGETTING) as store:
        add(store, 1)  # the store is as good as before, but for proofs
        with pytest.raises(CompactedError):
            store.tree_head()


def test_leaves_of_a_longer_history_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 30)
    shutil.copytree(path, tmp_path / "older")
    with open_store(path) as store:
        add(store, 30)
        store.compact()
    shutil.rmtree(tmp_path / "older" / "tree")
    shutil.copytree(path / "tree", tmp_path / "older" / "tree")
    with open_store(tmp_path / "older") as store:
        assert store.tree_head() == whole(store).head()
        add(store, 50, "another future")
        assert store.tree_head() == whole(store).head()
        store.compact()
    with open_store(tmp_path / "older", read_only=True) as store:
        assert store.tree_head() == whole(store).head()
    assert [file.name for file in leaf_files(tmp_path / "older")] == [f"{1:020}-80.leaves"]


def with_leaves_of_a_fork(tmp_path: Path) -> Path:
    """Return a store of 60 batches with the leaves of another one, which shares the first 30."""
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 30)
    shutil.copytree(path, tmp_path / "fork")
    for each, note in ((path, "one"), (tmp_path / "fork", "another")):
        with open_store(each) as store:
            add(store, 30, note)
            store.compact()
            assert store.verify().is_sound
    shutil.rmtree(path / "tree")
    shutil.copytree(tmp_path / "fork" / "tree", path / "tree")
    return path


def test_leaves_of_a_fork_of_the_same_length_are_not_believed(tmp_path: Path) -> None:
    path = with_leaves_of_a_fork(tmp_path)
    with open_store(path) as store:
        assert store.tree_head() == whole(store).head()


@pytest.mark.parametrize("at_once", [1, 7, 30, 1000])
def test_a_verification_says_which_leaves_are_not_those_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(verification, "_DIGESTS_AT_ONCE", at_once)
    path = with_leaves_of_a_fork(tmp_path)
    with open_store(path) as store:
        [problem] = store.verify().problems
    assert problem.path.endswith("-60.leaves")
    assert problem.reason == "the leaf of revision 31 is not the digest in the log"


def test_leaves_of_another_store_are_passed_over(tmp_path: Path) -> None:
    tree = filled(tmp_path / "store")
    filled(tmp_path / "other")
    shutil.rmtree(tmp_path / "store" / "tree")
    shutil.copytree(tmp_path / "other" / "tree", tmp_path / "store" / "tree")
    with open_store(tmp_path / "store") as store:
        assert store.tree_head() == tree.head()


def test_nothing_is_dropped_whose_leaves_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    filled(path)
    shutil.rmtree(path / "tree")
    [first, *_] = sorted((path / "archive").iterdir())
    flip(first, 40)
    assert forget(path) == 1


def test_a_store_without_its_beginning_has_no_tree_and_still_forgets(tmp_path: Path) -> None:
    path = tmp_path / "store"
    filled(path)
    forget(path)
    shutil.rmtree(path / "tree")
    before = forget(path)
    assert forget(path) > before
    with open_store(path, options=FORGETTING) as store, pytest.raises(CompactedError):
        store.tree_head()


def test_leaves_that_the_medium_does_not_give_for_once_are_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    old = filled(path).head()
    before = forget(path)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as medium:
        medium.setattr("eventstore.proofs.leaf_files._part", failing)
        assert forget(path) == before
    assert forget(path) > before
    with open_store(path, options=FORGETTING) as store:
        store.consistency_proof(old).check(old)


def test_a_repaired_store_proves_what_the_damaged_one_did(tmp_path: Path) -> None:
    path = tmp_path / "store"
    old = filled(path).head()
    forget(path)
    repair_store(path, tmp_path / "repaired", [Ledger(), Totals()])
    with open_store(tmp_path / "repaired") as store:
        store.consistency_proof(old).check(old)
        assert store.inclusion_proof(3).head == store.tree_head()


@pytest.mark.parametrize("offset", [10, 100, 4000])
def test_damaged_leaves_are_left_out_of_a_repair(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "store"
    filled(path)
    forget(path)
    [file] = leaf_files(path)
    flip(file, offset)
    report = repair_store(path, tmp_path / "repaired", [Ledger(), Totals()])
    assert [damage.path for damage in report.damage] == [str(file)]
    assert leaf_files(tmp_path / "repaired") == []
    with open_store(tmp_path / "repaired") as store:
        assert store.verify().is_sound


def test_a_log_of_another_kind_has_a_tree_too(tmp_path: Path) -> None:
    with EventStore.open("memory", [Ledger(), Totals()], log=MemoryLog()) as store:
        add(store, 30)
        assert store.tree_head() == whole(store).head()
        add(store, 30)
        assert store.inclusion_proof(45) == whole(store).inclusion(45)


def test_the_published_tree_is_that_of_the_batches(tmp_path: Path) -> None:
    filled(tmp_path / "store", 600)
    with open_store(tmp_path / "store") as store:
        tree, published = whole(store), store.published_tree()
        files = dict(published.files())
        assert published.head == tree.head()
        assert set(files) == {
            *("tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"),
            *("tile/entries/000", "tile/entries/001", "tile/entries/002.p/88"),
        }
        assert files["tile/0/001"] == b"".join(tree.node(0, at) for at in range(256, 512))
        assert files["tile/1/000.p/2"] == tree.node(8, 0) + tree.node(8, 1)
        entries = files["tile/entries/002.p/88"]
        assert entries == b"".join(b"\x00\x20" + digest for digest in tree.leaves[512:])
        later = dict(published.files(512))
        assert set(later) == {"tile/0/002.p/88", "tile/entries/002.p/88"}
