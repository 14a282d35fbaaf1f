"""The history of a key follows its snapshots through renames, as long as the log is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import OPTIONS, create_committed

from eventstore import Metadata, Retention, StoreClosedError, StoreOptions
from eventstore.recovery.replay import decode_record
from projections.snapshots import InvalidArgumentError, Kind, MetaStore, Usage, events
from projections.snapshots.importer import import_containerd

if TYPE_CHECKING:
    from support.snapshots import OpenStore

    from eventstore import Batch
    from eventstore.log.reader import Record

DATABASE = Path(__file__).parent.parent / "data" / "containerd" / "containerd-overlayfs-metadata.db"


def told(store: MetaStore, key: str) -> list[tuple[str, str]]:
    """Id and short type of every entry of a key's history."""
    return [(entry.id, entry.event.type.partition(".")[2]) for entry in store.history(key)]


@pytest.fixture
def renamed(store: MetaStore) -> MetaStore:
    """A snapshot that went through everything, one transaction a step, beside others."""
    with store.transaction(writable=True, actor="puller", reason="pull", request_id="r-1") as tx:
        tx.create_snapshot(Kind.ACTIVE, "extract", labels={"a": "1"})
        tx.create_snapshot(Kind.ACTIVE, "bystander")
    with store.transaction(writable=True, actor="puller", reason="unpacked") as tx:
        tx.commit_active("extract", "layer", Usage(3, 4), {"b": "2"})
    with store.transaction(writable=True, actor="gc") as tx:
        tx.update_info("layer", {"c": "3"})
    with store.transaction(writable=True, request_id="r-9") as tx:
        tx.remove("layer")
    return store


LIFE = [("1", "created"), ("1", "committed"), ("1", "updated"), ("1", "removed")]


@pytest.mark.parametrize("key", ["extract", "layer"])
def test_history_follows_a_snapshot_through_renames(renamed: MetaStore, key: str) -> None:
    assert told(renamed, key) == LIFE
    created, committed, updated, removed = renamed.history(key)
    assert created.metadata == Metadata("puller", "pull", "r-1")
    assert committed.metadata == Metadata("puller", "unpacked")
    assert updated.metadata == Metadata("gc")
    assert removed.metadata == Metadata(request_id="r-9")
    assert [entry.revision for entry in renamed.history(key)] == [1, 2, 3, 4]
    assert created.event.data["labels"] == {"a": "1"}
    assert (committed.event.data["key"], committed.event.data["name"]) == ("extract", "layer")
    assert (committed.event.data["inodes"], committed.event.data["size"]) == (3, 4)
    assert updated.event.data["labels"] == {"c": "3"}
    now = datetime.now(UTC)
    assert all((now - entry.time).total_seconds() < 60 for entry in renamed.history(key))


def test_history_of_a_key_nobody_had_is_empty(renamed: MetaStore) -> None:
    assert told(renamed, "nobody") == []
    assert told(renamed, "") == []
    assert told(renamed, "bystander") == [("2", "created")]


def test_history_of_a_key_that_two_snapshots_had_tells_of_both(store: MetaStore) -> None:
    for name in ("first", "second"):
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "key")
        with store.transaction(writable=True) as tx:
            tx.commit_active("key", name, Usage())
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.VIEW, "key", "second")
        tx.remove("key")
        tx.remove("second")
        tx.update_info("first", {"a": "1"})
    assert told(store, "key") == [
        ("1", "created"),
        ("1", "committed"),
        ("2", "created"),
        ("2", "committed"),
        ("3", "created"),
        ("3", "removed"),
        ("2", "removed"),
        ("1", "updated"),
    ]
    assert told(store, "first") == [("1", "created"), ("1", "committed"), ("1", "updated")]


def test_name_that_became_a_key_and_back_tells_of_each(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "a")
        tx.remove("a")
        tx.create_snapshot(Kind.ACTIVE, "a")
        tx.commit_active("a", "b", Usage())
        create_committed(tx, "a", "b")
    assert {snapshot_id for snapshot_id, _ in told(store, "a")} == {"1", "2", "3"}
    assert {snapshot_id for snapshot_id, _ in told(store, "b")} == {"2"}, "a child is another one"


def test_what_was_rolled_back_is_not_told(store: MetaStore) -> None:
    tx = store.transaction(writable=True)
    tx.create_snapshot(Kind.ACTIVE, "key")
    tx.rollback()
    assert told(store, "key") == []
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "key")
        assert told(store, "key") == [], "nor what is not committed"
    assert told(store, "key") == [("1", "created")]


