"""Stores to look at, and ways to run the program: in this process, or as one of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.cli import DATABASE, HOLDER, OPTIONS, PROGRAM, ROOT, Call, Holder, Result, tell_story

from projections.snapshots.importer import import_containerd
from snapledger.program import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the program in this process."""

    def run(*arguments: str | Path) -> Result:
        code = main([str(each) for each in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def process() -> Call:
    """Run the program as a process."""

    def run(*arguments: str | Path, **environment: str) -> Result:
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store made of a real containerd database; only to be read."""
    path = tmp_path_factory.mktemp("imported") / "store"
    import_containerd(DATABASE, path, options=OPTIONS)
    return path


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of `tell_story`; only to be read."""
    path = tmp_path_factory.mktemp("told") / "store"
    tell_story(path)
    return path


@pytest.fixture
def story(told: Path, tmp_path: Path) -> Path:
    """Return a store of `tell_story` that the test may change."""
    path = tmp_path / "story"
    shutil.copytree(told, path)
    return path


@pytest.fixture
def hold() -> Iterator[Callable[[Path], Holder]]:
    """Have another process hold a store open for writing."""
    with contextlib.ExitStack() as stack:

        def start(path: Path) -> Holder:
            holder = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HOLDER, str(path)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(holder.terminate)
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            return holder

        yield start
