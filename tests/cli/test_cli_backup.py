"""`backup`, `restore`, `dump` and `load`: what they print, and how they end."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest
from cli.test_cli_golden import compare, field_names, indented, normalised
from cli.test_cli_schemas import validate
from support.cli import LAYER, Call, Holder

from eventstore import verify_backup
from projections.snapshots import MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZES = re.compile(r"(file|batches), \d+ bytes")
SIZE_FIELDS = re.compile(r'("(?:size|added)_bytes"): \d+')
FORK = re.compile(r"\b[0-9a-f]{32}\b")
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def shown(text: str, store: Path, places: Path, *, as_json: bool) -> str:
    text = normalised(text, store, has_set_times=False).replace(str(places), "(place)")
    text = SIZE_FIELDS.sub(r"\1: 0", SIZES.sub(r"\1, (size)", text))
    text = FORK.sub("(fork id)", DIGEST.sub("(digest)", text))
    return indented(text) if as_json else text


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_verb_prints_what_the_golden_file_holds(
    as_json: bool, call: Call, told: Path, tmp_path: Path
) -> None:
    options = ["--json"] if as_json else []
    ending = "json" if as_json else "txt"
    backup, dump = tmp_path / "backup", tmp_path / "dump"
    assert call("dump", told, "-o", dump) == (0, "", "")
    for name, arguments in {
        "backup": ["backup", told, backup],
        "backup-verify": ["backup", told, backup, "--verify"],
        "restore": ["restore", backup, tmp_path / "restored"],
        "restore-to": ["restore", backup, tmp_path / "past", "--to", "3"],
        "load": ["load", dump, tmp_path / "loaded"],
    }.items():
        result = call(*arguments, *options)
        assert (result.code, result.err) == (0, "")
        compare(f"{name}.{ending}", shown(result.out, told, tmp_path, as_json=as_json))


def test_dump_prints_what_the_golden_file_holds(call: Call, told: Path, tmp_path: Path) -> None:
    result = call("dump", told)
    assert (result.code, result.err) == (0, "")
    compare("dump.json", shown(result.out, told, tmp_path, as_json=True))


@pytest.mark.parametrize("verb", ["backup", "restore", "load"])
def test_help_names_every_field_of_the_json_and_shows_an_example(verb: str, call: Call) -> None:
    text = call(verb, "--help").out
    golden = (os.path.dirname(__file__), "golden", f"{verb}.json")
    with open(os.path.join(*golden)) as file:
        assert field_names(json.load(file)) <= set(re.findall(r"\w+", text))
    assert f"Example: snapledger {verb} " in text


def test_backup_beside_a_driver_is_restored_with_what_it_had_committed(
    call: Call, hold: Callable[[Path], Holder], tmp_path: Path
) -> None:
    holder = hold(tmp_path / "store")
    assert holder.stdin is not None
    assert holder.stdout is not None
    for name in ("a", "b"):
        holder.stdin.write(f"{name}\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "committed\n"
        result = call("backup", tmp_path / "store", tmp_path / "backup", "--json")
        assert (result.code, json.loads(result.out)["added_batches"]) == (0, 1)
    assert call("restore", tmp_path / "backup", tmp_path / "restored").code == 0
    with MetaStore.open(tmp_path / "restored") as store, store.transaction() as tx:
        assert [info.name for info in tx.walk_info()] == ["a", "b"]


def test_restore_to_a_time_gives_the_snapshots_of_that_time(
    call: Call, story: Path, tmp_path: Path
) -> None:
    assert call("backup", story, tmp_path / "backup").code == 0
    with MetaStore.open(story, read_only=True) as store:
        [batch] = store.event_store.batches(4, 4)
    done = call("restore", tmp_path / "backup", tmp_path / "past", "--to", "4", "--json")
    assert json.loads(done.out)["restored_revision"] == 4
    result = call("ls", tmp_path / "past", "--json")
    assert "view-1" in result.out
    assert LAYER in result.out
    result = call("restore", tmp_path / "backup", tmp_path / "now", "--to", "now", "--json")
    assert json.loads(result.out)["fork_id"] is None
    assert batch.revision == 4
    log = call("log", tmp_path / "past", "--type", "eventstore.restored")
    assert "actor=restore" in log.out


def test_damaged_backup_exits_with_3_and_makes_nothing(
    call: Call, told: Path, tmp_path: Path
) -> None:
    assert call("backup", told, tmp_path / "backup").code == 0
    [batches] = (tmp_path / "backup").glob("batches-*")
    batches.write_bytes(batches.read_bytes()[:-1])
    for arguments in (
        ("restore", tmp_path / "backup", tmp_path / "restored"),
        ("backup", told, tmp_path / "backup"),
        ("backup", told, tmp_path / "backup", "--verify"),
    ):
        result = call(*arguments)
        assert (result.code, result.out) == (3, "")
        assert "do not rely on this backup" in result.err
    assert not (tmp_path / "restored").exists()


def test_what_is_no_backup_no_store_or_no_dump_is_refused(
    call: Call, told: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    refused = {
        ("backup", tmp_path / "empty", tmp_path / "b"): (10, "no store"),
        ("backup", told, told): (1, "not the place of a backup"),
        ("restore", tmp_path / "empty", tmp_path / "r"): (1, "there is no backup"),
        ("restore", told, tmp_path / "r"): (1, "there is no backup"),
        ("restore", "nothing-such://x", tmp_path / "r"): (1, "nothing-such"),
        ("restore", tmp_path / "empty", tmp_path / "r", "--to", "x"): (2, "neither a revision"),
        ("load", tmp_path / "file", tmp_path / "r"): (1, "line 1: the line was cut short"),
        ("load", tmp_path / "nothing", tmp_path / "r"): (1, "No such file"),
        ("load", tmp_path / "empty", tmp_path / "r"): (1, "Is a directory"),
        ("dump", told, "-o", tmp_path / "file"): (1, "File exists"),
        ("dump", tmp_path / "empty", "-o", tmp_path / "d"): (10, "no store"),
    }
    for arguments, (code, words) in refused.items():
        result = call(*arguments)
        assert (result.code, result.out) == (code, ""), arguments
        assert words in result.err
        assert result.err.count("\n") == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "file"]


def test_dump_goes_through_a_pipe_into_load(process: Call, told: Path, tmp_path: Path) -> None:
    dumped = process("dump", told)
    assert dumped.code == 0
    (tmp_path / "lines").write_text(dumped.out)
    with (tmp_path / "lines").open() as lines:
        before = os.dup(0)
        os.dup2(lines.fileno(), 0)
        try:
            loaded = process("load", "-", str(tmp_path / "loaded"))
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert (loaded.code, loaded.err) == (0, "")
    assert process("dump", str(tmp_path / "loaded")).out == dumped.out


def test_dump_to_a_file_is_for_its_owner_only_and_whole_or_not_there(
    call: Call, told: Path, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        assert call("dump", told, "--output", tmp_path / "dump").code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "dump").stat().st_mode) == 0o600
    assert call("load", tmp_path / "dump", tmp_path / "loaded").code == 0
    assert call("check", tmp_path / "loaded").code == 0


def test_metastore_backs_up_restores_dumps_and_loads(story: Path, tmp_path: Path) -> None:
    with MetaStore.open(story) as store:
        assert store.backup(tmp_path / "backup").revision == 5
        lines = b"".join(store.dump())
    assert verify_backup(tmp_path / "backup").is_verified
    (tmp_path / "dump").write_bytes(lines)
    with (tmp_path / "dump").open("rb") as file:
        assert MetaStore.load(file, tmp_path / "loaded").revision == 5
    assert MetaStore.restore(tmp_path / "backup", tmp_path / "restored").revision == 5
    for name in ("loaded", "restored"):
        with MetaStore.open(tmp_path / name) as store, store.transaction() as tx:
            assert [info.name for info in tx.walk_info()] == [LAYER]


def test_check_says_that_a_backup_is_sound_or_where_it_is_damaged(
    call: Call, told: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    call("backup", told, backup)
    result = call("check", backup)
    assert (result.code, result.err) == (0, "")
    assert "\nbatches 1 to 5 of store " in result.out
    assert result.out.endswith("; can restore revisions 1 to 5\nsound\n")
    record = call("check", backup, "--json")
    assert validate("backup", record.out) == 1
    assert json.loads(record.out)["is_verified"] is True
    assert call("check", backup, "--quick").code == 2
    [part] = [each for each in backup.iterdir() if each.suffix == ".gz"]
    content = bytearray(part.read_bytes())
    content[40] ^= 1
    part.write_bytes(content)
    result = call("check", backup)
    assert (result.code, result.out) == (3, "")
    assert f"{part}: damaged" in result.err
    part.unlink()
    assert "the file is missing" in call("check", backup).err
    (backup / "MANIFEST").write_bytes(b"")
    assert call("check", backup).code == 3


def test_a_store_that_parted_from_its_backup_is_told_so(
    call: Call, told: Path, tmp_path: Path
) -> None:
    call("backup", told, tmp_path / "backup")
    call("restore", tmp_path / "backup", tmp_path / "past", "--to", "2")
    result = call("backup", tmp_path / "past", tmp_path / "backup")
    assert (result.code, result.out) == (1, "")
    assert "revision 3, the newest of " in result.err
    assert "their histories have parted" in result.err
    shown = call("log", tmp_path / "past", "-n", "1").out
    assert "  eventstore.restored  to revision 2 of a backup that was at 5; from here on" in shown
