"""What each verb prints, word for word. SNAPLEDGER_UPDATE_GOLDEN=1 writes the files anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from support.cli import DATABASE, LAYER, Call, leave_intents

from eventstore import StoreOptions
from projections.snapshots import Kind, MetaStore
from snapledger import version
from snapledger.program import VERBS

GOLDEN = Path(__file__).parent / "golden"
NAME = "default/10/sha256:5071a043b447b30be00ae8ae263d5f9c0f0778989c6a2720e82c02bd236e976a"
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
SECONDS = re.compile(r'(in |"seconds": )\d+\.\d+(e-\d+)?')
TIME_NS = re.compile(r"\b\d{19}\b")


def facts_of(store: Path) -> dict[str, str]:
    """Return what differs from run to run, and what stands for it in the golden files."""
    with MetaStore.open(store, read_only=True) as opened:
        facts = {
            batch.digest.hex(): f"(digest of revision {batch.revision})"
            for batch in opened.event_store.batches()
        }
        facts[opened.event_store.store_id.hex()] = "(store id)"
    return {**facts, str(store): "(store)", str(DATABASE): "(database)"}


def normalised(text: str, store: Path, *, has_set_times: bool) -> str:
    for fact, standing_in in facts_of(store).items():
        text = text.replace(fact, standing_in)
    text = SECONDS.sub(r"\g<1>0.0", text)
    if not has_set_times:
        text = TIME_NS.sub("0", TIME.sub("(time)", text))
    return text


def indented(text: str) -> str:
    """Return JSON, one document a line, in lines that a diff can show."""
    documents = [json.loads(line) for line in text.splitlines()]
    return "".join(json.dumps(each, indent=1) + "\n" for each in documents)


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("SNAPLEDGER_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


IMPORTED = {
    "ls": [],
    "ls-filtered": ["kind==active", f"parent=={NAME}"],
    "ls-sorted": [
        *("--sort", "size", "--reverse", "-n", "3"),
        *("--columns", "size,inodes,id,created,labels,labels.containerd.io/snapshot.ref"),
    ],
    "du": [],
    "du-chain": ["--by", "chain"],
    "info": [NAME],
    "tree": [],
    "tree-key": [NAME, "--depth", "1"],
}
TOLD = {
    "log": [],
    "log-key": ["--key", "extract-1"],
    "log-range": ["1..3"],
    "du-label": ["--by", "labels.keep"],
    "replay": ["--verify"],
    "log-search": ["--type", "created", "--reverse"],
    "diff": ["1..4"],
    "info-labels": [LAYER],
    "show": ["2"],
    "check": [],
    "stats": [],
}


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("name", [*IMPORTED, *TOLD])
def test_verb_prints_what_the_golden_file_holds(
    name: str, as_json: bool, call: Call, imported: Path, told: Path
) -> None:
    store, arguments = (imported, IMPORTED[name]) if name in IMPORTED else (told, TOLD[name])
    verb = name.partition("-")[0]
    result = call(verb, store, *arguments, *(["--json"] if as_json else []))
    assert (result.code, result.err) == (0, "")
    text = normalised(result.out, store, has_set_times=name in IMPORTED)
    compare(f"{name}.{'json' if as_json else 'txt'}", indented(text) if as_json else text)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_import_prints_what_the_golden_file_holds(
    as_json: bool, call: Call, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    result = call("import-bolt", DATABASE, store, *(["--json"] if as_json else []))
    assert (result.code, result.err) == (0, "")
    text = normalised(result.out, store, has_set_times=True)
    compare(f"import-bolt.{'json' if as_json else 'txt'}", indented(text) if as_json else text)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_open_intents_print_what_the_golden_files_hold(
    as_json: bool, call: Call, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with MetaStore.open(store) as opened:
        leave_intents(opened)
        opened.once("req-10", ["a"], lambda tx: tx.create_snapshot(Kind.ACTIVE, "asked").id)
    for name, verb in (("intents", "intents"), ("log-intents", "log")):
        result = call(verb, store, *(["--json"] if as_json else []))
        assert (result.code, result.err) == (0, "")
        text = normalised(result.out, store, has_set_times=False)
        compare(f"{name}.{'json' if as_json else 'txt'}", indented(text) if as_json else text)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_report_prints_what_the_golden_file_holds(
    as_json: bool, call: Call, told: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    result = call("report", told, "-o", page, *(["--json"] if as_json else []))
    assert (result.code, result.err) == (0, "")
    text = result.out.replace(str(page), "page.html")
    text = re.sub(r'\d+ bytes \(.*\)|(?<="bytes": )\d+', "0", text)
    compare(f"report.{'json' if as_json else 'txt'}", indented(text) if as_json else text)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_version_prints_what_the_golden_file_holds(
    as_json: bool, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"fsspec": None, "cryptography": None, "protobuf": None}
    monkeypatch.setattr(version, "_version_of", lambda name: there.get(name, "1.2.3"))
    monkeypatch.setattr(version, "version", lambda name: "0.1.0")
    monkeypatch.setattr("platform.python_version", lambda: "3.11.7")
    monkeypatch.setattr("platform.platform", lambda: "Linux")
    result = call("version", *(["--json"] if as_json else []))
    assert (result.code, result.err) == (0, "")
    compare(
        f"version.{'json' if as_json else 'txt'}", indented(result.out) if as_json else result.out
    )


def test_preview_of_a_compaction_prints_what_the_golden_file_holds(
    call: Call, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    options = StoreOptions(segment_bytes=8192, background=False)
    with MetaStore.open(store, options=options) as opened:
        for number in range(20):
            with opened.transaction(writable=True) as transaction:
                transaction.create_snapshot(Kind.ACTIVE, f"{number}", labels={"a": "b" * 900})
            if number in {6, 15}:
                opened.compact()
    for name, option in (("txt", []), ("json", ["--json"])):
        result = call("compact", store, "--keep-revisions", "8", "--dry-run", *option)
        assert (result.code, result.err) == (0, "")
        sizes = re.compile(r'(revisions \d+ to \d+|segments?|_bytes":),? \d+.*')
        text = indented(result.out) if option else result.out
        compare(f"compact-dry-run.{name}", sizes.sub(r"\1 (size)", text))


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_export_prints_what_the_golden_file_holds(
    as_json: bool, call: Call, imported: Path, tmp_path: Path
) -> None:
    database = tmp_path / "metadata.db"
    result = call("export-bolt", imported, database, *(["--json"] if as_json else []))
    assert (result.code, result.err) == (0, "")
    text = result.out.replace(str(database), "metadata.db")
    compare(f"export-bolt.{'json' if as_json else 'txt'}", indented(text) if as_json else text)


def test_compact_prints_what_the_golden_file_holds(call: Call, story: Path) -> None:
    result = call("compact", story)
    assert (result.code, result.err) == (0, "")
    compare("compact.txt", result.out)
    result = call("compact", story, "--json")
    assert (result.code, result.err) == (0, "")
    compare("compact.json", indented(result.out))


def field_names(document: object) -> set[str]:
    if isinstance(document, list):
        return set().union(*map(field_names, document))
    if isinstance(document, dict):
        return set(document).union(*map(field_names, document.values()))
    return set()


@pytest.mark.parametrize(
    "name",
    [
        *("import-bolt", "export-bolt", "ls", "du", "info", "tree", "check", "compact", "stats"),
        "replay",
    ],
)
def test_help_names_every_field_of_the_json(name: str, call: Call) -> None:
    result = call(name, "--help")
    assert (result.code, result.err) == (0, "")
    words = set(re.findall(r"\w+", result.out))
    document = json.loads((GOLDEN / f"{name}.json").read_text())
    document.pop("rows", None)
    assert field_names(document) <= words


@pytest.mark.parametrize("name", ["log", "show"])
def test_help_of_log_and_show_names_every_field_of_a_batch(name: str, call: Call) -> None:
    words = set(re.findall(r"\w+", call(name, "--help").out))
    decoder = json.JSONDecoder()
    batch, _ = decoder.raw_decode((GOLDEN / f"{name}.json").read_text())
    assert {*batch, *batch["events"][0]} <= words


def test_help_of_diff_names_every_field_of_a_difference(call: Call) -> None:
    words = set(re.findall(r"\w+", call("diff", "--help").out))
    decoder = json.JSONDecoder()
    text = (GOLDEN / "diff.json").read_text()
    document, _ = decoder.raw_decode(text)
    labels = {"stage", "keep", "containerd"}
    assert field_names(document) - labels - {"inodes", "size"} <= words


def test_help_lists_every_verb_and_exit_code(call: Call) -> None:
    result = call("--help")
    assert (result.code, result.err) == (0, "")
    for verb in (
        *("import-bolt", "export-bolt", "ls", "info", "tree", "du", "log", "diff", "watch"),
        *("replay", "check", "compact", "stats", "version"),
    ):
        assert f"  {verb} " in result.out
    for code in (0, 1, 2, 3, 4, 10, 11, 130, 141):
        assert f" {code}  " in result.out


@pytest.mark.parametrize("name", [*VERBS, "key new"])
def test_help_has_an_example_that_begins_with_the_verb(name: str, call: Call) -> None:
    result = call(*name.split(), "--help")
    assert (result.code, result.err) == (0, "")
    _, _, example = result.out.partition("Example: ")
    commands = [line for line in example.splitlines() if line.startswith("    snapledger ")]
    assert any(f"{line} ".startswith(f"    snapledger {name} ") for line in commands)
