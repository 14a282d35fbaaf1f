"""Building the ladder and thinning it, as a part of a compaction (`ladder` says what stays).

Before superseded checkpoints go, their states are made rungs. Afterwards the ladder is cut down to
its share. A rung that others rest on can't just go: the one above it is packed anew, against the
one below it, and only then both old files go. The file above goes first, and each removal is
durable before the next one, so that a crash leaves no rung without what it is packed against.

Where the states share little, as where a store only grows, to take one out saves next to nothing:
each link holds what no other holds. Then it stays, and the newest rung goes.

What the present needs is kept without the ladder. So damage in it, or in superseded checkpoints,
costs rungs, and a full disk makes none; no compaction fails of it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from eventstore.checkpoints.chains import Chains, CheckpointFile
from eventstore.checkpoints.loader import CheckpointLoader
from eventstore.checkpoints.rung_writer import packed_rung, rung_state, write_rung
from eventstore.checkpoints.rungs import RungLoader, list_rungs
from eventstore.errors import CorruptionError
from eventstore.files.failures import is_full
from eventstore.files.paths import join
from eventstore.format.names import LADDER_NAME
from eventstore.maintenance.ladder import Rung, is_worth, needs_root, next_to_go, useless_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventstore.checkpoints.rungs import RungState
    from eventstore.files.interface import FileSystem

    Chain = Sequence[CheckpointFile]

_logger = logging.getLogger("eventstore")

_ROOT_SHARE = 2
"""A root takes about one in so many parts of a base's bytes."""
_EFFORT_BYTES = 256 * 1024 * 1024
"""So much of bases is packed in one compaction, about 5 s of processor time, or one base."""
_SAVED_SHARE = 8
"""To take a rung out must save one in so many parts of the smaller one of it and that above it."""


