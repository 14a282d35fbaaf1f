"""The engine's own events: in the history as any other, in no projection, and nobody else's."""

from __future__ import annotations

import dataclasses
import threading
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, add, balance, open_store

from eventstore import Batch, Event, EventStore, InvalidEventError, Projection, Retention
from eventstore.engine_events import DROPPED
from eventstore.handle import maintaining
from eventstore.testing import STORE_PATH, SimulatedFileSystem, crash_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEEP_40 = dataclasses.replace(SMALL, retention=Retention(revisions=40))


class Everything(Projection):
    """Notes the types of all events that it is given, and gives each as a key."""

    name = "everything"
    version = 1
    tables = ()

    def __init__(self) -> None:
        self.given: set[str] = set()

    def apply(self, event: Event, tables: Any) -> None:
        self.given.add(event.type)

    def keys(self, event: Event) -> Iterator[str]:
        self.given.add(event.type)
        yield "all"


def said(store: EventStore) -> list[Batch]:
    """Return the batches that say what was dropped."""
    return list(store.batches(store.oldest_revision(), type=DROPPED))


def fill(store: EventStore, rounds: int = 4) -> None:
    for _ in range(rounds):
        add(store, 40)
        store.compact()


@pytest.mark.parametrize(
    ("retention", "rule", "reason"),
    [
        (
            Retention(revisions=40),
            {"revisions": 40, "archive": True},
            "retention: keep 40 revisions",
        ),
        (
            Retention(size_bytes=900, age_seconds=5),
            {"age_seconds": 5, "size_bytes": 900, "archive": True},
            "retention: keep 5 seconds and 900 bytes",
        ),
        (
            Retention.none(),
            {"archive": False},
            "retention: keep nothing beyond what recovery needs",
        ),
    ],
)
def test_what_retention_drops_is_in_the_history(
    tmp_path: Path, retention: Retention, rule: dict[str, Any], reason: str
) -> None:
    options = dataclasses.replace(SMALL, retention=retention)
    with open_store(tmp_path / "store", options=options) as store:
        fill(store)
        before = store.oldest_revision()
        add(store, 40)
        report = store.compact()
        after = store.oldest_revision()
        assert report.dropped
        [*_, last] = said(store)
        [event] = last.events
        assert last.metadata == ("eventstore", reason, None)
        assert event.version == 1
        assert event.data["first_revision"] == before
        assert event.data["last_revision"] == after - 1
        assert event.data["segment_count"] == report.dropped
        assert event.data["size_bytes"] > 0
        assert event.data["retention"] == rule
        assert store.inclusion_proof(last.revision).digest == last.digest
        assert store.verify().is_sound
        store.check()
        watched = next(store.watch(last.revision))
        assert watched == last
    with open_store(tmp_path / "store", options=options) as store:
        assert [batch.revision for batch in said(store)][-1] == last.revision
        assert balance(store) == 200


def test_dropped_ranges_follow_one_another(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", options=KEEP_40) as store:
        watch = store.watch(1, timeout=0)
        dropped: list[tuple[int, int]] = []
        for _ in range(8):
            add(store, 40)
            store.compact()
            for batch in store.batches(watch.next_revision):
                watch.next_revision = batch.revision + 1
                for event in batch.events:
                    if event.type == DROPPED:
                        dropped.append((event.data["first_revision"], event.data["last_revision"]))
        assert len(dropped) > 2
        assert dropped[0][0] == 1
        assert [last + 1 for _, last in dropped[:-1]] == [first for first, _ in dropped[1:]]
        assert dropped[-1][1] == store.oldest_revision() - 1


def test_compaction_that_drops_nothing_says_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store)
        assert said(store) == []
        assert store.stats()["revision"] == 160


def test_nobody_else_may_emit_such_a_type(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        with store.transaction(writable=True) as tx:
            with pytest.raises(InvalidEventError, match=r"'eventstore\.' are the engine's own"):
                tx.emit(Event(DROPPED, {}))
            with pytest.raises(InvalidEventError):
                tx.emit(Event("eventstore.", {}))
            tx.emit(Event("eventstores.opened", {}))
        [batch] = store.batches()
        assert [event.type for event in batch.events] == ["eventstores.opened"]


def test_no_projection_is_given_one_not_even_for_its_keys(tmp_path: Path) -> None:
    everything = Everything()
    path = tmp_path / "store"
    with open_store(path, options=KEEP_40) as store:
        fill(store)
        assert said(store)
    with EventStore.open(path, [everything], options=SMALL) as store:
        whole = store.oldest_revision()
        found = {batch.revision for batch in store.history("all")}
        assert found == set(range(whole, store.stats()["revision"] + 1)) - {
            batch.revision for batch in said(store)
        }
    assert everything.given == {"money.deposited"}


def test_nothing_is_dropped_inside_a_write_transaction(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store)
    with open_store(tmp_path / "store", options=KEEP_40) as store:
        with store.transaction(writable=True):
            assert store.compact().dropped == 0
            assert store.oldest_revision() == 1
        assert "nothing is dropped this time" in caplog.text
        assert store.compact().dropped
        assert store.oldest_revision() > 1


def test_compaction_waits_only_a_moment_for_whoever_waits_for_it(tmp_path: Path) -> None:
    """A thread with a write transaction may ask for a checkpoint while another one compacts."""
    with open_store(tmp_path / "store") as store:
        fill(store)
    with open_store(tmp_path / "store", options=KEEP_40) as store:
        entered = threading.Event()
        dropped: list[int] = []

        def compact() -> None:
            entered.wait(10)
            dropped.append(store.compact().dropped)

        thread = threading.Thread(target=compact)
        thread.start()
        with store.transaction(writable=True):
            entered.set()
            while thread.is_alive():
                store.checkpoint()
        thread.join()
        assert dropped == [0]


def test_compaction_ends_without_dropping_while_a_write_transaction_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintaining, "_SAY_SECONDS", 0.05)
    with open_store(tmp_path / "store") as store:
        fill(store)
    with open_store(tmp_path / "store", options=KEEP_40) as store:
        dropped: list[int] = []
        thread = threading.Thread(target=lambda: dropped.append(store.compact().dropped))
        with store.transaction(writable=True):
            thread.start()
            thread.join(10)
            has_ended = not thread.is_alive()
        thread.join()
    assert (has_ended, dropped) == (True, [0])


def test_what_goes_is_durably_said_before_the_first_file_goes() -> None:
    disk = SimulatedFileSystem(keep_steps=True)
    with EventStore.open(STORE_PATH, [], options=SMALL, file_system=disk) as store:
        for number in range(120):
            with store.transaction(writable=True) as tx:
                tx.emit(Event("noted", {"text": "n" * 200, "number": number}))
            if number % 30 == 0:
                store.compact()
    started = len(disk.steps)
    with EventStore.open(STORE_PATH, [], options=KEEP_40, file_system=disk) as store:
        assert store.compact().dropped > 2
    images = 0
    for step in disk.steps[started:]:
        for image in crash_images(step.medium, 8, Random(1)):
            found = SimulatedFileSystem(image.medium)
            with EventStore.open(STORE_PATH, [], options=SMALL, file_system=found) as store:
                oldest = store.oldest_revision()
                images += oldest > 1
                if oldest > 1:
                    told = [event.data for batch in said(store) for event in batch.events]
                    assert told[0]["first_revision"] == 1
                    assert told[-1]["last_revision"] >= oldest - 1
    assert images > 5
