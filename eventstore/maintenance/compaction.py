"""Compaction: what checkpoints supersede is archived or dropped, and nothing else.

`plan` is a pure function over names; `compact` carries the plan out, one idempotent step after
the other, so that it can be cut at any point and started again.

Always kept: the newest two checkpoints, the fallback, which shares no file with the newest one
(`checkpoints.chains`), and every segment with a batch after the fallback. So one bad file costs
time, not data; and nothing is dropped while one of these checkpoints lacks a table of another.
Before superseded checkpoints go, the ladder takes their states (`climbing`), and in the end it is
cut down to its share. A checkpoint file is removed after those that continue it, and durably so, so
that a crash leaves no delta without its base.

First of all a long chain is folded into a new base, which takes its place; the deltas are what
the fallback is loaded from then.

The order for a segment: read and verify it, write the compressed copy to a
temporary file, sync, rename, sync the directory, read the copy back, and only then remove the
segment. Before anything is archived or dropped, the tree over the batches is saved up to here
(`eventstore.proofs.store_tree`), and nothing is dropped whose place in it is not saved: proofs of
what is left would be lost with it. What is dropped is dropped by whole segments, oldest first; the
digest of the chain at the cut stays in the header of the first segment that is left. Before the
first of them goes, it is committed what goes (`eventstore.engine_events`).
"""

from __future__ import annotations

import contextlib
import logging
import time
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.chains import Chains, must_keep
from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints
from eventstore.checkpoints.writer import fold_checkpoint
from eventstore.engine_events import Dropping
from eventstore.errors import (
    CompactedError,
    CorruptionError,
    ForeignOwnerError,
    StorageFullError,
)
from eventstore.files.content import write_temporary
from eventstore.files.failures import is_full
from eventstore.files.paths import join
from eventstore.format.names import (
    ARCHIVE_NAME,
    CHECKPOINTS_NAME,
    LADDER_NAME,
    TEMPORARY_SUFFIX,
    WAL_NAME,
    archive_name,
)
from eventstore.log.reader import SegmentScanner, read_own_header, start_of
from eventstore.log.segments import (
    SegmentSource,
    compress,
    list_archived,
    list_segments,
    list_sources,
    open_source,
)
from eventstore.maintenance.climbing import Climb
from eventstore.reports import CompactionReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from eventstore.checkpoints.chains import CheckpointFile
    from eventstore.files.interface import FileSystem
    from eventstore.options import Retention
    from eventstore.proofs.store_tree import StoreTree

_logger = logging.getLogger("eventstore")

_CHAIN_DELTAS = 8
"""A chain with more deltas is folded: to fall back costs the replay of what they span."""
_FOLD_SHARE = 4
"""A chain is folded if its deltas take more than one in so many parts of its base."""
_NS_PER_SECOND = 1_000_000_000
_RECORDS_BETWEEN_PAUSES = 64


class Plan(NamedTuple):
    """What may go.

    Attributes:
        checkpoints: files of checkpoints that recovery does not need.
        segments: first revisions of superseded segments, oldest first.
    """

    checkpoints: tuple[CheckpointFile, ...]
    segments: tuple[int, ...]


def plan(checkpoints: Sequence[CheckpointFile], segments: Sequence[int]) -> Plan:
    """Return what checkpoints supersede. Pure.

    Args:
        checkpoints: the files of all valid checkpoints.
        segments: first revisions of the segments in the log, ascending; the last is active.
    """
    kept = must_keep(checkpoints)
    superseded: list[int] = []
    for first, following in pairwise(segments):
        if following - 1 > kept.fallback:
            break
        superseded.append(first)
    going = tuple(file for file in checkpoints if file not in kept.files)
    return Plan(going, tuple(superseded))


def is_fold_due(chain: Sequence[CheckpointFile], sizes_bytes: Mapping[CheckpointFile, int]) -> bool:
    """Say whether a chain should become a base: it has many deltas, or much in them. Pure."""
    deltas_bytes = sum(sizes_bytes[file] for file in chain[1:])
    return len(chain) - 1 > _CHAIN_DELTAS or deltas_bytes * _FOLD_SHARE > sizes_bytes[chain[0]]


class Span(NamedTuple):
    """What retention asks about an archived segment.

    Attributes:
        last_revision: of its batches.
        size_bytes: of its file.
        sealed_ns: when the next segment had its first batch; 0 where no limit asks.
    """

    last_revision: int
    size_bytes: int
    sealed_ns: int


