"""Who is asking is stated once, around the work, and stands in every batch that was made there."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL
from support.ledger import Ledger

from eventstore import (
    ActorRequiredError,
    Event,
    EventStore,
    InvalidEventError,
    Metadata,
    acting_as,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(tmp_path / "store", [Ledger()], options=SMALL) as store:
        yield store


def write(store: EventStore, actor: str | None = None, reason: str | None = None) -> None:
    with store.transaction(writable=True, actor=actor, reason=reason) as tx:
        tx.emit(Event("note", {"of": actor}))


def metadata(store: EventStore) -> list[Metadata]:
    return [batch.metadata for batch in store.batches()]


def test_what_a_transaction_is_given_goes_before_what_is_stated(store: EventStore) -> None:
    with acting_as(actor="gc", reason="collect", request_id="r-1"):
        write(store)
        write(store, "puller")
        with acting_as(reason="sweep"):
            write(store)
    write(store)
    assert metadata(store) == [
        Metadata("gc", "collect", "r-1"),
        Metadata("puller", "collect", "r-1"),
        Metadata("gc", "sweep", "r-1"),
        Metadata(),
    ]


def test_further_fields_come_first_in_the_batch_and_are_found_there(store: EventStore) -> None:
    with acting_as(actor="a", namespace="k8s.io"), acting_as(pod="web"):
        with store.transaction(writable=True) as tx:
            tx.emit(Event("note", 1))
            tx.emit(Event("note", 2))
        with store.transaction(writable=True):
            pass  # nothing to say, so nothing is written
    write(store)
    first, second = store.batches()
    assert [event.type for event in first.events] == ["batch.fields", "note", "note"]
    assert first.fields == {"namespace": "k8s.io", "pod": "web"}
    assert second.fields == {}


def test_fields_outlive_a_restart(store: EventStore, tmp_path: Path) -> None:
    with acting_as(namespace="default"):
        write(store)
    store.close()
    with EventStore.open(tmp_path / "store", [Ledger()], options=SMALL) as again:
        assert [batch.fields for batch in again.batches()] == [{"namespace": "default"}]


def test_each_thread_and_task_states_for_itself(store: EventStore) -> None:
    async def task(number: int) -> None:
        with acting_as(actor=f"task {number}"):
            await asyncio.sleep(0)
            write(store)

    async def tasks() -> None:
        await asyncio.gather(*(task(number) for number in range(3)))

    with acting_as(actor="main"):
        thread = threading.Thread(target=write, args=(store,))
        thread.start()
        thread.join()
    asyncio.run(tasks())
    assert [each.actor for each in metadata(store)] == [None, "task 0", "task 1", "task 2"]


def test_a_block_that_fails_states_nothing_after_it(store: EventStore) -> None:
    with pytest.raises(KeyError), acting_as(actor="gone"):
        raise KeyError
    write(store)
    assert metadata(store) == [Metadata()]


@pytest.mark.parametrize("wrong", [{"actor": 5}, {"namespace": 5}, {"reason": "\ud800"}])
def test_what_is_no_text_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidEventError), acting_as(**wrong):
        pytest.fail("entered")


def test_a_store_that_requires_an_actor_takes_no_anonymous_batch(tmp_path: Path) -> None:
    options = replace(SMALL, require_actor=True)
    with EventStore.open(tmp_path / "strict", [Ledger()], options=options) as store:
        for actor in (None, ""):
            with pytest.raises(ActorRequiredError, match="without an actor"):
                write(store, actor)
        write(store, "me")
        with acting_as(actor="you"):
            write(store)
        assert [each.actor for each in metadata(store)] == ["me", "you"]
        with store.transaction() as now:
            assert now.revision == 2
