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
- where the next record goes, and what it continues, is one value (`end`), which is replaced in one
  step: whatever stops an append or a roll, the old value is there or the new one. A group is joined
  only where its segment is that of the end;
- a flush notes that it runs until it has ended well. Whoever finds such a note under the sync lock
  knows that it was stopped (an interrupt can cut off the handling of another one), and fails the
  handle. Whoever waits for a group flushes it after a while: its leader may have been stopped
  before it began. So nobody waits for a thread that has gone away;
- the first failed write or sync latches: from then on every append and every wait raises
  `StoreFailedError`. A sync is never tried again, since the kernel may have dropped the pages
  that it failed to write.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from eventstore.counters import seconds, sizes
from eventstore.errors import BatchTooLargeError, StoreFailedError, text_of
from eventstore.files.failures import gone_error, is_full, is_gone
from eventstore.files.paths import join
from eventstore.format.codec import SALT_BYTES, with_salt
from eventstore.format.durable import pack_durable
from eventstore.format.names import segment_name
from eventstore.format.segment import (
    MARK_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    frame_record,
    pack_segment_header,
    padded_bytes,
)
from eventstore.locks import refuse_reentry
from eventstore.log.digests import AppendedDigests
from eventstore.log.interface import Head

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import File, FileSystem, SharedBlock
    from eventstore.log.reader import Position
    from eventstore.log.spares import Spare, SpareKeeper

_LEADER_SECONDS = 1.0
"""So long a member of a group waits before it looks itself whether the group is being flushed."""

_SALTS_AT_ONCE = 64

_RESERVE_FRACTION = 4
"""The last quarter of a segment is kept for batches that free space, once the disk is full."""


def draw_mark(payload: bytes = b"") -> bytes:
    """Return a new mark for a segment, which its first payload does not hold.

    It holds no zero byte, so that neither padding nor the zeros behind the last record can be a
    part of one.
    """
    while True:
        mark = secrets.token_bytes(MARK_BYTES).replace(b"\0", b"\1")
        if mark not in payload:
            return mark


