"""A file that this user may not read is neither damage nor a reason to set it aside."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from support.engine import HookedFileSystem, add, balance, checkpoints, open_store, segments, tree

from eventstore import ForeignOwnerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def newest_checkpoint(path: Path) -> Path:
    return checkpoints(path)[-1]


def newest_segment(path: Path) -> Path:
    return segments(path)[-1]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("file", [newest_checkpoint, newest_segment])
def test_a_file_that_may_not_be_read_is_named_and_nothing_is_changed(
    tmp_path: Path, file: Callable[[Path], Path], read_only: bool
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        for _ in range(3):
            add(store, 60)
            store.compact()
    forbidden, before = str(file(path)), tree(path)

    def refuse(call: str, called: str) -> None:
        if call == "open" and called == forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", called)

    with pytest.raises(ForeignOwnerError, match=r"this user may not read it.*chown") as told:
        open_store(path, file_system=HookedFileSystem(refuse), read_only=read_only)
    assert forbidden in str(told.value)
    assert tree(path) == before
    with open_store(path) as store:
        assert balance(store) == 180
