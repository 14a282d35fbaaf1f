"""A verification begins again where compaction takes away what it has begun with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, open_store
from support.ledger import Ledger

from eventstore import OvertakenError, Retention, verify_store
from eventstore.files.local import LocalFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DROPPING = replace(SMALL, retention=Retention(archive=False, checkpoint_share=0))


class Overtaken(LocalFileSystem):
    """A file system, where something happens just before the log of a store is listed."""

    def __init__(self, happen: Callable[[], object]) -> None:
        self._happen = happen

    def list_directory(self, path: str) -> list[str]:
        if path.endswith("/wal"):
            self._happen()
        return super().list_directory(path)


@pytest.mark.parametrize("times", [1, 2, 3, 6])
def test_a_log_whose_start_is_dropped_behind_its_checkpoints_is_no_damage(
    times: int, tmp_path: Path
) -> None:
    path, left = tmp_path / "store", [times]
    with open_store(path, options=DROPPING) as store:
        add(store, 60)
        store.compact()

        def drop() -> None:
            if left[0]:
                left[0] -= 1
                for _ in range(2):
                    add(store, 60)
                    store.compact()

        report = verify_store(path, [Ledger()], file_system=Overtaken(drop))
    assert left == [0]
    assert (report.problems, report.is_sound) == ((), True)


def test_a_writer_that_never_rests_is_told_and_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path, options=DROPPING) as store:
        add(store, 60)
        store.compact()

        def drop() -> None:
            for _ in range(2):
                add(store, 60)
                store.compact()

        with pytest.raises(OvertakenError, match="has removed files while they were read, 5 times"):
            verify_store(path, [Ledger()], file_system=Overtaken(drop))
    assert verify_store(path, [Ledger()]).is_sound
