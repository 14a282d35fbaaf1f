"""Files that are missing from a store: what can't be damage is none, what is lost is named."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from pathlib import Path

    from support.cli import Call

READING = ["ls", "tree", "log", "stats", "check"]


def _grow(store: MetaStore) -> None:
    """Commit 60 batches, which take several segments."""
    for _ in range(60):
        with store.transaction(writable=True) as transaction:
            key = f"k{transaction.revision}"
            transaction.create_snapshot(Kind.ACTIVE, key, labels={"a": "b" * 200})


def _grown(path: Path) -> MetaStore:
    """Return a new store that has grown."""
    options = StoreOptions(segment_bytes=4096, background=False)
    store = MetaStore.open(path, options=options)
    _grow(store)
    return store


@pytest.fixture
def shortened(tmp_path: Path) -> Path:
    """Return a store whose first batches are dropped: only checkpoints hold their effect."""
    path = tmp_path / "shortened"
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    with MetaStore.open(path, options=options) as store:
        for number in range(40):
            with store.transaction(writable=True) as transaction:
                transaction.create_snapshot(Kind.ACTIVE, f"k{number}", labels={"a": "b" * 200})
            if number in {20, 38}:
                store.checkpoint()
        assert store.compact().dropped
    return path


@pytest.mark.parametrize("verb", [*READING, "compact"])
@pytest.mark.parametrize("name", ["checkpoints", "archive", "torn", "LOCK", "durable"])
def test_what_can_be_made_again_may_be_missing(
    name: str, verb: str, call: Call, story: Path
) -> None:
    path = story / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    result = call(verb, story)
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("option", [[], ["--quick"]])
def test_check_finds_that_no_checkpoint_holds_what_was_dropped(
    option: list[str], call: Call, shortened: Path
) -> None:
    assert call("check", shortened, *option).code == 0
    for checkpoint in (shortened / "checkpoints").iterdir():
        checkpoint.unlink()
    assert call("ls", shortened).code == 3
    result = call("check", shortened, *option)
    assert result.code == 3
    assert "no valid checkpoint" in result.out


@pytest.mark.parametrize("what", ["segments", "wal"])
@pytest.mark.parametrize("verb", READING)
def test_lost_log_is_damage(verb: str, what: str, call: Call, story: Path) -> None:
    if what == "wal":
        shutil.rmtree(story / "wal")
    else:
        for segment in (story / "wal").iterdir():
            segment.unlink()
    result = call(verb, story)
    assert result.code == 3
    assert "missing" in result.out + result.err


@pytest.mark.parametrize("left", ["checkpoints", "archive"])
def test_what_is_left_of_a_store_is_damage_and_can_be_repaired(
    left: str, call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    with _grown(path) as store:
        store.checkpoint()
        _grow(store)
        assert store.compact().archived
    for name in ("wal", "checkpoints", "archive", "torn"):
        if name != left:
            shutil.rmtree(path / name)
    (path / "durable").unlink()
    result = call("check", path)
    assert result.code == 3
    assert "missing" in result.out + result.err
    result = call("repair", path, "--output", tmp_path / "new")
    assert result.code == (3 if left == "checkpoints" else 0)
    if left == "checkpoints":
        assert "lost: batches 1 to 120: from the history" in result.out
    assert call("check", tmp_path / "new").code == 0


@pytest.mark.parametrize("option", [[], ["--quick"]])
def test_check_finds_the_damaged_header_of_a_segment_that_no_open_reads(
    option: list[str], call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    with _grown(path) as store:
        store.checkpoint()
    assert call("check", path, *option).code == 0
    first = min((path / "wal").glob("*.log"))
    data = bytearray(first.read_bytes())
    data[100] ^= 1
    first.write_bytes(data)
    assert call("check", path, *option).code == 3


@pytest.mark.parametrize("option", [[], ["--quick"]])
def test_check_finds_a_segment_that_is_missing_where_an_open_reads(
    option: list[str], call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    _grown(path).close()
    sorted((path / "wal").glob("*.log"))[1].unlink()
    assert call("ls", path).code == 3
    assert call("check", path, *option).code == 3


@pytest.mark.parametrize("option", [[], ["--quick"]])
def test_where_history_begins_is_said_since_removal_by_hand_looks_like_retention(
    option: list[str], call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    with _grown(path) as store:
        store.checkpoint()
        _grow(store)
        assert store.compact().archived > 2
    whole = call("check", path, *option)
    assert "history begins" not in whole.out
    assert json.loads(call("check", path, *option, "--json").out)["first_revision"] == 1
    oldest, _, following, *_ = sorted((path / "archive").iterdir())
    first_kept = int(following.name.partition(".")[0])
    oldest.unlink()
    sorted((path / "archive").iterdir())[0].unlink()
    result = call("check", path, *option)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1].startswith("sound")
    assert f"history begins at revision {first_kept}: " in result.out
    assert "dropped by retention" in result.out
    assert "removed by hand" in result.out
    report = json.loads(call("check", path, *option, "--json").out)
    assert (report["first_revision"], report["remarks"]) == (first_kept, [])
    repaired = call("repair", path, "--output", tmp_path / f"new{len(option)}")
    assert repaired.code == 0
    assert f"history begins at revision {first_kept}: " in repaired.out
    result = call("ls", path, "--at", "1")
    assert result.code == 1
    assert "dropped by retention, left out by a repair or removed by hand" in result.err


def test_a_sound_history_that_is_whole_is_repaired_without_a_word_of_where_it_begins(
    call: Call, story: Path, tmp_path: Path
) -> None:
    assert "history begins" not in call("repair", story, "--output", tmp_path / "new").out


def test_a_quick_check_says_what_it_has_not_read_and_finds_a_segment_that_was_cut(
    call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    with _grown(path) as store:
        store.checkpoint()
        segment_count = store.stats()["segment_count"]
    first = min((path / "wal").glob("*.log"))
    whole = first.read_bytes()
    unread = f"not read: the records of {segment_count - 1} earlier segments"
    result = call("check", path, "--quick")
    assert result.code == 0
    assert unread in result.out
    assert result.out.endswith("\nsound as far as it was read\n")
    report = json.loads(call("check", path, "--quick", "--json").out)
    assert (report["unread_segments"], report["is_full"]) == (segment_count - 1, False)
    result = call("check", path)
    assert "not read" not in result.out
    assert result.out.endswith("\nsound\n")
    first.write_bytes(whole[:1000] + b"x" + whole[1001:])
    assert unread in call("check", path, "--quick").out
    assert call("check", path).code == 3
    first.write_bytes(whole[:2000])
    result = call("check", path, "--quick")
    assert result.code == 3
    assert f"damaged: {first}: at byte 2000: the file ends here" in result.out


def test_log_shows_what_retention_has_dropped(tmp_path: Path, call: Call) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    with MetaStore.open(tmp_path, options=options) as store:
        for number in range(45):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels={"note": "n" * 200})
            if number % 15 == 14:
                store.compact()
        oldest = store.event_store.oldest_revision()
    shown = call("log", tmp_path, "--type", "eventstore.dropped", "-n", "1")
    assert shown.code == 0
    assert 'actor=eventstore  reason="retention: keep nothing' in shown.out
    assert f" to {oldest - 1} are dropped for good, " in shown.out
    assert " segments, " in shown.out
    [line] = call(
        "log", tmp_path, "--type", "eventstore.dropped", "-n", "1", "--json"
    ).out.splitlines()
    [event] = json.loads(line)["events"]
    assert (event["type"], event["data"]["last_revision"]) == ("eventstore.dropped", oldest - 1)
    said = f"dropped by retention, as revision {json.loads(line)['revision']} of "
    assert f"history begins at revision {oldest}: the batches before were {said}" in (
        call("check", tmp_path).out
    )


@pytest.mark.parametrize("kind", ["index", "tree"])
def test_a_damaged_file_that_can_be_made_anew_is_so_as_check_says(
    tmp_path: Path, call: Call, kind: str
) -> None:
    options = StoreOptions(segment_bytes=4096, background=False)
    with MetaStore.open(tmp_path, options=options) as store:
        _grow(store)
        store.compact()
    damaged = min((tmp_path / kind).iterdir())
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    result = call("check", tmp_path)
    assert result.code == 3
    assert f"damaged: {damaged}: " in result.out
    assert "start the driver, or run `snapledger compact`" in result.out
    assert "`snapledger repair`" not in result.out
    assert ("remove the damaged files of `index`" in result.out) == (kind == "index")
    if kind == "index":
        damaged.unlink()
    assert call("compact", tmp_path).code == 0
    assert call("check", tmp_path).code == 0