def kept_count(
    retention: Retention, spans: Sequence[Span], newest_revision: int, now_ns: int
) -> int:
    """Return how many archived segments are within every limit: the newest ones. Pure.

    Args:
        retention: the limits.
        spans: of all archived segments, oldest first.
        newest_revision: first revision of the active segment.
        now_ns: nanoseconds since the epoch.
    """
    if not retention.archive:
        return 0
    kept_bytes = 0
    for count, span in enumerate(reversed(spans)):
        kept_bytes += span.size_bytes
        if retention.size_bytes is not None and kept_bytes > retention.size_bytes:
            return count
        oldest = newest_revision - (retention.revisions or 0)
        if retention.revisions is not None and span.last_revision <= oldest:
            return count
        age_ns = now_ns - span.sealed_ns
        if retention.age_seconds is not None and age_ns > retention.age_seconds * _NS_PER_SECOND:
            return count
    return len(spans)


def compact(
    file_system: FileSystem,
    path: str,
    store_id: bytes,
    retention: Retention,
    tree: StoreTree,
    durable_revision: int,
    say_dropped: Callable[[Dropping], bool],
    pause: Callable[[], object] = lambda: None,
    on_segment: Callable[[int, int], object] = lambda done, total: None,
) -> CompactionReport:
    """Archive or drop what is superseded.

    The caller is the holder of the store's lock, and runs one compaction at a time.

    Args:
        file_system: that the store is on.
        path: of the store.
        store_id: of the store.
        retention: what may be dropped.
        tree: over the store's batches.
        durable_revision: up to where batches are on stable storage: the tree is saved up to there.
        say_dropped: commits that batches are about to be dropped, and returns whether that is done;
            else they stay.
        pause: called now and then, so that others get the processor.
        on_segment: called with how many superseded segments are archived or dropped, and how many
            there are.

    Raises:
        CorruptionError: a segment to be archived is damaged, or of another store; it and all later
            ones stay.
        StorageFullError: no space for a compressed copy; the segment stays.
    """
    compaction = _Compaction(file_system, path, store_id, retention, say_dropped, pause)
    compaction.save_tree(tree, durable_revision)
    return compaction.run(on_segment)


