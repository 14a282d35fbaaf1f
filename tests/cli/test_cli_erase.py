"""`erase`: what it finds, asks, refuses and says; and how other verbs show what was erased."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cli.test_cli_golden import compare, indented, normalised
from cli.test_cli_schemas import validate
from support.erasing import everything

from eventstore import StoreOptions
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from pathlib import Path

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


def test_what_else_a_batch_holds_of_an_erased_actor_is_listed(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with (
        MetaStore.open(path, options=StoreOptions(background=False)) as opened,
        opened.intent("make", "a", {}, actor=SECRET),
    ):
        pass
    result = call("erase", path, "1", "--actor", *ORDER, "--json")
    left = json.loads(result.out)["left"]
    assert {"revision": 1, "field": ["data", "actor"]} in left
