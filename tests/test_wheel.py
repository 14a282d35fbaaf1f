"""A built wheel holds what it must, and works installed elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).parent.parent
SOURCES = ("eventstore", "projections", "tools", "pyproject.toml", "README.md", "LICENSE")
Done = subprocess.CompletedProcess[str]
USE = """
import sys
from snapledger import Kind, MetaStore
import eventstore
assert eventstore.__file__.startswith(sys.prefix), eventstore.__file__
with MetaStore.open("store") as store:
    with store.transaction(writable=True, actor="wheel") as tx:
        tx.create_snapshot(Kind.ACTIVE, "a")
    print(next(store.history("a")).metadata.actor)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    for name in SOURCES:
        path = CHECKOUT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, source / name, ignore=ignored)
        else:
            shutil.copy(path, source)
    (source / "man").mkdir()
    (source / "man" / "snapledger.1").write_text(".TH SNAPLEDGER 1\n")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", directory / "dist", source],
        check=True,
        capture_output=True,
    )
    [built] = (directory / "dist").glob("*.whl")
    return built


def test_wheel_holds_packages_type_markers_and_the_format(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = f"{wheel.name.partition('-py3')[0]}.data"
    assert {name for name in names if name.startswith(data)} == {
        f"{data}/data/share/man/man1/snapledger.1"
    }
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        data,
        "eventstore",
        "projections",
        "snapledger",
    }
    assert names >= {
        "eventstore/FORMAT.md",
        "eventstore/py.typed",
        "projections/py.typed",
        "snapledger/py.typed",
        "snapledger/snapshotter/proto/snapshots.proto",
        "snapledger/snapshotter/proto/snapshots_pb2.pyi",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


class Installed(NamedTuple):
    """The wheel in an environment of its own, and a directory to run it in."""

    programs: Path
    directory: Path

    def run(self, program: str, *arguments: str, foreign: Path | None = None) -> Done:
        """Run a program of the environment, with the packages of a folder before its own."""
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(foreign or "")},
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    directory = tmp_path_factory.mktemp("installed")
    programs = directory / "env" / "bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "env"], check=True)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", programs / "python"]
    # On its path pip would find the checkout, and take that for an installation.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, "install", "--quiet", wheel], check=True, env=alone)
    there = Installed(programs, directory)
    made = there.run("python", "-c", USE)
    assert made.returncode == 0, made.stderr
    assert made.stdout == "wheel\n"
    return there


def foreign_packages(directory: Path, name: str, *, is_package: bool) -> Path:
    """Make a folder as the user of a library may have it on the path."""
    folder = directory / name
    folder.mkdir()
    (folder / "mine.py").write_text("")
    if is_package:
        (folder / "__init__.py").write_text("")
    return directory


@pytest.mark.parametrize("program", [("snapledger",), ("python", "-m", "snapledger")])
def test_command_works_installed_elsewhere(installed: Installed, program: tuple[str, ...]) -> None:
    listed = installed.run(*program, "ls", "store", "--json")
    assert '"a"' in listed.stdout, listed.stderr


def test_snapshotter_without_its_extra_says_what_is_missing(installed: Installed) -> None:
    done = installed.run("snapledger-snapshotter", "--version")
    assert done.returncode == 1
    assert done.stderr.endswith("pip install 'snapledger[snapshotter]'\n")


@pytest.mark.parametrize(
    ("name", "is_package"),
    [("tools", True), ("tools", False), ("projections", False), ("eventstore", False)],
)
def test_wheel_works_beside_a_foreign_folder(
    installed: Installed, tmp_path: Path, name: str, is_package: bool
) -> None:
    foreign = foreign_packages(tmp_path, name, is_package=is_package)
    assert installed.run("snapledger", "--version", foreign=foreign).returncode == 0
    listed = installed.run("snapledger", "ls", "store", foreign=foreign)
    assert listed.returncode == 0, listed.stderr
    if name == "tools":
        mine = installed.run("python", "-c", "import snapledger, tools.mine", foreign=foreign)
        assert mine.returncode == 0, mine.stderr


def test_foreign_package_named_projections_hides_ours(installed: Installed, tmp_path: Path) -> None:
    foreign = foreign_packages(tmp_path, "projections", is_package=True)
    assert installed.run("snapledger", "--version", foreign=foreign).returncode == 0
    listed = installed.run("snapledger", "ls", "store", foreign=foreign)
    assert listed.returncode == 1
    assert "No module named 'projections.snapshots'" in listed.stderr
