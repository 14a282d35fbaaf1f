"""Packing a past state against the one before it, and writing it as a rung of the ladder.

The order is that of a checkpoint: temporary file, content, sync; read back and compared; then
rename and directory sync. Only after that may what it takes the place of go.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.checkpoints.chains import CheckpointFile
from eventstore.checkpoints.reader import no_pause
from eventstore.checkpoints.rungs import RungState, read_rung
from eventstore.checkpoints.writer import checkpoint_header, folded_chunks
from eventstore.errors import CorruptionError
from eventstore.files.paths import join
from eventstore.format.codec import unpack_row
from eventstore.format.names import TEMPORARY_SUFFIX, rung_name
from eventstore.format.rung import SEEN_CHUNKS_MAX, Seen, chunk_of, pack_rung

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.files.interface import FileSystem
    from eventstore.format.rung import Chunk, Tables

_WRITE_BYTES = 1024 * 1024


class PackedRung(NamedTuple):
    """A rung that is to be written.

    Attributes:
        state: that it leads to.
        before: the state that it is packed against; None for a root.
        content: of its file.
    """

    state: RungState
    before: RungState | None
    content: bytes


def rung_state(checkpoint: Checkpoint, pause: Callable[[], object] = no_pause) -> RungState:
    """Return the state that a checkpoint holds as a rung would.

    Args:
        checkpoint: that holds it.
        pause: called after each chunk.
    """
    tables: Tables = []
    for _, rows in checkpoint.tables:
        chunks = []
        for row_count, parts in folded_chunks(rows):
            chunks.append(chunk_of(row_count, parts))
            pause()
        tables.append(chunks)
    names = tuple(name for name, _ in checkpoint.tables)
    return RungState(checkpoint_header(checkpoint), names, tables)


def packed_rung(
    state: RungState, before: RungState | None, pause: Callable[[], object] = no_pause
) -> PackedRung:
    """Pack a state against one before it that has the same tables, or against nothing.

    Args:
        state: to be packed.
        before: what it is packed against.
        pause: called after each chunk.
    """
    previous = None if before is None else (before.header.revision, before.header.digest)
    header = replace(state.header, previous=previous)
    tables_before: Tables = [[] for _ in state.tables] if before is None else before.tables
    seen = _Places(state.tables, tables_before)
    content = pack_rung(header, state.tables, tables_before, seen.of, pause)
    return PackedRung(state, before, content)


class _Places:
    """Where the keys of chunks are among the chunks of another state."""

    def __init__(self, tables: Tables, before: Tables) -> None:
        self._first_keys = [_first_keys(chunks) for chunks in tables]
        self._first_keys_before = [_first_keys(chunks) for chunks in before]

    def of(self, table: int, number: int) -> Seen:
        """Return which chunks of the other state may hold the keys of a chunk."""
        own, before = self._first_keys[table], self._first_keys_before[table]
        try:
            first = max(0, bisect_right(before, own[number]) - 1)
            end = len(before)
            if number + 1 < len(own):
                end = bisect_right(before, own[number + 1])
        except TypeError:  # the table was emptied, and has keys of another type since
            return Seen(0, 0)
        return Seen(first, min(end - first, SEEN_CHUNKS_MAX))


def _first_keys(chunks: list[Chunk]) -> list[Any]:
    return [unpack_row(chunk.first_key) for chunk in chunks]


def write_rung(
    file_system: FileSystem,
    directory: str,
    rung: PackedRung,
    pause: Callable[[], object] = no_pause,
) -> CheckpointFile:
    """Write a rung, make it durable and verify it.

    Args:
        file_system: to write the file by.
        directory: of the ladder.
        rung: to be written.
        pause: called now and then.

    Raises:
        CorruptionError: what was written can't be read back.
        OSError: it can't be written; nothing is left behind.
    """
    revision = rung.state.header.revision
    previous = None if rung.before is None else rung.before.header.revision
    path = join(directory, rung_name(revision, previous))
    temporary = path + TEMPORARY_SUFFIX
    if file_system.exists(temporary):
        file_system.remove(temporary)
    try:
        _write(file_system, temporary, rung.content, pause)
        written = read_rung(file_system, temporary, rung.before, pause)
        if not _are_same(written.tables, rung.state.tables, pause):
            raise CorruptionError(temporary, 0, "the rung is not what was written")
        file_system.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            file_system.remove(temporary)
        raise
    file_system.sync_directory(directory)
    return CheckpointFile(revision, previous, path, is_rung=True)


def _are_same(tables: Tables, others: Tables, pause: Callable[[], object]) -> bool:
    """Say whether tables are the same, chunk by chunk: at once it would hold up all threads."""
    if list(map(len, tables)) != list(map(len, others)):
        return False
    for own, other in zip(chain(*tables), chain(*others), strict=True):
        if own != other:
            return False
        pause()
    return True


def _write(file_system: FileSystem, path: str, content: bytes, pause: Callable[[], object]) -> None:
    file = file_system.create(path)
    try:
        for start in range(0, len(content), _WRITE_BYTES):
            file.write(start, content[start : start + _WRITE_BYTES])
            # In small doses: one sync of everything at the end would hold up the commits' syncs.
            file.sync()
            pause()
    finally:
        file.close()
