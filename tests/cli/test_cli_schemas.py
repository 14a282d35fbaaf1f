"""Every verb's JSON is what its schema in the documentation says: all of it, and nothing else.

The schemas themselves allow further fields, since a later release may add some. Here they don't.
"""

from __future__ import annotations

import copy
import json
import subprocess
from typing import TYPE_CHECKING, Any

import click
import pytest
from jsonschema import Draft202012Validator
from support.cli import DATABASE, LAYER, PROGRAM, ROOT, Call, leave_intents

from projections.snapshots import Kind, MetaStore
from snapledger.program import VERBS, verbs

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = ("</script>", "\x1b[31m", "\u202e", "a\nb", "\\", "\N{PILE OF POO}", '"=')
SCHEMAS = ROOT / "docs/reference/schemas"
READING: list[tuple[str, list[str]]] = [
    ("ls", []),
    ("ls", ["kind==view"]),
    ("ls", ["--sort", "size", "-n", "1", "--at", "1"]),
    ("info", [LAYER]),
    ("tree", []),
    ("du", []),
    ("du", ["--by", "label", "--at", "1"]),
    ("du", ["-n", "1"]),
    ("log", []),
    ("log", ["1..3", LAYER]),
    ("show", ["2"]),
    ("diff", ["1", "4"]),
    ("diff", ["0"]),
    ("diff", ["4", "5"]),
    ("stats", []),
    ("intents", []),
    ("check", []),
    ("check", ["--quick"]),
    ("replay", []),
    ("replay", ["--verify"]),
    ("compact", []),
    ("compact", ["--dry-run", "--keep-none"]),
]


def strict(schema: Any) -> Any:
    """Return a schema that refuses what it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        known["additionalProperties"] = False
    return known


def validate(verb: str, text: str) -> int:
    """Check each line, and return how many there are."""
    schema = json.loads((SCHEMAS / f"{verb}.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(strict(copy.deepcopy(schema)))
    lines = text.splitlines()
    for line in lines:
        validator.validate(json.loads(line))
    return len(lines)


def has_json(verb: str) -> bool:
    command = verbs.get_command(click.Context(verbs), verb)
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    return any(each and "as_json" in [one.name for one in each.params] for each in commands)


def test_every_verb_with_json_has_a_schema_that_the_page_links() -> None:
    with_json = sorted(verb for verb in VERBS if has_json(verb))
    assert sorted(path.stem for path in SCHEMAS.iterdir()) == with_json
    assert sorted(set(VERBS) - set(with_json)) == ["dump", "head", "prove"]
    page = (ROOT / "docs/reference/json.md").read_text()
    for verb in with_json:
        assert f"(schemas/{verb}.json)" in page


@pytest.mark.parametrize(("verb", "arguments"), READING, ids=str)
def test_json_of_a_verb_fits_its_schema(
    verb: str, arguments: list[str], call: Call, story: Path
) -> None:
    result = call(verb, story, *arguments, "--json")
    assert (result.code, result.err) == (0, "")
    assert validate(verb, result.out) >= 1


def test_json_of_hostile_names_fits_its_schema(call: Call, tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store") as store:
        for number, text in enumerate(HOSTILE):
            with store.transaction(writable=True, actor=text, reason=text) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"{number}{text}", labels={f"k{text}": text or "v"})
    for verb, *arguments in (["ls"], ["tree"], ["log"], ["diff", "0"], ["du", "--by", "label"]):
        result = call(verb, tmp_path / "store", *arguments, "--json")
        assert (result.code, result.out.isascii()) == (0, True)
        assert validate(verb, result.out) >= 1


def test_json_of_open_intents_fits_its_schema(call: Call, tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store") as store:
        leave_intents(store)
    for verb in ("intents", "stats", "log"):
        result = call(verb, tmp_path / "store", "--json")
        assert (result.code, result.err) == (0, "")
        assert validate(verb, result.out) >= 1
    assert len(json.loads(call("intents", tmp_path / "store", "--json").out)["intents"]) == 2


def test_json_of_verbs_that_make_something_fits_their_schemas(
    call: Call, told: Path, tmp_path: Path
) -> None:
    made = call("import-bolt", DATABASE, tmp_path / "imported", "--json")
    assert validate("import-bolt", made.out) == 1
    made = call("key", "new", tmp_path / "key", "--origin", "example.com/a", "--json")
    assert validate("key", made.out) == 1
    vkey = json.loads(made.out)["verifier_key"]
    made = call("publish", told, tmp_path / "published", "--key", tmp_path / "key", "--json")
    assert validate("publish", made.out) == 1
    head = call("head", told, "--key", tmp_path / "key", "--size", "3").out
    proofs = {
        "head": head,
        "inclusion": call("prove", told, "2", "--key", tmp_path / "key").out,
        "consistency": call("prove", told, "--from", "3", "--key", tmp_path / "key").out,
    }
    (tmp_path / "old").write_text(head)
    for kind, text in proofs.items():
        (tmp_path / kind).write_text(text)
        old = ["--old", tmp_path / "old"] if kind == "consistency" else []
        made = call("verify", tmp_path / kind, "--vkey", vkey, *old, "--json")
        assert json.loads(made.out)["kind"] == kind
        assert validate("verify", made.out) == 1
    made = call("report", told, "-o", tmp_path / "page.html", "--json")
    assert validate("report", made.out) == 1
    backup = tmp_path / "backup"
    assert validate("backup", call("backup", told, backup, "--json").out) == 1
    for arguments in (["--to", "3"], []):
        made = call("restore", backup, tmp_path / f"restored{arguments}", *arguments, "--json")
        assert validate("restore", made.out) == 1
    call("dump", told, "-o", tmp_path / "dump")
    made = call("load", tmp_path / "dump", tmp_path / "loaded", "--json")
    assert validate("load", made.out) == 1
    assert validate("version", call("version", "--json").out) == 1


def test_json_of_damage_and_repair_fits_their_schemas(call: Call, story: Path) -> None:
    [segment] = (story / "wal").glob("*.log")
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b"operator", b"operatoR", 1))
    checked = call("check", story, "--json")
    assert (checked.code, validate("check", checked.out)) == (3, 1)
    assert json.loads(checked.out)["problems"]
    repaired = call("repair", story, "--output", f"{story}-new", "--json")
    assert (repaired.code, validate("repair", repaired.out)) == (3, 1)
    assert json.loads(repaired.out)["lost"]


def test_json_of_a_watch_fits_its_schema(told: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "watch", str(told), "--from", "4", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(2)]
        watching.terminate()
    assert validate("watch", "".join(lines)) == 2
