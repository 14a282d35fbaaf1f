"""The space that is prepared ahead, on a medium that is full when it is told to be."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from engine_support import HookedFileSystem, add, balance, open_store

if TYPE_CHECKING:
    from pathlib import Path


class _Full:
    """A medium without space for new checkpoints, until a spare segment has been removed."""

    def __init__(self) -> None:
        self.is_full = False
        self.given_up = 0

    def __call__(self, call: str, path: str) -> None:
        if call == "remove" and "spare" in path:
            self.given_up += 1
            self.is_full = False
        if self.is_full and call == "write" and ".ckpt" in path:
            raise OSError(errno.ENOSPC, "no space", path)


def test_a_checkpoint_in_the_space_of_a_spare_holds_every_row(tmp_path: Path) -> None:
    full = _Full()
    with open_store(tmp_path / "store", file_system=HookedFileSystem(full)) as store:
        while not store.stats()["spare_ready"]:
            add(store)
        full.is_full = True
        store.checkpoint()
        assert full.given_up == 1
        expected = balance(store)
        assert store.verify().problems == ()
    with open_store(tmp_path / "store") as store:
        assert store.recovery.checkpoint_revision == store.recovery.revision
        assert balance(store) == expected
