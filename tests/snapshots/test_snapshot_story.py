"""Who changed what of a snapshot, from old to new; who removed one; what differs since."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import create_committed

from projections.snapshots import (
    Change,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    Usage,
    events,
    history,
)

if TYPE_CHECKING:
    from projections.snapshots import HistoryEntry


@pytest.fixture
def lived(store: MetaStore) -> MetaStore:
    """A name that two snapshots had, and what became of the first one."""
    with store.transaction(writable=True, actor="puller") as tx:
        tx.create_snapshot(Kind.ACTIVE, "extract", labels={"a": "1"})
    with store.transaction(writable=True, actor="labeller") as tx:
        tx.update_info("extract", {"a": "2"})
    with store.transaction(writable=True, actor="puller") as tx:
        tx.commit_active("extract", "layer", Usage(3, 4), {"b": "2"})
    with store.transaction(writable=True, actor="labeller") as tx:
        tx.update_info("layer", {"c": "3"})
        tx.update_info("layer", {"c": "4"})
    with store.transaction(writable=True, actor="gc", reason="unused") as tx:
        tx.remove("layer")
    with store.transaction(writable=True, actor="puller") as tx:
        tx.create_snapshot(Kind.VIEW, "layer")
    return store


def changed(entry: HistoryEntry) -> dict[str, tuple[Any, Any]]:
    return {name: tuple(change) for name, change in entry.changes.items()}


def test_each_entry_says_what_it_changed_from_and_to(lived: MetaStore) -> None:
    created, labelled, committed, second, third, removed, reused = lived.history("layer")
    assert changed(created) == {
        "name": (None, "extract"),
        "kind": (None, Kind.ACTIVE),
        "parent": (None, ""),
        "labels": (None, {"a": "1"}),
        "usage": (None, None),
    }
    assert changed(labelled) == {"labels": ({"a": "1"}, {"a": "2"})}
    assert changed(committed) == {
        "name": ("extract", "layer"),
        "kind": (Kind.ACTIVE, Kind.COMMITTED),
        "labels": ({"a": "2"}, {"b": "2"}),
        "usage": (None, Usage(3, 4)),
    }
    assert changed(second) == {"labels": ({"b": "2"}, {"c": "3"})}
    assert changed(third) == {"labels": ({"c": "3"}, {"c": "4"})}
    assert changed(removed) == {
        "name": ("layer", None),
        "labels": ({"c": "4"}, None),
    }
    assert (removed.id, reused.id) == ("1", "2")
    assert reused.changes["kind"] == Change(None, Kind.VIEW)


@pytest.mark.parametrize("key", ["extract", "layer"])
def test_newest_first_is_the_same_story_backwards(lived: MetaStore, key: str) -> None:
    entries = list(lived.history(key))
    assert list(lived.history(key, reverse=True)) == entries[::-1]
    assert list(lived.history(key, from_revision=3, to_revision=4)) == [
        entry for entry in entries if 3 <= entry.revision <= 4
    ]


def test_random_lives_are_told_the_same_from_either_end(store: MetaStore) -> None:
    draw = random.Random(4)
    names = [f"n{number}" for number in range(6)]
    for number in range(120):
        with store.transaction(writable=True, actor=draw.choice(("a", "b"))) as tx:
            for _ in range(draw.choice((1, 3))):
                name = draw.choice(names)
                try:
                    _, info, _ = tx.get_info(name)
                except NotFoundError:
                    tx.create_snapshot(Kind.ACTIVE, name, labels={"n": str(number)})
                    continue
                target = draw.choice(names)
                free = target not in {each.name for each in tx.walk_info()}
                if info.kind is Kind.ACTIVE and free and draw.random() < 0.5:
                    tx.commit_active(name, target, Usage(number, 1))
                elif draw.random() < 0.5:
                    tx.update_info(name, {"n": str(number)})
                else:
                    tx.remove(name)
        if number % 50 == 49:
            store.compact()
    for name in names:
        entries = list(store.history(name))
        assert entries
        assert list(store.history(name, reverse=True)) == entries[::-1]
        # Each entry's old values are the new ones of the entry before, of the same snapshot.
        known: dict[tuple[str, str], Any] = {}
        for entry in entries:
            for field, change in entry.changes.items():
                assert known.get((entry.id, field)) == change.old
                known[entry.id, field] = change.new


def test_who_removed_a_key_is_told_by_its_last_holder(lived: MetaStore) -> None:
    assert lived.who_removed("layer") is None  # another one has the name now
    removal = lived.who_removed("layer", at=5)
    assert removal is not None
    assert (removal.revision, removal.metadata.actor, removal.metadata.reason) == (
        5,
        "gc",
        "unused",
    )
    assert lived.who_removed("extract") == removal  # under its later name
    assert lived.who_removed("layer", at=4) is None
    assert lived.who_removed("nobody") is None
    with pytest.raises(InvalidArgumentError):
        lived.who_removed(7)  # type: ignore[arg-type]


def test_a_difference_says_what_became_of_each_snapshot_and_by_whom(lived: MetaStore) -> None:
    [one] = lived.diff(1, 3)
    assert (one.id, [entry.metadata.actor for entry in one.entries]) == (
        "1",
        ["labeller", "puller"],
    )
    assert one.before == {
        "name": "extract",
        "kind": Kind.ACTIVE,
        "parent": "",
        "labels": {"a": "1"},
        "usage": None,
    }
    assert one.changes == {
        "name": Change("extract", "layer"),
        "kind": Change(Kind.ACTIVE, Kind.COMMITTED),
        "labels": Change({"a": "1"}, {"b": "2"}),
        "usage": Change(None, Usage(3, 4)),
    }
    relabelled, added = lived.diff(3, 6)
    assert relabelled.after is None
    assert relabelled.before is not None
    assert relabelled.before["labels"] == {"b": "2"}
    assert (added.before, added.after and added.after["kind"]) == (None, Kind.VIEW)
    [passing] = lived.diff(0, 5)
    assert (passing.before, passing.after) == (None, None)
    assert list(lived.diff(6)) == []


def test_a_difference_between_times_is_that_between_their_revisions(lived: MetaStore) -> None:
    times = [batch.time for batch in lived.event_store.batches()]
    assert list(lived.diff(times[0], times[2])) == list(lived.diff(1, 3))
    assert list(lived.diff(times[0])) == list(lived.diff(1))


@pytest.mark.parametrize("between", [(3, 1), (1, 99), (-1, 2)])
def test_a_difference_that_can_not_be_meant_is_refused(
    lived: MetaStore, between: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="from a revision to a later one"):
        lived.diff(*between)


def test_a_difference_equals_that_of_the_two_states(store: MetaStore) -> None:
    for number in range(12):
        with store.transaction(writable=True) as tx:
            create_committed(tx, f"layer {number}")
        if number % 3 == 2:
            with store.transaction(writable=True) as tx:
                tx.remove(f"layer {number - 1}")
                tx.update_info(f"layer {number}", {"n": "x"})
    last = store.stats()["revision"]
    for first in range(0, last, 5):
        for second in range(first, last + 1, 7):
            states = []
            for revision in (first, second):
                with store.at(revision) as tx:
                    states.append(
                        {tx.get_info(i.name)[0]: tx.get_info(i.name) for i in tx.walk_info()}
                    )
            before, after = states
            changed_ids = {
                each for each in before.keys() | after.keys() if before.get(each) != after.get(each)
            }
            found = {each.id: each for each in store.diff(first, second)}
            assert {each.id for each in found.values() if each.changes} == changed_ids
            for snapshot_id in changed_ids:
                for fields, state in (
                    (found[snapshot_id].before, before),
                    (found[snapshot_id].after, after),
                ):
                    assert (fields is None) == (snapshot_id not in state)
                    if fields is not None:
                        _, info, usage = state[snapshot_id]
                        assert fields == {
                            "name": info.name,
                            "kind": info.kind,
                            "parent": info.parent,
                            "labels": dict(info.labels),
                            "usage": usage if info.kind is Kind.COMMITTED else None,
                        }


@pytest.mark.parametrize("seed", range(6))
def test_a_difference_is_the_same_with_and_without_what_is_there_now(
    seed: int, store: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    names = ["one", "two", "three"]
    for number in range(60):
        with store.transaction(writable=True) as tx:
            name = chance.choice(names)
            labels = {"n": str(number)}
            there = {info.name: info.kind for info in tx.walk_info()}
            if name not in there:
                tx.create_snapshot(Kind.ACTIVE, name, labels=labels)
            elif chance.random() < 0.15:
                tx.remove(name)
            elif there[name] is not Kind.ACTIVE or chance.random() < 0.6:
                tx.update_info(name, labels)
            elif free := [each for each in names if each not in there]:
                tx.commit_active(name, chance.choice(free), Usage(number), labels)
            else:
                # As only somebody who emits events by hand can have it: under its own key.
                snapshot_id, info, _ = tx.get_info(name)
                tx.emit(
                    events.committed(
                        id_number=int(snapshot_id),
                        key=name,
                        name=name,
                        parent="",
                        labels=labels,
                        usage=Usage(number),
                        time_ns=info.updated_ns,
                    )
                )
    last = store.stats()["revision"]
    ranges = [(first, min(first + 9, last)) for first in range(0, last, 4)]
    quick = [list(store.diff(*each)) for each in ranges]
    monkeypatch.setattr(history, "_lasting", lambda *arguments: None)
    assert quick == [list(store.diff(*each)) for each in ranges]


@pytest.mark.parametrize("is_removed", [False, True], ids=["relabelled", "removed"])
def test_a_difference_reads_no_more_of_what_changed_labels_than_the_last_of_it(
    store: MetaStore, monkeypatch: pytest.MonkeyPatch, is_removed: bool
) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "layer")
    for number in range(20):
        with store.transaction(writable=True) as tx:
            tx.update_info("layer", {"n": str(number)})
    if is_removed:
        with store.transaction(writable=True) as tx:
            tx.remove("layer")
    last = store.stats()["revision"]
    read: list[Any] = []
    events_before = history._events_before

    def counted(*arguments: Any) -> Any:
        for event in events_before(*arguments):
            read.append(event)
            yield event

    monkeypatch.setattr(history, "_events_before", counted)
    [one] = store.diff(last - 1)
    if is_removed:
        assert one.after is None
        assert one.before == {
            "kind": Kind.COMMITTED,
            "name": "layer",
            "parent": "",
            "labels": {"n": "19"},
            "usage": Usage(1, 10),
        }
    else:
        assert one.changes == {"labels": Change({"n": "18"}, {"n": "19"})}
    assert len(read) == 1
