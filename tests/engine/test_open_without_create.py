"""An open that is not to make a store leaves what it found as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine import add, balance, open_store

from eventstore import EventStore, NotAStoreError

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_made_where_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match="there is no store"):
        EventStore.open(tmp_path / "store", [], create=False)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_made_in_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match="holds no store"):
        EventStore.open(tmp_path, [], create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_making_was_cut_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()
    with pytest.raises(NotAStoreError, match="still being made"):
        EventStore.open(tmp_path, [], create=False)
    assert list((tmp_path / "wal").iterdir()) == []


def test_a_store_that_is_there_opens(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 2)
    with open_store(tmp_path / "store", create=False) as store:
        assert balance(store) == 2