class Climb:
    """The ladder of a store during one compaction, by the holder of the store's lock."""

    def __init__(
        self,
        file_system: FileSystem,
        path: str,
        bytes_max: int,
        pause: Callable[[], object],
    ) -> None:
        """Look at what is there.

        Args:
            file_system: that the store is on.
            path: of the store.
            bytes_max: how much the ladder may take; 0 for no ladder.
            pause: called between slices of work.
        """
        self._file_system = file_system
        self._directory = join(path, LADDER_NAME)
        self._bytes_max = bytes_max
        self._pause = pause
        self._newest: RungState | None = None
        found = list_rungs(file_system, path)
        self._files = _in_line(found)
        self._sizes_bytes = {file: file_system.size_bytes(file.path) for file in self._files}
        # What a crash has left: something has taken its place, or it rests on nothing.
        self._remove([file for file in found if file not in self._sizes_bytes])

    def add(self, files: Sequence[CheckpointFile], superseded: Sequence[CheckpointFile]) -> None:
        """Make rungs of the states of superseded checkpoints, as far as they are worth it.

        Args:
            files: of all checkpoints.
            superseded: those that are about to go.
        """
        loader = CheckpointLoader(self._file_system, files, pause=self._pause)
        for chain in self._evenly(_chains_that_go(files, superseded)):
            if not self._is_worth(chain):
                continue
            try:
                self._write(rung_state(loader.load(chain[-1].revision), self._pause))
            except CorruptionError as error:
                _logger.warning("a past state is left out of the ladder: %s", error)

    def _evenly(self, chains: Sequence[Chain]) -> Sequence[Chain]:
        """Return those of some states that are packed: no more than the effort allows."""
        newest = self._files[-1].revision if self._files else 0
        chains = [chain for chain in chains if chain[-1].revision > newest]
        if not chains or not self._bytes_max:
            return ()
        base_bytes = self._file_system.size_bytes(chains[-1][0].path)
        step = -(-len(chains) // max(1, _EFFORT_BYTES // max(1, base_bytes)))
        return chains[step - 1 :: step]

    def thin(self, first_revision: int, end_revision: int) -> None:
        """Cut the ladder down to its share.

        Args:
            first_revision: of the oldest batch that is kept.
            end_revision: of the oldest state that stays in any case.
        """
        if not self._bytes_max:
            self._remove(self._files)
        self._remove(self._files[: useless_count(self._rungs(), first_revision)])
        saves = True
        while True:
            place = next_to_go(self._rungs(), first_revision, end_revision, self._bytes_max)
            if place is None:
                return
            saves = saves and self._take_out(place)
            if not saves:
                self._remove(self._files[-1:])

    def _rungs(self) -> list[Rung]:
        return [
            Rung(file.revision, self._sizes_bytes[file], file.previous is None)
            for file in self._files
        ]

    def _is_worth(self, chain: Sequence[CheckpointFile]) -> bool:
        rungs = self._rungs()
        is_root = needs_root(rungs)
        size_bytes = state_bytes = self._file_system.size_bytes(chain[0].path) // _ROOT_SHARE
        links = [rung.size_bytes for rung in rungs if not rung.is_root]
        if not is_root and links:
            size_bytes = links[-1]
        added = Rung(chain[-1].revision, size_bytes, is_root)
        return is_worth(rungs, added, state_bytes, self._bytes_max)

    def _write(self, state: RungState) -> None:
        before = None if needs_root(self._rungs()) else self._before(state)
        rung = packed_rung(state, before, self._pause)
        self._enter(write_rung(self._file_system, self._directory, rung, self._pause))
        self._newest = state

    def _before(self, state: RungState) -> RungState | None:
        """Return the newest rung, if a state can be packed against it."""
        try:
            before = self._newest or self._loader().state_by(self._files[-1])
        except CorruptionError as error:
            self._remove_damaged(error)
            return None
        own, header = before.header, state.header
        is_of_one = (own.store_id, own.table_names) == (header.store_id, header.table_names)
        return before if is_of_one else None

    def _loader(self) -> RungLoader:
        return RungLoader(self._file_system, self._files, pause=self._pause)

    def _enter(self, file: CheckpointFile) -> None:
        self._files.append(file)
        self._files.sort(key=lambda each: each.revision)
        self._sizes_bytes[file] = self._file_system.size_bytes(file.path)

    def _take_out(self, place: int) -> bool:
        """Take a rung out; return False if that would save nothing, or there is no space for it."""
        own, *rest = self._files[place : place + 2]
        if not rest or rest[0].previous is None:
            self._remove([own])
            return True
        above = rest[0]
        try:
            return self._pack_over(own, above)
        except CorruptionError as error:
            return self._remove_damaged(error)
        except OSError as error:
            if not is_full(error):
                raise
            return False

    def _pack_over(self, own: CheckpointFile, above: CheckpointFile) -> bool:
        """Pack the rung above one against that below it, and remove the two old files."""
        loader = self._loader()
        below = [file for file in self._files if file.revision == own.previous]
        before = loader.state_by(below[0]) if below else None
        rung = packed_rung(loader.state_by(above), before, self._pause)
        sizes_bytes = self._sizes_bytes[own], self._sizes_bytes[above]
        if (sum(sizes_bytes) - len(rung.content)) * _SAVED_SHARE < min(sizes_bytes):
            return False
        written = write_rung(self._file_system, self._directory, rung, self._pause)
        self._remove([own, above])
        self._enter(written)
        return True

    def _remove_damaged(self, error: CorruptionError) -> bool:
        """Remove a damaged rung, and what rests on it up to the next root, if it is known."""
        _logger.warning("a part of the ladder can't be used: %s", error)
        damaged = [place for place, file in enumerate(self._files) if file.path == error.path]
        if not damaged:
            return False
        start = damaged[0]
        after = (
            place
            for place, file in enumerate(self._files)
            if place > start and file.previous is None
        )
        resting = self._files[start : next(after, None)]
        try:
            self._remove(resting)
        except OSError as remaining:  # it is done without them
            _logger.warning("a damaged part of the ladder can't be removed: %s", remaining)
            self._files = [file for file in self._files if file not in resting]
        return True

    def _remove(self, files: Sequence[CheckpointFile]) -> None:
        for file in sorted(files, key=lambda file: file.revision, reverse=True):
            self._file_system.remove(file.path)
            # Before that which it is packed against goes.
            self._file_system.sync_directory(self._directory)
        self._files = [file for file in self._files if file not in files]


def _in_line(files: Sequence[CheckpointFile]) -> list[CheckpointFile]:
    """Return the rungs that rest on each other, oldest first: of each its next one, or a root."""
    chains = Chains(files)
    line: list[CheckpointFile] = []
    for revision in reversed(chains.revisions):
        below = line[-1].previous if line else None
        if below is None or revision <= below:
            line.append(chains.to(revision)[-1])
    return line[::-1]


def _chains_that_go(
    files: Sequence[CheckpointFile], superseded: Sequence[CheckpointFile]
) -> list[Chain]:
    """Return the chains of the states that none is left of, oldest first."""
    chains, going = Chains(files), set(superseded)
    found = [chains.to(revision) for revision in chains.revisions]
    return [chain for chain in found if chain[-1] in going]