class _Compaction:
    def __init__(
        self,
        file_system: FileSystem,
        path: str,
        store_id: bytes,
        retention: Retention,
        say_dropped: Callable[[Dropping], bool],
        pause: Callable[[], object],
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._store_id = store_id
        self._wal_path = join(path, WAL_NAME)
        self._archive_path = join(path, ARCHIVE_NAME)
        self._checkpoints_path = join(path, CHECKPOINTS_NAME)
        self._retention = retention
        self._say_dropped = say_dropped
        self._pause = pause
        self._drops = False
        self._kept_leaves = 0

    def save_tree(self, tree: StoreTree, durable_revision: int) -> None:
        """Save the tree, and note up to where what is dropped keeps its place in it."""
        try:
            tree.grow(durable_revision, self._pause)
            self._kept_leaves = tree.save()
        except CompactedError as error:
            # Earlier batches are gone without a trace, so there is no tree that drops could harm.
            _logger.debug("%s: no tree: %s", self._path, error)
            self._kept_leaves = durable_revision
        except CorruptionError as error:
            # Of a sealed segment the archiving tells too. What no drop needs must not stop here.
            _logger.warning("%s: nothing is dropped, for the tree's sake: %s", self._path, error)

    def run(self, on_segment: Callable[[int, int], object]) -> CompactionReport:
        before_bytes = self._store_bytes()
        self._fold()
        checkpoints = list_checkpoints(self._file_system, self._path)
        segments = list_segments(self._file_system, self._path)
        going = plan(checkpoints, [source.first_revision for source in segments])
        self._drops = self._retention.drops
        if self._drops and (going.checkpoints or going.segments or self._archived()):
            staying = [file for file in checkpoints if file not in going.checkpoints]
            self._drops = self._may_drop(staying)
        removed = self._remove_checkpoints(going.checkpoints)
        # Before anything in the log is dropped: what goes, goes oldest first.
        archived, dropped = 0, self._drop_archived()
        if not self._retention.archive:
            self._say_all_dropped(segments, going.segments)
        for source, following in pairwise(segments):
            if source.first_revision not in going.segments:
                break
            if not (self._retention.archive or self._may_go(following)):
                break
            if self._retention.archive:
                self._archive(source, following)
                archived += 1
            else:
                dropped += 1
            self._file_system.remove(source.path)
            self._file_system.sync_directory(self._wal_path)
            on_segment(archived + dropped, len(going.segments))
        if archived:
            dropped += self._drop_archived()
        self._thin_ladder()
        return CompactionReport(
            archived=archived,
            dropped=dropped,
            checkpoints_removed=removed,
            freed_bytes=before_bytes - self._store_bytes(),
        )

    def _fold(self) -> None:
        """Make a base of the newest checkpoint, if the chain to it has become long.

        Where the chain is damaged nothing is folded: once it is too long for another delta, the
        next checkpoint is a base, and the next open sets aside what is damaged.
        """
        chains = Chains(list_checkpoints(self._file_system, self._path))
        if not chains.revisions:
            return
        chain = chains.to(chains.revisions[-1])
        if not is_fold_due(chain, self._sizes_bytes(chain)):
            return
        try:
            checkpoint = self._loader(chain).load(chain[-1].revision)
        except CorruptionError as error:
            _logger.warning("a chain of checkpoints can't be folded: %s", error)
            return
        fold_checkpoint(self._file_system, self._checkpoints_path, checkpoint, self._pause)

    def _remove_checkpoints(self, superseded: Sequence[CheckpointFile]) -> int:
        """Remove superseded checkpoints, once the ladder has their states; return how many."""
        if superseded:
            files = list_checkpoints(self._file_system, self._path)
            with self._costs_rungs_only():
                self._climb().add(files, superseded)
        for file in sorted(superseded, key=lambda file: file.revision, reverse=True):
            self._file_system.remove(file.path)
            # Before that which it continues goes: a delta alone would be damage.
            self._file_system.sync_directory(self._checkpoints_path)
        return len(superseded)

    def _thin_ladder(self) -> None:
        """Cut the ladder down to its share of what archive and log take by now."""
        sources = list_sources(self._file_system, self._path)
        files = list_checkpoints(self._file_system, self._path)
        oldest = min((file.revision for file in files), default=0)
        with self._costs_rungs_only():
            self._climb().thin(sources[0].first_revision, oldest)

    @contextlib.contextmanager
    def _costs_rungs_only(self) -> Iterator[None]:
        """Go on where the ladder can't be changed: what the present needs is kept without it."""
        try:
            yield
        except (OSError, CorruptionError, ForeignOwnerError) as error:
            _logger.warning("%s: the ladder stays as it is this time: %s", self._path, error)

    def _climb(self) -> Climb:
        bytes_max = 0
        if self._retention.archive and self._retention.checkpoint_share:
            # The active segment is counted once it is full: it was allocated as a whole.
            sources = list_sources(self._file_system, self._path)[:-1]
            log_bytes = sum(self._file_system.size_bytes(source.path) for source in sources)
            bytes_max = int(log_bytes * self._retention.checkpoint_share)
        return Climb(self._file_system, self._path, bytes_max, self._pause)

    def _loader(self, files: Sequence[CheckpointFile]) -> CheckpointLoader:
        return CheckpointLoader(self._file_system, files, judges_medium=False, pause=self._pause)

    def _sizes_bytes(self, files: Sequence[CheckpointFile]) -> dict[CheckpointFile, int]:
        return {file: self._file_system.size_bytes(file.path) for file in files}

    def _may_drop(self, files: Sequence[CheckpointFile]) -> bool:
        """Read the checkpoints that stay once more, and say whether anything older may be dropped.

        A log that was cut at its start can't replay what they hold. So each of them must hold
        all that the others do: if one is of other projections, or of another version of them,
        what it lacks could not be rebuilt once another one is damaged.
        """
        loader = self._loader(files)
        held = [{name for name, _ in loader.part(file).tables} for file in files]
        return all(names == held[0] for names in held)

    def _archive(self, source: SegmentSource, following: SegmentSource) -> None:
        data = self._verified_content(source, following)
        target = join(self._archive_path, archive_name(source.first_revision))
        temporary = target + TEMPORARY_SUFFIX
        try:
            write_temporary(self._file_system, temporary, compress(data))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file_system.remove(temporary)
            if is_full(error):
                raise StorageFullError(
                    f"{temporary}: no space to archive a segment; nothing was lost",
                    f"free {len(data)} bytes, which it takes at most, and compact again",
                ) from error
            raise
        self._file_system.rename(temporary, target)
        self._file_system.sync_directory(self._archive_path)
        archived = SegmentSource(source.first_revision, target, is_archived=True)
        with contextlib.closing(open_source(self._file_system, archived)) as copy:
            if copy.read(0, copy.size_bytes()) != data:
                raise CorruptionError(target, 0, "the archived copy differs from the segment")

    def _verified_content(self, source: SegmentSource, following: SegmentSource) -> bytes:
        """Return a sealed segment up to the end of its records, all of them verified."""
        next_file = self._file_system.open(following.path)
        try:
            next_header = read_own_header(next_file, self._store_id, following.first_revision)
        finally:
            next_file.close()
        file = self._file_system.open(source.path)
        try:
            header = read_own_header(file, self._store_id, source.first_revision)
            scanner = SegmentScanner(file, header, start_of(header))
            for number, _ in enumerate(scanner):
                if number % _RECORDS_BETWEEN_PAUSES == 0:
                    self._pause()
            end = scanner.position
            if (end.offset_bytes, end.digest) != (
                next_header.predecessor_bytes,
                next_header.predecessor_digest,
            ):
                problem = scanner.end.problem if scanner.end else None
                raise CorruptionError(
                    source.path,
                    end.offset_bytes,
                    problem or "the segment does not end where the next one continues it",
                )
            return file.read(0, end.offset_bytes)
        finally:
            file.close()

    def _may_go(self, following: SegmentSource) -> bool:
        """Say whether the segment before one may be dropped."""
        return self._drops and following.first_revision - 1 <= self._kept_leaves

    def _archived(self) -> list[SegmentSource]:
        return list_archived(self._file_system, self._path)

    def _drop_archived(self) -> int:
        """Drop archived segments that are past a limit, oldest first."""
        if not self._drops:
            return 0
        archived = self._archived()
        sources = list_sources(self._file_system, self._path)
        kept = [source.path for source in self._kept(archived, sources)]
        following = {source.first_revision: after for source, after in pairwise(sources)}
        dropped = [
            source
            for source in archived
            if source.path not in kept and self._may_go(following[source.first_revision])
        ]
        if not self._are_said(dropped, following):
            return 0
        for source in dropped:
            self._file_system.remove(source.path)
            self._file_system.sync_directory(self._archive_path)
        return len(dropped)

    def _say_all_dropped(
        self, segments: Sequence[SegmentSource], superseded: Sequence[int]
    ) -> None:
        """Say that superseded segments are dropped without being archived, or let them stay."""
        going = []
        for source, following in pairwise(segments):
            if source.first_revision not in superseded or not self._may_go(following):
                break
            going.append(source)
        after = {source.first_revision: following for source, following in pairwise(segments)}
        self._drops = self._drops and self._are_said(going, after)

    def _are_said(
        self, dropped: Sequence[SegmentSource], following: Mapping[int, SegmentSource]
    ) -> bool:
        """Have it committed that segments are dropped, before any of them is; return whether it is.

        After a crash in between, the next compaction says it again, and then drops them.
        """
        if not dropped:
            return True
        return self._say_dropped(
            Dropping(
                first_revision=dropped[0].first_revision,
                last_revision=following[dropped[-1].first_revision].first_revision - 1,
                segment_count=len(dropped),
                size_bytes=sum(self._file_system.size_bytes(source.path) for source in dropped),
            )
        )

    def _kept(
        self, archived: list[SegmentSource], sources: list[SegmentSource]
    ) -> list[SegmentSource]:
        """Return the newest archived segments that are within every limit."""
        newest_revision = sources[-1].first_revision if sources else 0
        following = {source.first_revision: after for source, after in pairwise(sources)}
        spans = [self._span(source, following[source.first_revision]) for source in archived]
        count = kept_count(self._retention, spans, newest_revision, time.time_ns())
        return archived[len(archived) - count :]

    def _span(self, source: SegmentSource, following: SegmentSource) -> Span:
        sealed_ns = 0
        if self._retention.age_seconds is not None:
            # The next segment was started when this one's last batch was the newest.
            file = open_source(self._file_system, following)
            try:
                header = read_own_header(file, self._store_id, following.first_revision)
            finally:
                file.close()
            sealed_ns = header.created_ns
        size_bytes = self._file_system.size_bytes(source.path)
        return Span(following.first_revision - 1, size_bytes, sealed_ns)

    def _store_bytes(self) -> int:
        names = (WAL_NAME, ARCHIVE_NAME, CHECKPOINTS_NAME, LADDER_NAME)
        directories = [join(self._path, name) for name in names]
        total = 0
        for directory in directories:
            for name in self._file_system.list_directory(directory):
                with contextlib.suppress(FileNotFoundError):
                    total += self._file_system.size_bytes(join(directory, name))
        return total
