"""Checkpoints: the state of all projections at one revision, as one file.

Writing is a long read: it walks every table at one version, slice by slice, while writers go on.
The order is: temporary file, content, sync; then the file is opened again and every byte verified;
then rename and directory sync. Only after that may anything rely on it.

Loading checks the header, every chunk and the footer by their checksums, which together cover
every byte of the file, and unpacks one key a chunk. The SHA-256 of the whole file is checked
after writing and by `verify`: at every open it would cost more than all the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.errors import CorruptionError, FormatVersionError, StorageFullError
from eventstore.files.content import Window
from eventstore.files.failures import is_full, unreadable_is_damage
from eventstore.files.paths import join, parent
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.checkpoint import (
    CHECKPOINT_HEADER_BYTES_MIN,
    CHUNK_HEADER_BYTES,
    CheckpointFooter,
    CheckpointHeader,
    checkpoint_header_bytes,
    footer_bytes,
    pack_checkpoint_header,
    pack_chunk,
    pack_ends,
    pack_footer,
    split_chunk,
    unpack_checkpoint_header,
    unpack_chunk_header,
    unpack_footer,
)
from eventstore.format.codec import DecodeError, pack, unpack_row
from eventstore.format.names import (
    CHECKPOINTS_NAME,
    TEMPORARY_SUFFIX,
    checkpoint_name,
    parse_checkpoint_name,
)
from eventstore.format.segment import record_seed
from eventstore.tables.packed import CHUNK_ROWS, PackedChunk, PackedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eventstore.files.interface import File, FileSystem

_CHUNK_VALUES_BYTES_MAX = 1024 * 1024
_BUFFER_BYTES = 1024 * 1024


class TableName(NamedTuple):
    """A table as a checkpoint names it."""

    projection: str
    projection_version: int
    table: str


class Checkpoint(NamedTuple):
    """A checkpoint as it was loaded.

    Attributes:
        store_id: of the store.
        revision: that the rows are the state at.
        time_ns: of that revision's batch; 0 at revision 0.
        digest: chain digest at that revision.
        tables: what each table is, and its rows.
    """

    store_id: bytes
    revision: int
    time_ns: int
    digest: bytes
    tables: tuple[tuple[TableName, PackedRows], ...]


class CheckpointContent(NamedTuple):
    """A checkpoint to be written.

    Attributes:
        store_id: of the store.
        revision: that the rows are the state at.
        time_ns: of that revision's batch; 0 at revision 0.
        digest: chain digest at that revision.
        tables: what each table is, and what begins a walk over its rows in key order: key and
            packed value. A function and not an iterator: writing is tried again when a full disk
            has cut it short, and what is left of an iterator would make a valid file of fewer rows.
    """

    store_id: bytes
    revision: int
    time_ns: int
    digest: bytes
    tables: tuple[tuple[TableName, Callable[[], Iterable[tuple[Any, bytes]]]], ...]


def list_checkpoints(file_system: FileSystem, path: str) -> list[tuple[int, str]]:
    """Return the revision that each checkpoint of a store is named by, and its path, oldest first.

    Nothing is read, and whether a checkpoint is valid is not known. None where the directory is
    missing.
    """
    directory = join(path, CHECKPOINTS_NAME)
    if not file_system.is_directory(directory):
        return []
    named = [
        (parse_checkpoint_name(name), join(directory, name))
        for name in file_system.list_directory(directory)
    ]
    return sorted((revision, path) for revision, path in named if revision is not None)


def write_checkpoint(
    file_system: FileSystem,
    directory: str,
    content: CheckpointContent,
    pause: Callable[[], object] = lambda: None,
) -> str:
    """Write a checkpoint, make it durable and verify it.

    Args:
        file_system: to write the file by.
        directory: of the checkpoints.
        content: what to write.
        pause: called after each chunk, so that a background caller leaves the processor and the
            disk to commits.

    Returns:
        the path of the file.

    Raises:
        StorageFullError: no space; nothing is left behind.
        CorruptionError: what was written can't be read back.
    """
    path = join(directory, checkpoint_name(content.revision))
    temporary = path + TEMPORARY_SUFFIX
    if file_system.exists(temporary):
        file_system.remove(temporary)
    try:
        file = file_system.create(temporary)
        try:
            _write_content(file, content, pause)
            file.sync()
        finally:
            file.close()
        verify_checkpoint(file_system, temporary)
        file_system.rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            file_system.remove(temporary)
        if isinstance(error, OSError) and is_full(error):
            raise StorageFullError(
                f"{temporary}: no space for the checkpoint; nothing was lost: free some space "
                "and try again"
            ) from error
        raise
    file_system.sync_directory(parent(path))
    return path


def load_checkpoint(file_system: FileSystem, path: str) -> Checkpoint:
    """Read a checkpoint, checking every byte by its checksum.

    Raises:
        CorruptionError: it is damaged.
        FormatVersionError: it has a newer format.
    """
    return _read(file_system, path, with_digest=False)


def verify_checkpoint(file_system: FileSystem, path: str) -> Checkpoint:
    """Read a checkpoint as `load_checkpoint` does, and check its SHA-256 and row order too.

    Raises:
        CorruptionError: it is damaged.
        FormatVersionError: it has a newer format.
    """
    return _read(file_system, path, with_digest=True)


def examine_checkpoint(
    file_system: FileSystem, path: str, *, with_digest: bool = False
) -> Checkpoint:
    """Read a checkpoint where another one can take its place: one that can't be read is damaged.

    Raises:
        CorruptionError: it is damaged, or the medium can't read it any more.
        FormatVersionError: it has a newer format.
    """
    with unreadable_is_damage(path):
        return _read(file_system, path, with_digest=with_digest)


class _Output:
    """Buffers what is appended to a new file, and digests it."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._offset_bytes = 0
        self.digest = hashlib.sha256()

    def append(self, data: bytes) -> None:
        self.digest.update(data)
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _BUFFER_BYTES:
            self.flush()
            # In small doses: one sync of everything at the end would hold up the commits' syncs.
            self._file.sync()

    def flush(self) -> None:
        data = b"".join(self._pending)
        self._file.write(self._offset_bytes, data)
        self._offset_bytes += len(data)
        self._pending, self._pending_bytes = [], 0


