"""A checkpoint that the log contradicts is never the start of a state."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, checkpoints, flip, open_store, segments
from support.ledger import ACCOUNTS, Ledger, Totals, deposit

from eventstore import CorruptionError, EventStore, Retention, StoreOptions
from eventstore.format.checkpoint import (
    checkpoint_header_bytes,
    pack_checkpoint_header,
    unpack_checkpoint_header,
)
from eventstore.format.segment import SEGMENT_HEADER_BYTES

if TYPE_CHECKING:
    from pathlib import Path

NONE = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())


@pytest.fixture
def forked(tmp_path: Path) -> tuple[Path, Path]:
    """Two stores of one identity that part ways after 5 batches, with checkpoints at 20, 40, 60.

    The first one has in account "a" what its revision is, the second one more.
    """
    start, one, other = (tmp_path / name for name in ("start", "one", "other"))
    with open_store(start) as store:
        add(store, 5)
    for path, amount in ((one, 1), (other, 7)):
        shutil.copytree(start, path)
        with open_store(path) as store:
            for revision in range(6, 66):
                with store.transaction(writable=True) as transaction:
                    deposit(transaction, "a", amount)
                if revision in (20, 40, 60):
                    store.checkpoint()
    return one, other


def test_at_falls_back_from_a_checkpoint_of_another_history(forked: tuple[Path, Path]) -> None:
    one, other = forked
    for mine, foreign in zip(checkpoints(one)[:2], checkpoints(other)[:2], strict=True):
        shutil.copy(foreign, mine)
    for read_only in (False, True):
        with open_store(one, read_only=read_only) as store:
            for revision in (20, 25, 40, 45):
                with store.at(revision) as past:
                    assert past.get(ACCOUNTS, "a").balance == revision


def test_a_checkpoint_is_believed_where_the_log_is_damaged_or_gone(
    forked: tuple[Path, Path],
) -> None:
    """The log can't contradict it there."""
    one, _ = forked
    flip(segments(one)[0], SEGMENT_HEADER_BYTES + 80)
    with open_store(one) as store, store.at(20) as past:
        assert past.get(ACCOUNTS, "a").balance == 20


@pytest.mark.parametrize("damage", ["of another history", "damaged"])
def test_at_refuses_where_nothing_else_holds_the_past(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store"
    with open_store(path, options=NONE) as store:
        for _ in range(3):
            add(store, 40)
            store.checkpoint()
        assert store.compact().dropped
        oldest = store.oldest_revision()
    older = checkpoints(path)[0]
    assert oldest > 1
    if damage == "damaged":
        flip(older, 200)
    else:
        header = unpack_checkpoint_header(
            older.read_bytes()[: checkpoint_header_bytes(older.read_bytes())]
        )
        packed = pack_checkpoint_header(replace(header, digest=bytes(32)))
        older.write_bytes(packed + older.read_bytes()[len(packed) :])
    with open_store(path, options=NONE) as store:
        with pytest.raises(CorruptionError) as refused:
            store.at(100)
        assert refused.value.path == str(older)
        assert store.at(120).revision == 120


def test_a_rebuild_from_a_log_of_another_history_is_refused(tmp_path: Path) -> None:
    """The segment that ends at the checkpoint is read by nothing else in that open."""
    start, one, other = (tmp_path / name for name in ("start", "one", "other"))
    with open_store(start) as store:
        add(store, 2)
    for path, amount in ((one, 1), (other, 7)):
        shutil.copytree(start, path)
        with open_store(path) as store:
            while len(segments(path)) == 1:
                with store.transaction(writable=True) as transaction:
                    deposit(transaction, "a", amount)
                store.checkpoint()
    checkpoints(one)[-1].unlink()
    shutil.copy(segments(other)[0], segments(one)[0])
    open_store(one).close()

    class Newer(Totals):
        version = 2

    with pytest.raises(CorruptionError, match="another history"):
        EventStore.open(one, [Ledger(), Newer()], options=SMALL)
