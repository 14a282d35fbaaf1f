"""A handle that goes on after an interrupt erases: nothing is left in what that had cut short."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from support.erasing import OWNER, PROJECTIONS, SECRET, SMALL

from eventstore import EventStore, EventStoreError
from eventstore.testing import STORE_PATH, SimulatedFileSystem
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.testing import Call

NUMBERS = (5, 25, 38)
_GZIP = 31
"""The window bits by which zlib reads a gzip file."""


def opened(disk: SimulatedFileSystem) -> EventStore:
    return EventStore.open(STORE_PATH, PROJECTIONS, options=SMALL, file_system=disk)


def disk_with_work_to_do() -> SimulatedFileSystem:
    """Return a disk with a store that has the secret, and segments to be archived."""
    disk = SimulatedFileSystem()
    with opened(disk) as engine:
        for number in range(40):
            owner = SECRET if number in NUMBERS else "nobody"
            labels = {"owner": owner, "note": "n" * 150}
            with MetaStore(engine).transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels=labels)
            if number in (15, 30):
                engine.checkpoint()
    return disk


def files_with_the_secret(disk: SimulatedFileSystem) -> list[str]:
    found = []
    paths = [STORE_PATH]
    for path in paths:
        if disk.is_directory(path):
            paths += [f"{path}/{name}" for name in disk.list_directory(path)]
            continue
        file = disk.open(path)
        content = file.read(0, file.size_bytes())
        file.close()
        if ".gz" in path:
            # What was cut short is unpacked as far as it goes.
            content += zlib.decompressobj(_GZIP).decompress(content)
        if SECRET.encode() in content:
            found.append(path)
    return found


WORKS: dict[str, Callable[[EventStore], object]] = {
    "compaction": EventStore.compact,
    "checkpoint": EventStore.checkpoint,
}


@pytest.mark.parametrize("work", WORKS)
def test_nothing_is_left_of_what_an_interrupt_has_cut_short(work: str) -> None:
    medium = disk_with_work_to_do().medium
    at, cut_short, refused, goes_on = 0, 0, 0, True
    while goes_on:
        at += 1
        disk = SimulatedFileSystem(medium.copy())
        engine = opened(disk)
        last = disk.calls + at

        def interrupt(call: Call, last: int = last) -> None:
            if call.number == last:
                raise KeyboardInterrupt

        disk.fault = interrupt
        try:
            WORKS[work](engine)
        except KeyboardInterrupt:
            cut_short += 1
        goes_on = disk.calls >= last
        disk.fault = None
        fields = {number + 1: [OWNER] for number in NUMBERS}
        try:
            engine.erase(fields, actor="dpo", reason="asked")
        except EventStoreError:  # a handle that the interrupt has failed: the next one erases
            refused += 1
            engine.close()
            engine = opened(disk)
            engine.erase(fields, actor="dpo", reason="asked")
        assert files_with_the_secret(disk) == [], f"call {at}"
        engine.close()
    assert cut_short > 10
    assert refused < cut_short / 2


def test_what_an_interrupt_has_cut_short_is_in_no_way_of_the_next_compaction() -> None:
    medium = disk_with_work_to_do().medium
    whole = SimulatedFileSystem(medium.copy())
    with opened(whole) as engine:
        before = whole.calls
        engine.compact()
        calls = whole.calls - before
    cut_short = 0
    for at in range(1, calls, 2):
        disk = SimulatedFileSystem(medium.copy())
        with opened(disk) as engine:
            last = disk.calls + at

            def interrupt(call: Call, last: int = last) -> None:
                if call.number == last:
                    raise KeyboardInterrupt

            disk.fault = interrupt
            try:
                engine.compact()
            except KeyboardInterrupt:
                cut_short += 1
            disk.fault = None
            engine.compact()
    assert cut_short > 20
