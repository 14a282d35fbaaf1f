"""`replay`: the state by the log alone, where it is that of the checkpoints and where it is not."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from support.cli import Call, tell_story
from support.erasing import OWNER, SECRET, SMALL, fill

from eventstore import EventStore
from projections.snapshots import Kind, MetaStore, SnapshotsProjection
from projections.snapshots.projection import SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from eventstore import Event, ReadTransaction, WritableTable


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


def test_replay_beside_a_writer_compares_what_was_there_when_it_began(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replay = tmp_path / "store", EventStore.replay
    tell_story(path)
    with MetaStore.open(path) as store:

        def overtaken(
            self: EventStore, revision: int | None = None, **arguments: Any
        ) -> ReadTransaction:
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"beside-{time.time_ns()}")
            return replay(self, revision, **arguments)

        monkeypatch.setattr(EventStore, "replay", overtaken)
        for arguments in ([], ["--to", "5"], ["--to", "2"]):
            result = call("replay", path, "--verify", "--json", *arguments)
            assert (result.code, json.loads(result.out)["differing_rows"]) == (0, 0)


def test_replay_that_an_erasure_overtakes_begins_again(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replay, left = tmp_path / "store", EventStore.replay, [True]
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:

        def overtaken(
            self: EventStore, revision: int | None = None, **arguments: Any
        ) -> ReadTransaction:
            if left:
                left.clear()
                store.erase({6: [OWNER]}, actor="dpo", reason="asked")
            return replay(self, revision, **arguments)

        monkeypatch.setattr(EventStore, "replay", overtaken)
        result = call("replay", path, "--verify", "--json")
    assert left == []
    assert (result.code, json.loads(result.out)["differing_rows"]) == (0, 0)


def test_replay_that_erasures_overtake_each_time_says_so_and_not_that_rows_differ(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replay = tmp_path / "store", EventStore.replay
    fill(path)
    left: list[int] = []
    with MetaStore.open(path, options=SMALL) as store:
        for number in range(10):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"more-{number}", labels={"owner": SECRET})
            assert tx.receipt is not None
            left.append(tx.receipt.revision)

        def overtaken(
            self: EventStore, revision: int | None = None, **arguments: Any
        ) -> ReadTransaction:
            store.erase({left.pop(): [OWNER]}, actor="dpo", reason="asked")
            return replay(self, revision, **arguments)

        monkeypatch.setattr(EventStore, "replay", overtaken)
        result = call("replay", path, "--verify")
    assert (result.code, result.out) == (1, "")
    assert f"{path}: something was erased each time while the log was replayed" in result.err
    assert "try again when the driver" in result.err


def test_replay_that_differs_is_3_also_where_something_was_erased_before(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "store")
    right = SnapshotsProjection.apply

    def wrong(self: SnapshotsProjection, event: Event, tables: Mapping[str, WritableTable]) -> None:
        right(self, event, tables)
        for name, row in list(tables[SNAPSHOTS].items()):
            tables[SNAPSHOTS].put(name, (row[0], row[1]._replace(updated_ns=7), row[2]))

    with MetaStore.open(tmp_path / "store", options=SMALL) as store:
        store.erase({6: [OWNER]}, actor="dpo", reason="asked")
        with monkeypatch.context() as context:
            context.setattr(SnapshotsProjection, "apply", wrong)
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, "last")
        store.checkpoint()
    result = call("replay", tmp_path / "store", "--verify", "--json")
    assert result.code == 3
    assert json.loads(result.out)["differing_rows"] > 0
