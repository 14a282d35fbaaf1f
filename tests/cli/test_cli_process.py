"""The program as a process: what it imports, pipes, terminals, signals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from support.cli import LAYER, OPTIONS, PROGRAM, ROOT, Call

from projections.snapshots import Kind, MetaStore, Usage

LOADED = """
import sys
from snapledger.program import main

code = main(sys.argv[1:])
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(code, *loaded, file=sys.stderr)
"""


def loaded_by(*arguments: str | Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    code, *loaded = done.stderr.split()
    assert code == "0"
    return set(loaded)


def on_terminal(*arguments: str | Path, columns: int = 60, **environment: str) -> str:
    """Return what the program writes to a terminal, which is both its stdout and its stderr."""
    return written_on_terminal([*PROGRAM, *map(str, arguments)], columns, environment)


def written_on_terminal(command: list[str], columns: int, environment: dict[str, str]) -> str:
    """Return what a process writes to a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "COLUMNS", "TERM"}}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**inherited, "TERM": "xterm", **environment},
    ):
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # EIO: the last one has closed the terminal
                break
            if not part:
                break
            written += part
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_start_imports_neither_the_library_nor_rich(arguments: list[str]) -> None:
    assert not loaded_by(*arguments) & {"eventstore", "projections", "rich", "msgpack", "re2"}


@pytest.mark.parametrize("verb", ["ls", "tree", "log", "check", "stats"])
@pytest.mark.parametrize("option", [["--json"], []])
def test_what_is_not_drawn_does_not_import_rich(verb: str, option: list[str], told: Path) -> None:
    assert "rich" not in loaded_by(verb, told, *option)


def test_piped_list_does_not_cut_names(process: Call, told: Path) -> None:
    result = process("ls", told, COLUMNS="40")
    assert f"\t{LAYER}\t" in result.out
    assert "\x1b" not in result.out


@pytest.mark.parametrize("columns", [30, 40, 60])
@pytest.mark.parametrize("verb", [["ls"], ["du", "--by", "label"], ["intents"]])
def test_no_table_is_wider_than_the_terminal(verb: list[str], columns: int, told: Path) -> None:
    written = on_terminal(verb[0], told, *verb[1:], columns=columns)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written).splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) >= 2


@pytest.mark.parametrize("columns", [40, 60])
def test_terminal_gets_a_table_whose_long_names_are_cut(columns: int, told: Path) -> None:
    written = on_terminal("ls", told, columns=columns)
    assert "─" in written
    [row] = [line for line in written.splitlines() if "sha256" in line]
    assert LAYER[:7] in row
    assert "…" in row
    assert "688128" in row


def test_terminal_that_is_wide_enough_gets_whole_names(told: Path) -> None:
    written = on_terminal("ls", told, columns=200)
    assert "…" not in written
    assert LAYER in written


