"""What a section is given: where, how much, and the stores that several sections need."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tools.bench.children import Participant, Source, measured
from tools.bench.peers import MissingPeerError, containerd
from tools.bench.sections import prepared

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tools.bench.results import Figures, Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done. The large store has `snapshots`; the others are for all runs the same."""

    snapshots: int = 1_000_000
    rounds: int = 10
    large_rounds: int = 2
    turn_s: float = 0.3
    batch: int = 5000
    imported: int = 50_000
    reads: int = 100_000
    replayed: int = 20_000
    small: int = 1000
    middle: int = 100_000
    batches_behind_max: int = 600_000
    asked: int = 5
    commits: int = 300

    @classmethod
    def quick(cls) -> Sizes:
        """Return sizes that only show that all of it runs."""
        few = {"batch": 20, "imported": 100, "reads": 300, "batches_behind_max": 100}
        few |= {"asked": 1, "commits": 20}
        stores = {"replayed": 60, "small": 30, "middle": 300, "snapshots": 300}
        return replace(cls(), rounds=1, large_rounds=1, turn_s=0.02, **few, **stores)


class Bench:
    """One run: a directory that is removed after it, the sources, and the sizes."""

    def __init__(
        self,
        directory: Path,
        sizes: Sizes,
        sources: list[Source],
        left_out: Collection[str] = (),
    ) -> None:
        self.sizes = sizes
        self.sources = sources
        self._left_out = left_out
        self._directory = self._section = directory
        self._numbers = itertools.count(1)
        self._prepared: dict[tuple[Source, int], tuple[Path, Figures]] = {}
        self._containerd: tuple[Path, dict[str, str]] | None = None

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Keep the paths of a section together, and remove them after it."""
        self._section = self._directory / name
        self._section.mkdir()
        try:
            yield
        finally:
            shutil.rmtree(self._section)

    def path(self, name: str) -> Path:
        """Return a path that nothing is at yet, of this section."""
        return self._section / f"{next(self._numbers):03d}-{name}"

    def prepared(self, source: Source, count: int) -> tuple[Path, Figures]:
        """Return a closed store with a checkpoint of `count` snapshots, and what making it showed.

        It is made when a section first asks for it. Whoever changes it takes a copy.
        """
        key = (source, count)
        if key not in self._prepared:
            path = self._directory / f"prepared-{source.name}-{count}"
            figures = measured(source, prepared.filled, path=str(path), count=count)
            self._prepared[key] = (path, figures)
        return self._prepared[key]

    def copy(self, source: Source, count: int) -> Path:
        """Return a copy of such a store."""
        path = self.path(f"{source.name}-{count}-copy")
        shutil.copytree(self.prepared(source, count)[0], path)
        return path

    def containerd(self) -> tuple[Participant, dict[str, str], Path]:
        """Start containerd's own package; return it, its versions, and its database file.

        Raises:
            MissingPeerError: it is left out, or can't be built here.
        """
        self._require("containerd")
        if self._containerd is None:
            self._containerd = containerd.build(self._directory)
        program, versions = self._containerd
        directory = self.path("containerd")
        directory.mkdir()
        peer = Participant("containerd", [str(program), str(directory)])
        return peer, versions | peer.hello["versions"], directory / "metadata.db"

    def store(self, source: Source, **settings: object) -> Participant:
        """Start the store of a source as a participant."""
        directory = self.path(source.name)
        return Participant.of_peer(source.name, source, "snapledger", directory, settings)

    def peer(self, name: str, module: str, **settings: object) -> Participant:
        """Start a peer.

        Raises:
            MissingPeerError: it is left out, or not installed.
        """
        self._require(name)
        source, directory = self.sources[0], self.path(name)
        settings["name"] = name
        return Participant.of_peer(name, source, module, directory, settings)

    def _require(self, name: str) -> None:
        if name in self._left_out:
            raise MissingPeerError("left out, as the command said")

    def compare_sources(self, section: Section) -> None:
        """Add the ratios of this source's figures to those of the other."""
        for other in self.sources[1:]:
            section.compare_all(self.sources[0].name, other.name)
