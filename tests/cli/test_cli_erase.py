"""`erase`: what it finds, asks, refuses and says; and how other verbs show what was erased."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli.test_cli_golden import compare, indented, normalised
from cli.test_cli_schemas import validate
from support.cli import PROGRAM, ROOT
from support.erasing import OWNER, SMALL, cut_short, everything, fill

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from support.cli import Call

SECRET = "Jane Public"
ORDER = ("--by", "dpo", "--why", "request 12", "--yes")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store that holds a name as actor, in labels, in a longer text, and as a key."""
    path = tmp_path / "store"
    with MetaStore.open(path, options=StoreOptions(background=False)) as opened:
        for key, actor, reason, owner in (
            ("a", SECRET, "unpack", SECRET),
            ("b", "puller", f"for {SECRET}", "nobody"),
            (SECRET, "puller", "unpack", SECRET),
        ):
            with opened.transaction(writable=True, actor=actor, reason=reason) as tx:
                tx.create_snapshot(Kind.ACTIVE, key, labels={"owner": owner})
    return path


def test_erase_of_a_text_prints_what_the_golden_files_hold(call: Call, store: Path) -> None:
    for name, option in (("txt", []), ("json", ["--json"])):
        result = call("erase", store, "--matching", SECRET, "--dry-run", *option)
        assert (result.code, result.err) == (0, "")
        compare(f"erase-dry-run.{name}", indented(result.out) if option else result.out)
        if option:
            assert validate("erase", result.out) == 1
    result = call("erase", store, "--matching", SECRET, *ORDER)
    assert (result.code, result.err) == (0, "")
    compare("erase.txt", result.out)
    for name, arguments in (
        ("show", ["show", store, "1"]),
        ("log", ["log", store]),
        ("log-key", ["log", store, "--key", "a"]),
    ):
        text = normalised(call(*map(str, arguments)).out, store, has_set_times=False)
        compare(f"{name}-erased.txt", hashless(text))
    for verb, options in (("show", ["1"]), ("log", [])):
        result = call(verb, store, *options, "--json")
        assert validate(verb, result.out) >= 1
        first = json.loads(result.out.splitlines()[0])
        assert first["redacted"] is True
        assert first["actor"] == "*" * len(SECRET)
    [erased] = json.loads(call("show", store, "1", "--json").out)["erased"]
    assert (erased["revision"], erased["actor"], erased["reason"]) == (4, "dpo", "request 12")
    assert call("check", store).code == 0


def hashless(text: str) -> str:
    """Return a text without the hashes that an erasure states."""
    parts = text.split('"digest": "')
    kept = [parts[0], *(part[part.index('"') :] for part in parts[1:])]
    parts = '"digest": "(digest)'.join(kept).split('"payload_hash": "')
    kept = [parts[0], *(part[part.index('"') :] for part in parts[1:])]
    return '"payload_hash": "(hash)'.join(kept)


def test_erase_of_fields_says_so_as_json_and_leaves_other_batches_alone(
    call: Call, store: Path
) -> None:
    result = call("erase", store, "1", "--actor", "--label", "owner", *ORDER, "--json")
    assert (result.code, result.err) == (0, "")
    assert validate("erase", result.out) == 1
    record = json.loads(result.out)
    assert record["revision"] == 4
    assert record["erased"] == [{"revision": 1, "fields": [["data", "labels", "owner"], ["actor"]]}]
    assert record["left"] == []
    found = json.loads(call("erase", store, "--matching", SECRET, "--dry-run", "--json").out)
    assert [each["revision"] for each in found["erased"]] == [3]
    call("erase", store, "2", "--reason", *ORDER)
    call("erase", store, "3", "--label", "owner", *ORDER)
    content = everything(store)
    assert content.count(SECRET.encode()) == content.count(b"\xab" + SECRET.encode())  # the key


