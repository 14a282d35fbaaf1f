"""A store that is opened without one of its projections must not be the end of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from engine_support import SMALL, add, balance, checkpoints, flip, open_store
from ledger import Ledger, Totals

from eventstore import EventStore, ProjectionError, Retention

if TYPE_CHECKING:
    from pathlib import Path

DROPPING = dataclasses.replace(SMALL, retention=Retention.none())


class RaisedTotals(Totals):
    version = Totals.version + 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that has dropped its first batches."""
    path = tmp_path / "store"
    with open_store(path, options=DROPPING) as store:
        for _ in range(3):
            add(store, 40)
            store.compact()
        assert store.oldest_revision() > 1
    return path


@pytest.mark.parametrize("options", [SMALL, DROPPING])
def test_checkpoint_without_a_projection_that_can_not_be_rebuilt_is_refused(
    path: Path, options: object
) -> None:
    with EventStore.open(path, [Ledger()], options=options) as store:  # type: ignore[arg-type]
        add(store, 5)
        for work in (store.checkpoint, store.compact):
            with pytest.raises(ProjectionError, match="'totals', which this handle was opened"):
                work()
    with open_store(path, options=DROPPING) as store:
        assert balance(store) == 125
        store.check()
        store.compact()


def test_checkpoint_without_a_projection_is_written_while_all_history_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 40)
        store.compact()
    with EventStore.open(path, [Ledger()], options=SMALL) as store:
        add(store, 40)
        assert store.checkpoint() == 80
    with open_store(path) as store:
        store.check()
        assert store.verify().is_sound


def test_history_is_kept_until_two_checkpoints_hold_a_new_version(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        for _ in range(2):
            add(store, 40)
            store.checkpoint()
    with EventStore.open(path, [Ledger(), RaisedTotals()], options=DROPPING) as store:
        add(store, 40)
        store.compact()
        assert store.oldest_revision() == 1
    flip(checkpoints(path)[-1], 200)
    with EventStore.open(path, [Ledger(), RaisedTotals()], options=DROPPING) as store:
        store.check()
        assert balance(store) == 120
        for _ in range(2):
            add(store, 40)
            store.compact()
        assert store.oldest_revision() > 1
