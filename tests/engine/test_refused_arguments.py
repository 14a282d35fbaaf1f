"""Arguments that can't be meant are refused, and say what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.engine import add, open_store
from support.ledger import Ledger, Totals

from eventstore import EventStore, NotAStoreError, repair_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("revision", [0, -1])
def test_batches_before_the_first_are_refused_not_called_dropped(
    tmp_path: Path, revision: int
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store)
        for read in (store.batches, store.watch):
            with pytest.raises(ValueError, match="first batch has revision 1"):
                next(read(revision))


def test_a_path_below_a_file_can_be_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(NotAStoreError, match="file is not a directory"):
        open_store(tmp_path / "file" / "below" / "store")
    assert (tmp_path / "file").read_text() == "content"


def test_an_empty_path_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="empty"):
        open_store("")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_is_of_no_fitting_type_is_named_and_cut_short(tmp_path: Path) -> None:
    path, new = tmp_path / "store", tmp_path / "new"
    projections = [Ledger(), Totals()]
    wrong: Any = "wrong" * 1000

    def make(purpose: Any) -> None:
        with EventStore.create(new, projections, purpose=purpose):
            pass

    with open_store(path) as store:
        add(store)
        calls: dict[str, Callable[[], object]] = {
            "timeout": lambda: store.transaction(writable=True, timeout=wrong),
            "lock_timeout": lambda: open_store(path, lock_timeout=wrong),
            "options": lambda: repair_store(path, new, projections, options=wrong),
            "purpose": lambda: make(wrong.encode()),
        }
        for name, call in calls.items():
            with pytest.raises(TypeError, match=name) as refused:
                call()
            assert len(str(refused.value)) < 200
        with pytest.raises(ValueError, match="timeout can't be"):
            store.transaction(writable=True, timeout=-(10**5000))
    assert not new.exists()
