"""Readers on other threads, and followers, see whole transactions only, by scan and by index."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.snapshots import names

from eventstore import StoreOptions
from projections.snapshots import Kind, MetaStore, NotFoundError, Usage

if TYPE_CHECKING:
    from support.snapshots import OpenStore

OPTIONS = StoreOptions(segment_bytes=4096, background=False)
TRANSACTIONS = 100
READERS = 3


def hand_over(store: MetaStore, done: threading.Event) -> None:
    """Keep exactly one snapshot that has the label, one view, and one commit of each generation."""
    try:
        for number in range(TRANSACTIONS):
            with store.transaction(writable=True) as tx:
                if number:
                    tx.update_info(f"layer {number - 1}", {}, "labels.token")
                    tx.remove("view")
                key = f"making {number}"
                tx.create_snapshot(Kind.ACTIVE, key, f"layer {number - 1}" if number else "")
                tx.commit_active(key, f"layer {number}", Usage(number, 0), {"token": "1"})
                tx.create_snapshot(Kind.VIEW, "view", f"layer {number}")
            if number % 50 == 49:
                store.compact()
    finally:
        done.set()


def look(store: MetaStore, done: threading.Event) -> int:
    looks = 0
    while not done.is_set() or not looks:
        with store.transaction() as tx:
            count = tx.revision
            if not count:
                continue
            expected = [f"layer {number}" for number in range(count)]
            assert names(tx, "labels.token==1") == [f"layer {count - 1}"]
            assert names(tx, "kind==view") == ["view"]
            assert names(tx, "kind==active") == []
            assert names(tx, f'parent=="layer {count - 1}"') == ["view"]
            assert names(tx) == sorted([*expected, "view"])
            assert sorted(names(tx, "kind==committed")) == sorted(expected)
            assert len(tx.get_snapshot("view").parent_ids) == count
            assert tx.get_info(f"layer {count - 1}")[2] == Usage(count - 1, 0)
            with pytest.raises(NotFoundError):
                tx.get_info(f"layer {count}")
        looks += 1
    return looks


@pytest.mark.parametrize("read_only", [False, True], ids=["threads", "follower"])
def test_readers_see_whole_transactions_while_a_writer_goes_on(
    open_store: OpenStore, read_only: bool
) -> None:
    store = open_store(options=OPTIONS)
    read = open_store(options=OPTIONS, read_only=True) if read_only else store
    done = threading.Event()
    with ThreadPoolExecutor(READERS + 1) as pool:
        writing = pool.submit(hand_over, store, done)
        looking = [pool.submit(look, read, done) for _ in range(READERS)]
        writing.result(60)
        assert all(each.result(60) > 0 for each in looking)
    read.check()


def test_one_read_transaction_may_be_used_by_several_threads(open_store: OpenStore) -> None:
    store = open_store(options=OPTIONS)
    done = threading.Event()
    with store.transaction(writable=True) as tx:
        for number in range(100):
            tx.create_snapshot(Kind.ACTIVE, f"old {number:02}", labels={"old": "1"})
    reader = store.transaction()
    expected = [f"old {number:02}" for number in range(100)]

    def look_again() -> None:
        while not done.is_set():
            assert names(reader) == names(reader, "labels.old==1") == expected

    def write() -> None:
        try:
            for number in range(100):
                with store.transaction(writable=True) as tx:
                    tx.remove(f"old {number:02}")
                    tx.create_snapshot(Kind.VIEW, f"new {number:02}", labels={"old": "1"})
        finally:
            done.set()

    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(look_again), pool.submit(look_again), pool.submit(write)]:
            each.result(60)
    assert names(reader) == expected