def test_history_is_as_of_its_call(renamed: MetaStore) -> None:
    with renamed.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "extract")
    history = renamed.history("extract")
    with renamed.transaction(writable=True) as tx:
        tx.remove("extract")
        tx.create_snapshot(Kind.ACTIVE, "extract")
    assert [(entry.id, entry.event.type) for entry in history][-1] == ("3", events.CREATED)
    assert told(renamed, "extract")[-3:] == [("3", "created"), ("3", "removed"), ("4", "created")]


@pytest.mark.parametrize("how", ["reopen", "checkpoint", "archive", "follower"])
def test_history_survives(open_store: OpenStore, how: str) -> None:
    options = StoreOptions(segment_bytes=4096, background=False)
    store = open_store(options=options)
    with store.transaction(writable=True, actor="first") as tx:
        create_committed(tx, "layer")
    for number in range(60):
        with store.transaction(writable=True) as tx:
            tx.update_info("layer", {"n": f"{number}", "filler": "x" * 200})
        if how == "archive" and number % 20 == 19:
            store.compact()
    expected = [(*entry[:2], entry.metadata, entry.event) for entry in store.history("layer")]
    assert len(expected) == 62
    assert expected[0][2].actor == "first"
    if how == "archive":
        assert store.stats()["archive_count"] >= 2
    if how == "checkpoint":
        store.checkpoint()
    if how == "follower":
        store = open_store(options=options, read_only=True)
    else:
        store.close()
        store = open_store(options=options)
    for key in ("layer", "making layer"):
        found = [(*entry[:2], entry.metadata, entry.event) for entry in store.history(key)]
        assert found == expected


def test_history_goes_back_as_far_as_batches_are_kept(open_store: OpenStore) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    with store.transaction(writable=True) as tx:
        create_committed(tx, "layer")
        create_committed(tx, "removed")
    for number in range(60):
        with store.transaction(writable=True) as tx:
            tx.update_info("layer", {"n": f"{number}", "filler": "x" * 200})
            if number == 0:
                tx.remove("removed")
        if number % 20 == 19:
            store.compact()
    oldest = store.event_store.oldest_revision()
    assert oldest > 20
    # All that are kept, but those that say what retention has dropped.
    engine = store.event_store
    dropping = {batch.revision for batch in engine.batches(oldest, type="eventstore.dropped")}
    assert dropping
    kept = [*range(oldest, engine.stats()["revision"] + 1)]
    assert [entry.revision for entry in store.history("layer")] == [
        revision for revision in kept if revision not in dropping
    ]
    assert told(store, "removed") == []
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "key")
        tx.commit_active("key", "new", Usage(), parent="layer")
    assert told(store, "new") == [("3", "created"), ("3", "committed")]


def test_history_starts_with_the_import(tmp_path: Path, open_store: OpenStore) -> None:
    import_containerd(DATABASE, tmp_path / "store", actor="operator", options=OPTIONS)
    store = open_store()
    with store.transaction(writable=True, actor="gc") as tx:
        info = next(tx.walk_info("kind==committed"))
        snapshot_id = tx.get_info(info.name)[0]
        tx.update_info(info.name, {"a": "1"}, "labels.a")
    assert told(store, info.name) == [(snapshot_id, "imported"), (snapshot_id, "updated")]
    assert [entry.metadata.actor for entry in store.history(info.name)] == ["operator", "gc"]


@pytest.mark.parametrize("key", [None, 5, b"layer", ["layer"]])
def test_history_of_what_is_no_text_is_refused_at_the_call(store: MetaStore, key: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a str"):
        store.history(key)


def test_history_ends_with_its_store(renamed: MetaStore) -> None:
    history = renamed.history("layer")
    next(history)
    renamed.close()
    with pytest.raises(StoreClosedError):
        list(renamed.history("layer"))


def test_history_reads_only_batches_about_the_key_and_its_snapshot(
    store: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        with store.transaction(writable=True) as tx:
            create_committed(tx, f"before-{number}")
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "key")
        tx.remove("key")
    about = store.event_store.stats()["revision"]
    for number in range(10):
        with store.transaction(writable=True) as tx:
            create_committed(tx, f"after-{number}")
    assert told(store, "key")  # the index of the newest batches is made
    read: set[int] = set()

    def noted(record: Record) -> Batch:
        read.add(record.revision)
        return decode_record(record)

    monkeypatch.setattr("eventstore.handle.history.decode_record", noted)
    assert told(store, "key") == [("11", "created"), ("11", "removed")]
    assert read == {about}
