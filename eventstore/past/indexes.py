"""The indexes of a store's segments: loaded, made where they lack, kept up with, and written.

That of a sealed segment is a file, made by maintenance; where it is missing, damaged, of another
history or of other projections, it is made anew in memory by who needs it. That of the active
segment grows in memory, off the commit path: whoever asks brings it up to date. What maintenance
has written of it spares a process that starts most of that.

An index is taken for that of a segment if it states the digest of the segment's record at its end.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from eventstore.errors import CorruptionError
from eventstore.files.content import write_temporary
from eventstore.files.failures import is_full, is_no_file, is_unreadable
from eventstore.files.paths import join
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.names import INDEX_NAME, TEMPORARY_SUFFIX, index_name, parse_index_name
from eventstore.locks import refuse_reentry
from eventstore.log.reader import SegmentScanner, start_of
from eventstore.log.segments import MemoryFile, SegmentSource, list_sources
from eventstore.past.growing import GrowingIndex
from eventstore.past.opening import opened_segment
from eventstore.past.packed import PackedIndex
from eventstore.past.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.past.opening import OpenSegment
    from eventstore.projection import Projection

    Index = PackedIndex | GrowingIndex

_LOADED_KEPT = 1024
"""Indexes in files: 3 KiB of memory each."""
_MADE_KEPT = 32
"""Indexes in memory: some 20 bytes a batch."""
_RECORDS_BETWEEN_PAUSES = 64
BATCHES_BEHIND_MAX = 4096
"""So many batches of the active segment are not in a file: to read them takes some 50 ms."""

_logger = logging.getLogger("eventstore")

A = TypeVar("A")


class Part(NamedTuple):
    """Revisions of a segment.

    Attributes:
        source: the segment.
        first: of the revisions.
        last: of the revisions.
        is_sealed: whether another segment follows, and these reach to the end.
    """

    source: SegmentSource
    first: int
    last: int
    is_sealed: bool

    @property
    def first_revision(self) -> int:
        """Of the segment, by which its index is known."""
        return self.source.first_revision


def parts_of(sources: Sequence[SegmentSource], first: int, last: int) -> list[Part]:
    """Return the parts of segments that make up a range of revisions."""
    firsts = [source.first_revision for source in sources]
    found = []
    for number, source in enumerate(sources):
        start = source.first_revision
        is_sealed = number + 1 < len(firsts) and firsts[number + 1] - 1 <= last
        end = firsts[number + 1] - 1 if is_sealed else last
        if start <= end and end >= first and start <= last:
            found.append(Part(source, max(first, start), end, is_sealed))
        if not is_sealed:
            break
    return found


class Indexes:
    """See the module; any thread may use it."""

    def __init__(
        self,
        file_system: FileSystem,
        path: str,
        store_id: bytes,
        projections: Sequence[Projection],
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._store_id = store_id
        self.terms = Terms(store_id, projections)
        self._lock = threading.RLock()
        # By the first revision of the segment; the one used last comes last.
        self._loaded: dict[int, PackedIndex] = {}
        self._made: dict[int, Index] = {}
        self._refused: set[int] = set()
        # Damaged, or with no room for the file: maintenance has told that once, and passes them.
        self._unindexed: set[SegmentSource] = set()

    def renew_lock(self) -> None:
        """Free the lock in the child of a fork, where no other thread is left to do so."""
        self._lock = threading.RLock()

    def ask(self, part: Part, question: Callable[[Index], A]) -> A:
        """Return an answer of the index of a part; one that can't give it is made anew.

        Raises:
            CompactedError: the segment is no longer kept.
            CorruptionError: the index must be made, and the segment is damaged.
        """
        refuse_reentry(self._lock)
        with self._lock:
            try:
                return question(self._index(part))
            except (MalformedError, OSError) as error:
                if isinstance(error, OSError) and not _is_lost(error):
                    raise
            self._refuse(part.first_revision)
            return question(self._index(part))

    def ask_at_hand(self, source: SegmentSource, question: Callable[[Index], A]) -> A | None:
        """Return an answer of a segment's index if there is one; None if it has to be made."""
        first_revision = source.first_revision
        refuse_reentry(self._lock)
        with self._lock:
            index = self._made.get(first_revision) or self._load(source)
            try:
                return question(index) if index is not None else None
            except (MalformedError, OSError) as error:
                if isinstance(error, OSError) and not _is_lost(error):
                    raise
            self._refuse(first_revision)
            return None

    def refuse(self, first_revision: int) -> None:
        """Forget an index that was wrong, and read its file no more."""
        refuse_reentry(self._lock)
        with self._lock:
            self._refuse(first_revision)

    def keep_up(
        self,
        last_revision: int,
        pause: Callable[[], object],
        batches_min: int = BATCHES_BEHIND_MAX,
    ) -> int:
        """Write the indexes that are missing or behind; remove those whose segment is gone.

        The caller holds the store. On a full disk the rest stays unwritten. A damaged segment has
        no index: who reads it is told, and nothing else waits for it. Nor does it for an index in
        whose place a directory is.

        Args:
            last_revision: that the log is durable to.
            pause: called now and then, so that others get the processor.
            batches_min: how many of the active segment are worth a new file.

        Returns:
            how many were written.
        """
        self._remove_orphans()
        written = 0
        sources = list_sources(self._file_system, self._path)
        for part in parts_of(sources, 1, last_revision):
            packed = self._due(part, pause, batches_min)
            if packed is not None:
                try:
                    if not self._write(part.first_revision, packed):
                        break
                    written += 1
                except OSError as error:
                    if not is_no_file(error):
                        raise
                    self._unindexed.add(part.source)
                    _logger.warning(
                        "%s: no file can be in its place, so reads make this index of the past "
                        "in memory: remove what is there and open the store again",
                        self._index_path(part.first_revision),
                    )
            pause()
        return written

    def _due(self, part: Part, pause: Callable[[], object], batches_min: int) -> bytes | None:
        """Return the index of a part packed, if it is time to write it."""
        if part.source in self._unindexed:
            return None
        try:
            if not part.is_sealed and self._behind(part) < batches_min:
                return None
            return self._unwritten(part, pause)
        except CorruptionError as error:
            self._unindexed.add(part.source)
            _logger.warning("no index of the past is made of a damaged segment: %s", error)
            return None

    def _refuse(self, first_revision: int) -> None:
        self._loaded.pop(first_revision, None)
        self._made.pop(first_revision, None)
        self._refused.add(first_revision)

    def _behind(self, part: Part) -> int:
        """Return how many batches of a part are in no file."""
        with self._lock:
            index = self._load(part.source)
            return part.last - (part.first_revision - 1 if index is None else index.last_revision)

    def _unwritten(self, part: Part, pause: Callable[[], object]) -> bytes | None:
        """Return the index of a part packed; None if its file holds that already."""
        with self._lock:
            loaded = self._load(part.source)
        if loaded is not None and loaded.last_revision >= part.last:
            return None
        # A second one, so that readers need not wait for the lock until it is made.
        return self._grown(part, loaded, pause).pack()

    def _index(self, part: Part) -> Index:
        """Return an index that covers a part; the caller has the lock."""
        loaded = self._load(part.source)
        if loaded is not None and loaded.last_revision >= part.last:
            self._made.pop(part.first_revision, None)
            return loaded
        index = self._made.pop(part.first_revision, None)
        if index is None or index.last_revision < part.last:
            if isinstance(index, GrowingIndex) and index.batch_count > 2 * BATCHES_BEHIND_MAX:
                # Dictionaries take ten times as much.
                index = _in_memory(index)
            index = self._grown(part, index or loaded)
            if part.is_sealed:
                index = _in_memory(index)
        self._made[part.first_revision] = index
        if len(self._made) > _MADE_KEPT:
            del self._made[next(iter(self._made))]
        return index

    def _grown(
        self, part: Part, index: Index | None, pause: Callable[[], object] = lambda: None
    ) -> GrowingIndex:
        """Return an index that goes on from another one, or is made anew, to the end of a part."""
        with opened_segment(self._file_system, self._path, self._store_id, part.source) as segment:
            growing = self._beginning(segment, index)
            scanner = SegmentScanner(segment.file, segment.header, growing.position)
            if growing.last_revision < part.last:
                for record in scanner:
                    growing.add(record)
                    if record.revision >= part.last:
                        break
                    if record.revision % _RECORDS_BETWEEN_PAUSES == 0:
                        pause()
            if growing.last_revision < part.last:
                problem = (scanner.end.problem if scanner.end else None) or "the log ends"
                raise CorruptionError(
                    segment.path,
                    growing.position.offset_bytes,
                    f"{problem} after revision {growing.last_revision}, but revision {part.last} "
                    "had been acknowledged",
                )
            return growing

    def _beginning(self, segment: OpenSegment, index: Index | None) -> GrowingIndex:
        if isinstance(index, GrowingIndex):
            return index
        position = None
        if index is not None:
            position = segment.position_behind(index.header.last_bytes)
        if position is None:
            return GrowingIndex(self.terms, segment.header, start_of(segment.header))
        return GrowingIndex(self.terms, segment.header, position, index)

    def _load(self, source: SegmentSource) -> PackedIndex | None:
        """Return the index in the file of a segment, if it is of use; the caller has the lock."""
        first_revision = source.first_revision
        loaded = self._loaded.get(first_revision)
        if loaded is not None or first_revision in self._refused:
            return loaded
        path = self._index_path(first_revision)
        try:
            index = PackedIndex(partial(self._file_system.open, path))
        except (MalformedError, NewerVersionError):
            return None
        except OSError as error:
            if not _is_lost(error):
                raise
            return None
        if not self._fits(index, source):
            return None
        if len(self._loaded) >= _LOADED_KEPT:
            del self._loaded[next(iter(self._loaded))]
        self._loaded[first_revision] = index
        return index

    def _fits(self, index: PackedIndex, source: SegmentSource) -> bool:
        """Say whether an index is that of a segment, as far as it goes."""
        header = index.header
        if (header.store_id, header.first_revision) != (self._store_id, source.first_revision):
            return False
        if not self.terms.covers(header.projections):
            return False
        with opened_segment(self._file_system, self._path, self._store_id, source) as segment:
            end = segment.position_behind(header.last_bytes)
        return end is not None and (end.revision, end.digest) == (
            header.last_revision,
            header.digest,
        )

    def _write(self, first_revision: int, packed: bytes) -> bool:
        """Write an index; say whether there was space for it."""
        path = self._index_path(first_revision)
        temporary = path + TEMPORARY_SUFFIX
        try:
            write_temporary(self._file_system, temporary, packed)
            self._file_system.rename(temporary, path)
            self._file_system.sync_directory(join(self._path, INDEX_NAME))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file_system.remove(temporary)
            if is_full(error):
                return False
            raise
        with self._lock:
            self._loaded.pop(first_revision, None)
            self._refused.discard(first_revision)
        return True

    def _remove_orphans(self) -> None:
        """Remove the indexes of segments that are gone: they say what was in them."""
        directory = join(self._path, INDEX_NAME)
        sources = list_sources(self._file_system, self._path)
        kept = {source.first_revision for source in sources}
        removed = False
        for name in self._file_system.list_directory(directory):
            first_revision = parse_index_name(name)
            if first_revision is not None and first_revision not in kept:
                try:
                    self._file_system.remove(join(directory, name))
                    removed = True
                except OSError as error:
                    if not is_no_file(error):  # a directory says nothing of the segment
                        raise
        if removed:
            self._file_system.sync_directory(directory)

    def _index_path(self, first_revision: int) -> str:
        return join(self._path, INDEX_NAME, index_name(first_revision))


def _in_memory(index: Index) -> PackedIndex:
    if isinstance(index, PackedIndex):
        return index
    packed = index.pack()
    return PackedIndex(lambda: MemoryFile("index", packed))


def _is_lost(error: OSError) -> bool:
    """Say whether an error means that an index is gone, or can't be read any more."""
    return isinstance(error, FileNotFoundError) or is_unreadable(error)
