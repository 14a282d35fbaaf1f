"""What is counted of a store's work is what was done, and monitors are given it."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from support.engine import SMALL
from support.ledger import Ledger

from eventstore import Event, EventStore, WriterBusyError
from eventstore.counters import Tally
from eventstore.metrics import StoreCollector
from eventstore.tracing import traced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(tmp_path / "store", [Ledger()], options=SMALL) as store:
        yield store


def note(store: EventStore) -> None:
    with store.transaction(writable=True, actor="me") as tx:
        tx.emit(Event("note", None))


def test_a_tally_puts_values_into_buckets_that_double() -> None:
    tally = Tally(0.5)
    for value in (0, 0.4, 0.5, 0.9, 1.0, 7.9):
        tally.add(value)
    counted = tally.as_dict()
    assert counted["below"] == {0.5: 2, 1.0: 2, 2.0: 1, 8.0: 1}
    assert (counted["count"], counted["total"]) == (6, pytest.approx(10.7))


def test_each_commit_is_counted_in_the_group_that_it_shared(store: EventStore) -> None:
    threads = [threading.Thread(target=lambda: [note(store) for _ in range(20)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.transaction(writable=True):
        pass  # nothing is written
    stats = store.stats()
    assert stats["group_sizes"]["total"] == 120
    assert stats["group_sizes"]["count"] == stats["sync_seconds"]["count"] <= 120
    assert stats["sync_seconds"]["total"] > 0


def test_waits_for_the_writer_lock_are_counted_also_those_in_vain(store: EventStore) -> None:
    note(store)
    assert store.stats()["lock_wait_seconds"]["count"] == 0

    def wait() -> None:
        with pytest.raises(WriterBusyError):
            store.transaction(writable=True, timeout=0.05).begin()

    with store.transaction(writable=True):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    counted = store.stats()["lock_wait_seconds"]
    assert counted["count"] == 1
    assert counted["total"] >= 0.05


def test_checkpoints_and_the_recovery_are_counted(store: EventStore, tmp_path: Path) -> None:
    note(store)
    store.checkpoint()
    store.checkpoint()  # there is nothing new
    note(store)
    assert store.stats()["checkpoint_seconds"]["count"] == 1
    store.close()
    with EventStore.open(tmp_path / "store", [Ledger()], options=SMALL) as again:
        stats = again.stats()
        assert stats["recovery_batches"] == 1
        assert stats["recovery_seconds"] > 0
        assert stats["rebuilt_projections"] == 0
        assert stats["checkpoint_seconds"]["count"] == 0


def test_prometheus_is_given_what_the_store_says(store: EventStore, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(StoreCollector(store, "node"))
    for _ in range(3):
        note(store)
    text = generate_latest(registry).decode()
    for line in (
        'snapledger_revision{store="node"} 3.0',
        'snapledger_commit_group_size_sum{store="node"} 3.0',
        'snapledger_commit_group_size_bucket{le="+Inf",store="node"} 3.0',
        'snapledger_commit_group_size_bucket{le="1",store="node"} 3.0',
        'snapledger_sync_seconds_count{store="node"} 3.0',
        'snapledger_failed{store="node"} 0.0',
        'snapledger_rows{store="node",table="accounts"} 0.0',
    ):
        assert line in text
    assert (
        f'snapledger_appended_bytes_total{{store="node"}} {store.stats()["appended_bytes"]}' in text
    )
    with EventStore.open(tmp_path / "store", [Ledger()], read_only=True) as follower:
        second = CollectorRegistry()
        second.register(StoreCollector(follower, "reader"))
        assert 'snapledger_durable_revision{store="reader"} 3.0' in generate_latest(second).decode()
    assert generate_latest(second) == b""


class Spans:
    """A tracer that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    @contextmanager
    def start_as_current_span(self, name: str, attributes: Any) -> Iterator[Any]:
        self.told.append((name, attributes))
        try:
            yield self
        except BaseException as error:
            self.told.append(("error", type(error)))
            raise
        finally:
            self.told.append(("end", None))

    def add_event(self, name: str) -> None:
        self.told.append((name, None))

    def set_attribute(self, name: str, value: Any) -> None:
        self.told.append((name, value))


def test_a_span_tells_who_and_the_waits_and_the_revision(store: EventStore) -> None:
    spans: Any = Spans()
    with traced(store.transaction(writable=True, actor="me"), tracer=spans) as tx:
        tx.emit(Event("note", None))
    assert spans.told == [
        ("snapledger.transaction", {"snapledger.actor": "me"}),
        ("begun", None),
        ("appended", None),
        ("snapledger.revision", 1),
        ("end", None),
    ]


def test_a_span_tells_of_an_error_and_the_transaction_is_rolled_back(store: EventStore) -> None:
    spans: Any = Spans()

    def fail() -> None:
        with traced(store.transaction(writable=True), tracer=spans) as tx:
            tx.emit(Event("note", None))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [name for name, _ in spans.told[1:]] == ["begun", "error", "end"]
    assert store.stats()["revision"] == 0


def test_a_traced_transaction_is_one_without_the_package_too(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for without in (False, True):
        if without:
            monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
        with traced(store.transaction(writable=True)) as tx:
            tx.emit(Event("note", None))
    assert store.stats()["revision"] == 2
