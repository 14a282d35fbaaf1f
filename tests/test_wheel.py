"""A built wheel holds what it must, and works installed elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
SOURCES = ("eventstore", "projections", "tools", "pyproject.toml", "README.md", "LICENSE")
USE = """
import sys
from projections.snapshots import Kind, MetaStore
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
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", directory / "dist", source],
        check=True,
        capture_output=True,
    )
    [built] = (directory / "dist").glob("*.whl")
    return built


def test_wheel_holds_packages_type_markers_and_the_format(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "eventstore",
        "projections",
        "tools",
    }
    assert names >= {
        "eventstore/FORMAT.md",
        "eventstore/py.typed",
        "projections/py.typed",
        "tools/py.typed",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_wheel_works_installed_elsewhere(wheel: Path, tmp_path: Path) -> None:
    programs = tmp_path / "env" / "bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", programs / "python"]
    subprocess.run([*pip, "install", "--quiet", wheel], check=True)
    used = subprocess.run(
        [programs / "python", "-c", USE], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert used.stdout == "wheel\n"
    listed = subprocess.run(
        [programs / "snapledger", "ls", "store", "--json"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert '"a"' in listed.stdout
