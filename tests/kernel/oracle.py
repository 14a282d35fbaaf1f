"""What must be true of a store after a fault, by what the workers told before it.

- *lost*: an acknowledged batch is not there, or is there with another digest than its receipt, or
  what a follower showed is gone;
- *phantom*: a batch, or a row, that nobody had issued, in content or in number or in order;
- *wrong verdict*: the store could not be opened, or `check`, `verify` or a receipt failed, or a
  process got in while another held the store, or saw what must never be.

The state must be a prefix of what was issued: for each author, the batches 1 to n in order, with n
at least the last one acknowledged and at most the last one issued, and nothing else.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from kernel import reports
from kernel.workload import (
    BatchName,
    content,
    expected_content,
    holds_what_was_written,
    name_in,
    numbers_written,
    store_options,
)

from eventstore import EventStoreError, Receipt
from projections.snapshots import MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from kernel.processes import WorkerProcess

_RECEIPTS_CHECKED = 5
_ERRORS_OF_A_FAULT = ("OSError", "StoreFailedError", "StorageFullError")


class Oracle:
    """Judges one store through all of its rounds, and counts over all stores of a proof."""

    def __init__(self) -> None:
        self.rounds = 0
        self.acknowledged = 0
        self.shown_by_followers = 0
        self.refused_lock_takers = 0
        self.torn_tails = 0
        self.lost: list[str] = []
        self.phantoms: list[str] = []
        self.wrong: list[str] = []
        self.begin_store()

    def begin_store(self) -> None:
        """Forget what was told of the store before."""
        self._issued: dict[str, int] = defaultdict(int)
        self._receipts: dict[BatchName, Receipt] = {}
        self._last_acknowledged: dict[str, int] = defaultdict(int)
        self._seen: dict[int, str] = {}
        self._held: list[tuple[int, int, str]] = []
        self._opened_ns: dict[str, int] = {}

    def hear(self, workers: Iterable[WorkerProcess], *, fault_ns: int | None = None) -> None:
        """Take in what the workers have told since the last time, in the order of time.

        Args:
            workers: those of this round, killed ones included.
            fault_ns: when the medium began to fail, if it did: later errors are then in order.
        """
        for line in sorted(line for worker in workers for line in worker.hear()):
            match line.kind, line.values:
                case reports.ISSUED, [author, number]:
                    self._issued[author] = max(self._issued[author], number)
                case reports.ACKNOWLEDGED, [author, number, receipt]:
                    self._receipts[BatchName(author, number)] = Receipt.parse(receipt)
                    self._last_acknowledged[author] = number
                    self.acknowledged += 1
                case reports.SEEN, [revision, digest]:
                    if self._seen.setdefault(revision, digest) != digest:
                        self.lost.append(f"revision {revision} was shown with two digests")
                    self.shown_by_followers += 1
                case reports.OPENED, [_, numbers]:
                    self._opened_ns[line.worker] = line.time_ns
                    self._judge_numbers(numbers)
                case ((reports.CLOSING | reports.KILLED), []):
                    opened_ns = self._opened_ns.pop(line.worker, None)
                    if opened_ns is not None:
                        self._held.append((opened_ns, line.time_ns, line.worker))
                case reports.REFUSED, []:
                    self.refused_lock_takers += 1
                case reports.FAILED, [text]:
                    in_order = fault_ns is not None and line.time_ns >= fault_ns
                    if not (in_order and text.startswith(_ERRORS_OF_A_FAULT)):
                        self.wrong.append(f"{line.worker}: {text}")
                case _:
                    self.wrong.append(f"{line.worker}: {line.kind} {line.values}")

    def judge(
        self,
        path: Path,
        workers: Sequence[WorkerProcess],
        retention: str,
        seed: int,
        *,
        fault_ns: int | None = None,
    ) -> None:
        """Open the store, hear the workers, and compare."""
        self.rounds += 1
        try:
            # A lock taker may be in for a moment.
            store = MetaStore.open(
                path, lock_timeout=60.0, options=store_options(retention, background=False)
            )
        except EventStoreError as error:
            self.wrong.append(f"open: {error!r}")
            return
        opened_ns = time.monotonic_ns()
        try:
            # Only now: whoever was in before has told everything, and no one is in beside this.
            self.hear(workers, fault_ns=fault_ns)
            self.torn_tails += store.recovery.torn_tail is not None
            with store.transaction() as transaction:
                numbers = numbers_written(transaction)
                if content(transaction) != expected_content(numbers):
                    self.phantoms.append(f"the state is not that of {numbers}")
            self._judge_numbers(numbers)
            self._judge_log(store, numbers)
            self._judge_receipts(store, random.Random(seed))
            self._attempt("check", store.check)
            report = store.verify()
            self.wrong.extend(f"verify: {problem}" for problem in report.problems)
        finally:
            closing_ns = time.monotonic_ns()
            store.close()
        self._held.append((opened_ns, closing_ns, "oracle"))
        self._judge_lock()

    def require_nothing_wrong(self) -> None:
        found = {"lost": self.lost, "phantoms": self.phantoms, "wrong": self.wrong}
        assert not any(found.values()), found

    def counts(self) -> dict[str, int]:
        """The numbers for the record of proofs."""
        return {
            "rounds": self.rounds,
            "acknowledged": self.acknowledged,
            "shown_by_followers": self.shown_by_followers,
            "refused_lock_takers": self.refused_lock_takers,
            "torn_tails": self.torn_tails,
            "acknowledged_lost": len(self.lost),
            "phantom": len(self.phantoms),
            "wrong_verdict": len(self.wrong),
        }

    def _judge_numbers(self, numbers: dict[str, int]) -> None:
        """Judge how many batches of each author there are, against all that was told so far."""
        for author in self._last_acknowledged.keys() | numbers.keys():
            number = numbers.get(author, 0)
            if number < self._last_acknowledged[author]:
                self.lost.append(f"{author}: {number} < {self._last_acknowledged[author]}")
            if number > self._issued[author]:
                self.phantoms.append(f"{author}: {number} > {self._issued[author]}")

    def _judge_log(self, store: MetaStore, numbers: dict[str, int]) -> None:
        """Judge the batches that are still kept: content, order, receipts, what followers saw."""
        digests: dict[int, bytes] = {}
        by_author: dict[str, list[int]] = defaultdict(list)
        oldest = store.event_store.oldest_revision()
        for batch in store.event_store.batches(oldest):
            digests[batch.revision] = batch.digest
            if batch.events[0].type == "eventstore.dropped":
                continue
            author, number = name_in(batch)
            by_author[author].append(number)
            if not holds_what_was_written(batch):
                self.phantoms.append(f"revision {batch.revision} is not what was written")
        for author, found in by_author.items():
            if found != list(range(found[0], numbers[author] + 1)):
                self.phantoms.append(f"{author} is in the log in the order {found}")
        for name, receipt in self._receipts.items():
            if receipt.revision >= oldest and digests.get(receipt.revision) != receipt.digest:
                self.lost.append(f"{name} is not there as acknowledged")
        for revision, digest in self._seen.items():
            if revision >= oldest and digests.get(revision, b"").hex() != digest:
                self.lost.append(f"revision {revision} is not there as a follower showed it")

    def _judge_receipts(self, store: MetaStore, choice: random.Random) -> None:
        oldest = store.event_store.oldest_revision()
        kept = [item for item in self._receipts.items() if item[1].revision >= oldest]
        for name, receipt in choice.sample(kept, min(len(kept), _RECEIPTS_CHECKED)):
            try:
                if name_in(store.check_receipt(receipt)) != name:
                    self.wrong.append(f"the receipt of {name} is for another batch")
            except EventStoreError as error:
                self.wrong.append(f"the receipt of {name}: {error!r}")

    def _judge_lock(self) -> None:
        """Judge that no two processes held the store at one time."""
        self._held.sort()
        for (_, ended_ns, first), (began_ns, _, second) in pairwise(self._held):
            if began_ns < ended_ns:
                self.wrong.append(f"{second} got in while {first} held the store")

    def _attempt(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except (AssertionError, EventStoreError) as error:
            self.wrong.append(f"{what}: {error!r}")
