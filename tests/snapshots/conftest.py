"""Fixtures: stores that are closed, and whose tables are checked, when the test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import OPTIONS

from eventstore import StoreClosedError
from projections.snapshots import MetaStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.snapshots import OpenStore


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    opened: list[MetaStore] = []

    def open_at(name: str = "store", **arguments: Any) -> MetaStore:
        store = MetaStore.open(tmp_path / name, **{"options": OPTIONS, **arguments})
        opened.append(store)
        return store

    yield open_at
    for store in reversed(opened):
        try:
            store.check()
        except StoreClosedError:
            continue
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> MetaStore:
    return open_store()