def _write_content(file: File, content: CheckpointContent, pause: Callable[[], object]) -> None:
    output = _Output(file)
    table_names = pack([list(table) for table, _ in content.tables])
    header = CheckpointHeader(
        content.store_id, content.revision, content.time_ns, content.digest, table_names
    )
    output.append(pack_checkpoint_header(header))
    seed = record_seed(content.store_id)
    row_counts = []
    chunk_count = 0
    for number, (_, rows) in enumerate(content.tables):
        row_count = 0
        for keys, values in _chunks(rows()):
            parts = (pack(keys[0]), pack(keys), pack_ends(values), b"".join(values))
            output.append(pack_chunk(number, len(keys), parts, seed))
            row_count += len(keys)
            chunk_count += 1
            pause()
        row_counts.append(row_count)
    footer = CheckpointFooter(chunk_count, output.digest.digest(), tuple(row_counts))
    output.append(pack_footer(footer))
    output.flush()


def packed_rows(rows: Iterable[tuple[Any, bytes]], path: str) -> PackedRows:
    """Return rows in key order in the form that loading gives them.

    Args:
        rows: keys and packed values.
        path: of the checkpoint that they are from, for errors.
    """
    chunks, row_count = [], 0
    for keys, values in _chunks(rows):
        parts = (pack(keys[0]), pack(keys), pack_ends(values), b"".join(values))
        chunks.append(PackedChunk(*parts, path, 0))
        row_count += len(keys)
    return PackedRows(chunks, row_count, path)


def _chunks(rows: Iterable[tuple[Any, bytes]]) -> Iterator[tuple[list[Any], list[bytes]]]:
    keys: list[Any] = []
    values: list[bytes] = []
    values_bytes = 0
    for key, value in rows:
        keys.append(key)
        values.append(value)
        values_bytes += len(value)
        if len(keys) == CHUNK_ROWS or values_bytes >= _CHUNK_VALUES_BYTES_MAX:
            yield keys, values
            keys, values, values_bytes = [], [], 0
    if keys:
        yield keys, values


def _read(file_system: FileSystem, path: str, *, with_digest: bool) -> Checkpoint:
    file = file_system.open(path)
    try:
        return _CheckpointReader(file, with_digest=with_digest).read()
    except MalformedError as error:
        raise CorruptionError(path, error.offset_bytes, error.reason) from error
    except NewerVersionError as error:
        raise FormatVersionError(path, error.found_version, error.known_version) from error
    except DecodeError as error:
        raise CorruptionError(path, 0, f"the rows can't be decoded: {error}") from error
    finally:
        file.close()


