"""What takes the place of something is durable, name and all, before that something goes."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from support.crash import LEDGER, pay
from support.ledger import balances, open_account

from eventstore import EventStore, Retention
from eventstore.testing import SMALL, STORE_PATH, SimulatedFileSystem, crash_images

if TYPE_CHECKING:
    from eventstore import StoreOptions

GARBAGE = b"bytes of a write that was cut short" * 20
WAL = f"{STORE_PATH}/wal"
TORN = f"{STORE_PATH}/torn"


def open_on(file_system: SimulatedFileSystem, options: StoreOptions = SMALL) -> EventStore:
    return EventStore.open(STORE_PATH, LEDGER, options=options, file_system=file_system)


def content(file_system: SimulatedFileSystem, path: str) -> bytes:
    file = file_system.open(path)
    try:
        return file.read(0, file.size_bytes())
    finally:
        file.close()


def test_bytes_of_a_cut_tail_are_in_the_log_or_in_their_copy_whenever_the_power_goes() -> None:
    file_system = SimulatedFileSystem()
    with open_on(file_system) as store, store.transaction(writable=True) as tx:
        open_account(tx, "a")
    segment = f"{WAL}/{file_system.list_directory(WAL)[0]}"
    end = len(content(file_system, segment).rstrip(b"\0")) // 8 * 8 + 8
    file = file_system.open(segment, writable=True)
    file.write(end, GARBAGE)
    file.sync()
    file.close()

    recovering = SimulatedFileSystem(file_system.medium.copy(), keep_steps=True)
    open_on(recovering).close()
    images = 0
    for step in recovering.steps:
        for image in crash_images(step.medium, 50, Random(1)):
            found = SimulatedFileSystem(image.medium)
            names = found.list_directory(TORN) if found.exists(TORN) else []
            saved = [content(found, f"{TORN}/{name}") for name in names if name.endswith(".torn")]
            kept = GARBAGE in content(found, segment) or GARBAGE in saved
            assert kept, f"{step.name}: {image.describe()}"
            images += 1
    assert images > 10


def test_batches_are_in_the_log_or_in_a_checkpoint_if_one_session_makes_both_and_drops() -> None:
    file_system = SimulatedFileSystem()
    with open_on(file_system, replace(SMALL, retention=Retention.none())) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        # Two checkpoints are needed to drop a segment. A third would remove the first one, and sync
        # the names of all.
        for _ in range(2):
            for _ in range(3):
                pay(store, "a", 1, 1500)
            store.compact()
        assert store.oldest_revision() > 1
        for image in file_system.images(1000, Random(1)):
            with open_on(SimulatedFileSystem(image.medium)) as found, found.transaction() as reader:
                assert balances(reader) == {"a": 6}, image.describe()


def test_no_later_segment_goes_before_an_earlier_one_whenever_the_power_goes() -> None:
    file_system = SimulatedFileSystem(keep_steps=True)
    with open_on(file_system, replace(SMALL, retention=Retention.none())) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        for _ in range(2):
            for _ in range(6):
                pay(store, "a", 1, 1500)
            store.checkpoint()
        segments = [name for name in file_system.list_directory(WAL) if name.endswith(".log")]
        started = len(file_system.steps)
        assert store.compact().dropped > 2
    segments.sort()
    images = 0
    for step in file_system.steps[started:]:
        for image in crash_images(step.medium, 20, Random(1)):
            found = SimulatedFileSystem(image.medium).list_directory(WAL)
            left = [name for name in segments if name in found]
            assert left == segments[len(segments) - len(left) :], image.describe()
            images += 1
    assert images > 50


def test_a_checkpoint_has_its_name_only_once_it_is_whole_whenever_the_power_goes() -> None:
    file_system = SimulatedFileSystem(keep_steps=True)
    with open_on(file_system) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        store.checkpoint()
    images = 0
    for step in file_system.steps:
        for image in crash_images(step.medium, 4, Random(1)):
            with open_on(SimulatedFileSystem(image.medium)) as found:
                damaged = found.recovery.damaged_checkpoints
            assert not damaged, f"{step.name}: {image.describe()}"
            images += 1
    assert images > 50
