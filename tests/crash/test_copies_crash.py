"""A power cut or a failing call amid a backup, a restore or a load never leaves a half of one."""

from __future__ import annotations

import contextlib
import errno
import io
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, balance
from support.ledger import Ledger, Totals

from eventstore import (
    BackupError,
    EventStore,
    EventStoreError,
    NotAStoreError,
    Retention,
    StoreExistsError,
    load_store,
    restore_store,
    verify_backup,
)
from eventstore.copies import backing_up
from eventstore.testing import SimulatedFileSystem
from eventstore.testing.faults import FailCall, Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore import StoreOptions

STORE, BACKUP, MADE = "/place/store", "/place/backup", "/place/made"
LEDGER = (Ledger(), Totals())
CUT = replace(SMALL, retention=Retention.none())


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files of batches that are full after a dozen."""
    monkeypatch.setattr(backing_up, "PART_BYTES", 4096)


def new_disk() -> SimulatedFileSystem:
    file_system = SimulatedFileSystem()
    file_system.make_directory("/place")
    file_system.sync_directory("/")
    return file_system


def open_at(
    file_system: SimulatedFileSystem, path: str, options: StoreOptions = SMALL
) -> EventStore:
    return EventStore.open(path, LEDGER, options=options, file_system=file_system)


def cut_store(file_system: SimulatedFileSystem, *, backup_at: int = 0) -> None:
    """Make a store whose first batches are gone, with what a backup of it then has to hold."""
    with open_at(file_system, STORE, CUT) as store:
        for number in range(1, 4):
            add(store, 25)
            if 25 * number == backup_at:
                store.backup(BACKUP)
            store.compact()
        assert store.oldest_revision() > 1


def back_up(file_system: SimulatedFileSystem) -> int:
    with open_at(file_system, STORE, CUT) as store:
        return store.backup(BACKUP).revision


def restore(file_system: SimulatedFileSystem) -> None:
    restore_store(BACKUP, MADE, LEDGER, revision=70, options=SMALL, file_system=file_system)


def after_power_cut(file_system: SimulatedFileSystem) -> SimulatedFileSystem:
    return SimulatedFileSystem(file_system.steps[-1].medium.copy())


def places_from(file_system: SimulatedFileSystem, deep: bool, draw: random.Random) -> list[int]:
    places = range(1, len(file_system.steps))
    return [*places] if deep else sorted({*draw.sample(places, 16), *places[-3:]})


@pytest.mark.parametrize("backup_at", [0, 50])
def test_power_cut_amid_a_backup_leaves_what_was_there_or_more_and_the_next_one_goes_on(
    backup_at: int, deep: bool, record_proof: Callable[..., None]
) -> None:
    prepared = new_disk()
    cut_store(prepared, backup_at=backup_at)
    before = after_power_cut(prepared)
    newest = back_up(before)
    assert newest >= 75  # and what says which batches were dropped
    draw = random.Random(0)
    revisions = []
    for place in places_from(before, deep, draw):
        at_step = SimulatedFileSystem(before.steps[place].medium.copy())
        for image in at_step.images(20 if deep else 2, draw):
            after = SimulatedFileSystem(image.medium.copy())
            try:
                revisions.append(verify_backup(BACKUP, file_system=after).revision)
            except BackupError:
                revisions.append(0)
            assert back_up(after) == newest
            cut = after.after_power_cut(draw)
            assert verify_backup(BACKUP, file_system=cut).revision == newest
    assert (min(revisions), max(revisions)) == (backup_at, newest)
    record_proof("backup, power cut", images=len(revisions), half_backups_believed=0)


def made_disk() -> SimulatedFileSystem:
    prepared = new_disk()
    cut_store(prepared)
    back_up(prepared)
    return after_power_cut(prepared)


def check_made(file_system: SimulatedFileSystem, total: int) -> None:
    with open_at(file_system, MADE) as store:
        assert balance(store) == total
        assert store.verify().is_sound


def test_power_cut_amid_a_restore_leaves_nothing_what_is_unfinished_or_all(
    deep: bool, record_proof: Callable[..., None]
) -> None:
    before = made_disk()
    restore(before)
    draw = random.Random(0)
    counts = {"images": 0, "no_store": 0, "whole": 0}
    for place in places_from(before, deep, draw):
        at_step = SimulatedFileSystem(before.steps[place].medium.copy())
        for image in at_step.images(20 if deep else 2, draw):
            counts["images"] += 1
            after = SimulatedFileSystem(image.medium.copy())
            try:
                with EventStore.open(MADE, LEDGER, read_only=True, file_system=after) as store:
                    assert balance(store) == 70
                counts["whole"] += 1
            except NotAStoreError:
                counts["no_store"] += 1
                restore(after)
            check_made(after.after_power_cut(draw), 70)
    assert min(counts.values()) > 0
    record_proof("restore, power cut", **counts, half_made_opened=0)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_failing_call_amid_a_backup_or_a_restore_ends_it_and_it_can_be_done_again(
    code: int, deep: bool, record_proof: Callable[..., None]
) -> None:
    prepared = new_disk()
    cut_store(prepared)
    whole = after_power_cut(prepared)
    newest = back_up(whole)
    calls = range(1, whole.calls)
    draw = random.Random(code)
    inputs = 0
    for number in calls if deep else draw.sample(calls, 20):
        disk = after_power_cut(prepared)
        disk.fault = FailCall(number, Failure(code), frozenset())
        with contextlib.suppress(OSError, EventStoreError):
            back_up(disk)
        disk.fault = None
        inputs += 1
        assert back_up(disk) == newest
        assert verify_backup(BACKUP, file_system=disk).revision == newest
    ready = made_disk()
    disk = SimulatedFileSystem(ready.medium.copy())
    restore(disk)
    numbers = range(1, disk.calls)
    for number in numbers if deep else draw.sample(numbers, 20):
        disk = SimulatedFileSystem(ready.medium.copy())
        disk.fault = FailCall(number, Failure(code), frozenset())
        with contextlib.suppress(OSError, EventStoreError):
            restore(disk)
        disk.fault = None
        inputs += 1
        with contextlib.suppress(StoreExistsError):  # all of it may be there in spite of the call
            restore(disk)
        check_made(disk, 70)
    record_proof("backup and restore, failing calls", inputs=inputs, half_made_opened=0)


def test_power_cut_amid_a_load_leaves_nothing_what_is_unfinished_or_all(deep: bool) -> None:
    source = new_disk()
    with open_at(source, STORE) as store:
        add(store, 30)
        lines = b"".join(store.dump())

    def load(file_system: SimulatedFileSystem) -> None:
        load_store(io.BytesIO(lines), MADE, LEDGER, options=SMALL, file_system=file_system)

    before = new_disk()
    load(before)
    draw = random.Random(0)
    for place in places_from(before, deep, draw):
        at_step = SimulatedFileSystem(before.steps[place].medium.copy())
        for image in at_step.images(20 if deep else 1, draw):
            after = SimulatedFileSystem(image.medium.copy())
            try:
                EventStore.open(MADE, LEDGER, read_only=True, file_system=after).close()
            except NotAStoreError:
                load(after)
            check_made(after.after_power_cut(draw), 30)
