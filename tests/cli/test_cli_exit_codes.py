"""Each exit code, from a real cause, with one line on stderr that says what to do."""

from __future__ import annotations

import shutil
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from support.cli import DATABASE, OPTIONS, Call, Holder

from eventstore import Retention, StoreOptions
from eventstore.format.segment import SEGMENT_HEADER_BYTES
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READING_VERBS = [["ls"], ["tree"], ["log"], ["stats"], ["check"], ["info", "key"]]
VERBS = [*READING_VERBS, ["compact"]]


def arguments(verb: list[str], store: Path) -> list[str]:
    return [verb[0], str(store), *verb[1:]]


def first_segment(store: Path) -> Path:
    return min((store / "wal").iterdir())


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def assert_one_line(text: str) -> None:
    assert text.startswith("snapledger: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
@pytest.mark.parametrize("what", ["nothing", "empty directory", "file", "other directory"])
def test_no_store_there_is_10_and_none_is_made(
    verb: list[str], what: str, call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "there"
    if what == "file":
        path.write_text("no store")
    elif what != "nothing":
        path.mkdir()
    if what == "other directory":
        (path / "notes.txt").write_text("no store")
    before = sorted(tmp_path.rglob("*"))
    result = call(*arguments(verb, path))
    assert result.code == 10
    assert result.out == ""
    assert_one_line(result.err)
    assert str(path) in result.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_damage_is_3_and_changes_nothing(verb: list[str], call: Call, story: Path) -> None:
    flip_byte(first_segment(story), SEGMENT_HEADER_BYTES + 100)
    before = {path: path.read_bytes() for path in story.rglob("*") if path.is_file()}
    result = call(*arguments(verb, story))
    assert result.code == 3
    if verb == ["check"]:
        assert result.err == ""
        assert "damaged: " in result.out
        assert "DAMAGED" in result.out
    else:
        assert_one_line(result.err)
        assert "snapledger check" in result.err
    for path, data in before.items():
        # Only the lock says that someone was there.
        assert path.name == "LOCK" or path.read_bytes() == data


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_newer_format_is_1(verb: list[str], call: Call, story: Path) -> None:
    segment = first_segment(story)
    data = bytearray(segment.read_bytes())
    data[8:12] = struct.pack("<I", 99)
    header = SEGMENT_HEADER_BYTES - 4
    data[header : header + 4] = struct.pack("<I", zlib.crc32(data[:header]))
    segment.write_bytes(data)
    result = call(*arguments(verb, story))
    assert result.code == 1
    assert_one_line(result.err)
    assert "version 99" in result.err


def test_lock_held_by_another_process_is_11(
    call: Call, story: Path, hold: Callable[[Path], Holder]
) -> None:
    holder = hold(story)
    result = call("compact", story, "--wait", "0")
    assert result.code == 11
    assert_one_line(result.err)
    assert f"process {holder.pid}" in result.err


def test_compact_waits_for_the_lock(
    call: Call, story: Path, hold: Callable[[Path], Holder]
) -> None:
    holder = hold(story)
    assert call("compact", story, "--wait", "0.2").code == 11
    assert holder.stdin is not None
    holder.stdin.close()
    assert call("compact", story, "--wait", "30").code == 0


@pytest.mark.parametrize("verb", READING_VERBS[:-1], ids=lambda verb: verb[0])
def test_reading_verbs_work_beside_a_writer_and_see_what_it_commits(
    verb: list[str], process: Call, story: Path, hold: Callable[[Path], Holder]
) -> None:
    holder = hold(story)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("made-meanwhile\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "committed\n"
    result = process(*arguments(verb, story), "--json")
    assert (result.code, result.err) == (0, "")
    assert '"revision": 6' in result.out
    if verb[0] in {"ls", "tree", "log"}:
        assert "made-meanwhile" in result.out


def test_torn_tail_is_a_note_of_check_and_0(call: Call, story: Path) -> None:
    segment = first_segment(story)
    data = bytearray(segment.read_bytes())
    end = len(bytes(data).rstrip(b"\0"))
    end += -end % 8
    data[end : end + 40] = b"\x01" * 40
    segment.write_bytes(data)
    result = call("check", story)
    assert (result.code, result.err) == (0, "")
    assert "torn tail" in result.out
    assert call("ls", story).code == 0
    compacted = call("compact", story)
    assert compacted.code == 0
    assert "cut a torn tail" in compacted.err
    assert "torn tail" not in call("check", story).out


def test_damaged_checkpoint_is_3_for_check_and_a_note_for_others(call: Call, story: Path) -> None:
    assert call("compact", story).code == 0
    [checkpoint] = (story / "checkpoints").iterdir()
    flip_byte(checkpoint, checkpoint.stat().st_size - 10)
    assert call("check", story).code == 3
    assert call("check", story, "--quick").code == 3
    listed = call("ls", story)
    assert listed.code == 0
    assert "run check" in listed.err
    assert call("compact", story).code == 0
    assert call("check", story).code == 0


def test_unknown_key_is_1(call: Call, told: Path) -> None:
    for verb in (["info", told, "nope"], ["log", told, "--key", "nope"]):
        result = call(*verb)
        assert (result.code, result.out) == (1, "")
        assert_one_line(result.err)
        assert "snapledger ls" in result.err


def test_bad_filter_is_2_and_prints_no_header(call: Call, told: Path) -> None:
    for verb in ("ls", "du"):
        result = call(verb, told, "kind==view", "name=x")
        assert (result.code, result.out) == (2, "")
        assert_one_line(result.err)
        assert "name=x" in result.err


@pytest.mark.parametrize("moment", ["6", "9223372036854775807"])
def test_moment_that_is_not_reached_is_1(moment: str, call: Call, told: Path) -> None:
    result = call("ls", told, "--at", moment)
    assert result.code == 1
    assert_one_line(result.err)
    assert "the store is at 5" in result.err


def test_revision_that_retention_dropped_is_1(call: Call, tmp_path: Path) -> None:
    store = tmp_path / "store"
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    with MetaStore.open(store, options=options) as opened:
        for number in range(40):
            with opened.transaction(writable=True) as transaction:
                transaction.create_snapshot(Kind.ACTIVE, f"k{number}", labels={"a": "b" * 200})
            if number in {20, 38}:
                opened.checkpoint()
        assert opened.compact().dropped
    for verb in (["ls", store, "--at", "3"], ["log", store, "--from", "1"]):
        result = call(*verb)
        assert result.code == 1
        assert_one_line(result.err)
        assert "no longer kept" in result.err
    result = call("log", store)
    assert result.code == 0
    assert "no longer kept" in result.err


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ([], "Missing command"),
        (["frobnicate"], "frobnicate"),
        (["ls"], "STORE"),
        (["ls", ""], "empty"),
        (["ls", "store", "--frobnicate"], "--frobnicate"),
        (["ls", "store", "--at", "tomorrow"], "tomorrow"),
        (["ls", "store", "--at", "2026-11-24T00:00:00+1"], "2026-11-24T03:10:30.5Z"),
        (["ls", "store", "--at", "2026-13-24T00:00:00Z"], "month"),
        (["log", "store", "--from", "0"], "0"),
        (["log", "store", "--from", "5", "--to", "4"], "--to 4"),
        (["stats", "store", "more"], "more"),
    ],
)
def test_wrong_command_line_is_2(line: list[str], part: str, call: Call) -> None:
    result = call(*line)
    assert (result.code, result.out) == (2, "")
    assert_one_line(result.err)
    assert part in result.err
    assert "--help" in result.err


def test_import_that_fails_is_1_and_makes_no_store(call: Call, tmp_path: Path) -> None:
    store = tmp_path / "store"
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(DATABASE.read_bytes()[:5000])
    for database in (damaged, tmp_path / "missing.db", tmp_path):
        result = call("import-bolt", database, store)
        assert (result.code, result.out) == (1, "")
        assert_one_line(result.err)
        assert str(database) in result.err
        assert not store.exists()


def test_import_into_a_store_is_1(call: Call, story: Path) -> None:
    result = call("import-bolt", DATABASE, story)
    assert result.code == 1
    assert_one_line(result.err)
    assert "new path" in result.err


def test_empty_store_can_be_looked_at(call: Call, tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store", options=OPTIONS):
        pass
    for verb in (["ls"], ["tree"], ["log"], ["stats"], ["check"], ["compact"]):
        for option in ([], ["--json"]):
            result = call(verb[0], tmp_path / "store", *option)
            assert (result.code, result.err) == (0, "")


def test_store_that_was_moved_can_be_looked_at(call: Call, story: Path) -> None:
    moved = shutil.move(story, story.parent / "moved")
    assert call("check", moved).code == 0
