"""What every participant does: one transaction, with the same keys and labels for all.

The transaction looks the parent up, inserts a record with two labels, and keeps an audit event:
who, when, why, what. It is durable before it returns. `peers/containerd/main.go` is the same in Go.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from projections.snapshots import Info, Kind, Usage, events

if TYPE_CHECKING:
    from projections.snapshots import MetaStore

ACTOR = "puller"
REASON = "unpack web:1.4"
PARENT = "sha256:" + "f" * 64
USAGE = Usage(12, 688128)
GROUP_LABEL = "containerd.io/gc.group"
REF_LABEL = "containerd.io/snapshot.ref"
CREATED_FROM = 1_000_000_000
"""Creates number their keys from here on, so that they meet none that was filled in."""

_FILL_BATCH = 10_000
_THREADS = 16


def layer_name(number: int) -> str:
    """Return a name as containerd gives them: 71 characters, in no order."""
    return f"sha256:{number * 0x9E3779B97F4A7C15 % 2**64:064x}"


def labels_of(number: int) -> dict[str, str]:
    """Return two labels: one that no other snapshot has, and one of a group.

    Half of all are in group 0, a quarter in group 1, and so on.
    """
    group = (number & -number).bit_length()
    return {REF_LABEL: layer_name(number)[-12:], GROUP_LABEL: f"group-{group}"}


def fill(store: MetaStore, count: int) -> None:
    """Import the parent, and `count` committed snapshots on it, into an empty store."""
    base = Info(PARENT, "", Kind.COMMITTED, {}, 1, 1)
    with store.transaction(writable=True, actor=ACTOR) as transaction:
        transaction.emit(events.imported(id_number=1, info=base, usage=USAGE))
        transaction.emit(events.id_counter_imported(count + 1))
    for start in range(0, count, _FILL_BATCH):
        with store.transaction(writable=True, actor=ACTOR) as transaction:
            for number in range(start, min(start + _FILL_BATCH, count)):
                times = (number + 1, number + 1)
                info = Info(layer_name(number), PARENT, Kind.COMMITTED, labels_of(number), *times)
                transaction.emit(events.imported(id_number=number + 2, info=info, usage=USAGE))


def create(store: MetaStore, number: int) -> None:
    """Create one snapshot in a transaction of its own; durable."""
    with store.transaction(writable=True, actor=ACTOR, reason=REASON) as transaction:
        key = layer_name(CREATED_FROM + number)
        transaction.create_snapshot(Kind.ACTIVE, key, PARENT, labels_of(number))


def create_by_threads(store: MetaStore, numbers: range) -> None:
    """Create them by 16 threads, which share syncs: for what needs many batches, not their time."""
    with ThreadPoolExecutor(_THREADS) as threads:
        parts = [numbers[part::_THREADS] for part in range(_THREADS)]
        list(threads.map(_create_all, [store] * _THREADS, parts))  # raises what a thread raised


def _create_all(store: MetaStore, numbers: range) -> None:
    for number in numbers:
        create(store, number)
