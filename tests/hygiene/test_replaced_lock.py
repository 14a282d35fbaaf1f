"""A lock file that is replaced in the instant between being opened and being locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine import add, balance, open_store

from eventstore.files import descriptors, local

if TYPE_CHECKING:
    from pathlib import Path


def test_lock_on_a_file_that_was_replaced_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 3)
    lock = path / "LOCK"
    flocked = descriptors.flocked

    def replaced_meanwhile(locked: str, flags: int) -> int | None:
        descriptor = flocked(locked, flags)
        if locked == str(lock):
            lock.rename(tmp_path / "stolen")
            lock.write_text("of somebody else")
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(local, "flocked", replaced_meanwhile)
        with pytest.raises(OSError, match="replaced while it was being locked"):
            open_store(path)
    assert lock.read_text() == "of somebody else"
    with open_store(path) as store:
        assert balance(store) == 3
