"""Reading one file of a checkpoint: a base or a delta, with every byte checked.

Header, chunks and footer are checked by their checksums, which together cover every byte of the
file; one key a chunk is unpacked. The SHA-256 of the whole file is checked after writing and by
`verify`: at every open it would cost more than all the rest.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError, FormatVersionError
from eventstore.files.content import Window
from eventstore.format.blocks import UINT32, MalformedError, NewerVersionError
from eventstore.format.checkpoint import (
    CHECKPOINT_HEADER_BYTES_MIN,
    CHUNK_HEADER_BYTES,
    CheckpointFooter,
    CheckpointHeader,
    checkpoint_header_bytes,
    compressed_bytes,
    footer_bytes,
    split_chunk,
    split_delta_chunk,
    unpack_checkpoint_header,
    unpack_chunk_header,
    unpack_footer,
)
from eventstore.format.codec import DecodeError, unpack_row
from eventstore.format.segment import record_seed
from eventstore.tables.packed import PackedChunk, PackedRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import File, FileSystem


class TableName(NamedTuple):
    """A table as a checkpoint names it."""

    projection: str
    projection_version: int
    table: str


class CheckpointPart(NamedTuple):
    """What one file of a checkpoint holds.

    Attributes:
        header: its first block.
        tables: what each table is, and its rows: all of a base; of a delta those that were
            changed, where a value without bytes says that the row is gone.
    """

    header: CheckpointHeader
    tables: tuple[tuple[TableName, PackedRows], ...]


def no_pause() -> None:
    """Go on at once."""


def read_part(
    file_system: FileSystem,
    path: str,
    *,
    with_digest: bool,
    pause: Callable[[], object] = no_pause,
) -> CheckpointPart:
    """Read one file of a checkpoint.

    Args:
        file_system: to read it by.
        path: of the file.
        with_digest: whether its SHA-256 and the order of its rows are checked too.
        pause: called after each chunk.

    Raises:
        CorruptionError: it is damaged.
        FormatVersionError: it has a newer format.
    """
    file = file_system.open(path)
    try:
        return _PartReader(file, pause, with_digest=with_digest).read()
    except MalformedError as error:
        raise CorruptionError(path, error.offset_bytes, error.reason) from error
    except NewerVersionError as error:
        raise FormatVersionError(path, error.found_version, error.known_version) from error
    except DecodeError as error:
        raise CorruptionError(path, 0, f"the rows can't be decoded: {error}") from error
    finally:
        file.close()


class _PartReader:
    """Reads one file from its start to its end."""

    def __init__(self, file: File, pause: Callable[[], object], *, with_digest: bool) -> None:
        self._path = file.path
        self._window = Window(file)
        self._pause = pause
        self._size_bytes = file.size_bytes()
        self._digest = hashlib.sha256() if with_digest else None
        self._offset_bytes = 0
        self._is_delta = False

    def read(self) -> CheckpointPart:
        header = self._read_header()
        self._is_delta = header.previous is not None
        table_names = unpack_table_names(header.table_names)
        footer = self._read_footer(len(table_names))
        chunks = self._read_chunks(header, len(table_names), footer)
        tables = []
        for table, own, row_count in zip(table_names, chunks, footer.row_counts, strict=True):
            rows = PackedRows(own, row_count, self._path)
            if self._digest is not None:
                check_rows(rows)
            tables.append((table, rows))
        if self._digest is not None and self._digest.digest() != footer.digest:
            raise MalformedError(0, "the file does not have the SHA-256 that it states")
        return CheckpointPart(header, tuple(tables))

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
            self._pause()
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
        body_bytes, split = header.body_bytes, split_chunk
        if self._is_delta:
            start = self._window.read(self._offset_bytes, UINT32.size)
            body_bytes, split = compressed_bytes(start.ljust(UINT32.size)), split_delta_chunk
        if body_bytes > left_bytes:
            raise MalformedError(start_bytes, "a chunk of rows is longer than the file")
        body = self._take(body_bytes)
        try:
            parts = split(header, block, body, seed)
        except MalformedError as error:
            raise MalformedError(start_bytes, error.reason) from error
        return header.table, header.row_count, PackedChunk(*parts, self._path, start_bytes)

    def _take(self, size_bytes: int) -> bytes:
        data = self._window.read(self._offset_bytes, size_bytes)
        self._offset_bytes += size_bytes
        if self._digest is not None:
            self._digest.update(data)
        return data


def unpack_table_names(packed: bytes) -> tuple[TableName, ...]:
    """Return what the tables of a checkpoint are, by its header.

    Raises:
        DecodeError: they can't be told.
    """
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


def check_rows(rows: PackedRows) -> None:
    """Check that the rows of a table are in order, and whole; O(n).

    Raises:
        MalformedError: they are not.
    """
    try:
        rows.check()
    except (AssertionError, TypeError, ValueError) as error:
        raise MalformedError(0, str(error)) from error