class Salts:
    """Random bytes for batches, drawn many at a time: a call of the system for each costs more.

    One thread at a time takes some.
    """

    def __init__(self, draw: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._draw = draw
        self._drawn = b""
        self._next = 0

    def take(self) -> bytes:
        """Return a salt that was never given out."""
        start = self._next
        if start == len(self._drawn):
            self._drawn, start = self._draw(_SALTS_AT_ONCE * SALT_BYTES), 0
        self._next = start + SALT_BYTES
        return self._drawn[start : start + SALT_BYTES]


class Segment:
    """A segment that is being written."""

    __slots__ = ("batch_bytes_max", "file", "framing", "header", "is_named", "size_bytes")

    def __init__(
        self, file: File, header: SegmentHeader, size_bytes: int, *, is_named: bool
    ) -> None:
        self.file = file
        self.header = header
        self.framing = header.framing
        self.batch_bytes_max = header.batch_bytes_max
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

    def wait(self) -> bool:
        """Return once the group is finished, or after a while; say whether it was the first."""
        if self._gate.acquire(timeout=_LEADER_SECONDS):
            # An interrupt right here costs the others the wait, and no more.
            self._gate.release()
        return self.finished


class End(NamedTuple):
    """Where the next record goes, and what it continues.

    Attributes:
        segment: the active one.
        offset_bytes: in it.
        head: the last batch.
    """

    segment: Segment
    offset_bytes: int
    head: Head


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


class _StoppedError(Exception):
    """A thread was stopped in the middle of a step, and could not say so itself."""


class LogWriter:
    """Appends batches to the active segment and makes them durable.

    Attributes:
        end: where the next record goes, and the last appended batch.
        failure: the error that ended this handle's writing, if one did.
        durable_revision: the highest one that a sync has confirmed.
        appended_bytes: through this handle.
        appended_digests: of the batches.
        group_sizes: batches that shared a write and a sync.
        sync_seconds: that each of these took.
    """

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
        salts: Salts | None = None,
    ) -> None:
        """Go on writing after `end`, which must be on stable storage.

        Args:
            file_system: to write the segments by.
            wal_path: the directory of the segments.
            segment: the active one.
            end: where its next record goes.
            durable: the `durable` file.
            spares: gives the next segment.
            batch_bytes_max: the cap for segments that are started from now on.
            on_space_needed: called when a spare should be prepared; must not block.
            salts: for the batches; None if they get none.
        """
        self._file_system = file_system
        self._wal_path = wal_path
        self._durable_block = durable
        self._spares = spares
        self._batch_bytes_max = batch_bytes_max
        self._on_space_needed = on_space_needed
        self._salts = salts

        # Changed by append, under the store's writer lock.
        self.end = End(segment, end.offset_bytes, Head(end.revision, end.digest, end.time_ns))
        self.appended_bytes = 0
        self.appended_digests = AppendedDigests(end.revision, end.digest)
        self._sealed: Segment | None = None

        # The queue is shared between append and the leaders, under its own short lock.
        self._queue_lock = threading.RLock()
        self._queue: deque[Group] = deque()
        self._open_group: Group | None = None
        self.failure: BaseException | None = None

        # Changed by leaders, under the sync lock.
        self._sync_lock = threading.RLock()
        self._flushed_segment = segment
        self._is_flushing = False
        self.durable_revision = end.revision
        self.group_sizes = sizes()
        self.sync_seconds = seconds()

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
        if self.failure is not None:
            self._require_sound()
        if self._salts is not None:
            payload = with_salt(payload, self._salts.take())
        cap = min(self._batch_bytes_max, self.end.segment.batch_bytes_max)
        if len(payload) > cap:
            cap = self._cap_of_next_segment(len(payload))
        try:
            self._make_room(payload, cap, frees_space=frees_space)
        except OSError as error:
            self.abandon(error)
            raise self._failed_error(error) from error
        segment, offset_bytes, head = self.end
        time_ns = max(time.time_ns(), head.time_ns)
        revision = head.revision + 1
        frame, digest = frame_record(
            payload,
            revision=revision,
            time_ns=time_ns,
            durable_revision=self.durable_revision,
            previous_digest=head.digest,
            framing=segment.framing,
        )
        following = End(segment, offset_bytes + len(frame), Head(revision, digest, time_ns))
        # Before the batch is queued: whoever is stopped here sees that the head has moved.
        self.end = following
        self.appended_digests.add(digest)
        self.appended_bytes += len(frame)
        group, leads = self._join_group(frame, following, offset_bytes)
        return Ticket(group, leads, revision, digest, time_ns)

    def seal(self) -> None:
        """Add nothing more to the active segment: the next batch begins another, of version 3.

        So are all that follow: a release that does not know redacted records takes none of the
        store. The caller holds the store's writer lock.
        """
        self._sealed = self.end.segment

    def make_durable(self, ticket: Ticket) -> None:
        """Return once the batch is on stable storage.

        Raises:
            StoreFailedError: the write or sync of its group, or of one before it, failed.
        """
        group = ticket.group
        if ticket.leads or not group.wait():
            self._flush_through(group)
        if group.error is not None:
            raise self._failed_error(group.error) from group.error

    def refuse_reentry(self) -> None:
        """Raise if the running thread is in the middle of a call, interrupted by this one.

        Raises:
            ReentrantUseError: it is.
        """
        refuse_reentry(self._queue_lock, self._sync_lock)

    def abandon(self, error: BaseException) -> None:
        """Fail the handle: an interrupt left a batch that nobody makes durable, or a file failed.

        Those who wait for such a batch, or build on it, can't be told what became of it. Once the
        first line is done, a second interrupt may come: whoever waits finds the failure himself.
        """
        self.failure = self.failure or error
        with self._sync_lock:
            self._fail(error)

    def fail_soon(self, error: BaseException) -> None:
        """Fail the handle without a wait for anyone, who finds the failure himself.

        For whoever may hold a lock that a flush waits for.
        """
        self.failure = self.failure or error

    def wait_until_durable(self, revision: int) -> None:
        """Return once a batch that other threads are flushing is on stable storage.

        Raises:
            StoreFailedError: it never will be, by this handle.
        """
        while self.durable_revision < revision:
            self._require_sound()
            with self._queue_lock:
                group = next((g for g in self._queue if g.last_revision >= revision), None)
            if group is None:
                if self.durable_revision < revision:
                    self.abandon(_StoppedError(f"revision {revision} never came to be written"))
            elif not group.wait():
                self._flush_through(group)

    def close(self) -> None:
        """Release the files, once whoever is making a batch durable has done so, or has failed."""
        with contextlib.suppress(StoreFailedError):
            self.wait_until_durable(self.end.head.revision)
        with self._sync_lock:
            self._flushed_segment.file.close()
            self.end.segment.file.close()

    def _require_sound(self) -> None:
        if self.failure is not None:
            raise self._failed_error(self.failure) from self.failure

    def _failed_error(self, failure: BaseException) -> StoreFailedError:
        if isinstance(failure, OSError) and is_gone(failure):
            return gone_error(failure)
        return StoreFailedError(
            f"{self._wal_path}: writing the log failed ({text_of(failure)}); this handle "
            "acknowledges nothing more: close it and open the store again, which recovers"
        )

    def _cap_of_next_segment(self, payload_bytes: int) -> int:
        """Return a higher cap if the options have raised it since this segment was started."""
        if payload_bytes > self._batch_bytes_max:
            raise BatchTooLargeError(
                f"the events of this transaction take {payload_bytes} bytes, and one batch at most "
                f"{self._batch_bytes_max}",
                "split the transaction, or open the store with a higher "
                "StoreOptions.batch_bytes_max",
            )
        return self._batch_bytes_max

    def _make_room(self, payload: bytes, cap: int, *, frees_space: Callable[[], bool]) -> None:
        """Roll to the next segment if need be, before anything is changed.

        Left of the segment behind this record | all spares ready | not all of them
        ---------------------------------------|------------------|--------------------------------
        less than nothing: it does not fit     | roll             | roll
        half of the segment or more            | append           | append
        a quarter to a half                    | append           | ask for spares, append
        less than a quarter, it frees space    | append           | ask for spares, append
        less than a quarter, it does not       | append           | ask, make them here, append; on
                                               |                  | a full disk StorageFullError

        A roll first makes the spares that are missing, except for a batch that frees space: that
        may spend the last one (`SpareKeeper.take`). A payload that holds the segment's mark goes
        into a segment with another one. A segment of format version 1 has no mark, so nothing is
        added to it, nor to one that is sealed; and no batch with a salt to one of version 2.
        """
        segment, offset_bytes, _ = self.end
        framing = segment.framing
        mark = framing.mark
        left = segment.size_bytes - offset_bytes - framing.record_bytes(len(payload))
        is_closed = not mark or segment is self._sealed or self._lacks_salts(segment)
        if left < 0 or cap > segment.batch_bytes_max or is_closed or mark in payload:
            self._roll(payload, frees_space=frees_space)
            return
        reserve = segment.size_bytes // _RESERVE_FRACTION
        if left >= 2 * reserve or self._spares.ready:
            return
        self._on_space_needed()
        if left < reserve and not frees_space():
            # Normally the background has long prepared it; this tells a full disk from a slow one.
            self._spares.prepare()

    def _lacks_salts(self, segment: Segment) -> bool:
        return self._salts is not None and not segment.header.may_redact

    def _roll(self, payload: bytes, *, frees_space: Callable[[], bool]) -> None:
        size = RECORD_HEADER_BYTES + padded_bytes(len(payload))
        spare: Spare = self._spares.take(
            SEGMENT_HEADER_BYTES + size,
            may_be_last=not self._spares.ready and frees_space(),
        )
        end, head = self.end, self.end.head
        old = end.segment.header
        # A segment without a record is replaced by a larger one of the same name.
        replaced = old.first_revision == head.revision + 1
        header = SegmentHeader(
            store_id=old.store_id,
            first_revision=head.revision + 1,
            predecessor_digest=head.digest,
            predecessor_bytes=old.predecessor_bytes if replaced else end.offset_bytes,
            batch_bytes_max=self._batch_bytes_max,
            created_ns=max(time.time_ns(), head.time_ns),
            mark=draw_mark(payload),
            may_redact=self._salts is not None or old.may_redact or end.segment is self._sealed,
        )
        segment = Segment(spare.file, header, spare.size_bytes, is_named=False)
        self.end = end._replace(segment=segment, offset_bytes=SEGMENT_HEADER_BYTES)

    def _join_group(self, frame: bytes, end: End, offset_bytes: int) -> tuple[Group, bool]:
        """Queue the batch that ends there; return its group, and whether it is the first in it."""
        with self._queue_lock:
            if self.failure is not None:
                self._require_sound()
            group = self._open_group
            if group is not None and group.segment is end.segment:
                group.frames.append(frame)
                group.last_revision = end.head.revision
                return group, False
            group = Group(end.segment, offset_bytes)
            group.frames.append(frame)
            group.last_revision = end.head.revision
            self._queue.append(group)
            self._open_group = group
            return group, True

    def _flush_through(self, group: Group) -> None:
        """Flush every queued group up to and with this one, unless another leader has done it."""
        with self._sync_lock:
            if self._is_flushing or self.failure is not None:
                self._fail(_StoppedError("a flush was stopped, and may be half done"))
                return
            try:
                while not group.finished:
                    self._is_flushing = True
                    self._flush(self._close_first_group())
                    self._is_flushing = False
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
        started = time.perf_counter()
        if segment.is_named:
            segment.file.write(group.offset_bytes, data)
            segment.file.sync()
        else:
            self._flush_first_group(segment, data)
        self.sync_seconds.add(time.perf_counter() - started)
        self.group_sizes.add(len(frames))
        self.durable_revision = group.last_revision
        self._tell_durable(segment.header.store_id, group.last_revision)
        # First this, so that an interrupt in between leaves nobody waiting.
        group.finish(None)
        with self._queue_lock:
            self._queue.popleft()

    def _tell_durable(self, store_id: bytes, revision: int) -> None:
        try:
            self._durable_block.store(pack_durable(store_id, revision))
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
        file.write(0, pack_segment_header(segment.header) + data)
        file.sync()
        path = join(self._wal_path, segment_name(segment.header.first_revision))
        try:
            self._file_system.rename(file.path, path)
        except OSError as error:
            # A rename that fails has changed nothing, so unlike a sync it may be tried again.
            if not is_full(error) or not self._spares.rename_in_room(file.path, path):
                raise
        self._file_system.sync_directory(self._wal_path)
        file.path = path
        segment.is_named = True
        self._flushed_segment.file.close()
        self._flushed_segment = segment

    def _fail(self, error: BaseException) -> None:
        with self._queue_lock:
            error = self.failure = self.failure or error
            self._open_group = None
            for group in self._queue:
                group.finish(error)
            self._queue.clear()