class _CheckpointReader:
    """Reads one checkpoint from its start to its end."""

    def __init__(self, file: File, *, with_digest: bool) -> None:
        self._path = file.path
        self._window = Window(file)
        self._size_bytes = file.size_bytes()
        self._digest = hashlib.sha256() if with_digest else None
        self._offset_bytes = 0

    def read(self) -> Checkpoint:
        header = self._read_header()
        table_names = _unpack_table_names(header.table_names)
        footer = self._read_footer(len(table_names))
        chunks = self._read_chunks(header, len(table_names), footer)
        tables = []
        for table, own, row_count in zip(table_names, chunks, footer.row_counts, strict=True):
            rows = PackedRows(own, row_count, self._path)
            if self._digest is not None:
                _check_rows(rows)
            tables.append((table, rows))
        if self._digest is not None and self._digest.digest() != footer.digest:
            raise MalformedError(0, "the file does not have the SHA-256 that it states")
        return Checkpoint(
            header.store_id, header.revision, header.time_ns, header.digest, tuple(tables)
        )

    def _read_header(self) -> CheckpointHeader:
        start = self._window.read(0, CHECKPOINT_HEADER_BYTES_MIN)
        block = self._take(checkpoint_header_bytes(start))
        return unpack_checkpoint_header(block)

    def _read_footer(self, table_count: int) -> CheckpointFooter:
        size = footer_bytes(table_count)
        self._chunks_end_bytes = self._size_bytes - size
        if self._chunks_end_bytes < self._offset_bytes:
            raise MalformedError(self._offset_bytes, "the checkpoint is cut short")
        try:
            return unpack_footer(self._window.read(self._chunks_end_bytes, size), table_count)
        except MalformedError as error:
            raise MalformedError(self._chunks_end_bytes, error.reason) from error

    def _read_chunks(
        self, header: CheckpointHeader, table_count: int, footer: CheckpointFooter
    ) -> list[list[PackedChunk]]:
        seed = record_seed(header.store_id)
        chunks: list[list[PackedChunk]] = [[] for _ in range(table_count)]
        row_counts = [0] * table_count
        chunk_count = 0
        while self._offset_bytes < self._chunks_end_bytes:
            start_bytes = self._offset_bytes
            table, row_count, chunk = self._read_chunk(seed)
            if table >= table_count or (chunks[table + 1 :] and any(chunks[table + 1 :])):
                raise MalformedError(start_bytes, "a chunk of rows is out of place")
            chunks[table].append(chunk)
            row_counts[table] += row_count
            chunk_count += 1
        if chunk_count != footer.chunk_count or tuple(row_counts) != footer.row_counts:
            raise MalformedError(self._chunks_end_bytes, "the footer counts other rows")
        return chunks

    def _read_chunk(self, seed: int) -> tuple[int, int, PackedChunk]:
        start_bytes = self._offset_bytes
        left_bytes = self._chunks_end_bytes - start_bytes - CHUNK_HEADER_BYTES
        if left_bytes < 0:
            raise MalformedError(start_bytes, "a chunk of rows is cut short")
        block = self._take(CHUNK_HEADER_BYTES)
        header = unpack_chunk_header(block)
        if header.body_bytes > left_bytes:
            raise MalformedError(start_bytes, "a chunk of rows is longer than the file")
        body = self._take(header.body_bytes)
        try:
            parts = split_chunk(header, block, body, seed)
        except MalformedError as error:
            raise MalformedError(start_bytes, error.reason) from error
        return header.table, header.row_count, PackedChunk(*parts, self._path, start_bytes)

    def _take(self, size_bytes: int) -> bytes:
        data = self._window.read(self._offset_bytes, size_bytes)
        self._offset_bytes += size_bytes
        if self._digest is not None:
            self._digest.update(data)
        return data


def _unpack_table_names(packed: bytes) -> tuple[TableName, ...]:
    try:
        names = tuple(TableName(*table) for table in unpack_row(packed))
    except TypeError as error:
        raise DecodeError(f"the table list of a checkpoint can't be read: {error}") from error
    for name in names:
        if tuple(map(type, name)) != (str, int, str):
            raise DecodeError("the table list of a checkpoint names what is no table")
    if len({name.table for name in names}) != len(names):
        raise DecodeError("the table list of a checkpoint names a table twice")
    return names


def _check_rows(rows: PackedRows) -> None:
    try:
        rows.check()
    except (AssertionError, TypeError, ValueError) as error:
        raise MalformedError(0, str(error)) from error
