"""A store that is closed while its files are being read says just that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine import HookedFileSystem, add, open_store

from eventstore import Receipt, StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eventstore import EventStore

READS: dict[str, Callable[[EventStore], object]] = {
    "batches": lambda store: list(store.batches()),
    "batches since": lambda store: store.batches(since=1),
    "batches of an actor": lambda store: list(store.batches(actor="a", reverse=True)),
    "history": lambda store: list(store.history("a")),
    "revision_at": lambda store: store.revision_at(1),
    "at": lambda store: store.at(60),
    "verify": lambda store: store.verify(),
    "stats": lambda store: store.stats(),
    "oldest_revision": lambda store: store.oldest_revision(),
    "check_receipt": lambda store: store.check_receipt(Receipt(store.store_id, 60, bytes(32))),
}


@pytest.mark.parametrize("read", READS)
def test_a_read_of_files_amid_which_the_store_is_closed_says_that(
    tmp_path: Path, read: str
) -> None:
    files = HookedFileSystem()
    with open_store(tmp_path / "store", file_system=files) as store:
        add(store, 60)
        files.hook = lambda call, path: store.close() if call in ("list", "open") else None
        with pytest.raises(StoreClosedError, match="the store was closed: open it again"):
            READS[read](store)


def test_a_watch_ends_when_the_store_is_closed_amid_its_reading(tmp_path: Path) -> None:
    files = HookedFileSystem()
    with open_store(tmp_path / "store", file_system=files) as store:
        add(store, 60)
        watch = store.watch(1)
        next(watch)
        files.hook = lambda call, path: store.close() if call in ("list", "open") else None
        assert len(list(watch)) < 59
