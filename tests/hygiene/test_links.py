"""A symbolic link anywhere in a store's own tree is refused before anything is read or changed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.engine import add, balance, open_store, tree

from eventstore import CorruptionError, NotAStoreError, verify_store

if TYPE_CHECKING:
    from pathlib import Path


def _entries(path: Path) -> list[str]:
    """Everything in a store that has one of each kind of file."""
    with open_store(path) as store:
        for _ in range(4):
            add(store, 40)
            store.compact()
    (path / "torn" / "00000000000000000042-6112.torn").write_bytes(b"torn")
    (path / "checkpoints" / f"{1:020}.ckpt.damaged").write_bytes(b"damaged")
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


def test_a_link_anywhere_in_the_tree_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    entries = _entries(path)
    directories = {entry.split("/")[0] for entry in entries}
    made = {"wal", "checkpoints", "archive", "torn", "index", "tree", "ladder"}
    assert directories == {"LOCK", "durable", *made}
    for entry in entries:
        (path / entry).rename(elsewhere)
        (path / entry).symlink_to(elsewhere)
        before = tree(tmp_path)
        for read_only in (False, True):
            with pytest.raises(NotAStoreError, match=f"{entry}.*link"):
                open_store(path, read_only=read_only)
        with pytest.raises(NotAStoreError, match=f"{entry}.*link"):
            verify_store(path, [])
        assert tree(tmp_path) == before
        (path / entry).unlink()
        elsewhere.rename(path / entry)
    with open_store(path) as store:
        assert balance(store) == 160


@pytest.mark.parametrize("name", ["LOCK", "durable", "wal", "wal/spare-1.tmp", "durable.tmp"])
def test_a_dangling_link_is_refused_and_its_target_is_not_made(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    (path / name).parent.mkdir(parents=True)
    (path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotAStoreError, match="link"):
        open_store(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_that_appears_while_the_store_is_open_is_not_followed(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    with open_store(path) as store:
        add(store, 100)
        first = sorted((path / "wal").glob("*.log"))[0]
        first.rename(elsewhere)
        first.symlink_to(elsewhere)
        content = elsewhere.read_bytes()
        with pytest.raises(CorruptionError, match="symbolic links"):
            list(store.batches())
        store.checkpoint()
        add(store, 1)
        with pytest.raises(OSError, match="symbolic links"):
            store.compact()
        assert elsewhere.read_bytes() == content
        assert first.is_symlink()


def test_links_above_the_store_are_nobody_s_business(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_store(tmp_path / "link" / "store") as store:
        add(store, 1)
    with open_store(tmp_path / "real" / "store") as store:
        assert balance(store) == 1
    shutil.rmtree(tmp_path / "real")
