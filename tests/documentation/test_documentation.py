"""The documentation's examples run as they stand, are typed, and its lists are complete."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import types
from typing import TYPE_CHECKING

import pytest
from support.documentation import PAGES, README, ROOT, examples, name_of, prints

import eventstore
import eventstore.proofs
import eventstore.testing
import projections.snapshots

if TYPE_CHECKING:
    from pathlib import Path

RUN = [page for page in PAGES if examples(page)]


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_examples_of_a_page_run_in_order_and_print_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module = types.ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for example in examples(page):
        if example.reason is None:
            code = "\n" * (example.line - 1) + example.code.replace("/var/lib", str(tmp_path))
            exec(compile(code, str(page), "exec"), module.__dict__)
            printed = capsys.readouterr().out
            if example.output is not None:
                stated = example.output.replace("/var/lib", str(tmp_path))
                assert prints(stated, printed), f"{page}:{example.line}: {printed}"


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_an_example_that_is_not_run_says_why(page: Path) -> None:
    for example in examples(page):
        assert example.reason != "", f"{page}:{example.line}"


def test_every_block_of_python_is_an_example_that_the_runner_sees() -> None:
    for page in PAGES:
        fences = re.findall(r"^\s*[`~:]{3,}\s*(?:\{code-block\}\s*)?py", page.read_text(), re.M)
        assert len(fences) == len(examples(page)), page


def test_examples_pass_strict_type_checking(tmp_path: Path) -> None:
    for number, example in enumerate(examples(README)):  # each is a program of its own
        (tmp_path / f"readme_{number}.py").write_text(example.code)
    for page in RUN:
        blocks = [example.code for example in examples(page) if example.reason is None]
        name = re.sub(r"\W", "_", name_of(page.with_suffix("")))
        (tmp_path / f"{name}.py").write_text("\n".join(blocks))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        f"--cache-dir={tmp_path}/cache",
        *(str(path) for path in sorted(tmp_path.glob("*.py"))),
    ]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_whole_projection_takes_under_40_lines() -> None:
    [ledger] = examples(ROOT / "docs" / "explanation" / "projections.md")
    assert "class Ledger" in ledger.code
    assert len(ledger.code.splitlines()) < 40


def documented(package: str) -> list[str]:
    """Return the names of a package that a page of the reference shows."""
    names = []
    for page in PAGES:
        current = ""
        for kind, name in re.findall(
            r"^\.\. (currentmodule|auto\w+):: (\w[\w.]*)", page.read_text(), re.M
        ):
            if kind == "currentmodule":
                current = name
            elif current == package and kind != "automodule":
                names.append(name)
    return names


@pytest.mark.parametrize(
    "package", [eventstore, eventstore.proofs, eventstore.testing, projections.snapshots]
)
def test_the_reference_has_every_public_name_once(package: types.ModuleType) -> None:
    assert sorted(documented(package.__name__)) == sorted(package.__all__)
