"""This store: the default options, one handle for all threads."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from projections.snapshots import Kind, MetaStore
from tools.bench.workload import (
    ACTOR,
    CREATED_FROM,
    PARENT,
    REASON,
    USAGE,
    create,
    fill,
    labels_of,
    layer_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.bench.peers import Create


class Snapledger:
    """Creates in a metastore; `record_bytes` is what one of them appends to the log."""

    def __init__(self, store: MetaStore) -> None:
        self._store = store
        create(store, -1)
        before = store.stats()["appended_bytes"]
        create(store, -2)
        self.versions: Mapping[str, str] = {}
        self.record_bytes = store.stats()["appended_bytes"] - before

    @contextlib.contextmanager
    def worker(self) -> Iterator[Create]:
        """Give what one thread works with."""
        yield functools.partial(create, self._store)

    def batch(self, first: int, count: int) -> None:
        """Create and commit snapshots in one transaction."""
        with self._store.transaction(writable=True, actor=ACTOR, reason=REASON) as transaction:
            for number in range(first, first + count):
                key, labels = f"extract-{number}", labels_of(number)
                transaction.create_snapshot(Kind.ACTIVE, key, PARENT, labels)
                name = layer_name(CREATED_FROM + number)
                transaction.commit_active(key, name, USAGE, labels)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def open_peer(directory: Path, settings: Mapping[str, Any]) -> Snapledger:
    """Make a store of `fill` snapshots, or open the one at `path`."""
    if "path" in settings:
        return Snapledger(MetaStore.open(settings["path"]))
    store = MetaStore.open(directory / "store")
    fill(store, settings.get("fill", 0))
    return Snapledger(store)
