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


def _foreign(path: Path) -> Path:
    """Make a directory of something else, as /etc is one: a link, and a file."""
    path.mkdir()
    (path / "localtime").symlink_to("zoneinfo")
    (path / "passwd").write_text("root")
    return path


@pytest.mark.parametrize("arguments", [{}, {"create": False}, {"read_only": True}])
def test_a_directory_of_something_else_is_told_to_be_no_store_not_to_be_changed(
    tmp_path: Path, arguments: dict[str, bool]
) -> None:
    with pytest.raises(NotAStoreError, match="not a store: the directory holds") as told:
        open_store(_foreign(tmp_path / "etc"), **arguments)
    assert "link" not in str(told.value)
    may_create = not arguments
    assert ("an empty directory" in str(told.value)) == may_create


def test_a_link_in_a_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store"
    open_store(path).close()
    (path / "localtime").symlink_to("zoneinfo")
    with pytest.raises(NotAStoreError, match="localtime: a symbolic link"):
        open_store(path)
