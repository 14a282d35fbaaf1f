"""The processes that the tests kill: `python -m kernel.worker ROLE STORE REPORT AUTHOR ...`.

A writer commits from several threads while another compacts all the time; a lock taker keeps trying
to get in, and writes when it does; a follower keeps looking; the sequence writes and compacts in a
fixed order, for faults at the Nth call. All run until they are killed, except the sequence.
"""

from __future__ import annotations

import argparse
import os
import random
import threading
import time
from typing import TYPE_CHECKING

from kernel import reports
from kernel.workload import (
    BatchName,
    content,
    expected_content,
    numbers_written,
    reason_of,
    store_options,
    write_batch,
)

import eventstore.maintenance.background
from eventstore import (
    CompactedError,
    NotAStoreError,
    StorageFullError,
    StoreFailedError,
    StoreLockedError,
)
from projections.snapshots import MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITER_THREADS = 3
_LOOKS_A_FOLLOWER = 60
_SEQUENCE_BATCHES = 60
_SEQUENCE_BATCHES_A_COMPACTION = 15


class Worker:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path: str = arguments.store
        self.author: str = arguments.author
        self.options = store_options(arguments.retention, background=arguments.role != "sequence")
        self.random = random.Random(arguments.seed)
        self.reporter = reports.Reporter(arguments.report)

    def write(self) -> None:
        """Commit from several threads, and compact, until killed."""
        store = self._open(lock_timeout=60.0)
        threads = [
            threading.Thread(target=self._guarded, args=(self._commit_for_ever, store, number))
            for number in range(_WRITER_THREADS)
        ]
        threads.append(threading.Thread(target=self._guarded, args=(self._compact_for_ever, store)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def take(self) -> None:
        """Get in whenever the lock is free, commit once and leave."""
        while True:
            try:
                store = self._open(lock_timeout=None)
            except StoreLockedError:
                self.reporter.tell(reports.REFUSED)
                time.sleep(0.005)
                continue
            with store.transaction() as transaction:
                number = numbers_written(transaction).get(self.author, 0) + 1
            self.commit(store, BatchName(self.author, number))
            self.reporter.tell(reports.CLOSING)
            store.close()
            time.sleep(self.random.uniform(0.0, 0.1))

    def follow(self) -> None:
        """Look again and again, and from time to time from a new handle."""
        last_revision = 0
        while True:
            try:
                store = MetaStore.open(self.path, read_only=True)
            except NotAStoreError:
                time.sleep(0.01)  # it has not been made yet
                continue
            for _ in range(_LOOKS_A_FOLLOWER):
                last_revision = self._look(store, last_revision)
                time.sleep(self.random.uniform(0.0, 0.004))
            store.close()

    def run_sequence(self) -> None:
        """Commit and compact in a fixed order; after a failure, see that nothing more is taken."""
        store = self._open(lock_timeout=None)
        with store.transaction() as transaction:
            number = numbers_written(transaction).get(self.author, 0)
        for step in range(1, _SEQUENCE_BATCHES + 1):
            name = BatchName(self.author, number + 1)
            try:
                self.commit(store, name)
                number += 1
            except StorageFullError:
                continue
            except StoreFailedError as error:
                self.reporter.tell(reports.FAILED, repr(error))
                self._try_after_failure(store, name)
                break
            if step % _SEQUENCE_BATCHES_A_COMPACTION == 0:
                self._compact_under_faults(store)
        self.reporter.tell(reports.CLOSING)
        store.close()

    def commit(self, store: MetaStore, name: BatchName) -> None:
        with store.transaction(
            writable=True,
            actor=name.author,
            reason=reason_of(name),
            request_id=str(name.number),
        ) as transaction:
            write_batch(transaction, name)
            self.reporter.tell(reports.ISSUED, *name)
        self.reporter.tell(reports.ACKNOWLEDGED, *name, str(transaction.receipt))

    def _open(self, lock_timeout: float | None) -> MetaStore:
        store = MetaStore.open(self.path, lock_timeout=lock_timeout, options=self.options)
        with store.transaction() as transaction:
            revision, numbers = transaction.revision, numbers_written(transaction)
        self.reporter.tell(reports.OPENED, revision, numbers)
        return store

    def _commit_for_ever(self, store: MetaStore, thread_number: int) -> None:
        author = f"{self.author}{thread_number}"
        with store.transaction() as transaction:
            number = numbers_written(transaction).get(author, 0)
        while True:
            number += 1
            self.commit(store, BatchName(author, number))

    def _compact_for_ever(self, store: MetaStore) -> None:
        while True:
            time.sleep(self.random.uniform(0.0, 0.05))
            store.compact()

    def _compact_under_faults(self, store: MetaStore) -> None:
        try:
            store.compact()
        except (StorageFullError, OSError) as error:
            self.reporter.tell(reports.FAILED, repr(error))

    def _try_after_failure(self, store: MetaStore, name: BatchName) -> None:
        try:
            self.commit(store, name)
        except StoreFailedError:
            pass
        else:
            self.reporter.tell(reports.VIOLATED, "a commit was acknowledged after a failure")
        with store.transaction() as transaction:
            if content(transaction) != expected_content(numbers_written(transaction)):
                self.reporter.tell(reports.VIOLATED, "a failed handle shows no whole state")

    def _look(self, store: MetaStore, last_revision: int) -> int:
        with store.transaction() as transaction:
            revision = transaction.revision
            seen = content(transaction)
            expected = expected_content(numbers_written(transaction))
        if revision < last_revision:
            self.reporter.tell(reports.VIOLATED, f"revision {last_revision} became {revision}")
        if seen != expected:
            self.reporter.tell(reports.VIOLATED, f"no whole state at revision {revision}")
        if revision > last_revision:
            try:
                [batch] = store.event_store.batches(revision, revision)
                self.reporter.tell(reports.SEEN, revision, batch.digest.hex())
            except CompactedError:
                pass  # the writer ran far ahead meanwhile
        return revision

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Report an error of one thread, and let the others meet theirs."""
        try:
            work(*arguments)
        except Exception as error:
            self.reporter.tell(reports.FAILED, repr(error))


def _end_with_parent() -> None:
    """End when the pipe on stdin is closed: however the tests end, no worker outlives them."""
    os.read(0, 1)
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("write", "take", "follow", "sequence"))
    parser.add_argument("store")
    parser.add_argument("report")
    parser.add_argument("author")
    parser.add_argument("--retention", default="all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Background maintenance looks once a second, but a round does not last as long.
    eventstore.maintenance.background._LOOK_SECONDS = 0.02
    worker = Worker(arguments)
    roles = {
        "write": worker.write,
        "take": worker.take,
        "follow": worker.follow,
        "sequence": worker.run_sequence,
    }
    worker._guarded(roles[arguments.role])


if __name__ == "__main__":
    main()
