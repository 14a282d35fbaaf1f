"""Watching a metadata store: every batch, in order, durable ones only, until it is closed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.snapshots import content, content_of, create_committed

from eventstore import CompactedError, Metadata, Retention, StoreOptions
from projections.snapshots import Kind, MetaStore, events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.snapshots import OpenStore

    from eventstore import Batch

SMALL = StoreOptions(segment_bytes=4096, background=False)
WAIT_SECONDS = 20


def write(store: MetaStore, *numbers: int) -> None:
    for number in numbers:
        with store.transaction(writable=True, actor=f"actor {number}") as tx:
            tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"filler": "x" * 200})


class Watcher(threading.Thread):
    """Collects what a watch yields until the watch ends."""

    def __init__(self, watch: Iterator[Batch]) -> None:
        super().__init__(daemon=True)
        self.watch = watch
        self.batches: list[Batch] = []
        self.reached = 0
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            for batch in self.watch:
                self.batches.append(batch)
                self.reached = batch.revision
        except BaseException as error:
            self.error = error

    def ended(self) -> list[int]:
        self.join(WAIT_SECONDS)
        assert not self.is_alive(), "the watch ends with its store"
        assert self.error is None
        return [batch.revision for batch in self.batches]


def test_watch_from_a_revision_tells_of_all_since(store: MetaStore) -> None:
    write(store, *range(1, 6))
    batches = list(store.watch(2, timeout=0))
    assert [batch.revision for batch in batches] == [2, 3, 4, 5]
    assert [batch.metadata for batch in batches] == [Metadata(f"actor {n}") for n in range(2, 6)]
    assert [batch.events[0].data["key"] for batch in batches] == ["2", "3", "4", "5"]
    assert {event.type for batch in batches for event in batch.events} == {events.CREATED}
    assert batches == list(store.event_store.batches(2))


def test_watch_without_a_revision_tells_of_what_comes(store: MetaStore) -> None:
    write(store, 1, 2)
    watch = store.watch(timeout=0)
    write(store, 3, 4)
    assert [batch.revision for batch in watch] == [3, 4]
    assert list(store.watch(timeout=0)) == []


def test_watch_tells_of_nothing_rolled_back_or_empty(store: MetaStore) -> None:
    watch = store.watch(timeout=0)
    store.transaction(writable=True).rollback()
    with store.transaction(writable=True) as tx:
        content(tx)
    tx = store.transaction(writable=True)
    tx.create_snapshot(Kind.ACTIVE, "never")
    assert list(store.watch(timeout=0)) == []
    tx.rollback()
    write(store, 1)
    assert [batch.events[0].data["key"] for batch in watch] == ["1"]


@pytest.mark.parametrize("read_only", [False, True], ids=["", "follower"])
def test_live_watch_misses_nothing_and_ends_with_the_store(
    open_store: OpenStore, read_only: bool
) -> None:
    store = open_store(options=SMALL)
    write(store, 1, 2, 3)
    watched = open_store(options=SMALL, read_only=True) if read_only else store
    watchers = [Watcher(watched.watch(first)) for first in (1, 2, None, 30)]
    time.sleep(0.05)
    write(store, *range(4, 41))
    if not read_only:
        store.compact()
    write(store, *range(41, 51))
    deadline = time.monotonic() + WAIT_SECONDS
    while min(watcher.reached for watcher in watchers) < 50:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watched.close()
    first_live = 4
    assert [watcher.ended() for watcher in watchers] == [
        list(range(first, 51)) for first in (1, 2, first_live, 30)
    ]


@pytest.mark.parametrize("read_only", [False, True], ids=["", "follower"])
def test_watch_that_waits_ends_when_the_store_closes(
    open_store: OpenStore, read_only: bool
) -> None:
    write(open_store(), 1)
    watched = open_store(read_only=True) if read_only else open_store("other")
    watcher = Watcher(watched.watch())
    time.sleep(0.05)
    watched.close()
    assert watcher.ended() == []


def test_closed_watch_stops_at_once(store: MetaStore) -> None:
    write(store, *range(1, 6))
    watch = store.watch(1)
    assert next(watch).revision == 1
    store.close()
    with pytest.raises(StopIteration):
        next(watch)


def test_watch_ends_after_its_timeout_without_a_batch(store: MetaStore) -> None:
    write(store, 1)
    began = time.monotonic()
    assert [batch.revision for batch in store.watch(1, timeout=0.1)] == [1]
    assert 0.1 <= time.monotonic() - began < WAIT_SECONDS


def test_watch_from_what_is_no_longer_kept_is_refused_at_the_call(open_store: OpenStore) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    for start in (1, 21, 41):
        write(store, *range(start, start + 20))
        store.compact()
    oldest = store.event_store.oldest_revision()
    assert oldest > 1
    with pytest.raises(CompactedError, match=f"the oldest one left is {oldest}"):
        store.watch(oldest - 1)
    # One more for each compaction that has dropped something.
    newest = store.stats()["revision"]
    assert newest > 60
    watched = [batch.revision for batch in store.watch(oldest, timeout=0)]
    assert watched == [*range(oldest, newest + 1)]


# Followers.


def test_follower_sees_what_the_writer_has_committed(open_store: OpenStore) -> None:
    store = open_store(options=SMALL)
    write(store, 1)
    follower = open_store(options=SMALL, read_only=True)
    for number in range(2, 30):
        old_reader, old_content = follower.transaction(), content_of(follower)
        tx = store.transaction(writable=True)
        create_committed(tx, f"layer {number}", labels={"n": f"{number}"})
        assert content_of(follower) == old_content, "nothing that is not committed"
        tx.commit()
        assert content_of(follower) == content_of(store)
        assert content(old_reader) == old_content
        with follower.transaction() as reader:
            found = [info.name for info in reader.walk_info(f"labels.n=={number}")]
            assert found == [f"layer {number}"]
            assert reader.revision == number
        if number % 7 == 0:
            store.compact()
    follower.check()
    assert follower.verify().is_sound
    assert follower.stats()["revision"] == 29


def test_follower_outlives_its_writer(open_store: OpenStore) -> None:
    store = open_store()
    write(store, 1)
    follower = open_store(read_only=True)
    write(store, 2)
    store.close()
    assert set(content_of(follower)[1].values()) == {"1", "2"}
    again = open_store()
    write(again, 3)
    assert set(content_of(follower)[1].values()) == {"1", "2", "3"}


def test_follower_goes_on_after_retention_dropped_what_it_had_not_read(
    open_store: OpenStore,
) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    write(store, 1)
    follower = open_store(options=options, read_only=True)
    old_reader, old_content = follower.transaction(), content_of(follower)
    for start in (2, 22, 42):
        write(store, *range(start, start + 20))
        store.compact()
    assert store.event_store.oldest_revision() > 2
    assert content_of(follower) == content_of(store)
    assert content(old_reader) == old_content
