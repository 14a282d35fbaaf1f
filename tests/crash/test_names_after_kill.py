"""A process is killed between making a name and syncing its directory; later the power goes.

What the next open finds by such a name is in the cache only. It must make the name durable before
anything relies on it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest
from support.crash import LEDGER, pay
from support.ledger import open_account

from eventstore import EventStore, Retention
from eventstore.testing import SMALL, PowerCutError, SimulatedFileSystem
from eventstore.testing.medium import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore import StoreOptions
    from eventstore.testing import Call

PATH = "/srv/made/store"


def open_at(file_system: SimulatedFileSystem, options: StoreOptions = SMALL) -> EventStore:
    return EventStore.open(PATH, LEDGER, options=options, file_system=file_system)


def killed_before_sync(
    file_system: SimulatedFileSystem, directory: str, run: Callable[[], object]
) -> SimulatedFileSystem:
    """Stretch until names that changed in a directory are to be synced; then kill the process."""

    def before_sync(call: Call) -> None:
        if call.name == "sync_directory" and call.path == directory and changed_names(directory):
            file_system.cut_power()
            raise PowerCutError(call.path)

    def changed_names(path: str) -> bool:
        node = file_system.medium.directory(ROOT)
        for name in filter(None, path.split("/")):
            node = file_system.medium.directory(node.cached[name])
        return bool(node.changes)

    file_system.fault = before_sync
    with pytest.raises(PowerCutError):
        run()
    return file_system.after_kill()


@pytest.mark.parametrize("killed_at", [["/"], ["/srv"], ["/srv/made"], [PATH, PATH]])
def test_acknowledged_batch_survives_if_making_the_store_was_killed(killed_at: list[str]) -> None:
    file_system = SimulatedFileSystem()
    for directory in killed_at:
        open_here = partial(open_at, file_system)
        file_system = killed_before_sync(file_system, directory, open_here)
    with open_at(file_system) as store, store.transaction(writable=True) as tx:
        open_account(tx, "a")
    for image in file_system.images(1000, Random(1)):
        with open_at(SimulatedFileSystem(image.medium)) as store:
            assert store.recovery.revision == 1, image.describe()


def test_history_has_no_gap_if_two_compactions_are_cut_before_they_sync_the_archive() -> None:
    file_system = SimulatedFileSystem()
    with open_at(file_system) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        for number in range(9):
            pay(store, "a", number, 1500)
            store.compact()
    dropping = replace(SMALL, retention=Retention(revisions=1))

    def drop() -> None:
        with open_at(file_system, dropping) as store:
            store.compact()

    file_system = killed_before_sync(file_system, f"{PATH}/archive", drop)
    file_system = killed_before_sync(file_system, f"{PATH}/archive", drop)
    for image in file_system.images(1000, Random(1)):
        with open_at(SimulatedFileSystem(image.medium)) as store:
            oldest = store.oldest_revision()
            found = [batch.revision for batch in store.batches(oldest)]
            newest = store.stats()["revision"]
            assert newest >= 10
            assert found == list(range(oldest, newest + 1)), image.describe()
            assert store.verify().is_sound
