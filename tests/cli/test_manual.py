"""The operator's manual shows what the commands print, and names every verb, option and exit code.

A block ```console of a page is a session: a line with `$ ` is a command, what follows is what it
writes to stdout and stderr. `snapledger` runs in this process, anything else in a shell; `echo $?`
is the exit code of the command before. Blocks of a page run in order, on stores that are made for
the page; `/var/lib` is a directory of the test. A block with a line `% not run: REASON` before it
is not run, one with `% needs root` only by root. SNAPLEDGER_UPDATE_GOLDEN=1 writes the pages anew.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import zlib
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from support.cli import DATABASE, ROOT, Call, Holder, leave_intents

from eventstore import StoreOptions
from eventstore.format.segment import SEGMENT_HEADER_BYTES
from eventstore.proofs import SigningKey
from projections.snapshots import Kind, MetaStore, Usage
from snapledger.keys import write_key
from snapledger.program import EXIT_CODES, VERBS, verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGES = sorted((ROOT / "docs" / "operate").glob("*.md"))
MANUAL = ROOT / "docs" / "operate" / "snapledger.md"
BLOCK = re.compile(
    r"(?P<before>^% (?P<condition>[^\n]*)\n)?^```console\n(?P<session>.*?)^```$", re.M | re.S
)
VARIES = {
    r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z": "(time)",
    r"\b\d{19}\b": "(time in ns)",
    r"\bin \d+\.\d+ s$": "in (time)",
    r"\b[0-9a-f]{64}\b": "(digest)",
    r"\b[0-9a-f]{32}\b": "(store id)",
    r"process \d+ on \S+ since \S+;": "process (id);",
    r"\b\d+ bytes \(\d[\d.]* [KM]iB\)": "(size)",
    r'(_bytes": )\d+': r"\1(size)",
    r"(batches|files?), \d+ bytes$": r"\1, (size)",
    r"\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$": "+(key)",
    r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{91}=": "(signature)",
    r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=": "(hash)",
}
OPTIONS = StoreOptions(background=False)
LAYER = "sha256:5f70bf18"


def tell(path: Path) -> None:
    """Make the store that the pages look at."""
    with MetaStore.open(path, options=OPTIONS) as store:
        with store.transaction(
            writable=True, actor="puller", reason="unpack web:1.4", request_id="req-7"
        ) as tx:
            tx.create_snapshot(Kind.ACTIVE, "extract-1", labels={"image": "web:1.4"})
        with store.transaction(
            writable=True, actor="puller", reason="unpack web:1.4", request_id="req-7"
        ) as tx:
            tx.commit_active("extract-1", LAYER, Usage(12, 688128), {"image": "web:1.4"})
        with store.transaction(writable=True, actor="ann", reason="wanted by the audit") as tx:
            tx.update_info(LAYER, {"keep": "2027"}, "labels.keep")
        with store.transaction(writable=True, actor="runtime", reason="start web") as tx:
            tx.create_snapshot(Kind.ACTIVE, "web", parent=LAYER)
        with store.transaction(writable=True, actor="ann", reason="look inside") as tx:
            tx.create_snapshot(Kind.VIEW, "debug", parent=LAYER)


def make_damaged(path: Path) -> None:
    """Damage a byte of the third of five batches."""
    tell(path)
    segment = min((path / "wal").glob("*.log"))
    data = segment.read_bytes()
    at = data.index(b"wanted by the audit")
    segment.write_bytes(data[:at] + b"?" + data[at + 1 :])


def make_torn(path: Path) -> None:
    """Leave the beginning of a sixth batch, as a power cut may."""
    tell(path)
    segment = min((path / "wal").glob("*.log"))
    data = segment.read_bytes()
    end = len(data.rstrip(b"\0")) + 7 & ~7
    mark = data[SEGMENT_HEADER_BYTES : SEGMENT_HEADER_BYTES + 8]
    segment.write_bytes(data[:end] + mark + b"half a header" + data[end + 21 :])


def make_newer(path: Path) -> None:
    """Make a store that a later release has written."""
    tell(path)
    segment = min((path / "wal").glob("*.log"))
    data = bytearray(segment.read_bytes())
    data[8:12] = struct.pack("<I", 99)
    header = SEGMENT_HEADER_BYTES - 4
    data[header : header + 4] = struct.pack("<I", zlib.crc32(data[:header]))
    segment.write_bytes(data)


def make_foreign(path: Path) -> None:
    """Give the store to another user, if this one may."""
    tell(path)
    if os.geteuid() == 0:
        for each in (path, *path.rglob("*")):
            os.chown(each, 12345, 12345)


@pytest.fixture
def library(tmp_path: Path, hold: Callable[[Path], Holder]) -> Path:
    """Return the directory that stands for /var/lib, with the stores of the pages."""
    tell(tmp_path / "driver/metadata")
    tell(tmp_path / "erasing/metadata")
    make_damaged(tmp_path / "damaged/metadata")
    make_torn(tmp_path / "torn/metadata")
    make_newer(tmp_path / "newer/metadata")
    make_foreign(tmp_path / "foreign/metadata")
    hold(tmp_path / "held/metadata")
    with MetaStore.open(tmp_path / "crashed/metadata", options=OPTIONS) as crashed:
        leave_intents(crashed)
    write_key(str(tmp_path / "node-7.key"), SigningKey("example.com/node-7", bytes(range(32))))
    (tmp_path / "half").mkdir()
    (tmp_path / "half/MAKING").write_text("import of /var/lib/containerd/metadata.db\n")
    (tmp_path / "containerd").mkdir()
    shutil.copy(DATABASE, tmp_path / "containerd/metadata.db")
    return tmp_path


def run(command: str, call: Call) -> tuple[int, str]:
    """Run a line of a session, and return its exit code and what it writes."""
    line, _, formatter = command.partition(" | ")
    line, _, target = line.partition(" > ")
    if not line.startswith("snapledger"):
        done = subprocess.run(
            ["/bin/sh", "-c", command], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr
    code, out, err = call(*shlex.split(line)[1:])
    if target:
        Path(target).write_text(out)
        return code, err
    return code, FORMATTERS[formatter](out) + err


def in_columns(text: str) -> str:
    """Return what `column -t` makes of lines of words."""
    lines = [line.split() for line in text.splitlines()]
    widths = [max(map(len, words)) for words in zip_longest(*lines, fillvalue="")]
    return "".join("  ".join(map(str.ljust, words, widths)).rstrip() + "\n" for words in lines)


FORMATTERS: dict[str, Callable[[str], str]] = {
    "": lambda text: text,
    "column -t": in_columns,
    "python -m json.tool": lambda text: json.dumps(json.loads(text), indent=4) + "\n",
}


def normalised(text: str) -> str:
    for pattern, standing_in in VARIES.items():
        text = re.sub(pattern, standing_in, text, flags=re.M)
    return text


def sessions(page: Path) -> Iterator[re.Match[str]]:
    for block in BLOCK.finditer(page.read_text()):
        condition = block["condition"] or ""
        if not condition.startswith("not run: ") and (
            condition != "needs root" or os.geteuid() == 0
        ):
            yield block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_shows_what_the_commands_print(
    page: Path, library: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(library)
    text = page.read_text()
    for block in sessions(page):
        session, code = "", 0
        for command in re.findall(r"^\$ (.*)\n", block["session"], re.M):
            if command == "echo $?":
                printed = f"{code}\n"
            else:
                code, printed = run(command.replace("/var/lib", str(library)), call)
            session += f"$ {command}\n{printed.replace(str(library), '/var/lib')}"
        if normalised(session) != normalised(block["session"]):
            text = text.replace(block["session"], session)
    if os.environ.get("SNAPLEDGER_UPDATE_GOLDEN"):
        page.write_text(text)
    assert text == page.read_text()


def test_block_that_is_not_run_says_why() -> None:
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text()):
            assert block["condition"] is None or re.fullmatch(
                "needs root|not run: .+", block["condition"]
            )


def sections() -> dict[str, str]:
    """Return the text of each section of the manual that is about a verb."""
    found = re.split(r"^### `snapledger (\S+).*`$", MANUAL.read_text(), flags=re.M)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_manual_has_a_section_with_an_example_for_each_verb() -> None:
    assert sorted(sections()) == sorted(VERBS)
    for verb, text in sections().items():
        assert re.search(rf"^\$ snapledger {verb}\b", text, re.M)


def test_manual_names_every_option_of_each_verb() -> None:
    for verb, text in sections().items():
        command = verbs.get_command(click.Context(verbs), verb)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name != "as_json":
                assert f"`{max(parameter.opts, key=len)}" in text, (verb, parameter.name)


def test_exit_codes_of_the_reference_are_those_of_the_program() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    documented = [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)]
    assert documented == [int(code) for code in re.findall(r"^ *(\d+)  ", EXIT_CODES, re.M)]
    assert "```{include} ../reference/exit-codes.md\n" in MANUAL.read_text()
