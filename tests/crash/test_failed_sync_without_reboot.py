"""A sync fails, the process reopens the store, later the power goes.

After the failed sync the kernel shows the bytes as they were written, and takes them for clean: a
second sync succeeds without writing them. So an open must not take a sync for proof of what it
has read.
"""

from __future__ import annotations

import errno
from random import Random

import pytest
from support.crash import LEDGER, pay
from support.ledger import balances, open_account

from eventstore import EventStore, StoreFailedError
from eventstore.testing import SMALL, STORE_PATH, Call, Failure, SimulatedFileSystem


def open_at(file_system: SimulatedFileSystem) -> EventStore:
    return EventStore.open(STORE_PATH, LEDGER, options=SMALL, file_system=file_system)


def fails_sync_of_the_log(call: Call) -> Failure | None:
    is_log = call.path.endswith(".log")
    return Failure(errno.EIO) if call.name == "sync" and is_log else None


@pytest.mark.parametrize("batches_before", [0, 1, 4])
def test_batch_of_a_failed_sync_is_durable_once_a_later_open_has_served_it(
    batches_before: int,
) -> None:
    file_system = SimulatedFileSystem()
    with open_at(file_system) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        for _ in range(batches_before):
            pay(store, "a", 1, 800)
        file_system.fault = fails_sync_of_the_log
        with pytest.raises(StoreFailedError):
            pay(store, "a", 10)
        file_system.fault = None
    with open_at(file_system) as store, store.transaction() as tx:
        served = tx.revision
    for image in file_system.images(1000, Random(1)):
        with open_at(SimulatedFileSystem(image.medium)) as store, store.transaction() as tx:
            assert tx.revision == served, image.describe()
            assert balances(tx)["a"] == batches_before + 10
