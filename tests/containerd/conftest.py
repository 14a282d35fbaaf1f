"""Fixtures of the tests with a real containerd: `pytest tests/containerd -m containerd`.

They need root, overlayfs, and Debian's containerd, runc, golang-go and
golang-github-containerd-containerd-dev; where something is missing, they are skipped, and say so.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from containerd.daemons import GOCODE, Containerd, Driver, build, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = ("containerd", "ctr", "runc", "containerd-shim-runc-v2", "go")


def missing() -> str | None:
    """Return why the tests can't run here."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"needs {', '.join(absent)}: apt install containerd runc golang-go"
    if not (GOCODE / "src/github.com/containerd/containerd/snapshots/testsuite").is_dir():
        return "needs apt install golang-github-containerd-containerd-dev"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "needs overlayfs in the kernel"
    return None


@pytest.fixture(scope="session", autouse=True)
def able() -> None:
    """Skip where a real containerd can't run."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, for sockets, that nobody else may use."""
    with tempfile.TemporaryDirectory(prefix="ctd-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def tool() -> bytes:
    """The only program in the images."""
    return build("tool").read_bytes()


class Node(NamedTuple):
    """A containerd and the driver that it uses."""

    containerd: Containerd
    driver: Driver


@pytest.fixture
def node(place: Path) -> Iterator[Node]:
    """Both, running."""
    driver = Driver(place / "root", place / "s.sock")
    containerd = Containerd(place / "containerd", place / "s.sock")
    with ended(containerd, driver):
        driver.start()
        containerd.start()
        try:
            yield Node(containerd, driver)
        finally:
            containerd.kill_tasks()
