"""The tree over a store's batches: leaf files, and the log from where they end.

Leaf files are derived from the log, so they may lag, be missing or be damaged: what they do not
hold is read from the log, or taken from the writer where that has appended it in this process
(`eventstore.log.digests`). They are not derived any more once retention has dropped batches: then
they alone keep those batches in their places, and so a compaction saves the tree before it drops
(`eventstore.maintenance.compaction`).

Whether the files are of the history that the log has is asked before they are believed: the last
digest in them must be that of the log, or the one that the log continues. It binds all before it.
A file of another history, as after a restore of an older log, is passed over.

A proof reads a tile of 256 leaves at each end and the roots of tiles: O(log n). In memory: the
digests that no file holds, 32 bytes a batch, and those of the last span; and some tiles, 2 MB.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from eventstore.errors import CompactedError, CorruptionError
from eventstore.format.leaves import DIGEST_BYTES, ROW_LEAVES, SPAN_LEAVES
from eventstore.locks import refuse_reentry
from eventstore.log.cursor import RecordCursor
from eventstore.log.segments import list_sources
from eventstore.proofs.leaf_files import (
    LeafFile,
    list_leaf_files,
    read_roots,
    read_rows,
    span_start,
    write_leaf_file,
)
from eventstore.proofs.spans import FileSpan, MemorySpan, Span
from eventstore.proofs.tiles import TILE_HEIGHT, subtree
from eventstore.proofs.tree import (
    ConsistencyProof,
    InclusionProof,
    TreeHead,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    tree_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.log.digests import AppendedDigests
    from eventstore.log.interface import LogReader

T = TypeVar("T")

_TILES_CACHED = 32
_SPAN_HEIGHT = 2 * TILE_HEIGHT
_RECORDS_BETWEEN_PAUSES = 64


class Source(Protocol):
    """Where the digests of batches come from."""

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""

    def digests(self, first: int, last: int, previous_digest: bytes | None) -> Iterator[bytes]:
        """Yield digests of batches, the first of which must continue another, if one is given."""


class FileSource:
    """The segments of a store, read by one cursor, which goes on where it has ended."""

    def __init__(self, file_system: FileSystem, path: str, store_id: bytes) -> None:
        self._file_system = file_system
        self._path = path
        self._store_id = store_id
        self._cursor: RecordCursor | None = None

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""
        sources = list_sources(self._file_system, self._path)
        if not sources:
            raise CorruptionError(self._path, 0, "all segments of the log are missing")
        return sources[0].first_revision

    def digests(self, first: int, last: int, previous_digest: bytes | None) -> Iterator[bytes]:
        """Yield the digests of records, each of which is verified."""
        cursor, self._cursor = self._cursor, None
        if cursor is None or cursor.next_revision != first:
            cursor = RecordCursor(
                self._file_system, self._path, self._store_id, first, previous_digest
            )
        try:
            for record in cursor.read(last):
                yield record.digest
        finally:
            cursor.close()
        self._cursor = cursor


class WriterSource(FileSource):
    """The segments of a store up to an open, and behind that what its writer says it has appended.

    The writer has made these digests. That the medium gives the same records back is not asked here
    but by whoever reads them, as the index of the past does of each.
    """

    def __init__(
        self, file_system: FileSystem, path: str, store_id: bytes, appended: AppendedDigests
    ) -> None:
        super().__init__(file_system, path, store_id)
        self._appended = appended

    def digests(self, first: int, last: int, previous_digest: bytes | None) -> Iterator[bytes]:
        """Yield digests: read where the writer has not appended the batch, or no longer knows."""
        start, known_digest, appended = self._appended.take(first, last)
        if first < start:
            for digest in super().digests(first, min(last, start - 1), previous_digest):
                previous_digest = digest
                yield digest
        if start <= last and previous_digest not in (None, known_digest):
            reason = f"revision {start - 1} is not the batch that it was when it was last read"
            raise CorruptionError(self._path, 0, reason)
        yield from appended


class LogSource:
    """A log of another kind than files."""

    def __init__(self, log: LogReader) -> None:
        self._log = log

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""
        return self._log.oldest_revision()

    def digests(self, first: int, last: int, previous_digest: bytes | None) -> Iterator[bytes]:
        """Yield the digests of records. What they continue was read from this same log."""
        _ = previous_digest
        oldest = self._log.oldest_revision()
        if first < oldest:
            raise CompactedError(first, oldest)
        return (record.digest for record in self._log.read(first, last))


class StoreTree:
    """The tree of a store, as far as it was asked to grow."""

    def __init__(
        self, source: Source, store_id: bytes, file_system: FileSystem | None, path: str
    ) -> None:
        self._source = source
        self._store_id = store_id
        # None for a log that has no directory: then nothing is kept in files.
        self._file_system = file_system
        self._path = path
        self._lock = threading.RLock()
        self._spans: list[Span] = []
        self._is_anchored = False
        # A file that the medium did not give: another time it may.
        self._unread: CorruptionError | None = None
        self._tile = lru_cache(_TILES_CACHED)(self._tile_nodes)
        self._above_tiles = lru_cache(_TILES_CACHED)(self._span_nodes)
        self._above_spans = lru_cache(None)(self._upper_node)

    @classmethod
    def of_files(cls, file_system: FileSystem, path: str, store_id: bytes) -> StoreTree:
        """Return the tree of a store in a directory."""
        return cls(FileSource(file_system, path, store_id), store_id, file_system, path)

    @classmethod
    def of_writer(
        cls, file_system: FileSystem, path: str, store_id: bytes, appended: AppendedDigests
    ) -> StoreTree:
        """Return the tree of a store in a directory for whoever writes to it."""
        source = WriterSource(file_system, path, store_id, appended)
        return cls(source, store_id, file_system, path)

    @classmethod
    def of_log(cls, log: LogReader) -> StoreTree:
        """Return the tree of a log of another kind, kept in memory."""
        return cls(LogSource(log), log.store_id, None, "")

    @property
    def size(self) -> int:
        """How many batches it covers."""
        if not self._spans:
            return 0
        return (len(self._spans) - 1) * SPAN_LEAVES + self._spans[-1].count

    def grow(self, size: int, pause: Callable[[], object] = lambda: None) -> None:
        """Cover at least so many batches, all of which must be durable. O(new batches).

        Raises:
            CompactedError: batches that no leaf file holds are no longer kept.
            CorruptionError: a batch is damaged, or the medium does not give leaves of such batches.
        """
        refuse_reentry(self._lock)
        with self._lock:
            if self._is_anchored:
                self._read_on(size, pause)
                return
            self._forget()
            try:
                self._take_files(size)
                self._read_on(size, pause)
            except CorruptionError as error:
                # Of the two, the log and the files, the log is right as long as it is whole.
                self._forget()
                try:
                    self._read_on(size, pause)
                except CompactedError:
                    raise error from None
            except CompactedError:
                if self._unread is not None:
                    raise self._unread from None
                raise
            self._is_anchored = True

    def head(self, size: int) -> TreeHead:
        """Return the head of the first so many batches, which must be covered."""
        return TreeHead(size, self._proved(lambda: tree_root(size, self._node)))

    def inclusion(self, revision: int, size: int) -> InclusionProof:
        """Return why a revision is in the tree of a size, which must be covered."""
        path = self._proved(lambda: inclusion_path(revision - 1, size, self._node))
        return InclusionProof(revision, self.digest(revision), self.head(size), path)

    def consistency(self, old_size: int, size: int) -> ConsistencyProof:
        """Return why the tree of a size, which must be covered, continues an older one."""
        path = self._proved(lambda: consistency_path(old_size, size, self._node))
        return ConsistencyProof(old_size, self.head(size), path)

    def digest(self, revision: int) -> bytes:
        """Return the digest of a batch, which must be covered."""
        return self.digests((revision - 1) // ROW_LEAVES)[(revision - 1) % ROW_LEAVES]

    def digests(self, tile: int) -> list[bytes]:
        """Return the digests of the 256 batches, or fewer, of a tile of leaves."""
        number, within = divmod(tile, ROW_LEAVES)
        return self._proved(lambda: self._spans[number].digests(within))

    def hashes(self, level: int, tile: int, width: int) -> list[bytes]:
        """Return what a tile of `eventstore.proofs.tiles` holds."""
        first = tile * ROW_LEAVES
        places = range(first, first + width)
        return self._proved(lambda: [self._node(level * TILE_HEIGHT, at) for at in places])

    def save(self) -> int:
        """Write the leaves that no file holds, durably; the tree must cover all that is durable.

        Leaf files of spans behind it are of a log that was longer, and are removed.

        Returns:
            the number of batches that leaf files now hold, from the first on.

        Raises:
            StorageFullError: there is no space; what was there stays.
        """
        file_system = self._file_system
        if file_system is None:
            return 0
        with self._lock:
            for number, span in enumerate(self._spans):
                if isinstance(span, MemorySpan) and span.saved_count < span.count:
                    self._save_span(file_system, number, span)
            behind = span_start(len(self._spans))
            for file in list_leaf_files(file_system, self._path):
                if file.first_revision >= behind:
                    file_system.remove(file.path)
            return self.size

    def _save_span(self, file_system: FileSystem, number: int, span: MemorySpan) -> None:
        written = write_leaf_file(
            file_system, self._path, self._store_id, span_start(number), span.parts()
        )
        span.saved_count = span.count
        if span.is_full:
            self._spans[number] = FileSpan(file_system, written, self._store_id)

    def _take_files(self, size: int) -> None:
        """Take from files what they hold of the first so many batches.

        Raises:
            CorruptionError: they are of another history than the log.
        """
        file_system = self._file_system
        if file_system is None:
            return
        for first, files in _by_span(list_leaf_files(file_system, self._path)).items():
            if first != span_start(len(self._spans)) or self.size >= size:
                break
            span = self._loaded(file_system, files, size - self.size)
            if span is None:
                break
            self._spans.append(span)
            if span.count < SPAN_LEAVES:
                break
        covered = self.size
        if covered and covered >= self._source.oldest_revision():
            [digest] = self._source.digests(covered, covered, None)
            if digest != self.digest(covered):
                raise CorruptionError(self._path, 0, "the leaf files are of another history")
        # Else the log begins behind them, and is asked to continue their last digest.

    def _loaded(
        self, file_system: FileSystem, files: Sequence[LeafFile], count_max: int
    ) -> Span | None:
        """Return the longest span of files that begin alike, passing over damaged ones."""
        for file in reversed(files):
            count = file.leaf_count
            if count == SPAN_LEAVES <= count_max:
                return FileSpan(file_system, file, self._store_id)
            try:
                read_roots(file_system, file, self._store_id)
                rows = range(-(-count // ROW_LEAVES))
                digests = read_rows(file_system, file, self._store_id, rows)
            except FileNotFoundError:
                continue
            except CorruptionError as error:
                if isinstance(error.__cause__, OSError):
                    self._unread = error
                continue
            # Where the file holds more than the log, it is of a log that was longer.
            saved_count = count if count <= count_max else 0
            return MemorySpan(digests[: count_max * DIGEST_BYTES], saved_count)
        return None

    def _forget(self) -> None:
        self._spans.clear()
        self._unread = None
        self._clear_caches()

    def _read_on(self, size: int, pause: Callable[[], object]) -> None:
        covered = self.size
        if size <= covered:
            return
        previous = self.digest(covered) if covered else None
        for number, digest in enumerate(self._source.digests(covered + 1, size, previous)):
            if number % _RECORDS_BETWEEN_PAUSES == 0:
                pause()
            self._append(digest)

    def _append(self, digest: bytes) -> None:
        span = self._spans[-1] if self._spans else None
        if not isinstance(span, MemorySpan) or span.is_full:
            span = MemorySpan()
            self._spans.append(span)
        span.append(digest)

    def _proved(self, make: Callable[[], T]) -> T:
        """Return what reads leaves; where a file is damaged, with its span read from the log.

        Raises:
            CorruptionError: the file is damaged, and the log no longer reaches back so far.
        """
        with self._lock:
            for _ in self._spans:
                try:
                    return make()
                except CorruptionError as error:
                    self._restore(error)
            return make()

    def _restore(self, error: CorruptionError) -> None:
        """Read the span whose file is damaged from the log; raise where that can't be."""
        damaged = [
            number
            for number, span in enumerate(self._spans)
            if isinstance(span, FileSpan) and span.leaf_file.path == error.path
        ]
        if not damaged:
            raise error
        [number] = damaged
        first = span_start(number)
        before = self._spans[number - 1].digests(ROW_LEAVES - 1)[-1] if number else None
        restored = MemorySpan()
        try:
            for digest in self._source.digests(first, first + SPAN_LEAVES - 1, before):
                restored.append(digest)
        except CompactedError:
            raise error from None
        self._spans[number] = restored
        self._clear_caches()

    def _node(self, level: int, index: int) -> bytes:
        """Return the root of a full subtree."""
        if level >= _SPAN_HEIGHT:
            return self._above_spans(level, index)
        if level >= TILE_HEIGHT:
            number = index >> (_SPAN_HEIGHT - level)
            nodes = self._above_tiles(number, self._spans[number].count // ROW_LEAVES)
            return nodes[level - TILE_HEIGHT][index - (number << (_SPAN_HEIGHT - level))]
        tile = index >> (TILE_HEIGHT - level)
        width = min(ROW_LEAVES, self.size - tile * ROW_LEAVES)
        return self._tile(tile, width)[level][index - (tile << (TILE_HEIGHT - level))]

    def _tile_nodes(self, tile: int, width: int) -> list[Sequence[bytes]]:
        number, within = divmod(tile, ROW_LEAVES)
        span = self._spans[number]
        nodes = subtree([leaf_hash(digest) for digest in span.digests(within)])
        if isinstance(span, FileSpan):
            [root] = nodes[-1]
            if root != self._above_tiles(number, ROW_LEAVES)[0][within]:
                reason = f"the root of tile {within} is not that of its leaves"
                raise CorruptionError(span.leaf_file.path, 0, reason)
        return nodes

    def _span_nodes(self, number: int, tiles: int) -> list[Sequence[bytes]]:
        return subtree(list(self._spans[number].roots()[:tiles]))

    def _upper_node(self, level: int, index: int) -> bytes:
        if level > _SPAN_HEIGHT:
            return node_hash(self._node(level - 1, 2 * index), self._node(level - 1, 2 * index + 1))
        return self._above_tiles(index, ROW_LEAVES)[TILE_HEIGHT][0]

    def _clear_caches(self) -> None:
        self._tile.cache_clear()
        self._above_tiles.cache_clear()
        self._above_spans.cache_clear()


def _by_span(files: Sequence[LeafFile]) -> dict[int, list[LeafFile]]:
    """Return files by the revision that they begin at, of each the longest last."""
    spans: dict[int, list[LeafFile]] = {}
    for file in files:
        spans.setdefault(file.first_revision, []).append(file)
    return spans
