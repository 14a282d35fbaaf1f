"""`log` by key, time, actor and type, `diff`, `watch`, and what became of a removed key."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cli.test_cli_schemas import validate
from support.cli import LAYER, PROGRAM, ROOT, Call, Holder

from eventstore import acting_as
from projections.snapshots import Kind, MetaStore
from snapledger.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NS = 1_000_000_000
NOW = datetime(2026, 11, 24, 15, 30, tzinfo=timezone(timedelta(hours=1)))


def revisions(call: Call, store: Path, *options: str) -> list[int]:
    result = call("log", store, "--json", *options)
    assert (result.code, result.err) == (0, "")
    return [json.loads(line)["revision"] for line in result.out.splitlines()]


def test_a_time_that_is_yet_to_come_is_mentioned(call: Call, told: Path) -> None:
    result = call("log", told, "--since", "2200-01-01")
    assert (result.code, result.out) == (0, "")
    assert result.err == f"note: {told}: --since is a time that is yet to come\n"


def test_an_actor_that_did_nothing_is_mentioned(call: Call, told: Path) -> None:
    note = f"note: {told}: no batch that is kept has the actor 'nobody'\n"
    assert call("log", told, "--actor", "nobody") == (0, "", note)
    assert call("log", told, "--actor", "nobody", "--type", "removed") == (0, "", note)
    # This one did something, though not that.
    assert call("log", told, "--actor", "puller", "--type", "removed") == (0, "", "")
    assert call("log", told, "--actor", "puller", "3..") == (0, "", "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--actor", "puller"], [1, 2]),
        (["--type", "removed"], [5]),
        (["--type", "snapshot.created"], [1, 4]),
        (["--type", "created", "--actor", "puller"], [1]),
        (["--reverse"], [5, 4, 3, 2, 1]),
        (["--reverse", "-n", "2"], [5, 4]),
        (["-n", "2"], [4, 5]),
        (["--from", "2", "-n", "2"], [2, 3]),
        (["--from", "2", "-n", "2", "--reverse"], [3, 2]),
        (["--since", "3"], [3, 4, 5]),
        (["--until", "2"], [1, 2]),
        (["--since", "2", "--until", "4", "-n", "1"], [4]),
        (["--since", "1h"], [1, 2, 3, 4, 5]),
        ([LAYER], [1, 2, 3]),
        ([LAYER, "--reverse", "-n", "1"], [3]),
        ([LAYER, "--actor", "operator"], [3]),
        (["view-1", "--type", "removed"], [5]),
        (["-n", "0"], []),
        (["1..3"], [2, 3]),
        (["..2"], [1, 2]),
        (["--since", "1h", "-n", "2"], [4, 5]),
        (["--since", "now", "-n", "2"], []),
        (["--since", "1h", "-n", "2", "--reverse"], [5, 4]),
        (["--from", "2", "--since", "1h", "-n", "2"], [2, 3]),
        (["--from", "5", "-n", "0"], []),
        (["-n", "9"], [1, 2, 3, 4, 5]),
        (["3.."], [4, 5]),
        (["2..2"], []),
        (["1h.."], [1, 2, 3, 4, 5]),
        (["1..5", LAYER], [2, 3]),
        (["1..5", "-n", "1"], [5]),
        (["1..", "--reverse"], [5, 4, 3, 2]),
    ],
)
def test_log_shows_what_is_asked_for(
    options: list[str], expected: list[int], call: Call, told: Path
) -> None:
    assert revisions(call, told, *options) == expected


def test_log_of_a_key_with_two_dots_is_no_range(call: Call, told: Path) -> None:
    assert "no snapshot has or had such a key or name" in call("log", told, "a..b").err
    assert "no snapshot has or had the key or name '1..2'" in call("log", told, "--key", "1..2").err


def test_log_takes_the_times_that_it_shows(call: Call, told: Path) -> None:
    times = [json.loads(line)["time"] for line in call("log", told, "--json").out.splitlines()]
    assert revisions(call, told, "--since", times[2]) == [3, 4, 5]
    assert revisions(call, told, "--until", times[2]) == [1, 2, 3]
    assert revisions(call, told, "--since", times[1], "--until", times[3], "-n", "2") == [3, 4]
    assert revisions(call, told, "--since", times[3], "-n", "4") == [4, 5]
    assert revisions(call, told, "--since", times[3], "-n", "4", "--reverse") == [5, 4]


@pytest.mark.parametrize(
    "options",
    [
        ["--follow", "--reverse"],
        ["--follow", "--until", "3"],
        ["--follow", "--to", "3"],
        ["a", "--key", "b"],
        ["a", "b"],
        ["1..2", "2..3"],
        ["1..2", "--follow"],
    ],
)
def test_log_refuses_what_can_not_be_meant(options: list[str], call: Call, told: Path) -> None:
    assert call("log", told, *options).code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", datetime(2026, 11, 24, 14, 30, tzinfo=UTC)),
        ("1h", datetime(2026, 11, 24, 13, 30, tzinfo=UTC)),
        ("1h30m ago", datetime(2026, 11, 24, 13, 0, tzinfo=UTC)),
        ("2d", datetime(2026, 11, 22, 14, 30, tzinfo=UTC)),
        ("today", datetime(2026, 11, 23, 23, 0, tzinfo=UTC)),
        ("yesterday 14:00", datetime(2026, 11, 23, 13, 0, tzinfo=UTC)),
        ("14:00", datetime(2026, 11, 24, 13, 0, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 19, 23, 0, tzinfo=UTC)),
        ("2026-11-20T08:00", datetime(2026, 11, 20, 7, 0, tzinfo=UTC)),
        ("2026-11-20T08:00:00Z", datetime(2026, 11, 20, 8, 0, tzinfo=UTC)),
        ("2026-11-20T08:00Z", datetime(2026, 11, 20, 8, 0, tzinfo=UTC)),
        ("2026-11-20T08:00:00+0100", datetime(2026, 11, 20, 7, 0, tzinfo=UTC)),
        ("2026-11-20T12:00+05:30", datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_people_write_it(
    text: str, expected: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "<+01>-1")
    time.tzset()
    try:
        assert parse_moment(text, NOW) == int(expected.timestamp()) * NS
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_local_time_keeps_its_nanoseconds() -> None:
    assert parse_moment("2026-11-20T08:00:00.123456789") % NS == 123456789


def test_minutes_have_no_fraction() -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_moment("2026-11-20T08:00.5Z")


def differences(call: Call, store: Path, *moments: str) -> list[dict[str, Any]]:
    result = call("diff", store, *moments, "--json")
    assert (result.code, result.err) == (0, "")
    return [json.loads(line) for line in result.out.splitlines()]


def test_diff_shows_what_became_different_and_by_whom(call: Call, told: Path) -> None:
    [layer] = differences(call, told, "1", "3")
    assert layer["before"]["name"] == "extract-1"
    assert layer["after"] == {
        "name": LAYER,
        "kind": "committed",
        "parent": "",
        "labels": {"keep": "a b=c"},
        "usage": {"inodes": 12, "size": 688128},
    }
    assert [(e["revision"], e["actor"], e["type"]) for e in layer["entries"]] == [
        (2, "puller", "snapshot.committed"),
        (3, "operator", "snapshot.updated"),
    ]
    assert differences(call, told, "1..3") == [layer]
    [made] = differences(call, told, "3", "4")
    assert (made["before"], made["after"]["name"]) == (None, "view-1")
    [removed] = differences(call, told, "4")
    assert (removed["before"]["name"], removed["after"]) == ("view-1", None)
    assert differences(call, told, "3") == []  # made and removed since
    assert len(differences(call, told, "1h", "now")) == 1


def test_diff_in_text_says_old_and_new(call: Call, told: Path) -> None:
    lines = call("diff", told, "2..4").out.splitlines()
    assert lines[0] == f"~ committed {LAYER}  id=1"
    assert lines[1] == '    labels: {stage=done} -> {keep="a b=c"}'
    assert lines[2].startswith("    revision 3  ")
    assert lines[2].endswith("  snapshot.updated  actor=operator")
    assert lines[3] == "+ view view-1  id=2"


@pytest.mark.parametrize(("moments", "code"), [(["4", "2"], 2), (["9"], 1), (["x"], 2)])
def test_diff_refuses_what_can_not_be_meant(
    moments: list[str], code: int, call: Call, told: Path
) -> None:
    assert call("diff", told, *moments).code == code


def test_info_of_a_removed_key_says_who_removed_it(call: Call, told: Path) -> None:
    result = call("info", told, "view-1")
    assert result.code == 1
    assert "no snapshot has the key or name 'view-1' any more: revision 5  " in result.err
    assert "snapshot.removed" in result.err
    earlier = call("info", told, "view-1", "--at", "3")
    assert "no snapshot has the key or name 'view-1';" in earlier.err


@pytest.mark.parametrize("arguments", [["watch"], ["log", "--follow", "-n", "0"]])
def test_watch_and_follow_show_what_another_process_commits(
    arguments: list[str], story: Path, hold: Callable[[Path], Holder]
) -> None:
    holder = hold(story)
    assert holder.stdin is not None
    assert holder.stdout is not None
    command = [*PROGRAM, arguments[0], str(story), *arguments[1:], "--actor", "holder", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        seen: list[str] = []
        for number in range(200):
            # What is committed before the watch has begun is not its business.
            holder.stdin.write(f"key-{number}\n")
            holder.stdin.flush()
            assert holder.stdout.readline() == "committed\n"
            time.sleep(0.05)
            if number == 60:
                break
        seen += [watcher.stdout.readline() for _ in range(3)]
        watcher.terminate()
    found = [json.loads(line)["revision"] for line in seen]
    assert found == list(range(found[0], found[0] + 3))


def test_the_further_fields_of_a_batch_are_shown_with_each_of_its_snapshots(
    call: Call, tmp_path: Path
) -> None:
    with (
        MetaStore.open(tmp_path) as store,
        acting_as(actor="rpc", peer="pid 12", method="Prepare"),
        store.transaction(writable=True) as tx,
    ):
        tx.create_snapshot(Kind.ACTIVE, "a")
    for arguments in ([], ["a"]):
        lines = call("log", tmp_path, *arguments).out.splitlines()
        assert lines[1] == '  batch.fields peer="pid 12" method=Prepare'
        assert lines[2].startswith("  snapshot.created id=1 ")
        assert len(lines) == 3
        record = call("log", tmp_path, *arguments, "--json").out
        assert validate("log", record) == 1
        assert json.loads(record)["fields"] == {"peer": "pid 12", "method": "Prepare"}
