"""A power cut amid a backup that grows by an erasure: what it holds is whole, and says what it is.

Either the backup ends before the erasure, or it holds both the erasure and what that has left. The
next backup leaves nothing of what was erased in any file.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL
from support.ledger import ACCOUNTS, Ledger, Totals, deposit, open_account

from eventstore import EventStore, restore_store, verify_backup
from eventstore.copies import backing_up
from eventstore.engine_events import ERASED
from eventstore.format.archive import stream_decompressor
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

STORE, BACKUP, MADE = "/place/store", "/place/backup", "/place/made"
LEDGER = (Ledger(), Totals())
SECRET = "Jane Q. Public"
OPTIONS = replace(SMALL, background=False)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files of batches that are full after a dozen."""
    monkeypatch.setattr(backing_up, "PART_BYTES", 2048)


def open_at(disk: SimulatedFileSystem, path: str) -> EventStore:
    return EventStore.open(path, LEDGER, options=OPTIONS, file_system=disk)


def prepared_disk() -> SimulatedFileSystem:
    """Make a store with a backup from before the erasure, which the store has."""
    disk = SimulatedFileSystem()
    disk.make_directory("/place")
    disk.sync_directory("/")
    with open_at(disk, STORE) as store:
        for number in range(50):
            actor = SECRET if number in (3, 30) else "puller"
            with store.transaction(writable=True, actor=actor) as tx:
                if tx.get(ACCOUNTS, "a") is None:
                    open_account(tx, "a")
                deposit(tx, "a", 1)
        store.backup(BACKUP)
        store.erase({4: [("actor",)], 31: [("actor",)]}, actor="dpo", reason="r")
    return SimulatedFileSystem(disk.steps[-1].medium.copy())


def back_up(disk: SimulatedFileSystem) -> int:
    with open_at(disk, STORE) as store:
        return store.backup(BACKUP).revision


def files_with_secret(disk: SimulatedFileSystem) -> list[str]:
    found = []
    for name in disk.list_directory(BACKUP):
        with contextlib.closing(disk.open(f"{BACKUP}/{name}")) as file:
            content = file.read(0, file.size_bytes())
        if name.endswith(".gz"):
            content = stream_decompressor().decompress(content)
        if SECRET.encode() in content:
            found.append(name)
    return found


def test_power_cut_amid_a_backup_that_grows_by_an_erasure_leaves_no_half_of_it(
    deep: bool, record_proof: Callable[..., None]
) -> None:
    disk = prepared_disk()
    assert len(files_with_secret(disk)) == 2
    newest = back_up(disk)
    draw = random.Random(0)
    places = range(1, len(disk.steps))
    outcomes = set()
    images = 0
    for place in places if deep else sorted(draw.sample(places, min(14, len(places)))):
        at_step = SimulatedFileSystem(disk.steps[place].medium.copy())
        for image in at_step.images(10 if deep else 1, draw):
            images += 1
            after = SimulatedFileSystem(image.medium.copy())
            revision = verify_backup(BACKUP, file_system=after).revision
            restore_store(BACKUP, MADE, LEDGER, options=OPTIONS, file_system=after)
            with open_at(after, MADE) as made:
                redacted = [each.revision for each in made.batches() if each.is_redacted]
                assert redacted == ([4, 31] if revision == newest else [])
                assert bool(list(made.batches(type=ERASED))) == bool(redacted)
                assert made.verify().is_sound
            outcomes.add(bool(redacted))
            assert back_up(after) == newest
            assert files_with_secret(after) == []
            cut = after.after_power_cut(draw)
            assert verify_backup(BACKUP, file_system=cut).revision == newest
            assert files_with_secret(cut) == []
    assert outcomes == {False, True}
    record_proof("backup of an erasure, power cut", images=images, half_erasures_believed=0)
