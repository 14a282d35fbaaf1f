"""`replay`: the state by the log alone, where it is that of the checkpoints and where it is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.cli import Call, tell_story

from projections.snapshots import MetaStore, SnapshotsProjection
from projections.snapshots.projection import SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from eventstore import Event, WritableTable


def test_replay_to_a_revision_or_a_time_ends_there(call: Call, told: Path) -> None:
    lines = call("log", told, "--json").out.splitlines()
    times = [json.loads(line)["time"] for line in lines]
    for moment in ("2", times[1]):
        record = json.loads(call("replay", told, "--to", moment, "--verify", "--json").out)
        assert (record["revision"], record["differing_rows"]) == (2, 0)
        assert record["rows"]["snapshots"] == 1
    assert json.loads(call("replay", told, "--json").out)["differing_rows"] is None


def test_replay_to_what_is_not_there_fails(call: Call, told: Path) -> None:
    result = call("replay", told, "--to", "6")
    assert result == (
        1,
        "",
        f"snapledger: {told}: there is no revision 6 yet: the store is at 5; "
        "`snapledger log` lists what is there\n",
    )


def test_replay_that_differs_from_the_checkpoint_is_3(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_story(tmp_path / "store")
    right = SnapshotsProjection.apply

    def wrong(self: SnapshotsProjection, event: Event, tables: Mapping[str, WritableTable]) -> None:
        right(self, event, tables)
        for name, row in list(tables[SNAPSHOTS].items()):
            tables[SNAPSHOTS].put(name, (row[0], row[1]._replace(updated_ns=7), row[2]))

    with monkeypatch.context() as context:
        context.setattr(SnapshotsProjection, "apply", wrong)
        with MetaStore.open(tmp_path / "store") as store:
            assert store.checkpoint() == 5
    result = call("replay", tmp_path / "store", "--verify", "--json")
    record = json.loads(result.out)
    assert (result.code, record["differing_rows"], record["checkpoint_revision"]) == (3, 1, 5)
    result = call("replay", tmp_path / "store", "--verify")
    assert (result.code, "1 row DIFFERENT" in result.out) == (3, True)
