"""A projection that is rebuilt at an open: told, logged, with progress, and only once."""

from __future__ import annotations

import dataclasses
import errno
import logging
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, Failing, HookedFileSystem, add, checkpoints, open_store
from support.ledger import Ledger, Totals

from eventstore import (
    Event,
    EventStore,
    Projection,
    ProjectionError,
    RebuiltProjection,
    TableSpec,
    verify_store,
)
from eventstore.recovery import loading

if TYPE_CHECKING:
    from pathlib import Path


class RaisedTotals(Totals):
    version = Totals.version + 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store whose checkpoint holds both projections, with batches after it."""
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 25)
        store.checkpoint()
        add(store, 5)
    return path


def open_raised(path: Path, **options: Any) -> EventStore:
    options.setdefault("options", SMALL)
    return EventStore.open(path, [Ledger(), RaisedTotals()], **options)


def test_rebuild_is_reported_and_logged_and_shows_progress(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="eventstore")
    monkeypatch.setattr(loading, "_BATCHES_BETWEEN_CALLS", 10)
    progress: list[tuple[int, int]] = []
    with open_raised(path, on_rebuild=lambda *reached: progress.append(reached)) as store:
        assert store.recovery.rebuilt == (RebuiltProjection("totals", 2, 1, 25),)
        assert store.recovery.seconds > 0
    # The last one is of the batches that follow the checkpoint.
    assert progress == [(10, 25), (20, 25), (25, 25), (30, 30)]
    begun, ended = [record for record in caplog.records if "rebu" in record.getMessage()]
    assert (begun.levelname, ended.levelname) == ("WARNING", "INFO")
    assert "'totals' from revisions 1 to 25" in begun.getMessage()


def test_replay_without_a_checkpoint_shows_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 25)
    monkeypatch.setattr(loading, "_BATCHES_BETWEEN_CALLS", 10)
    progress: list[tuple[int, int]] = []
    with open_store(tmp_path / "store", on_rebuild=lambda *reached: progress.append(reached)):
        assert progress == [(10, 25), (20, 25)]


def test_projection_that_is_new_was_not_held(path: Path) -> None:
    class Others(Totals):
        name = "others"
        tables = (TableSpec("others"),)

        def apply(self, event: Event, tables: Any) -> None:
            tables["others"].put(event.type, 1)

    with EventStore.open(path, [Ledger(), Totals(), Others()], options=SMALL) as store:
        assert store.recovery.rebuilt == (RebuiltProjection("others", 1, None, 25),)


def test_rebuild_is_not_done_again_by_the_next_open(path: Path) -> None:
    open_raised(path).close()
    with open_raised(path) as store:
        assert store.recovery.rebuilt == ()
        assert (store.recovery.checkpoint_revision, store.recovery.replayed_batches) == (30, 0)
        store.check()
        assert store.verify().is_sound


def test_open_that_has_no_space_for_what_it_rebuilt_succeeds(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Failing(errno.ENOSPC, "create", ".ckpt")
    hook.armed = True
    with open_raised(path, file_system=HookedFileSystem(hook)) as store:
        assert hook.failures
        assert "no checkpoint of what was rebuilt" in caplog.text
        assert len(checkpoints(path)) == 1
        assert store._own_upkeep()._is_checkpoint_due()
        hook.armed = False
        assert store.checkpoint() == 30
        assert not store._own_upkeep()._is_checkpoint_due()


def test_open_that_is_interrupted_while_it_writes_what_it_rebuilt_lets_go(path: Path) -> None:
    def interrupt(call: str, at: str) -> None:
        if call == "create" and ".ckpt" in at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_raised(path, file_system=HookedFileSystem(interrupt))
    with open_raised(path) as store:
        assert [one.name for one in store.recovery.rebuilt] == ["totals"]


def test_retired_projections_are_names() -> None:
    with pytest.raises(TypeError, match="a tuple of names, not 'totals'"):
        dataclasses.replace(SMALL, retired_projections="totals")  # type: ignore[arg-type]


class Stated(Totals):
    """Totals with an attribute that a test sets."""

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


class Unnamed(Projection):
    def apply(self, event: Event, tables: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("projections", "message"),
    [
        (Ledger, "a list of projections, not .*Ledger"),
        (Ledger(), "a list of projections, not .*Ledger"),
        ([Unnamed()], "the name of a Unnamed must be a text, not None"),
        ([Stated(name="")], "the name of a Stated"),
        ([Stated(name="\ud800")], "the name of a Stated"),
        ([Stated(name=b"totals")], "the name of a Stated"),
        ([Stated(version="1")], "version of projection 'totals' must be a whole number, not '1'"),
        ([Stated(version=True)], "version of projection 'totals'"),
        ([Stated(version=2**63)], "version of projection 'totals'"),
        ([Stated(tables=TableSpec("a"))], "tables of projection 'totals' must be a tuple"),
        ([Stated(tables=["a"])], "a table of projection 'totals' is no TableSpec: 'a'"),
        ([Stated(tables=[TableSpec(1)])], "must have a text as name"),  # type: ignore[arg-type]
        (
            [Stated(tables=[TableSpec("a", decode=1)])],  # type: ignore[arg-type]
            "encode and decode of table 'a'",
        ),
    ],
)
def test_projection_that_states_something_else_is_refused_before_anything_is_made(
    tmp_path: Path, projections: Any, message: str
) -> None:
    path = tmp_path / "store"
    for read in (False, True):
        with pytest.raises(ProjectionError, match=message):
            EventStore.open(path, projections, read_only=read)
    with pytest.raises(ProjectionError, match=message):
        verify_store(path, projections)
    assert not path.exists()


def test_reports_are_equal_whatever_time_they_took(path: Path) -> None:
    with open_store(path) as store:
        report = store.recovery
    assert report == dataclasses.replace(report, seconds=report.seconds + 1)
