"""A store that is opened without one of its projections must not be the end of it."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, balance, checkpoints, flip, open_store
from support.ledger import TOTALS, Ledger, Totals

from eventstore import EventStore, ProjectionError, Retention
from eventstore.handle.upkeep import Upkeep
from eventstore.maintenance import background as maintenance

if TYPE_CHECKING:
    from pathlib import Path

DROPPING = dataclasses.replace(SMALL, retention=Retention.none())


class RaisedTotals(Totals):
    version = Totals.version + 1


class RaisedLedger(Ledger):
    version = Ledger.version + 1


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
            with pytest.raises(ProjectionError, match="'totals', which the store was opened"):
                work()
    with open_store(path, options=DROPPING) as store:
        assert balance(store) == 125
        store.check()
        store.compact()


def test_checkpoint_without_a_projection_that_is_retired_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 40)
        store.compact()
    options = dataclasses.replace(SMALL, retired_projections=("totals",))
    with EventStore.open(path, [Ledger()], options=options) as store:
        add(store, 40)
        assert store.checkpoint() == 80
    with open_store(path) as store:
        assert [one.name for one in store.recovery.rebuilt] == ["totals"]
        store.check()
        assert store.verify().is_sound


@pytest.mark.parametrize("replayed", [False, True])
def test_checkpoint_that_would_lose_the_tables_of_a_projection_is_refused(
    tmp_path: Path, replayed: bool
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 40)
        store.checkpoint()
        add(store, 1 if replayed else 0)
    before = checkpoints(path)
    with EventStore.open(path, [Ledger()], options=SMALL) as store:
        add(store, 0 if replayed else 1)
        for work in (store.checkpoint, store.compact):
            with pytest.raises(ProjectionError, match=r"projection 'totals'.* at revision 40 and"):
                work()
    assert checkpoints(path) == before
    with open_store(path) as store:
        assert store.recovery.rebuilt == ()
        assert store.recovery.replayed_batches == 1
        assert store.checkpoint() == 41


def test_tables_that_an_open_does_not_know_are_carried_on_while_nothing_is_committed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 40)
        store.checkpoint()
    with EventStore.open(path, [RaisedLedger()], options=SMALL) as store:
        assert [one.name for one in store.recovery.rebuilt] == ["ledger"]
        assert store.compact().checkpoints_removed == 0
    with EventStore.open(path, [RaisedLedger(), Totals()], options=SMALL) as store:
        assert (store.recovery.rebuilt, store.recovery.replayed_batches) == ((), 0)
        with store.transaction() as tx:
            assert tx.get(TOTALS, "deposited") == balance(store) == 40
        assert store.verify().is_sound


def test_refused_checkpoint_in_the_background_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 1)
        store.checkpoint()
    looks: list[int] = []
    is_due = Upkeep._is_checkpoint_due
    monkeypatch.setattr(maintenance, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(
        Upkeep, "_is_checkpoint_due", lambda upkeep: looks.append(1) or is_due(upkeep)
    )
    options = dataclasses.replace(SMALL, background=True, checkpoint_after_batches=1)
    with EventStore.open(path, [Ledger()], options=options) as store:
        for _ in range(5):
            add(store, 1)
            seen = len(looks)
            while len(looks) < seen + 3:
                time.sleep(0.001)
        assert "'totals'" in store.stats()["background_error"]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


def test_history_is_kept_until_two_checkpoints_hold_a_new_version(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        for _ in range(2):
            add(store, 40)
            store.checkpoint()
    with EventStore.open(path, [Ledger(), RaisedTotals()], options=DROPPING) as store:
        store.compact()
        assert store.oldest_revision() == 1
    flip(checkpoints(path)[-1], 200)
    with EventStore.open(path, [Ledger(), RaisedTotals()], options=DROPPING) as store:
        assert store.recovery.damaged_checkpoints
        store.check()
        assert balance(store) == 80
        for _ in range(2):
            add(store, 40)
            store.compact()
        assert store.oldest_revision() > 1
