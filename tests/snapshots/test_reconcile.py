"""Reconciling sorts what is on a disk by what the store knows, beside running transactions."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import OPTIONS, create_committed

from eventstore import Retention, StoreOptions, acting_as
from projections.snapshots import (
    InvalidArgumentError,
    Kind,
    MetaStore,
    SnapshotsProjection,
    events,
)
from projections.snapshots.model import Info, Usage

if TYPE_CHECKING:
    from support.snapshots import OpenStore


def filled(store: MetaStore) -> MetaStore:
    """Snapshots 1 and 3 are there, 2 was removed, 4 is reserved, 5 staged, 6 given up."""
    with store.transaction(writable=True, actor="puller") as tx:
        for name in ("one", "two", "three"):
            create_committed(tx, name)
    with store.transaction(writable=True, actor="gc", reason="unused") as tx:
        tx.remove("two")
    with store.intent("prepare", "four", {"stage": "new-4", "uid": 7}, reserve_id=True):
        pass
    with store.transaction(writable=True) as tx:
        made = tx.create_snapshot(Kind.ACTIVE, "five")
        store.stage(tx, "place", "five", {"from": "new-5"}, id=made.id)
    with store.intent("prepare", "six", reserve_id=True, actor="puller") as six:
        store.abort(six)
    return store


@pytest.mark.parametrize(
    "names",
    ["12", "/var/lib/1", b"1", [""], ["."], [".."], ["a/b"], ["/etc"], ["a\0"], [Path("1")], [1]],
)
def test_what_is_no_list_of_names_is_refused_and_keeps_no_id(store: MetaStore, names: Any) -> None:
    filled(store)
    before = store.event_store.stats()["revision"]
    for listing in (names, lambda: names):
        with pytest.raises(InvalidArgumentError):
            store.reconcile(listing)
    assert store.event_store.stats()["revision"] == before


def test_each_name_is_what_the_store_knows_of_it(store: MetaStore) -> None:
    filled(store)
    on_disk = ["9", "new-4", "6", "1", "2", "4", "lost+found", "new-5", "0", "01", "-3", "9" * 30]
    found = store.reconcile(on_disk, dry_run=True)
    assert found.live == {"1"}
    four, five = store.intents()
    assert found.in_flight == {"new-4": four, "4": four, "new-5": five}
    assert found.unknown == ("9", "lost+found", "0", "01", "-3", "9" * 30)
    assert found.missing == {"3": "three"}
    assert list(found.removed) == ["6", "2"]
    removal = found.removed["2"]
    assert removal is not None
    assert (removal.revision, removal.name, removal.metadata[:2]) == (2, "two", ("gc", "unused"))
    given_up = found.removed["6"]
    assert given_up is not None
    assert (given_up.name, given_up.metadata.actor) == ("", "puller")
    assert given_up.time > removal.time


def test_a_dry_run_writes_nothing_and_another_keeps_stray_ids_from_being_given(
    store: MetaStore,
) -> None:
    filled(store)
    before = store.stats()["revision"]
    store.reconcile(["1", "3", "8", "5"], dry_run=True)
    store.reconcile(["1", "3", "5", "lost+found", str(10**15)])
    assert store.stats()["revision"] == before
    found = store.reconcile(["1", "3", "8", "5"], actor="start-up")
    assert found.unknown == ("8",)
    [batch] = store.event_store.batches(before + 1)
    assert batch.metadata.actor == "start-up"
    with store.transaction(writable=True) as tx:
        assert tx.create_snapshot(Kind.ACTIVE, "next").id == "9"
    assert store.reconcile(["1", "3", "8", "5", "9"]).removed == {"8": None}


def test_what_the_history_no_longer_tells_is_removed_by_nobody_knows_whom(
    open_store: OpenStore,
) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    filled(store)
    with store.transaction(writable=True) as tx:
        for number in range(100):
            create_committed(tx, f"filler {number}" + "x" * 300)
    for _ in range(3):
        with store.transaction(writable=True) as tx:
            tx.update_info("one", {"a": "b" * 3000})
        store.compact()
    assert store.event_store.oldest_revision() > 2
    assert store.reconcile(["2"]).removed == {"2": None}


def test_a_follower_is_told_the_same(store: MetaStore, open_store: OpenStore) -> None:
    filled(store)
    follower = open_store(read_only=True)
    names = ["1", "2", "4", "7"]
    assert follower.reconcile(names) == store.reconcile(names, dry_run=True)


def test_what_a_running_transaction_is_just_making_is_no_litter(
    store: MetaStore, tmp_path: Path
) -> None:
    root = tmp_path / "snapshots"
    root.mkdir()
    made, go_on = threading.Event(), threading.Event()

    def prepare() -> None:
        # As containerd does: the directory is in its place before the commit, in the transaction.
        with store.transaction(writable=True) as tx:
            (root / tx.create_snapshot(Kind.ACTIVE, "k").id).mkdir()
            made.set()
            go_on.wait(10)

    thread = threading.Thread(target=prepare)
    thread.start()
    made.wait(10)
    threading.Timer(0.2, go_on.set).start()
    found = store.reconcile(lambda: [path.name for path in root.iterdir()], dry_run=True)
    thread.join()
    assert found.live == {"1"}
    assert not found.unknown
    assert not found.missing


def test_what_is_made_while_the_disk_is_being_listed_is_not_missing(store: MetaStore) -> None:
    def listing() -> list[str]:
        with store.transaction(writable=True) as tx:
            create_committed(tx, "meanwhile")
        return []

    assert store.reconcile(listing).missing == {}
    assert store.reconcile([]).missing == {"1": "meanwhile"}


def test_a_name_that_is_being_staged_is_in_flight(store: MetaStore) -> None:
    with store.staging() as name:
        assert store.reconcile([name]).in_flight == {name: None}
    assert store.reconcile([name]).unknown == (name,)


def test_no_snapshot_that_lives_is_ever_called_litter_beside_threads(
    store: MetaStore, tmp_path: Path
) -> None:
    root = tmp_path / "snapshots"
    root.mkdir()
    is_over = threading.Event()

    def churn(number: int) -> None:
        for step in range(40):
            key = f"{number}/{step}"
            with store.staging() as name:
                (root / name).mkdir()
                with store.transaction(writable=True) as tx:
                    made = tx.create_snapshot(Kind.ACTIVE, key).id
                    intent = store.stage(tx, "place", key, {"from": name}, id=made)
                (root / name).rename(root / made)
                store.finished(intent)
            if step % 2:
                with store.transaction(writable=True) as tx:
                    tx.remove(key)
                (root / made).rmdir()

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    litter, missing, rounds = set(), set(), 0
    while not is_over.is_set():
        if not any(thread.is_alive() for thread in threads):
            is_over.set()
        found = store.reconcile(lambda: [path.name for path in root.iterdir()])
        litter |= set(found.unknown) | set(found.removed)
        missing |= set(found.missing)
        rounds += 1
    with store.transaction() as now:
        live = set(now.id_map())
    assert rounds > 2
    assert litter.isdisjoint(live)
    assert missing.isdisjoint(live)
    assert {path.name for path in root.iterdir()} == live


def test_many_names_are_sorted_in_little_time(tmp_path: Path) -> None:
    count = 10_000  # 90,000 take nine times as long: half a second at the most
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        with store.transaction(writable=True) as tx:
            for number in range(1, count + 1):
                info = Info(f"k{number}", "", Kind.ACTIVE, {}, 1, 1)
                tx.emit(events.imported(id_number=number, info=info, usage=Usage()))
            tx.emit(events.id_counter_imported(count))
        ids = [str(number) for number in range(1, count + 1)]
        started = time.process_time()
        found = store.reconcile(ids)
        assert time.process_time() - started < 0.5
        assert len(found.live) == count
    assert SnapshotsProjection.version == 3


@pytest.mark.parametrize(
    ("given", "stated", "expected"),
    [
        (None, None, "snapledger"),
        (None, "driver", "driver"),
        ("starter", "driver", "starter"),
    ],
)
def test_an_id_is_kept_in_the_name_of_whoever_acts_also_where_an_actor_is_required(
    open_store: OpenStore, given: str | None, stated: str | None, expected: str
) -> None:
    store = open_store(options=StoreOptions(require_actor=True, background=False))
    with acting_as(actor=stated):
        found = store.reconcile(["5"], actor=given)
    assert found.unknown == ("5",)
    [batch] = store.event_store.batches()
    assert batch.metadata.actor == expected


def test_the_revision_is_that_of_the_state_before_an_id_is_kept(store: MetaStore) -> None:
    filled(store)
    before = store.stats()["revision"]
    found = store.reconcile(["1", "40"])
    assert found.revision == before
    assert store.stats()["revision"] == before + 1
    with store.at(found.revision) as past:
        assert found.live | found.missing.keys() == past.id_map().keys() - {"5"}
    assert store.reconcile(["1", "40"]).revision == before + 1


def test_a_key_that_is_used_again_during_the_listing_is_not_missing(
    store: MetaStore, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    def make() -> None:
        with store.transaction(writable=True) as tx:
            (disk / tx.create_snapshot(Kind.ACTIVE, "k").id).mkdir()

    def listing() -> list[str]:
        names = [path.name for path in disk.iterdir()]
        with store.transaction(writable=True) as tx:
            gone, _ = tx.remove("k")
        (disk / gone).rmdir()
        make()
        return names

    make()
    found = store.reconcile(listing)
    assert (dict(found.missing), [*found.removed], found.unknown) == ({}, ["1"], ())


def test_what_was_there_and_is_called_otherwise_now_is_missing_if_it_is(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        made = tx.create_snapshot(Kind.ACTIVE, "k")

    def listing() -> list[str]:
        with store.transaction(writable=True) as tx:
            tx.commit_active("k", "name", Usage(0, 0))
        return []

    assert dict(store.reconcile(listing).missing) == {made.id: "name"}


def test_a_stage_that_begins_and_ends_during_the_listing_is_no_litter(store: MetaStore) -> None:
    def listing() -> list[str]:
        with store.staging() as stage:
            return [stage, "litter"]

    found = store.reconcile(listing)
    assert found.unknown == ("litter",)
    assert [*found.in_flight.values()] == [None]
