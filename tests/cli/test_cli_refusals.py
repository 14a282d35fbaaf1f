"""What the program refuses, and that it says the reason and what to do, not a file by chance."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.cli import DATABASE, PROGRAM, ROOT, Call

from snapledger.program import VERBS, verbs

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@pytest.mark.parametrize("arguments", [["ls"], ["check", "--json"]])
def test_a_closed_output_is_1_and_said(arguments: list[str], told: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *PROGRAM, arguments[0], str(told), *arguments[1:]],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "snapledger: the standard output is closed; nothing was done\n",
    )


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Act as a user whom a mode binds, as it does not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def let_everybody_through(directory: Path) -> None:
    """Let others search the directories above that tests have made, which are of their user."""
    made_by_tests = Path(tempfile.gettempdir())
    for above in directory.parents:
        if made_by_tests in above.parents:
            above.chmod(0o755)
    with without_rights():
        if not os.access(made_by_tests, os.X_OK, effective_ids=True):
            pytest.skip(f"another user can't get to {made_by_tests}")


@pytest.mark.parametrize("unreadable", ["", "wal"])
@pytest.mark.parametrize("verb", ["ls", "info", "tree", "log", "check", "repair", "stats"])
def test_a_user_without_rights_is_told_so(
    call: Call, story: Path, tmp_path: Path, verb: str, unreadable: str
) -> None:
    for name in VERBS:
        verbs.get_command(None, name)  # type: ignore[arg-type]  # imported while that may be read
    let_everybody_through(tmp_path)
    story.chmod(0o755)
    tmp_path.chmod(0o777)
    (story / unreadable).chmod(0)
    more = {"info": ["key"], "repair": ["--output", str(tmp_path / "new")]}.get(verb, [])
    with without_rights():
        result = call(verb, story, *more)
    (story / unreadable).chmod(0o700)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"snapledger: {story}: user ")
    assert "can't read the store's directory, or what is in it; run this as" in result.err
    assert "MAKING" not in result.err


def test_an_output_where_nobody_may_write_is_no_fault_of_the_store(
    call: Call, story: Path, tmp_path: Path
) -> None:
    closed = tmp_path / "story.closed"
    closed.mkdir(mode=0o700)
    let_everybody_through(tmp_path)
    for path in (tmp_path, story, *story.rglob("*")):
        path.chmod(0o755)
    closed.chmod(0o500)
    with without_rights():
        result = call("repair", story, "--output", closed / "new")
    assert result.code == 1
    assert "can't read the store" not in result.err


def test_a_store_in_the_way_is_called_one_and_advice_is_given_once(
    call: Call, told: Path, story: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").touch()
    for place, what in ((story, "a store"), (tmp_path / "other", "something, 'letter',")):
        for arguments in (
            ("import-bolt", DATABASE, place),
            ("repair", told, "--output", place),
        ):
            result = call(*arguments)
            assert result.code == 1
            assert result.err == (
                f"snapledger: {place}: {what} is there already: give a new path, or that of an "
                "empty directory\n"
            )


def test_a_label_with_a_slash_is_told_to_be_quoted(call: Call, told: Path) -> None:
    result = call("ls", told, "labels.containerd.io/gc.root==x")
    assert result.code != 0
    assert 'labels."containerd.io/gc.root"' in result.err
    assert call("ls", told, 'labels."containerd.io/gc.root"==x').code == 0


def test_a_filter_by_a_field_that_no_snapshot_has_is_mentioned(call: Call, told: Path) -> None:
    result = call("ls", told, "nmae==a")
    assert result.code == 0
    assert result.err.startswith("note: ")
    assert "'nmae'" in result.err
    assert "name, parent, kind" in result.err
    assert result.out == call("ls", told, "name==nothing").out
    assert call("ls", told, "name==a").err == ""


@pytest.mark.parametrize("verb", ["ls", "tree", "stats", "check", "log"])
def test_a_verb_that_shows_a_store_does_not_offer_to_make_one(
    verb: str, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "other").write_text("x")
    result = call(verb, tmp_path)
    assert result.code == 10
    assert "not a store" in result.err
    assert "an empty directory" not in result.err


@pytest.mark.parametrize("text", ["tomorrow", "2026-11-24T", "1y", "24:61", "2026-13-01", ""])
def test_what_is_no_time_is_refused_with_the_forms_of_one(
    call: Call, told: Path, text: str
) -> None:
    for arguments in (("ls", told, "--at", text), ("log", told, "--since", text)):
        result = call(*arguments)
        assert result.code == 2
        assert f"{text!r} is not a time such as 1h (ago), 2d, today, " in result.err


def test_a_dump_to_a_full_device_names_the_output(told: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, "dump", str(told)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "snapledger: the standard output: No space left on device; free some space and try again\n"
    )
