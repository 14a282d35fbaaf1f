"""The snapshots as they were at a revision or a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import content, content_of, create_committed, names

from eventstore import CompactedError, Retention, StoreOptions
from projections.snapshots import Kind, MetaStore, Usage

if TYPE_CHECKING:
    from support.snapshots import Content, OpenStore

OPTIONS = StoreOptions(segment_bytes=4096, background=False)
NOTHING: Any = ([], {})


def write_history(store: MetaStore, *, compact_at: tuple[int, ...] = ()) -> dict[int, Content]:
    """Make forty revisions of any kind and return the content at each."""
    contents: dict[int, Content] = {0: NOTHING}
    for number in range(40):
        with store.transaction(writable=True) as tx:
            if number % 4 == 3:
                tx.remove(f"{number - 1}")
            elif number % 4 == 2:
                tx.create_snapshot(Kind.VIEW, f"{number}", f"{number - 2}")
            elif number % 4 == 1:
                tx.update_info(f"{number - 1}", {"n": "x" * 200}, "labels.n")
            else:
                create_committed(tx, f"{number}", f"{number - 4}" if number else "")
            contents[number + 1] = content(tx)
        if number + 1 in compact_at:
            store.compact()
    return contents


@pytest.mark.parametrize("compact_at", [(), (10, 20, 30)], ids=["log", "archive"])
@pytest.mark.parametrize("read_only", [False, True], ids=["", "follower"])
def test_every_revision_can_be_seen_again(
    open_store: OpenStore, compact_at: tuple[int, ...], read_only: bool
) -> None:
    store = open_store(options=OPTIONS)
    contents = write_history(store, compact_at=compact_at)
    if read_only:
        store = open_store(options=OPTIONS, read_only=True)
    for revision, expected in contents.items():
        with store.at(revision) as past:
            assert past.revision == revision
            assert content(past) == expected
            views = [info.name for _, info, _ in expected[0] if info.kind is Kind.VIEW]
            assert names(past, "kind==view") == views
    assert content_of(store) == contents[40]


@pytest.mark.parametrize("compact_at", [(), (10, 20, 30)], ids=["log", "archive"])
def test_time_gives_the_last_revision_until_then(
    open_store: OpenStore, compact_at: tuple[int, ...]
) -> None:
    store = open_store(options=OPTIONS)
    contents = write_history(store, compact_at=compact_at)
    for batch in store.event_store.batches():
        assert content(store.at(time=batch.time_ns)) == contents[batch.revision]
        assert store.at(time=batch.time_ns - 1).revision == batch.revision - 1
        at_datetime = store.at(time=batch.time).revision
        assert at_datetime >= batch.revision, (
            "a time as it is shown includes what was shown with it"
        )
    assert store.at(time=0).revision == 0
    assert content(store.at(time=datetime(1970, 1, 1, tzinfo=UTC))) == NOTHING
    assert store.at(time=datetime.now(UTC) + timedelta(days=1)).revision == 40


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ValueError, "one of revision and time"),
        ({"revision": 1, "time": 1}, ValueError, "one of revision and time"),
        ({"revision": 2}, ValueError, "revision 2 is not there: the store is at 1"),
        ({"revision": -1}, ValueError, "revision -1 is not there"),
        ({"revision": 0.5}, TypeError, "revision .* int, not 0.5"),
        ({"revision": "1"}, TypeError, "revision .* int, not '1'"),
        ({"time": datetime(2024, 1, 1)}, ValueError, "aware datetime"),  # noqa: DTZ001
        ({"time": "2024-01-01"}, TypeError, "datetime .* not '2024-01-01'"),
        ({"time": 1.5e9}, TypeError, "datetime .* not 1500000000.0"),
    ],
)
def test_moment_that_can_not_be_is_refused(
    store: MetaStore, arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base")
    with pytest.raises(error, match=match):
        store.at(**arguments)


@pytest.mark.parametrize("first_checkpoint", range(13, 19))
def test_moment_that_is_no_longer_kept_is_refused_and_no_other_is_shown(
    open_store: OpenStore, first_checkpoint: int
) -> None:
    """Wherever the older checkpoint stands: before, at or after the end of a segment."""
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    moments: dict[int, tuple[int, Content]] = {}
    for number in range(1, 31):
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"n": "x" * 100})
            expected = content(tx)
        [batch] = store.event_store.batches(number, number)
        moments[number] = (batch.time_ns, expected)
        if number in (first_checkpoint, 30):
            store.compact()
    oldest = store.event_store.oldest_revision()
    assert oldest > 1
    for revision, (time_ns, expected) in moments.items():
        for moment in ({"revision": revision}, {"time": time_ns}):
            if revision >= first_checkpoint:
                assert content(store.at(**moment)) == expected, moment
                continue
            first = f"the oldest one left is {first_checkpoint}"
            with pytest.raises(CompactedError, match=first) as caught:
                store.at(**moment)
            assert content(store.at(caught.value.oldest_revision)) == moments[first_checkpoint][1]


def test_who_removed_a_snapshot_is_told_as_long_as_that_batch_is_kept(
    open_store: OpenStore,
) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    for number in range(1, 31):
        with store.transaction(writable=True, actor=f"actor {number}") as tx:
            tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"n": "x" * 100})
        with store.transaction(writable=True, actor=f"actor {number}") as tx:
            tx.remove(f"{number}")
        if number in (15, 25):
            store.compact()
    oldest = store.event_store.oldest_revision()
    assert oldest > 2
    for number in range(1, 31):
        removed = store.who_removed(f"{number}")
        if 2 * number < oldest:
            assert removed is None
        else:
            assert removed is not None
            assert removed.metadata.actor == f"actor {number}"


def test_a_difference_names_what_was_made_before_the_oldest_batch(open_store: OpenStore) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    with store.transaction(writable=True) as tx:
        for name in ("removed", "changed", "committed"):
            tx.create_snapshot(Kind.ACTIVE, name, labels={"n": "x" * 900})
    for number in range(30):
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"n": "x" * 100})
        if number in (15, 25):
            store.compact()
    assert store.event_store.oldest_revision() > 1
    last = store.stats()["revision"]
    with store.transaction(writable=True) as tx:
        tx.remove("removed")
        tx.update_info("changed", {"a": "b"})
        tx.commit_active("committed", "layer", Usage(1, 2))
    removed, changed, committed = store.diff(last)
    assert (removed.before, removed.after) == ({"name": "removed"}, None)
    assert changed.before == {"name": "changed"}
    assert changed.after == {"name": "changed", "labels": {"a": "b"}}
    assert committed.before == {"name": "committed", "kind": Kind.ACTIVE}
    assert committed.changes["name"] == ("committed", "layer")


def test_past_does_not_change_with_the_present(store: MetaStore) -> None:
    contents = write_history(store)
    past = store.at(10)
    with store.transaction(writable=True) as tx:
        tx.update_info("0", {"later": "1"})
        tx.create_snapshot(Kind.ACTIVE, "later", "0")
        assert content(past) == contents[10]
    assert content(past) == contents[10]
    store.close()
    assert content(past) == contents[10]
