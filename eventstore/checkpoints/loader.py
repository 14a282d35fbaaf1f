"""Listing the checkpoint files of a store, and loading what a chain of them holds."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.chains import CheckpointFile
from eventstore.checkpoints.checkpoint import Checkpoint, empty_tables
from eventstore.checkpoints.reader import CheckpointPart, TableName, no_pause, read_part
from eventstore.checkpoints.rungs import RungLoader
from eventstore.errors import CorruptionError
from eventstore.files.failures import unreadable_is_damage
from eventstore.files.paths import join, parent
from eventstore.format.names import CHECKPOINTS_NAME, parse_checkpoint_name, parse_delta_name
from eventstore.tables.stored import StoredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eventstore.files.interface import FileSystem
    from eventstore.format.checkpoint import CheckpointHeader


def list_checkpoints(file_system: FileSystem, path: str) -> list[CheckpointFile]:
    """Return the checkpoint files of a store by their names, oldest first.

    Nothing is read, and whether a file is valid is not known. None where the directory is missing.
    """
    directory = join(path, CHECKPOINTS_NAME)
    return _listed(file_system, directory) if file_system.is_directory(directory) else []


def _listed(file_system: FileSystem, directory: str) -> list[CheckpointFile]:
    files = []
    for name in file_system.list_directory(directory):
        revision = parse_checkpoint_name(name)
        delta = parse_delta_name(name)
        if revision is not None:
            files.append(CheckpointFile(revision, None, join(directory, name)))
        elif delta is not None:
            files.append(CheckpointFile(*delta, join(directory, name)))
    return sorted(files, key=lambda file: (file.revision, file.previous or 0))


class CheckpointLoader:
    """Loads checkpoints of files that were listed, those of the ladder among them if they were.

    Attributes:
        problems: by path, why files can't be used: they are damaged, unreadable, not what their
            name says, or they rest on a file that is.
    """

    def __init__(
        self,
        file_system: FileSystem,
        files: Iterable[CheckpointFile],
        *,
        with_digest: bool = False,
        judges_medium: bool = True,
        keeps_rows: bool = True,
        pause: Callable[[], object] = no_pause,
    ) -> None:
        """Make a loader.

        Args:
            file_system: to read the files by.
            files: that may be read.
            with_digest: whether SHA-256 and the order of rows are checked too.
            judges_medium: whether a file that the medium can't read counts as damaged, because
                others can take its place; else the system's error comes through.
            keeps_rows: whether what was read is kept, so that no file is read twice; else only what
                the checks of chains need.
            pause: called between slices of work.
        """
        self._keeps_rows = keeps_rows
        self._heads: dict[str, _Head] = {}
        self._judges_medium = judges_medium
        self._pause = pause
        self.problems: dict[str, CorruptionError] = {}
        self._file_system = file_system
        self._with_digest = with_digest
        self._parts: dict[str, CheckpointPart] = {}
        self._files: dict[int, list[CheckpointFile]] = {}
        rungs: list[CheckpointFile] = []
        for file in sorted(files, key=lambda file: (file.revision, file.previous or 0)):
            if file.is_rung:
                rungs.append(file)
            else:
                self._files.setdefault(file.revision, []).append(file)
        self._ladder = RungLoader(
            file_system,
            rungs,
            checks_rows=with_digest,
            judges_medium=judges_medium,
            pause=pause,
        )

    @property
    def revisions(self) -> list[int]:
        """The revisions that files lead to, newest first."""
        return sorted({*self._files, *self._ladder.revisions}, reverse=True)

    def load(self, revision: int) -> Checkpoint:
        """Return the checkpoint at a revision, by whatever chain of valid files leads there.

        Raises:
            CorruptionError: there is no such chain.
            FormatVersionError: a file has a newer format.
            FileNotFoundError: a file was removed meanwhile.
        """
        try:
            return self._joined(self._chain(revision))
        except CorruptionError:
            if revision not in self._ladder.revisions:
                raise
        return self._ladder.load_at(revision)

    def load_by(self, file: CheckpointFile) -> Checkpoint:
        """Return the checkpoint that a file leads to; raises as `load` does."""
        if file.is_rung:
            return self._ladder.load_by(file)
        return self._joined(self._chain_of(file))

    def load_without_rows(self, file: CheckpointFile) -> Checkpoint:
        """Return what `load_by` does, all files of the chain checked, but no row of it.

        Of a rung its own bytes are checked, and, with the digest, that it can be unpacked.
        """
        if file.is_rung:
            header, table_names = self._ladder.head(file)
            if self._with_digest:
                self._ladder.state_by(file)
            return _checkpoint(header, empty_tables(table_names))
        chain = self._chain_of(file)
        header, table_names = self._head(file)
        return _checkpoint(header, empty_tables(table_names), len(chain) - 1)

    def part(self, file: CheckpointFile) -> CheckpointPart:
        """Return what one file holds.

        Raises:
            CorruptionError: it is damaged, unreadable, or not what its name says.
            FormatVersionError: it has a newer format.
        """
        if file.path in self.problems:
            raise self.problems[file.path]
        part = self._parts.get(file.path)
        if part is None:
            try:
                judging = unreadable_is_damage(file.path) if self._judges_medium else nullcontext()
                with judging:
                    part = read_part(
                        self._file_system,
                        file.path,
                        with_digest=self._with_digest,
                        pause=self._pause,
                    )
                _require_named(part, file)
                if file.previous is not None:
                    _require_keys(part)
            except CorruptionError as error:
                self.problems[file.path] = error
                raise
            self._heads[file.path] = _Head(part.header, tuple(name for name, _ in part.tables))
            if self._keeps_rows:
                self._parts[file.path] = part
        return part

    def _head(self, file: CheckpointFile) -> _Head:
        if file.path not in self._heads:
            self.part(file)
        return self._heads[file.path]

    def _chain(self, revision: int) -> list[CheckpointFile]:
        problem: CorruptionError | None = None
        for file in self._files.get(revision, ()):
            try:
                return self._chain_of(file)
            except CorruptionError as error:
                problem = problem or error
        raise problem or CorruptionError("", 0, f"there is no checkpoint at revision {revision}")

    def _chain_of(self, file: CheckpointFile) -> list[CheckpointFile]:
        if file.path in self.problems:
            raise self.problems[file.path]
        head = self._head(file)
        if file.previous is None:
            return [file]
        try:
            chain = self._chain(file.previous)
            _require_continued(self._head(chain[-1]), head, file)
        except CorruptionError as error:
            problem = error
            if error.path != file.path:
                reason = f"it continues checkpoint {file.previous}, which can't be used"
                problem = CorruptionError(file.path, 0, f"{reason}: {error.reason}")
            self.problems[file.path] = problem
            raise problem from error
        return [*chain, file]

    def _joined(self, chain: list[CheckpointFile]) -> Checkpoint:
        """Return what a chain of files holds."""
        parts = [self.part(file) for file in chain]
        header = parts[-1].header
        tables = tuple(
            (name, StoredRows(rows, [part.tables[place][1] for part in parts[1:]]))
            for place, (name, rows) in enumerate(parts[0].tables)
        )
        return _checkpoint(header, tables, len(chain) - 1)


def _checkpoint(
    header: CheckpointHeader, tables: tuple[tuple[TableName, StoredRows], ...], delta_count: int = 0
) -> Checkpoint:
    """Return the checkpoint whose last file has a header."""
    return Checkpoint(
        header.store_id, header.revision, header.time_ns, header.digest, tables, delta_count
    )


class _Head(NamedTuple):
    header: CheckpointHeader
    table_names: tuple[TableName, ...]


def load_checkpoint(file_system: FileSystem, path: str, *, with_digest: bool = False) -> Checkpoint:
    """Read a checkpoint, checking every byte by its checksum.

    Args:
        file_system: to read it by.
        path: of its base, or of its last delta; the others are beside it.
        with_digest: whether SHA-256 and the order of rows are checked too.

    Raises:
        CorruptionError: it is damaged.
        FormatVersionError: it has a newer format.
    """
    part = read_part(file_system, path, with_digest=with_digest)
    header = part.header
    if header.previous is None:
        tables = tuple((name, StoredRows(rows)) for name, rows in part.tables)
        return _checkpoint(header, tables)
    own = CheckpointFile(header.revision, header.previous[0], path)
    others = [
        file for file in _listed(file_system, parent(path)) if file.revision < header.revision
    ]
    loader = CheckpointLoader(file_system, [*others, own], with_digest=with_digest)
    return loader.load(header.revision)


def verify_checkpoint(file_system: FileSystem, path: str) -> Checkpoint:
    """Read a checkpoint as `load_checkpoint` does, and check its SHA-256 and row order too.

    Raises:
        CorruptionError: it is damaged.
        FormatVersionError: it has a newer format.
    """
    return load_checkpoint(file_system, path, with_digest=True)


def _require_keys(part: CheckpointPart) -> None:
    """Check now that the keys of a delta can be unpacked, while there is another way to try."""
    for _, rows in part.tables:
        for chunk in rows.chunks:
            chunk.unpacked_keys()


def _require_named(part: CheckpointPart, file: CheckpointFile) -> None:
    header = part.header
    previous = None if header.previous is None else header.previous[0]
    if header.revision != file.revision:
        raise CorruptionError(file.path, 0, f"the header states revision {header.revision}")
    if previous != file.previous:
        stated = "no revision" if previous is None else f"revision {previous}"
        raise CorruptionError(file.path, 0, f"the header states that it continues {stated}")


def _require_continued(before: _Head, own: _Head, file: CheckpointFile) -> None:
    """Check that a delta continues what a chain leads to."""
    header = own.header
    reason = None
    if header.store_id != before.header.store_id:
        reason = "the delta belongs to another store than what it continues"
    elif header.previous != (before.header.revision, before.header.digest):
        reason = "the delta continues another history than that before it"
    elif own.table_names != before.table_names:
        reason = "the delta has other tables than what it continues"
    if reason is not None:
        raise CorruptionError(file.path, 0, reason)
