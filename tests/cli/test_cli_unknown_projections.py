"""`check` and `repair` say which tables of a driver's own they could not compare with the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.cli import OPTIONS, Call

from eventstore import Event, EventStore, Projection, TableSpec
from projections.snapshots import SnapshotsProjection

if TYPE_CHECKING:
    from pathlib import Path


class Mine(Projection):
    name = "my own"
    version = 1
    tables = (TableSpec("mine"),)

    def apply(self, event: Event, tables: Any) -> None:
        tables["mine"].put(event.type, 1)


@pytest.fixture
def shared(story: Path) -> Path:
    """Return a store with a checkpoint that holds a driver's own tables."""
    with EventStore.open(story, [SnapshotsProjection(), Mine()], options=OPTIONS) as store:
        store.checkpoint()
    return story


def test_a_check_is_sound_only_as_far_as_it_could_compare(call: Call, shared: Path) -> None:
    result = call("check", shared)
    assert result.code == 0
    assert 'not compared with the log: the tables of "my own" in the checkpoints' in result.out
    assert result.out.endswith("\nsound as far as it was read\n")
    assert "1 checkpoint (1 compared with a replay)" in result.out
    report = json.loads(call("check", shared, "--json").out)
    assert (report["is_sound"], report["unknown_projections"]) == (True, ["my own"])


def test_a_repair_says_what_it_has_kept_without_comparing_it(
    call: Call, shared: Path, tmp_path: Path
) -> None:
    result = call("repair", shared, "--output", tmp_path / "new")
    assert result.code == 0
    assert 'not compared with the log: the tables of "my own" in the checkpoints' in result.out
    assert "\nlost       nothing that was found; see above\n" in result.out
    report = json.loads(call("repair", shared, "--output", tmp_path / "other", "--json").out)
    assert (report["is_complete"], report["unknown_projections"]) == (True, ["my own"])


def test_nothing_is_said_of_tables_where_all_are_known(
    call: Call, story: Path, tmp_path: Path
) -> None:
    assert call("compact", story).code == 0
    assert "not compared" not in call("check", story).out
    assert "not compared" not in call("repair", story, "--output", tmp_path / "new").out


def test_a_check_that_finds_damage_names_the_repair_as_what_to_do_next(
    call: Call, story: Path
) -> None:
    (story / "durable").unlink()
    segment = story / "wal/00000000000000000001.log"
    content = bytearray(segment.read_bytes())
    content[content.index(b"a b=c")] ^= 1
    segment.write_bytes(content)
    assert "`snapledger repair`" in call("check", story).out.splitlines()[-1]


def test_a_compaction_before_a_drivers_own_first_checkpoint_costs_it_a_rebuild_and_no_row(
    call: Call, story: Path
) -> None:
    assert call("compact", story, "--keep-none").code == 0
    with EventStore.open(story, [SnapshotsProjection(), Mine()], options=OPTIONS) as store:
        assert [rebuilt.name for rebuilt in store.recovery.rebuilt] == ["my own"]
        with store.transaction(writable=True) as tx:
            assert len(list(tx.items("mine"))) == 4
            tx.emit(Event("noted", None))
    result = call("compact", story, "--keep-none")
    assert result.code == 1
    assert "a checkpoint would lose the tables of projection 'my own'" in result.err
