"""What a person may mistype or misread is told, and not taken for an empty answer."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.cli import LAYER, OPTIONS, PROGRAM, ROOT, Call

from projections.snapshots import Kind, MetaStore
from snapledger.text import parse_size

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("asked", ["1..9", "9..", "9..9"])
@pytest.mark.parametrize("verb", ["log", "diff"])
def test_a_range_to_what_is_yet_to_come_is_refused(
    verb: str, asked: str, call: Call, told: Path
) -> None:
    result = call(verb, told, asked)
    assert (result.code, result.out) == (1, "")
    assert "there is no revision 9 yet: the store is at 5; `snapledger log` lists" in result.err


@pytest.mark.parametrize("verb", ["log", "diff"])
def test_a_range_that_goes_back_is_refused(verb: str, call: Call, told: Path) -> None:
    for asked in ("4..2", "2026-11-25..2026-11-24", "2..1h"):
        result = call(verb, told, asked)
        assert (result.code, result.out) == (2, "")
        assert "the other way round; see `snapledger" in result.err


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("1.5h..", "'1.5h..' is no range A..B: A is neither a revision, such as 12, nor a time: "),
        ("1..2x", "'1..2x' is no range A..B: B is neither a revision, such as 12, nor a time: "),
        ("1...2", "'1...2' is no range A..B: B is neither a revision, such as 12, nor a time: "),
        ("..", "'..' is no range A..B: it has neither A nor B"),
    ],
)
def test_a_mistyped_range_is_told_with_the_half_that_is_wrong(
    asked: str, says: str, call: Call, told: Path
) -> None:
    for verb, also in (("log", "no snapshot has or had such a key or name; "), ("diff", "")):
        result = call(verb, told, asked)
        assert (result.code, result.out) == (2, "")
        assert says in result.err
        assert f"; {also}see `snapledger {verb} --help`" in result.err
    assert says in call("log", told, asked, LAYER).err
    assert call("log", told, "--key", asked).code == 1


def test_a_key_that_looks_like_a_mistyped_range_is_found(call: Call, story: Path) -> None:
    keys = ("a..b", "..", "1.5h..")
    with MetaStore.open(story, options=OPTIONS) as store:
        for key in keys:
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, key)
            with store.transaction(writable=True) as tx:
                tx.remove(key)
    for key in keys:
        found = call("log", story, key)
        assert (found.code, found.err, found.out.count("revision ")) == (0, "", 2)
        assert found == call("log", story, "--key", key) == call("log", story, key, "3..")


def test_a_range_and_b_again_is_refused(call: Call, told: Path) -> None:
    for asked in (("1..3", "4"), ("1", "2.."), ("..3", "4..")):
        result = call("diff", told, *asked)
        assert (result.code, result.out) == (2, "")
        assert "A..B has B in it: give A B or A..B" in result.err


def test_a_span_that_goes_back_is_refused(call: Call, told: Path) -> None:
    result = call("log", told, "--since", "4", "--until", "2")
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["ls", "--at", "1h"], ["tree", "--at", "1h"], ["du", "--at", "1h"]),
        *(["log", "--until", "1h"], ["log", "..1h"], ["replay", "--to", "1h"]),
        ["intents", "--at", "0001-01-01T00:00:00+23:59"],
    ],
)
def test_a_time_before_all_history_is_mentioned(
    arguments: list[str], call: Call, told: Path
) -> None:
    result = call(arguments[0], told, *arguments[1:])
    assert result.code == 0
    assert re.fullmatch(
        rf"note: {told}: nothing had been committed at .*; the first batch is of 20.*Z\n",
        result.err,
    )


@pytest.mark.parametrize("options", [["--from", "9"], ["--since", "9"]])
def test_a_log_from_what_is_yet_to_come_says_so(options: list[str], call: Call, told: Path) -> None:
    assert call("log", told, *options) == (
        0,
        "",
        f"note: {told}: there is no revision 9 yet: the store is at 5\n",
    )
    assert call("log", told, "--since", "now") == (0, "", "")


def test_a_type_that_nobody_knows_is_mentioned_with_those_that_there_are(
    call: Call, told: Path
) -> None:
    result = call("log", told, "--type", "creatd")
    assert (result.code, result.out) == (0, "")
    assert "no event of type 'snapshot.creatd' is known here: there are snapshot.created," in (
        result.err
    )
    assert call("log", told, "--type", "intent.begun") == (0, "", "")
    assert call("log", told, "--type", "eventstore.dropped") == (0, "", "")
    assert call("log", told, "--type", "eventstore.erased") == (0, "", "")


def test_a_filter_that_can_match_nothing_is_mentioned(call: Call, told: Path) -> None:
    for verb in ("ls", "du"):
        result = call(verb, told, "kind==foo", "kind==foo,name==a", "nam==a", "kind!=foo")
        assert result.code == 0
        assert result.err.splitlines() == [
            "note: no snapshot is of kind 'foo': there are view, active, committed",
            "note: no snapshot has a field 'nam': there are name, parent, kind and labels.KEY",
        ]


@pytest.mark.parametrize("verb", ["ls", "du"])
def test_a_bad_regular_expression_is_a_filter_that_can_not_be_read(
    verb: str, call: Call, told: Path
) -> None:
    result = call(verb, told, "kind==view", "parent==a,name~=/^[/")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert (
        "filter 'parent==a,name~=/^[/', position 16: regular expression '^[' matches nothing: "
        "missing ]: [; see `snapledger"
    ) in result.err


@pytest.mark.parametrize("verb", ["info", "tree"])
def test_a_key_that_was_committed_or_removed_is_told_with_what_became_of_it(
    verb: str, call: Call, story: Path
) -> None:
    result = call(verb, story, "extract-1")
    assert (result.code, result.out) == (1, "")
    assert f"'extract-1' was committed as {LAYER}: revision 2  20" in result.err
    assert "snapshot.committed  actor=puller" in result.err
    with (
        MetaStore.open(story, options=OPTIONS) as store,
        store.transaction(writable=True, actor="cleaner") as tx,
    ):
        tx.remove(LAYER)
    result = call(verb, story, "extract-1")
    note, error = result.err.splitlines()
    assert note.startswith(f"note: the snapshot with key 'extract-1' was committed as {LAYER}: rev")
    assert error.startswith("snapledger: no snapshot has the key or name 'extract-1' any more: rev")
    assert "revision 6  " in error
    assert error.endswith("  snapshot.removed  actor=cleaner")
    at_five = call(verb, story, "extract-1", "--at", "5")
    assert "was committed as" in at_five.err
    assert "removed" not in at_five.err


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        *(("0", 0), ("500", 500), ("500B", 500), ("64K", 65536), ("64k", 65536)),
        *(("1G", 2**30), ("1GiB", 2**30), ("1.5M", 3 * 2**19), ("1GB", 10**9), ("2 TiB", 2**41)),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "1X", "G", "-1", "1e9", "1GBB", "99999999P", "nan"])
def test_a_size_that_is_none_is_refused(text: str, call: Call, told: Path) -> None:
    result = call("compact", told, "--keep-bytes", text, "--dry-run")
    assert (result.code, result.out) == (2, "")
    assert "--keep-bytes" in result.err


def test_a_revision_that_is_none_is_told_what_one_is(call: Call, told: Path) -> None:
    result = call("show", told, "foo")
    assert result.code == 2
    assert "'foo' is no revision: that is a whole number from 1 on, such as 12" in result.err
    assert "is no count" in call("ls", told, "-n", "many").err


def test_a_tree_that_is_cut_says_how_many_are_below(call: Call, imported: Path) -> None:
    roots = call("tree", imported, "--depth", "0").out.splitlines()
    assert any(root.endswith("  … 1 more below") for root in roots)
    assert "more below" not in call("tree", imported).out


def test_du_names_the_group_of_those_without_a_label(call: Call, told: Path) -> None:
    lines = call("du", told, "--by", "labels.nothing").out.splitlines()
    assert lines[1].split("\t")[-1] == "(none)"


@pytest.fixture
def made(told: Path, tmp_path: Path, call: Call) -> Path:
    """Return a directory with a key, its verifier key, a head, both proofs and a backup."""
    assert call("key", "new", tmp_path / "key", "--origin", "example.com/a").code == 0
    key = ("--key", tmp_path / "key")
    texts = {
        "vkey": call("key", "show", tmp_path / "key").out,
        "head": call("head", told, *key).out,
        "old": call("head", told, *key, "--size", "3").out,
        "inclusion": call("prove", told, "2", *key).out,
        "consistency": call("prove", told, "--from", "3", *key).out,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert call("backup", told, tmp_path / "backup").code == 0
    return tmp_path


def test_a_verifier_key_is_shown_again(made: Path, call: Call) -> None:
    assert (made / "vkey").read_text().startswith("example.com/a+")
    shown = json.loads(call("key", "show", made / "key", "--json").out)
    assert shown["verifier_key"] == (made / "vkey").read_text().strip()
    result = call("key")
    assert (result.code, result.out) == (2, "")
    assert "made (new) or shown (show)" in result.err


def test_verify_says_that_a_text_holds_and_takes_no_option_that_it_would_not_use(
    made: Path, call: Call
) -> None:
    vkey = ("--vkey", (made / "vkey").read_text().strip())
    old, receipt = ["--old", str(made / "old")], ["--receipt", f"{'0' * 32}:4:{'0' * 64}"]
    nothing: list[str] = []
    for name, options in (("head", nothing), ("inclusion", nothing), ("consistency", old)):
        result = call("verify", made / name, *vkey, *options)
        assert (result.code, result.err) == (0, "")
        assert "\nholds " in result.out
    for name, options in (("head", old), ("inclusion", old), ("head", receipt)):
        result = call("verify", made / name, *vkey, *options)
        assert (result.code, result.out) == (2, "")
        assert f"it takes no {options[0]}" in result.err
    other = call("verify", made / "inclusion", *vkey, *receipt)
    assert (other.code, "the proof is of revision 2, the receipt of 4" in other.err) == (4, True)
    named = call("verify", made / "head", "--vkey", str(made / "vkey"))
    assert (named.code, "as `snapledger key new` has printed it" in named.err) == (2, True)


@pytest.mark.parametrize("name", ["inclusion", "consistency"])
def test_a_text_that_was_changed_is_refused_whatever_options_come_with_it(
    name: str, made: Path, call: Call
) -> None:
    text = (made / name).read_bytes()
    receipt = f"{'0' * 32}:2:{'0' * 64}"
    options = {"consistency": ["--old", str(made / "old")], "inclusion": ["--receipt", receipt]}
    vkey = ("--vkey", (made / "vkey").read_text().strip())
    for changed in (text.upper(), b" " + text, b"", text.replace(b"\n", b"\r\n")):
        (made / "changed").write_bytes(changed)
        result = call("verify", made / "changed", *vkey, *options[name])
        assert (result.code, result.out) == (4, "")
    assert "carriage returns" in result.err


def test_a_text_is_verified_from_stdin(made: Path) -> None:
    vkey = (made / "vkey").read_text().strip()
    done = subprocess.run(
        [*PROGRAM, "verify", "-", "--vkey", vkey],
        cwd=ROOT,
        input=(made / "head").read_bytes(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["head", "STORE", "--key", "nokey"], 1, "there is no key; `snapledger key new` makes one"),
        (["head", "STORE", "--key", "key", "--size", "9"], 1, "leave --size out for all"),
        (["prove", "STORE", "9", "--key", "key"], 1, "`snapledger log -n 1` shows the newest"),
        (["publish", "STORE", "key", "--key", "key"], 1, "key: no directory; give a new path"),
        (["restore", "STORE", "new"], 1, "there is no backup, but a store; back it up first"),
        (["ls", "backup"], 10, "not a store, but a backup of one, by its MANIFEST; restore it"),
        (["dump", "STORE", "-o", "head"], 1, "nothing is written over: give a new path"),
        (["load", "nothing", "new"], 1, "nothing: No such file or directory; check the path"),
        (["verify", "backup", "--vkey", "VKEY"], 1, "Is a directory; give the path of a file"),
    ],
)
def test_what_is_in_the_wrong_place_is_told_with_what_to_do(
    arguments: list[str],
    code: int,
    says: str,
    made: Path,
    told: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(made)
    names = {"STORE": str(told), "VKEY": (made / "vkey").read_text().strip()}
    result = call(*(names.get(each, each) for each in arguments))
    assert (result.code, result.out) == (code, "")
    assert says in result.err


def test_a_restore_to_a_time_before_all_history_is_mentioned(made: Path, call: Call) -> None:
    result = call("restore", made / "backup", made / "restored", "--to", "1h")
    assert result.code == 0
    assert "nothing had been committed at that moment, so the new store is empty" in result.err
    assert call("restore", made / "backup", made / "whole").err == ""


def test_who_makes_a_store_of_another_is_told_to_retire_that(
    made: Path, told: Path, call: Call
) -> None:
    call("dump", told, "-o", made / "dump")
    for arguments in (["load", "dump", "loaded"], ["restore", "backup", "restored"]):
        paths = [str(made / each) for each in arguments[1:]]
        assert "which is to be retired" in call(arguments[0], *paths).out
    repaired = call("repair", told, "--output", made / "repaired")
    assert f"that of {told}, which is to be retired" in repaired.out


URL = "https://example.org/store"


@pytest.mark.parametrize(
    "arguments",
    [
        *(["ls", URL], ["log", URL], ["compact", URL], ["import-bolt", "db", URL]),
        *(["restore", "backup", URL], ["load", "-", URL], ["repair", "STORE", "--output", URL]),
    ],
)
def test_a_url_in_the_place_of_a_store_is_refused_and_nothing_is_made(
    arguments: list[str],
    call: Call,
    told: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*(str(told) if each == "STORE" else each for each in arguments))
    assert (result.code, result.out) == (2, "")
    assert "a store is on a local disk" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_not_written_to_a_file_of_the_name_of_the_output(
    call: Call, told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("report", told, "-o", "-")
    assert (result.code, result.out) == (2, "")
    assert "a page goes to a file" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_current_directory_that_is_gone_is_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = call("ls", "store")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "snapledger: the current directory is no longer there; change to one that is\n"
    )


@pytest.mark.parametrize("verb", ["report STORE -o page", "dump STORE > dumped"])
def test_a_limit_on_the_size_of_files_is_told(verb: str, tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        for number in range(20):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}" * 50)
    program = " ".join(map(str, PROGRAM))
    command = f"ulimit -f 4; exec {program} {verb.replace('STORE', 'store')}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large; raise the limit" in done.stderr
