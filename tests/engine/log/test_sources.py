"""The segments of a store, listed while compaction moves one of them to the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine import add, archived, open_store

from eventstore.files.local import LocalFileSystem
from eventstore.log.segments import list_sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Interrupted(LocalFileSystem):
    """A file system, where something happens just before one of the calls that list a store."""

    def __init__(self, at: int, happen: Callable[[], object]) -> None:
        self._left = at
        self._happen = happen

    def is_directory(self, path: str) -> bool:
        self._count()
        return super().is_directory(path)

    def list_directory(self, path: str) -> list[str]:
        self._count()
        return super().list_directory(path)

    def _count(self) -> None:
        if self._left == 0:
            self._happen()
        self._left -= 1


@pytest.mark.parametrize("at", range(4))
def test_a_segment_that_is_archived_while_all_are_listed_is_among_them(
    at: int, tmp_path: Path
) -> None:
    with open_store(tmp_path / "store") as store:
        for _ in range(2):
            add(store, 60)
            store.checkpoint()
        before = {source.first_revision for source in list_sources(LocalFileSystem(), store.path)}
        listed = list_sources(Interrupted(at, store.compact), store.path)
        assert archived(tmp_path / "store")
    assert before <= {source.first_revision for source in listed}