def test_text_that_is_nowhere_is_not_erased_and_nothing_is_committed(
    call: Call, store: Path
) -> None:
    result = call("erase", store, "--matching", "Joe", *ORDER)
    assert (result.code, result.out, result.err) == (0, "erased  nothing\n", "")
    assert json.loads(call("stats", store, "--json").out)["revision"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "say what to erase"),
        (["1"], 2, "say what to erase"),
        (["1", "--actor", "--matching", "x", *ORDER], 2, "say what to erase"),
        (["--actor", *ORDER], 2, "give their revisions"),
        (["1", "--actor"], 2, "who orders it, and why"),
        (["1", "--actor", "--by", "dpo", "--why", "x"], 2, "give --yes"),
        (["9", "--actor", *ORDER], 1, "there is no revision 9"),
        (["1", "--request-id", *ORDER], 1, "has no text at request_id"),
        (["1", "--label", "none", *ORDER], 1, "has no text at data.labels.none"),
    ],
)
def test_what_can_not_be_erased_is_refused_and_nothing_is_committed(
    call: Call, store: Path, arguments: list[str], code: int, said: str
) -> None:
    result = call("erase", store, *arguments)
    assert result.code == code
    assert said in result.err
    assert json.loads(call("stats", store, "--json").out)["revision"] == 3


def test_store_that_a_driver_has_open_is_11_and_says_what_to_do(call: Call, store: Path) -> None:
    with MetaStore.open(store) as opened:
        result = call("erase", store, "1", "--actor", *ORDER)
        assert result.code == 11
        assert "nothing was erased: stop it first, or have it call `MetaStore.erase`" in result.err
        assert call("erase", store, "--matching", SECRET, "--dry-run").code == 0
        opened.erase({1: [("actor",)]}, actor="dpo", reason="request 12")
    assert "erased actor by revision 4" in call("show", store, "1").out


def test_restored_store_says_by_whose_order_it_was_erased(
    call: Call, store: Path, tmp_path: Path
) -> None:
    call("erase", store, "1", "--actor", *ORDER)
    call("backup", store, tmp_path / "copy")
    call("restore", tmp_path / "copy", tmp_path / "new", "--to", "3")
    shown = call("show", tmp_path / "new", "1").out
    assert "erased actor by revision 4" in shown
    assert 'actor=dpo  reason="request 12"' in shown
    assert call("check", tmp_path / "new").code == 0


@pytest.mark.parametrize("text", ["", "\udcff"], ids=["empty", "no UTF-8"])
def test_a_text_that_can_stand_nowhere_is_a_wrong_command_line(
    call: Call, store: Path, text: str
) -> None:
    result = call("erase", store, "--matching", text, *ORDER)
    assert (result.code, result.out) == (2, "")
    assert "needs a text in UTF-8" in result.err


