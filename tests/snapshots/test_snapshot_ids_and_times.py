"""Ids are never given to a second snapshot, and times of a snapshot never go back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.snapshots import content, content_of, create_committed

from projections.snapshots import Kind, MetaStore, Usage

if TYPE_CHECKING:
    from support.snapshots import OpenStore


def created_id(store: MetaStore, key: str) -> str:
    with store.transaction(writable=True) as tx:
        return tx.create_snapshot(Kind.ACTIVE, key).id


def test_ids_are_decimal_and_count_up(store: MetaStore) -> None:
    assert [created_id(store, f"{number}") for number in range(12)] == [
        str(number) for number in range(1, 13)
    ]


@pytest.mark.parametrize("persist", ["nothing", "reopen", "checkpoint", "compact"])
def test_id_of_a_removed_snapshot_is_not_given_again(open_store: OpenStore, persist: str) -> None:
    store = open_store()
    assert created_id(store, "a") == "1"
    for expected in "2345":
        with store.transaction(writable=True) as tx:
            for key in list(tx.id_map().values()):
                tx.remove(key)
        assert content_of(store) == ([], {})
        if persist == "compact":
            store.compact()
        if persist == "checkpoint":
            store.checkpoint()
        if persist != "nothing":
            store.close()
            store = open_store()
        assert created_id(store, "a") == expected


def test_id_of_a_transaction_that_was_rolled_back_is_given_again(store: MetaStore) -> None:
    tx = store.transaction(writable=True)
    assert tx.create_snapshot(Kind.ACTIVE, "a").id == "1"
    assert tx.create_snapshot(Kind.ACTIVE, "b").id == "2"
    tx.rollback()
    assert created_id(store, "c") == "1"


def test_ids_grow_by_number_and_not_by_text(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        for number in range(101):
            tx.create_snapshot(Kind.ACTIVE, f"{number}")
        for number in range(99):
            tx.remove(f"{number}")
        assert tx.id_map() == {"100": "99", "101": "100"}
        assert tx.create_snapshot(Kind.ACTIVE, "next").id == "102"


def test_commit_keeps_the_id_and_id_map_follows(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        snapshot_id = tx.create_snapshot(Kind.ACTIVE, "key").id
        assert tx.id_map() == {snapshot_id: "key"}
        assert tx.commit_active("key", "name", Usage(1, 2)) == snapshot_id
        assert tx.id_map() == {snapshot_id: "name"}
        assert tx.get_info("name")[0] == snapshot_id
        assert tx.remove("name") == (snapshot_id, Kind.COMMITTED)
        assert tx.id_map() == {}


def test_parent_ids_come_nearest_first(open_store: OpenStore) -> None:
    store = open_store()
    with store.transaction(writable=True) as tx:
        ids: list[str] = []
        for number in range(50):
            ids.insert(0, create_committed(tx, f"{number}", f"{number - 1}" if number else ""))
        snapshot = tx.create_snapshot(Kind.VIEW, "view", "49")
        assert snapshot.parent_ids == tuple(ids)
        assert tx.get_snapshot("view") == snapshot
    store.checkpoint()
    store.close()
    with open_store().transaction() as tx:
        assert tx.get_snapshot("view") == snapshot


def test_usage_is_zero_until_the_commit(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "key")
        assert tx.get_info("key")[2] == Usage(0, 0)
        tx.commit_active("key", "name", Usage(3, 4))
        assert tx.get_info("name")[2] == Usage(3, 4)


def test_times_are_of_the_operations(store: MetaStore) -> None:
    moments = []

    def moment() -> None:
        moments.append(time.time_ns())

    with store.transaction(writable=True) as tx:
        moment()
        tx.create_snapshot(Kind.ACTIVE, "key")
        created = tx.get_info("key")[1]
        moment()
        updated = tx.update_info("key", {"a": "1"})
        moment()
        tx.commit_active("key", "name", Usage())
        committed = tx.get_info("name")[1]
        moment()
    assert moments[0] <= created.created_ns == created.updated_ns <= moments[1]
    assert updated.created_ns == created.created_ns
    assert moments[1] <= updated.updated_ns <= moments[2]
    assert moments[2] <= committed.created_ns == committed.updated_ns <= moments[3]


@pytest.mark.parametrize("same_transaction", [True, False])
def test_times_of_a_snapshot_do_not_go_back_with_the_clock(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, same_transaction: bool
) -> None:
    store = open_store()
    real = time.time_ns
    created = committed = None
    tx = store.transaction(writable=True)
    for hours, step in enumerate(("create", "update", "update", "commit", "update")):
        monkeypatch.setattr(time, "time_ns", lambda back=hours: real() - back * 3600 * 10**9)
        match step:
            case "create":
                tx.create_snapshot(Kind.ACTIVE, "key")
                created = tx.get_info("key")[1]
            case "commit":
                tx.commit_active("key", "name", Usage())
                committed = tx.get_info("name")[1]
            case "update":
                name = "name" if committed else "key"
                before = tx.get_info(name)[1]
                after = tx.update_info(name, {"a": "1"})
                assert before.created_ns == after.created_ns <= before.updated_ns
                assert before.updated_ns <= after.updated_ns
        if not same_transaction:
            tx.commit()
            tx = store.transaction(writable=True)
    assert created
    assert committed
    assert created.updated_ns <= committed.created_ns == committed.updated_ns
    tx.commit()
    expected = content_of(store)
    store.close()
    with open_store().transaction() as again:
        assert content(again) == expected
