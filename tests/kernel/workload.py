"""What the workers write, so that anyone can tell what must be in the store.

Each author writes batches 1, 2, 3 … of its own; what is in a batch follows from author and number
alone. Batch n creates the active snapshot n, commits the one before it, and removes the committed
one that is `WINDOW` behind. So the snapshots of an author who has written n batches are known, and
the number can be read off the store: it is that of the author's one active snapshot.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, Usage

if TYPE_CHECKING:
    from eventstore import Batch
    from projections.snapshots import SnapshotTransaction

WINDOW = 12

# Small segments and frequent checkpoints, so that rolls, checkpoints and compaction are often what
# is cut short.
RETENTIONS = {
    "all": Retention.keep_all(),
    "some": Retention(revisions=150),
    "none": Retention.none(),
}


def store_options(retention: str, *, background: bool = True) -> StoreOptions:
    return StoreOptions(
        segment_bytes=16 * 1024,
        checkpoint_after_batches=40,
        checkpoint_after_bytes=64 * 1024,
        background=background,
        retention=RETENTIONS[retention],
    )


class BatchName(NamedTuple):
    """Which batch: the author's number of it."""

    author: str
    number: int


def labels_of(name: BatchName) -> dict[str, str]:
    """Up to 1.5 KB that nothing but this batch has."""
    digest = hashlib.sha256(f"{name.author}/{name.number}".encode()).hexdigest()
    return {"content": digest * (1 + int(digest[:2], 16) % 24)}


def reason_of(name: BatchName) -> str:
    """Now and then some pages, so that a cut can come between them and tear the record."""
    return "because" * (1200 if name.number % 8 == 0 else 0)


def write_batch(transaction: SnapshotTransaction, name: BatchName) -> None:
    author, number = name
    transaction.create_snapshot(Kind.ACTIVE, f"{author}/{number}", labels=labels_of(name))
    if number > 1:
        before = BatchName(author, number - 1)
        transaction.commit_active(
            f"{author}/{number - 1}",
            f"{author}/{number - 1}/done",
            Usage(number - 1, 0),
            labels_of(before),
        )
    if number > WINDOW:
        transaction.remove(f"{author}/{number - WINDOW}/done")


def numbers_written(transaction: SnapshotTransaction) -> dict[str, int]:
    """How many batches each author has written, by the active snapshots."""
    numbers: dict[str, int] = {}
    for info in transaction.walk_info():
        if info.kind is Kind.ACTIVE:
            author, number = info.name.split("/")
            numbers[author] = max(int(number), numbers.get(author, 0))
    return numbers


def expected_content(numbers: dict[str, int]) -> dict[str, dict[str, str]]:
    """Name and labels of every snapshot after so many batches of each author."""
    content = {}
    for author, number in numbers.items():
        for done in range(max(1, number - WINDOW + 1), number):
            content[f"{author}/{done}/done"] = labels_of(BatchName(author, done))
        content[f"{author}/{number}"] = labels_of(BatchName(author, number))
    return content


def content(transaction: SnapshotTransaction) -> dict[str, dict[str, str]]:
    return {info.name: dict(info.labels) for info in transaction.walk_info()}


def name_in(batch: Batch) -> BatchName:
    """Which batch a batch of the log says it is."""
    return BatchName(batch.metadata.actor or "", int(batch.metadata.request_id or 0))


def holds_what_was_written(batch: Batch) -> bool:
    """Whether a batch of the log holds what `write_batch` writes under its name."""
    name = name_in(batch)
    created = batch.events[0].data
    events_expected = 1 + (name.number > 1) + (name.number > WINDOW)
    return (
        batch.metadata.reason == reason_of(name)
        and len(batch.events) == events_expected
        and created["key"] == f"{name.author}/{name.number}"
        and created["labels"] == labels_of(name)
    )