def test_terminal_gets_all_of_a_deep_tree(tmp_path: Path) -> None:
    with (
        MetaStore.open(tmp_path / "store", options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        for depth in range(100):
            parent = f"layer-{depth - 1}" if depth else ""
            transaction.create_snapshot(Kind.ACTIVE, "extract", parent=parent)
            transaction.commit_active("extract", f"layer-{depth}", Usage(1, 1))
    written = on_terminal("tree", tmp_path / "store", columns=80)
    assert all(f"layer-{depth} " in written for depth in range(100))


def test_terminal_gets_a_tree(imported: Path) -> None:
    written = on_terminal("tree", imported, columns=200)
    assert "├── " in written
    assert "└── " in written


def test_terminal_gets_text_escaped_and_not_taken_for_markup(tmp_path: Path) -> None:
    key = "[bold]a[/bold]\x1b[31m:smile:\u202e"
    with (
        MetaStore.open(tmp_path / "store", options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        transaction.create_snapshot(Kind.ACTIVE, key)
    for verb in ("ls", "tree"):
        written = on_terminal(verb, tmp_path / "store", columns=200)
        assert r"[bold]a[/bold]\x1b[31m:smile:\u202e" in written
        assert key not in written


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminal_gets_plain_lines_when_asked_for(environment: dict[str, str], told: Path) -> None:
    written = on_terminal("ls", told, columns=20, **environment)
    assert LAYER in written
    assert "\x1b" not in written
    assert "─" not in written


def test_progress_leaves_nothing_in_the_output(told: Path) -> None:
    written = on_terminal("check", told, columns=100)
    assert "sound" in written
    assert "sound" in on_terminal("check", told, columns=100, NO_COLOR="1").splitlines()


@pytest.mark.parametrize("arguments", [["log", "--json"], ["log"], ["ls"], ["ls", "--json"]])
def test_broken_pipe_ends_silently(arguments: list[str], tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        for number in range(200):
            with store.transaction(writable=True) as transaction:
                transaction.create_snapshot(Kind.ACTIVE, f"{number}", labels={"a": "b" * 1000})
    with subprocess.Popen(
        [*PROGRAM, arguments[0], str(tmp_path / "store"), *arguments[1:]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 141


def test_full_disk_under_the_output_is_1(told: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, "log", str(told)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "snapledger: the output: No space left on device; free some space and try again\n"
    )


INTERRUPTED = """
import os, signal, sys, time
from projections.snapshots import importer
from snapledger.program import main

def read_until_interrupted(data):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)

# Where a shell has started this in the background, the signal is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
importer.read_snapshots = read_until_interrupted
sys.exit(main(sys.argv[1:]))
"""


def test_interrupt_is_130_without_traceback_and_makes_no_store(tmp_path: Path) -> None:
    database = tmp_path / "database"
    database.write_bytes(b"anything")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "import-bolt", str(database), str(tmp_path / "store")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "snapledger: interrupted\n"
    assert not (tmp_path / "store").exists()


INTERRUPTED_AT_THE_START = """
import sys
from importlib.abc import MetaPathFinder

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from snapledger.__main__ import run
sys.exit(run())
"""


def test_interrupt_while_the_program_is_being_loaded_is_130_without_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_THE_START],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "snapledger: interrupted\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("arguments", "code"), [(["ls", "/nonexistent"], 10), (["ls"], 2), (["--help"], 0)]
)
@pytest.mark.parametrize("stderr", ["/dev/full", "&-"])
def test_exit_code_outlives_a_stderr_that_takes_nothing(
    arguments: list[str], code: int, stderr: str
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" 2>{stderr}', "sh", *PROGRAM, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_program_for_the_shell(shell: str, process: Call) -> None:
    result = process(_SNAPLEDGER_COMPLETE=f"{shell}_source")
    assert (result.code, "_SNAPLEDGER_COMPLETE" in result.out) == (0, True)


def test_completion_offers_verbs_and_options(process: Call) -> None:
    asked = {"_SNAPLEDGER_COMPLETE": "bash_complete"}
    verbs = process(**asked, COMP_WORDS="snapledger rep", COMP_CWORD="1").out.splitlines()
    assert [verb.partition(",")[2] for verb in verbs] == ["replay", "repair", "report"]
    options = process(**asked, COMP_WORDS="snapledger ls store --so", COMP_CWORD="3").out
    assert options == "plain,--sort\n"


@pytest.mark.parametrize("verb", [["info", LAYER], ["log", "-n", "1"], ["show", "1"]])
def test_a_look_imports_neither_filters_nor_what_repairs(verb: list[str], told: Path) -> None:
    program = LOADED.replace('name.partition(".")[0]', "name")
    done = subprocess.run(
        [sys.executable, "-c", program, verb[0], str(told), *verb[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stderr.split())
    assert "eventstore.store" in loaded
    assert not loaded & {"eventstore.integrity", "projections.snapshots.filters", "re2", "rich"}


LONG_WORK = """
import sys, time
from snapledger import output

with output.progress("counting", int(sys.argv[1]) or None) as show_count:
    for count in range(1, 14):
        show_count(count * 1000)
        time.sleep(float(sys.argv[2]))
print("through")
"""


def progress_of(total: int, seconds: float, **environment: str) -> str:
    command = [sys.executable, "-c", LONG_WORK, str(total), str(seconds)]
    return written_on_terminal(command, 100, environment)


def test_long_work_shows_its_total_and_the_time_left() -> None:
    written = progress_of(13_000, 0.12)
    assert "counting" in written
    assert "000/13000" in written
    assert "0:00:0" in written
    assert written.rstrip().endswith("through")


def test_long_work_without_an_end_shows_its_count() -> None:
    assert "counting 1" in progress_of(0, 0.12).replace("\x1b[0m", "")


WORK_IN_TWO_PARTS = """
import time
from snapledger import output

with output.progress("reading") as show_count:
    time.sleep(1.2)
    for count in range(1, 8):
        show_count(count, 7, "writing")
        time.sleep(0.12)
print("through")
"""


def test_long_work_shows_what_it_does_now_and_its_total_once_that_is_known() -> None:
    written = written_on_terminal([sys.executable, "-c", WORK_IN_TWO_PARTS], 100, {})
    assert "reading" in written
    assert re.search(r"writing.*[1-7]/7.*0:00:0", written)
    assert written.rstrip().endswith("through")


def test_short_work_shows_nothing() -> None:
    assert progress_of(13_000, 0.0) == "through\n"
    assert progress_of(13_000, 0.0, NO_COLOR="1") == "through\n"


@pytest.mark.parametrize("verb", [["ls"], ["du", "--by", "chain"], ["tree"]], ids=str)
def test_no_line_is_wider_than_the_terminal(verb: list[str], imported: Path) -> None:
    written = on_terminal(verb[0], imported, *verb[1:], columns=72)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written).splitlines()
    assert any("…" in line for line in lines)
    assert max(map(len, lines)) <= 72


def test_a_session_on_a_terminal_goes_from_the_list_to_the_story(told: Path) -> None:
    listed = on_terminal("ls", told, "--sort", "id", columns=120)
    assert LAYER in listed
    assert "688128" in on_terminal("info", told, LAYER, columns=120)
    assert "operator" in on_terminal("log", told, LAYER, "-n", "1", columns=120)
    assert "removed" in on_terminal("info", told, "view-1", columns=120)
    assert "all rows the same" in on_terminal("replay", told, "--verify", columns=120)
