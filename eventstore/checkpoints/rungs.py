"""Rungs of the ladder: past states, each packed against the one before it (`format.rung`).

They lead to past states only: what is kept for the present is decided without them, so that it
never hangs on a chain of this length; an open begins at one only where no checkpoint can be used.
Their names are like those of checkpoints: a *root* is packed against nothing, each other one
against the rung that it names.

A state is unpacked rung by rung, each in a thirtieth of a second for 25 MB, and whoever asks for
one after the other goes on from the last.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.chains import Chains, CheckpointFile
from eventstore.checkpoints.checkpoint import Checkpoint
from eventstore.checkpoints.reader import check_rows, no_pause, unpack_table_names
from eventstore.errors import CorruptionError
from eventstore.files.failures import unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.codec import DecodeError
from eventstore.format.names import LADDER_NAME, parse_rung_name
from eventstore.format.rung import parts_of, stated_bytes, unpack_rung, unpack_rung_header
from eventstore.tables.packed import PackedChunk, PackedRows
from eventstore.tables.stored import StoredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from eventstore.checkpoints.reader import TableName
    from eventstore.files.interface import FileSystem
    from eventstore.format.checkpoint import CheckpointHeader
    from eventstore.format.rung import Tables

_LARGE_BYTES = 8 * 1024 * 1024
"""Files up to this are read without a question."""


class RungState(NamedTuple):
    """A past state as rungs hold it.

    Attributes:
        header: which state it is; `previous` is that of the file it was read from.
        table_names: what each table is.
        tables: their chunks.
    """

    header: CheckpointHeader
    table_names: tuple[TableName, ...]
    tables: Tables


def list_rungs(file_system: FileSystem, path: str) -> list[CheckpointFile]:
    """Return the rungs of a store by their names, oldest first; none where there is no ladder."""
    directory = join(path, LADDER_NAME)
    if not file_system.is_directory(directory):
        return []
    files = [
        CheckpointFile(*parsed, join(directory, name), is_rung=True)
        for name in file_system.list_directory(directory)
        if (parsed := parse_rung_name(name)) is not None
    ]
    return sorted(files, key=lambda file: (file.revision, file.previous or 0))


class RungLoader:
    """Loads rungs of files that were listed; it keeps the state that it has read last."""

    def __init__(
        self,
        file_system: FileSystem,
        files: Iterable[CheckpointFile],
        *,
        checks_rows: bool = False,
        judges_medium: bool = True,
        pause: Callable[[], object] = no_pause,
    ) -> None:
        """Make a loader.

        Args:
            file_system: to read the files by.
            files: that may be read.
            checks_rows: whether the order of rows is checked too.
            judges_medium: whether a file that the medium can't read counts as damaged; else the
                system's error comes through.
            pause: called between slices of work.
        """
        self._file_system = file_system
        self._chains = Chains(files)
        self._checks_rows = checks_rows
        self._judges_medium = judges_medium
        self._pause = pause
        self._last: tuple[CheckpointFile, RungState] | None = None

    @property
    def revisions(self) -> list[int]:
        """Revisions of the rungs that rest on a root, ascending."""
        return self._chains.revisions

    def load_at(self, revision: int) -> Checkpoint:
        """Return the state at one of the revisions; raises as `load_by` does."""
        return self.load_by(self._chains.to(revision)[-1])

    def load_by(self, file: CheckpointFile) -> Checkpoint:
        """Return the state that a file leads to.

        Raises:
            CorruptionError: it is damaged, or a file is that it rests on.
            FileNotFoundError: a file was removed meanwhile.
        """
        state = self.state_by(file)
        header = state.header
        tables = []
        for name, chunks in zip(state.table_names, state.tables, strict=True):
            with told_as_damage(file.path):
                own = [PackedChunk(*parts_of(chunk), file.path, 0) for chunk in chunks]
                rows = PackedRows(own, sum(chunk.row_count for chunk in chunks), file.path)
                if self._checks_rows:
                    check_rows(rows)
            tables.append((name, StoredRows(rows)))
        return Checkpoint(
            header.store_id, header.revision, header.time_ns, header.digest, tuple(tables)
        )

    def head(self, file: CheckpointFile) -> tuple[CheckpointHeader, tuple[TableName, ...]]:
        """Return header and table names of a file, all of whose bytes are checked; no other is.

        Raises:
            CorruptionError: it is damaged, or what it is packed against is not there.
        """
        self._require_rooted(file)
        with self._judging(file), told_as_damage(file.path):
            content = _read_whole(self._file_system, file.path)
            header = unpack_rung_header(content)
            names = unpack_table_names(header.table_names)
        _require_named(header, file)
        return header, names

    def state_by(self, file: CheckpointFile) -> RungState:
        """Return the state that a file leads to; raises as `load_by` does."""
        if file.previous is None:
            return self._read_along([file])
        self._require_rooted(file)
        return self._read_along([*self._chains.to(file.previous), file])

    def _read_along(self, chain: Sequence[CheckpointFile]) -> RungState:
        state: RungState | None = None
        start = 0
        if self._last is not None and self._last[0] in chain:
            start, state = chain.index(self._last[0]) + 1, self._last[1]
        for file in chain[start:]:
            state = self._read(file, state)
            self._last = (file, state)
        if state is None:
            raise ValueError("a chain has a file at least")
        return state

    def _read(self, file: CheckpointFile, before: RungState | None) -> RungState:
        with self._judging(file):
            state = read_rung(self._file_system, file.path, before, self._pause)
        _require_named(state.header, file)
        return state

    def _judging(self, file: CheckpointFile) -> contextlib.AbstractContextManager[None]:
        return unreadable_is_damage(file.path) if self._judges_medium else contextlib.nullcontext()

    def _require_rooted(self, file: CheckpointFile) -> None:
        if file.previous is not None and file.previous not in self._chains:
            reason = f"the rung {file.previous} is missing, which it is packed against"
            raise CorruptionError(file.path, 0, reason)


def read_rung(
    file_system: FileSystem,
    path: str,
    before: RungState | None,
    pause: Callable[[], object] = no_pause,
) -> RungState:
    """Read a rung.

    Args:
        file_system: to read it by.
        path: of the file.
        before: the state that it is packed against; None for a root.
        pause: called after each chunk.

    Raises:
        CorruptionError: it is damaged, or packed against another state.
    """
    with told_as_damage(path):
        content = _read_whole(file_system, path)
        header = unpack_rung_header(content)
        names = unpack_table_names(header.table_names)
        _require_continued(header, before)
        tables = unpack_rung(content, header, len(names), _tables_of(before, len(names)), pause)
    return RungState(header, names, tables)


def _read_whole(file_system: FileSystem, path: str) -> bytes:
    """Return a rung's bytes, for which no memory is taken where a file is longer than it can be.

    Raises:
        MalformedError: it is large, and has another length than it states.
    """
    file = file_system.open(path)
    try:
        size_bytes = file.size_bytes()
        if size_bytes > _LARGE_BYTES and size_bytes != stated_bytes(file.read):
            raise MalformedError(0, "the rung has another length than it states")
        return file.read(0, size_bytes)
    finally:
        file.close()


@contextlib.contextmanager
def told_as_damage(path: str) -> Iterator[None]:
    """Raise `CorruptionError` where the bytes of a rung can't be read, those of a newer one too.

    What only the past rests on keeps no older program from the present.
    """
    try:
        yield
    except MalformedError as error:
        raise CorruptionError(path, error.offset_bytes, error.reason) from error
    except NewerVersionError as error:
        reason = f"the rung has format version {error.found_version}, a newer one than is known"
        raise CorruptionError(path, 0, reason) from error
    except DecodeError as error:
        raise CorruptionError(path, 0, f"the rung can't be decoded: {error}") from error


def _require_named(header: CheckpointHeader, file: CheckpointFile) -> None:
    previous = None if header.previous is None else header.previous[0]
    if (header.revision, previous) != (file.revision, file.previous):
        raise CorruptionError(
            file.path, 0, f"the header states revision {header.revision}, packed against {previous}"
        )


def _require_continued(header: CheckpointHeader, before: RungState | None) -> None:
    if before is None:
        if header.previous is not None:
            raise MalformedError(0, "the rung is packed against another one, and is named a root")
        return
    own = before.header
    if header.previous != (own.revision, own.digest):
        raise MalformedError(0, "the rung is packed against another state than that before it")
    if (header.store_id, header.table_names) != (own.store_id, own.table_names):
        raise MalformedError(0, "the rung has another store or other tables than that before it")


def _tables_of(before: RungState | None, count: int) -> Tables:
    return [[] for _ in range(count)] if before is None else before.tables