def test_an_intents_copy_of_the_actor_goes_too_and_what_else_there_is_of_it_is_listed(
    call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    with (
        MetaStore.open(path, options=StoreOptions(background=False)) as opened,
        opened.intent("make", "a", {"for": SECRET}, actor=SECRET),
    ):
        pass
    result = call("erase", path, "1", "--actor", *ORDER, "--json")
    record = json.loads(result.out)
    assert record["erased"] == [{"revision": 1, "fields": [["actor"], ["data", "actor"]]}]
    assert record["left"] == [{"revision": 1, "field": ["data", "data", "for"]}]
    assert call("check", path).code == 0
    shown = json.loads(call("show", path, "1", "--json").out)
    assert shown["events"][-1]["data"]["actor"] == "*" * len(SECRET)


def test_a_dry_run_says_what_the_erasure_would_be_refused_for(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "store"
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    with MetaStore.open(path, options=options) as opened:
        for number in range(60):
            with opened.transaction(writable=True, actor=SECRET) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels={"note": "n" * 200})
            if number % 20 == 19:
                opened.compact()
        oldest = opened.event_store.oldest_revision()
    assert oldest > 1
    for asked in ([str(oldest), "--actor"], ["--matching", SECRET]):
        before = everything(path)
        result = call("erase", path, *asked, "--dry-run")
        assert (result.code, result.out) == (1, "")
        assert f"nothing of revision {oldest} can be erased: " in result.err
        assert "restore a backup that holds these batches and erase there, or" in result.err
        assert everything(path) == before
        assert call("erase", path, *asked, *ORDER).err == result.err
    newest = call("erase", path, "60", "--actor", "--dry-run")
    assert (newest.code, newest.err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["erase", "STORE", "1", "--actor", *ORDER], "STORE: erased, as revision 4 says"),
        (["compact", "STORE"], "STORE: compacted"),
        (["backup", "STORE", "NEW"], "NEW: the backup is at revision 3"),
        (["report", "STORE", "-o", "NEW"], "NEW: the page is there"),
        (["repair", "STORE", "--output", "NEW"], "NEW: the store is there"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else None,
)
def test_work_whose_output_can_not_be_written_says_that_it_is_done(
    arguments: list[str], says: str, store: Path, tmp_path: Path
) -> None:
    names = {"STORE": str(store), "NEW": str(tmp_path / "new")}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, *(names.get(each, each) for each in arguments)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    place, what = says.split(":", 1)
    assert f"{names[place]}:{what}; that is done, but the output can't be wr" in done.stderr
    if arguments[0] == "erase":
        with MetaStore.open(store, read_only=True) as opened:
            [batch] = opened.event_store.batches(1, 1)
            assert batch.metadata.actor == "*" * len(SECRET)


def test_show_does_not_send_its_reader_to_itself(call: Call, store: Path) -> None:
    call("erase", store, "1", "--actor", *ORDER)
    assert "parts of it were erased, see below" in call("show", store, "1").out
    assert "parts of it were erased: `show` says" in call("log", store).out
    assert "  eventstore.erased  erased: actor of revision 1\n" in call("show", store, "4").out


def test_repair_says_what_it_could_not_erase_and_what_nothing_vouches_for(
    call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "damaged"
    fill(path)
    cut_short(path, {6: [OWNER]})
    sorted((path / "archive").iterdir())[1].unlink()
    said = call("check", path)
    assert "the state at revision 61, which holds what was to be erased of 1 batch, or" in said.out
    newest = call("repair", path, "--output", tmp_path / "newest")
    assert "NOT ERASED: the state of the new store still holds" in newest.out
    assert "of revision 6: it begins with a checkpoint" in newest.out
    oldest = call("repair", path, "--output", tmp_path / "oldest", "--keep-history")
    assert "erased, but nothing in the new store says so: revision 6:" in oldest.out
    assert "NOT ERASED" not in oldest.out
    as_json = call("repair", path, "--output", tmp_path / "json", "--json")
    assert validate("repair", as_json.out) == 1
    found = json.loads(as_json.out)
    assert (found["unerased"], found["unvouched"]) == ([6], [])


def test_check_says_to_remove_what_was_copied_back_before_an_open_believes_it(
    call: Call, tmp_path: Path
) -> None:
    path, old = tmp_path / "store", tmp_path / "old"
    fill(path)
    shutil.copytree(path / "checkpoints", old)
    with MetaStore.open(path, options=SMALL) as store:
        store.erase({6: [OWNER]}, actor="dpo", reason="asked")
    for file in (path / "checkpoints").iterdir():
        file.unlink()
    shutil.copytree(old, path / "checkpoints", dirs_exist_ok=True)
    said = call("check", path)
    assert said.code == 3
    assert "remove those files of `checkpoints` and `ladder` that are listed" in said.out
    listed = re.findall(r"^damaged: (\S+):", said.out, re.MULTILINE)
    assert listed
    for file in listed:
        Path(file).unlink(missing_ok=True)
    assert call("check", path).code == 0
    with MetaStore.open(path, options=SMALL) as store, store.transaction() as now:
        assert now.get_info("key-5")[1].labels["owner"].strip("*") == ""
