"""The write-ahead log's writer: append, group sync, roll.

`append` frames a batch, gives it the next revision and adds it to the open *group*; the caller
holds the store's writer lock, so appends are ordered. `make_durable` then runs without that
lock: the group's first member is its leader, which waits for the sync in progress, closes the
group, writes all its records with one write, syncs once and wakes the others. While a sync runs,
the next group gathers.

Invariants:
- records reach the file in revision order: groups form a queue, and a leader flushes every group
  before its own first;
- `durable_revision` never exceeds what a sync has confirmed, and the `durable` file is written
  only after it;
- a group never spans two segments. The first group of a segment writes the segment's header with
  its records and syncs both before the file gets its name, so a named segment has a whole header;
- the first failed write or sync latches: from then on every append and every wait raises
  `StoreFailedError`. A sync is never tried again, since the kernel may have dropped the pages
  that it failed to write.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from eventstore import format as layout
from eventstore.errors import BatchTooLargeError, StoreFailedError
from eventstore.filesystem import is_full, join

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.filesystem import File, FileSystem, SharedBlock
    from eventstore.log.reader import Position
    from eventstore.log.spare import Spare, SpareKeeper

_RESERVE_FRACTION = 4
"""The last quarter of a segment is kept for batches that free space, once the disk is full."""


class Segment:
    """A segment that is being written."""

    __slots__ = ("file", "header", "is_named", "size_bytes")

    def __init__(
        self, file: File, header: layout.SegmentHeader, size_bytes: int, *, is_named: bool
    ) -> None:
        self.file = file
        self.header = header
        self.size_bytes = size_bytes
        self.is_named = is_named


class Group:
    """Batches that become durable by one sync."""

    __slots__ = ("_gate", "error", "finished", "frames", "last_revision", "offset_bytes", "segment")

    def __init__(self, segment: Segment, offset_bytes: int) -> None:
        self.segment = segment
        self.offset_bytes = offset_bytes
        self.frames: list[bytes] = []
        self.last_revision = 0
        self.error: BaseException | None = None
        self.finished = False
        # A plain lock as a turnstile: an Event costs ten times as much to make and to pass.
        self._gate = threading.Lock()
        self._gate.acquire()

    def finish(self, error: BaseException | None) -> None:
        """Let everyone through who waits for this group; does nothing the second time."""
        if self.finished:
            return
        self.error = error
        self.finished = True
        self._gate.release()

    def wait(self) -> None:
        """Return once the group is finished."""
        with self._gate:
            pass


class Ticket(NamedTuple):
    """An appended batch on its way to stable storage.

    Attributes:
        group: that it is written with.
        leads: whether whoever holds the ticket has to flush the group.
        revision: given to the batch.
        digest: its chain digest.
        time_ns: its time.
    """

    group: Group
    leads: bool
    revision: int
    digest: bytes
    time_ns: int


class LogWriter:
    """Appends batches to the active segment and makes them durable."""

    def __init__(
        self,
        file_system: FileSystem,
        wal_path: str,
        segment: Segment,
        end: Position,
        durable: SharedBlock,
        spares: SpareKeeper,
        *,
        batch_bytes_max: int,
        on_space_needed: Callable[[], object],
    ) -> None:
        """Go on writing after `end`, which must be on stable storage.

        Args:
            file_system: where.
            wal_path: the directory of the segments.
            segment: the active one.
            end: where its next record goes.
            durable: the `durable` file.
            spares: gives the next segment.
            batch_bytes_max: the cap for segments that are started from now on.
            on_space_needed: called when a spare should be prepared; must not block.
        """
        self._file_system = file_system
        self._wal_path = wal_path
        self._durable_block = durable
        self._spares = spares
        self._batch_bytes_max = batch_bytes_max
        self._on_space_needed = on_space_needed
        self._seed = layout.record_seed(segment.header.store_id)

        # Changed by append, under the store's writer lock.
        self._segment = segment
        self._offset_bytes, self.last_revision, self._digest, self._time_ns = end

        self.appended_bytes = 0

        # The queue is shared between append and the leaders, under its own short lock.
        self._queue_lock = threading.Lock()
        self._queue: deque[Group] = deque()
        self._open_group: Group | None = None
        self._failure: BaseException | None = None

        # Changed by leaders, under the sync lock.
        self._sync_lock = threading.Lock()
        self._flushed_segment = segment
        self.durable_revision = end.revision

    @property
    def failure(self) -> BaseException | None:
        """The error that ended this handle's writing, if one did."""
        return self._failure

    @property
    def position(self) -> tuple[int, bytes, int]:
        """Revision, digest and time of the last appended batch."""
        return self.last_revision, self._digest, self._time_ns

    def append(self, payload: bytes, *, frees_space: Callable[[], bool]) -> Ticket:
        """Give a batch the next revision and add it to the open group; it is not durable yet.

        The caller holds the store's writer lock, and passes the ticket to `make_durable` after
        releasing it.

        Args:
            payload: an encoded batch.
            frees_space: says whether it removes more than it adds; such batches may use what is
                left of the prepared space when the disk is full. Only called when that matters.

        Raises:
            BatchTooLargeError: the payload is over the segment's cap.
            StorageFullError: it needs a new segment, or the reserve, and there is no space.
            StoreFailedError: an earlier write or sync failed.
        """
        self._require_sound()
        cap = min(self._batch_bytes_max, self._segment.header.batch_bytes_max)
        if len(payload) > cap:
            cap = self._cap_of_next_segment(len(payload))
        size = layout.record_bytes(len(payload))
        try:
            self._make_room(size, cap, frees_space=frees_space)
        except OSError as error:
            self.abandon(error)
            raise self._failed_error() from error
        time_ns = max(time.time_ns(), self._time_ns)
        revision = self.last_revision + 1
        frame, digest = layout.frame_record(
            payload,
            revision=revision,
            time_ns=time_ns,
            durable_revision=self.durable_revision,
            previous_digest=self._digest,
            seed=self._seed,
        )
        offset_bytes = self._offset_bytes
        # Before the batch is queued: whoever is interrupted here sees that the head has moved.
        self._offset_bytes += size
        self.appended_bytes += size
        self.last_revision, self._digest, self._time_ns = revision, digest, time_ns
        group, leads = self._join_group(frame, revision, offset_bytes)
        return Ticket(group, leads, revision, digest, time_ns)

    def make_durable(self, ticket: Ticket) -> None:
        """Return once the batch is on stable storage.

        Raises:
            StoreFailedError: the write or sync of its group, or of one before it, failed.
        """
        group = ticket.group
        if ticket.leads:
            self._flush_through(group)
        else:
            group.wait()
        if group.error is not None:
            raise self._failed_error() from group.error

    def abandon(self, error: BaseException) -> None:
        """Fail the handle: an interrupt left a batch that nobody makes durable, or a file failed.

        Those who wait for such a batch, or build on it, can't be told what became of it. A second
        interrupt comes through once that is done: were it to end this, they would wait for ever.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                with self._queue_lock:
                    # Nobody joins a group any more that nobody will flush.
                    self._failure = self._failure or error
                    self._open_group = None
                with self._sync_lock:
                    self._fail(error)
                break
            except BaseException as another:
                interrupt = another
        if interrupt is not None:
            raise interrupt

    def wait_until_durable(self, revision: int) -> None:
        """Return once a batch that other threads are flushing is on stable storage.

        Raises:
            StoreFailedError: it never will be, by this handle.
        """
        while self.durable_revision < revision:
            self._require_sound()
            with self._queue_lock:
                group = next((g for g in self._queue if g.last_revision >= revision), None)
            if group is not None:
                group.wait()

    def close(self) -> None:
        """Release the files, once whoever is making a batch durable has done so, or has failed."""
        with contextlib.suppress(StoreFailedError):
            self.wait_until_durable(self.last_revision)
        with self._sync_lock:
            self._flushed_segment.file.close()
            self._segment.file.close()

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise self._failed_error() from self._failure

    def _failed_error(self) -> StoreFailedError:
        return StoreFailedError(
            f"{self._wal_path}: writing the log failed ({self._failure}); this handle "
            "acknowledges nothing more: close it and open the store again, which recovers"
        )

    def _cap_of_next_segment(self, payload_bytes: int) -> int:
        """Return a higher cap if the options have raised it since this segment was started."""
        if payload_bytes > self._batch_bytes_max:
            raise BatchTooLargeError(
                f"the events of this transaction take {payload_bytes} bytes; one batch may take "
                f"{self._batch_bytes_max}: split the transaction, or open the store with a higher "
                "StoreOptions.batch_bytes_max"
            )
        return self._batch_bytes_max

    def _make_room(self, size: int, cap: int, *, frees_space: Callable[[], bool]) -> None:
        """Roll to the next segment if need be, before anything is changed."""
        segment = self._segment
        left = segment.size_bytes - self._offset_bytes
        if size > left or cap > segment.header.batch_bytes_max:
            self._roll(size, frees_space=frees_space)
            return
        reserve = segment.size_bytes // _RESERVE_FRACTION
        if left - size >= 2 * reserve or self._spares.ready:
            return
        self._on_space_needed()
        if left - size < reserve and not frees_space():
            # Normally the background has long prepared it; this tells a full disk from a slow one.
            self._spares.prepare()

    def _roll(self, size: int, *, frees_space: Callable[[], bool]) -> None:
        spare: Spare = self._spares.take(
            layout.SEGMENT_HEADER_BYTES + size,
            may_be_last=not self._spares.ready and frees_space(),
        )
        old = self._segment.header
        # A segment without a record is replaced by a larger one of the same name.
        replaced = old.first_revision == self.last_revision + 1
        header = layout.SegmentHeader(
            store_id=old.store_id,
            first_revision=self.last_revision + 1,
            predecessor_digest=self._digest,
            predecessor_bytes=old.predecessor_bytes if replaced else self._offset_bytes,
            batch_bytes_max=self._batch_bytes_max,
            created_ns=max(time.time_ns(), self._time_ns),
        )
        self._segment = Segment(spare.file, header, spare.size_bytes, is_named=False)
        self._offset_bytes = layout.SEGMENT_HEADER_BYTES
        with self._queue_lock:
            self._open_group = None

    def _join_group(self, frame: bytes, revision: int, offset_bytes: int) -> tuple[Group, bool]:
        with self._queue_lock:
            self._require_sound()
            group = self._open_group
            leads = group is None
            if group is None:
                group = self._open_group = Group(self._segment, offset_bytes)
                self._queue.append(group)
            group.frames.append(frame)
            group.last_revision = revision
            return group, leads

    def _flush_through(self, group: Group) -> None:
        """Flush every queued group up to and with this one, unless another leader has done it."""
        with self._sync_lock:
            try:
                while not group.finished:
                    self._flush(self._close_first_group())
            except BaseException as error:
                # Before the lock is free: no other leader may write after a failure.
                self._fail(error)
                if not isinstance(error, OSError):
                    raise

    def _close_first_group(self) -> Group:
        with self._queue_lock:
            group = self._queue[0]
            if group is self._open_group:
                self._open_group = None
            return group

    def _flush(self, group: Group) -> None:
        frames = group.frames
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        segment = group.segment
        if segment.is_named:
            segment.file.write(group.offset_bytes, data)
            segment.file.sync()
        else:
            self._flush_first_group(segment, data)
        self.durable_revision = group.last_revision
        self._tell_durable(segment.header.store_id, group.last_revision)
        # First this, so that an interrupt in between leaves nobody waiting.
        group.finish(None)
        with self._queue_lock:
            self._queue.popleft()

    def _tell_durable(self, store_id: bytes, revision: int) -> None:
        try:
            self._durable_block.store(layout.pack_durable(store_id, revision))
        except OSError as error:
            # It is a lower bound: without space for it, followers see this batch a little later.
            if not is_full(error):
                raise

    def _flush_first_group(self, segment: Segment, data: bytes) -> None:
        """Write a segment's header and first records, then give it its name.

        The name is durable before anything in the file is acknowledged, and the content before
        the name.
        """
        file = segment.file
        file.write(0, layout.pack_segment_header(segment.header) + data)
        file.sync()
        path = join(self._wal_path, layout.segment_name(segment.header.first_revision))
        self._file_system.rename(file.path, path)
        self._file_system.sync_directory(self._wal_path)
        file.path = path
        segment.is_named = True
        self._flushed_segment.file.close()
        self._flushed_segment = segment

    def _fail(self, error: BaseException) -> None:
        with self._queue_lock:
            if self._failure is None:
                self._failure = error
            self._open_group = None
            groups = list(self._queue)
            self._queue.clear()
        for group in groups:
            group.finish(error)
