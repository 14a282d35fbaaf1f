"""`--at`, and what `log` selects."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.cli import LAYER, Call

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from pathlib import Path


def batches(call: Call, store: Path, *options: str) -> list[dict[str, Any]]:
    result = call("log", store, "--json", *options)
    assert (result.code, result.err) == (0, "")
    return [json.loads(line) for line in result.out.splitlines()]


def revisions(call: Call, store: Path, *options: str) -> list[int]:
    return [batch["revision"] for batch in batches(call, store, *options)]


def names(call: Call, store: Path, *options: str) -> list[str]:
    result = call("ls", store, "--json", *options)
    assert (result.code, result.err) == (0, "")
    return [snapshot["name"] for snapshot in json.loads(result.out)["snapshots"]]


@pytest.mark.parametrize(
    ("revision", "expected"),
    [(0, []), (1, ["extract-1"]), (2, [LAYER]), (4, [LAYER, "view-1"]), (5, [LAYER])],
)
def test_list_shows_a_past_revision(
    revision: int, expected: list[str], call: Call, told: Path
) -> None:
    assert names(call, told, "--at", str(revision)) == expected


def test_list_shows_a_past_time_to_the_nanosecond(call: Call, told: Path) -> None:
    first, second = batches(call, told)[:2]
    assert names(call, told, "--at", first["time"]) == ["extract-1"]
    assert names(call, told, "--at", second["time"]) == [LAYER]
    assert names(call, told, "--at", "2200-01-01T00:00:00Z") == [LAYER]


def test_info_and_tree_show_the_past(call: Call, told: Path) -> None:
    assert call("info", told, "extract-1").code == 1
    document = json.loads(call("info", told, "extract-1", "--at", "1", "--json").out)
    assert document["revision"] == 1
    assert document["snapshot"]["kind"] == "active"
    assert document["snapshot"]["usage"] is None
    assert "  view-1" in call("tree", told, "--at", "4").out


def test_log_follows_a_snapshot_through_its_rename(call: Call, told: Path) -> None:
    assert revisions(call, told, "--key", "extract-1") == [1, 2, 3]
    assert revisions(call, told, "--key", LAYER) == [1, 2, 3]
    assert revisions(call, told, "--key", "view-1") == [4, 5]


def test_log_of_a_key_shows_only_its_events(call: Call, imported: Path) -> None:
    [batch] = batches(call, imported, "--key", "default/33/my-commit")
    [event] = batch["events"]
    assert event["data"]["name"] == "default/33/my-commit"


def test_log_says_who_and_why(call: Call, told: Path) -> None:
    first = batches(call, told)[0]
    assert (first["actor"], first["reason"], first["request_id"]) == (
        "puller",
        "unpack web:1.4",
        "req-7",
    )
    text = call("log", told).out
    assert 'actor=puller  reason="unpack web:1.4"  request_id=req-7' in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [1, 2, 3, 4, 5]),
        (["--from", "4"], [4, 5]),
        (["--to", "2"], [1, 2]),
        (["--from", "2", "--to", "3"], [2, 3]),
        (["--to", "9", "-n", "1"], [5]),
        (["-n", "2"], [4, 5]),
        (["-n", "0"], []),
        (["--to", "3", "-n", "2"], [2, 3]),
        (["--from", "2", "-n", "2"], [2, 3]),
        (["--from", "2", "--limit", "99"], [2, 3, 4, 5]),
        (["--key", "extract-1", "-n", "1"], [3]),
        (["--key", "extract-1", "--from", "1", "-n", "1"], [1]),
    ],
)
def test_log_selects(options: list[str], expected: list[int], call: Call, told: Path) -> None:
    assert revisions(call, told, *options) == expected


@pytest.mark.parametrize(
    ("asked", "same"),
    [("..2", ["0", "2"]), ("2..", ["2"]), ("2..4", ["2", "4"]), ("..now", ["0", "now"])],
)
def test_diff_takes_a_range_with_one_end_missing(
    asked: str, same: list[str], call: Call, told: Path
) -> None:
    result = call("diff", told, asked)
    assert (result.code, result.err) == (0, "")
    assert result.out == call("diff", told, *same).out
    assert result.out != ""


def with_dropped_batches(path: Path) -> int:
    """Make a store of 40 snapshots whose first batches are dropped; return the oldest left."""
    options = StoreOptions(segment_bytes=8192, background=False, retention=Retention(revisions=5))
    with MetaStore.open(path, options=options) as store:
        for number in range(40):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"a": "b" * 900})
            if number % 13 == 12:
                store.compact()
        oldest = store.event_store.oldest_revision()
    assert oldest > 1
    return oldest


def test_diff_without_a_begins_with_what_is_kept(call: Call, tmp_path: Path) -> None:
    oldest = with_dropped_batches(tmp_path / "store")
    result = call("diff", tmp_path / "store", "..")
    assert result.code == 2
    result = call("diff", tmp_path / "store", f"..{oldest + 2}")
    note = f"{tmp_path}/store: batches before revision {oldest} are no longer kept"
    assert (result.code, result.err) == (0, f"note: {note}\n")
    assert result.out == call("diff", tmp_path / "store", f"{oldest - 1}..{oldest + 2}").out
    assert result.out.count("+ active") in (2, 3)
    assert call("diff", tmp_path / "store", "..1")[:2] == (0, "")


def test_info_says_who_removed_a_snapshot_although_older_batches_were_dropped(
    call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    with_dropped_batches(path)
    with MetaStore.open(path, options=StoreOptions(background=False)) as store:
        for key in ("1", "39"):
            with store.transaction(writable=True, actor=f"gc-{key}") as tx:
                tx.remove(key)
    for key in ("1", "39"):
        result = call("info", path, key)
        assert (result.code, f"actor=gc-{key}" in result.err) == (1, True), result.err


def test_log_that_asks_for_dropped_batches_says_that_they_are_gone(
    call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    oldest = with_dropped_batches(path)
    with MetaStore.open(path, read_only=True) as store:
        [batch] = store.event_store.batches(oldest + 2, oldest + 2)
    note = f"note: {path}: batches before revision {oldest} are no longer kept\n"
    times = (["--since", "2020-01-01"], ["--until", "2020-01-01"])
    for beyond in ([f"1..{oldest - 1}"], [f"1..{oldest + 1}"], *times, []):
        result = call("log", path, *beyond)
        assert (result.code, result.err) == (0, note), beyond
    unknown = call("log", path, "--actor", "zed", "--from", str(oldest))
    said = f"note: {path}: no batch that is kept has the actor 'zed'\n"
    assert (unknown.code, unknown.out, unknown.err) == (0, "", said)
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(batch.time_ns // 10**9))
    within = f".{batch.time_ns % 10**9:09}Z"
    for kept in ([f"{oldest - 1}..{oldest + 1}"], ["--since", since + within], [f"{oldest}.."]):
        result = call("log", path, *kept)
        assert (result.code, result.err) == (0, ""), kept
        assert result.out


def test_tree_holds_every_snapshot_below_its_parent(call: Call, imported: Path) -> None:
    nodes = json.loads(call("tree", imported, "--json").out)["snapshots"]
    assert sorted(node["name"] for node in nodes) == sorted(names(call, imported))
    path: list[str] = []
    for node in nodes:
        del path[node["depth"] :]
        assert node["parent"] == (path[-1] if path else "")
        path.append(node["name"])
