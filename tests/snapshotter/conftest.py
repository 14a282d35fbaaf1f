"""A driver in this process, and a client of its socket."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from snapshotter.client import Client

from snapledger.snapshotter.metadata import Options, Snapshotter
from snapledger.snapshotter.serving import bound, opened

if TYPE_CHECKING:
    from collections.abc import Iterator


_MEMORY = "/dev/shm"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="snap-") as directory:
        yield Path(directory)


@pytest.fixture
def memory_place() -> Iterator[Path]:
    """One in memory, where that is to be had: for hundreds of stores, of 16 MiB at least each."""
    above = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="snap-", dir=above) as directory:
        yield Path(directory)


class Served(NamedTuple):
    """A driver that serves, and a client of it."""

    root: Path
    snapshotter: Snapshotter
    client: Client

    def directories(self) -> set[str]:
        """Return the names of what is on disk."""
        return {path.name for path in (self.root / "snapshots").iterdir()}


@pytest.fixture
def options(request: pytest.FixtureRequest) -> Options:
    """The options of the driver: those that the test is parametrized with."""
    return getattr(request, "param", Options())


@pytest.fixture
def served(place: Path, options: Options) -> Iterator[Served]:
    """An overlay driver."""
    root, socket = place / "root", place / "s"
    with (
        bound(str(socket), threads=4) as server,
        opened(str(root), "overlay", options) as (snapshotter, _),
        server.serving(snapshotter),
        Client(socket) as client,
    ):
        yield Served(root, snapshotter, client)
