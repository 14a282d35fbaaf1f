"""A log in memory: the smallest one that stands behind the seam, and what shows that it is one.

It keeps records in a list and checkpoints as bytes. What was appended is durable once somebody asks
for that. Nothing is left when the process ends; but who keeps the object can open it again, as if
another process did, after `close` or without: what was not durable then is gone.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.checkpoints.chains import Chains, must_keep
from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints
from eventstore.checkpoints.writer import write_checkpoint
from eventstore.errors import BatchTooLargeError, StoreFailedError
from eventstore.format.names import CHECKPOINTS_NAME
from eventstore.format.segment import Framing, frame_record, genesis_digest, record_seed
from eventstore.log.interface import Head
from eventstore.log.reader import Record
from eventstore.options import StoreOptions
from eventstore.reports import CompactionReport, RecoveryReport, Verdict
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.checkpoints.checkpoint import Checkpoint, CheckpointContent
    from eventstore.engine_events import Dropping
    from eventstore.log.interface import Appended, Wanted

_PATH = "/"
_CHECKPOINTS_PATH = f"/{CHECKPOINTS_NAME}"


class _Batch(NamedTuple):
    revision: int
    digest: bytes
    time_ns: int


class MemoryLog:
    """See `eventstore.log.interface.Log`.

    Attributes:
        store_id: 16 bytes.
        recovery: what opening it found.
        failure: what ended its writing, if anything has.
    """

    def __init__(self, options: StoreOptions | None = None) -> None:
        self._options = options or StoreOptions()
        self.store_id = uuid.uuid4().bytes
        self._records: list[Record] = []
        self._durable_revision = 0
        self._files = SimulatedFileSystem()
        self._files.make_directory(_CHECKPOINTS_PATH)
        self._syncing = threading.Lock()
        self.recovery = RecoveryReport(Verdict.NEW)
        self.failure: BaseException | None = None
        self.appended_bytes = 0

    def reopened(self, options: StoreOptions | None = None) -> MemoryLog:
        """Return the log as a process would find it that opens it anew."""
        self._options = options or self._options
        del self._records[self._durable_revision :]
        checkpoints = Chains(list_checkpoints(self._files, _PATH)).revisions
        self.recovery = RecoveryReport(
            Verdict.CLEAN if self._records else Verdict.NEW,
            revision=self._durable_revision,
            checkpoint_revision=checkpoints[-1] if checkpoints else 0,
        )
        self.failure = None
        self.appended_bytes = 0
        return self

    @property
    def head(self) -> Head:
        """The last batch appended."""
        if self._records:
            last = self._records[-1]
            return Head(last.revision, last.digest, last.time_ns)
        return Head(0, genesis_digest(self.store_id), 0)

    @property
    def durable_revision(self) -> int:
        """The highest revision that was made durable."""
        return self._durable_revision

    def append(
        self, payload: bytes, *, expected_revision: int, frees_space: Callable[[], bool]
    ) -> Appended:
        """Give a batch the expected revision; it is not durable yet."""
        _ = frees_space  # there is always space
        self._require_sound()
        if len(payload) > self._options.batch_bytes_max:
            raise BatchTooLargeError(
                f"the batch takes {len(payload)} bytes, more than {self._options.batch_bytes_max}"
            )
        head = self.head
        if expected_revision != head.revision + 1:
            error = StoreFailedError(
                f"revision {expected_revision} was expected, the log is at {head.revision}"
            )
            self.abandon(error)
            raise error
        time_ns = max(time.time_ns(), head.time_ns)
        framed, digest = frame_record(
            payload,
            revision=expected_revision,
            time_ns=time_ns,
            durable_revision=self._durable_revision,
            previous_digest=head.digest,
            framing=Framing(record_seed(self.store_id), b""),
        )
        durable_revision = self._durable_revision
        self.appended_bytes += len(framed)
        self._records.append(
            Record(0, expected_revision, time_ns, durable_revision, digest, payload, "memory", 0)
        )
        return _Batch(expected_revision, digest, time_ns)

    def make_durable(self, appended: Appended) -> None:
        """Return once a batch is durable."""
        with self._syncing:
            self._require_sound()
            self._durable_revision = max(self._durable_revision, appended.revision)

    def wait_until_durable(self, revision: int) -> None:
        """Return once a batch that some thread is making durable is so."""
        while self._durable_revision < revision:
            self._require_sound()
            time.sleep(0.0001)

    def abandon(self, error: BaseException) -> None:
        """Fail the handle."""
        self.failure = self.failure or error

    def refuse_reentry(self) -> None:
        """Do nothing: no call waits for another one of the same thread."""

    def read(self, first_revision: int, last_revision: int) -> Iterator[Record]:
        """Yield durable records."""
        last = min(last_revision, self._durable_revision)
        for revision in range(first_revision, last + 1):
            yield self._records[revision - 1]

    def select(
        self, first_revision: int, last_revision: int, wanted: Wanted, *, reverse: bool = False
    ) -> Iterator[Record]:
        """Yield all durable records: there is no index."""
        _ = wanted
        records = list(self.read(first_revision, last_revision))
        return reversed(records) if reverse else iter(records)

    def revision_at(self, time_ns: int, last_revision: int) -> int:
        """Return the last revision up to another whose time is not after a time."""
        return sum(record.time_ns <= time_ns for record in self.read(1, last_revision))

    def await_durable(self, revision: int, seconds: float) -> None:
        """Return once a revision is durable, or after a moment."""
        if self._durable_revision < revision:
            time.sleep(min(seconds, 0.001))

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""
        return 1

    def oldest_state(self) -> int:
        """Return the first revision whose state can be told."""
        return 0

    def checkpoint_before(self, revision: int) -> Checkpoint | None:
        """Return the newest checkpoint at or before a revision."""
        loader = CheckpointLoader(self._files, list_checkpoints(self._files, _PATH))
        fitting = [found for found in loader.revisions if found <= revision]
        return loader.load(fitting[0]) if fitting else None

    def save_checkpoint(self, content: CheckpointContent, pause: Callable[[], object]) -> None:
        """Store a checkpoint."""
        write_checkpoint(self._files, _CHECKPOINTS_PATH, content, pause)

    def look(self) -> None:
        """Do nothing: memory does not go."""

    def compact(
        self,
        pause: Callable[[], object],
        say_dropped: Callable[[Dropping], bool],
        on_segment: Callable[[int, int], object],
    ) -> CompactionReport:
        """Drop all checkpoints that are superseded; batches are kept."""
        _ = pause, say_dropped, on_segment
        files = list_checkpoints(self._files, _PATH)
        kept = must_keep(files).files
        removed = [file for file in files if file not in kept]
        for file in removed:
            self._files.remove(file.path)
        return CompactionReport(checkpoints_removed=len(removed))

    @property
    def is_index_behind(self) -> bool:
        """Never: there is no index."""
        return False

    @property
    def unindexed_count(self) -> int:
        """None: there is no index."""
        return 0

    def index(self, pause: Callable[[], object], batches_min: int = 0) -> None:
        """Do nothing: there is no index."""

    def stats(self) -> dict[str, Any]:
        """Return sizes and counts."""
        head = self.head
        return {
            "store_id": self.store_id.hex(),
            "revision": head.revision,
            "durable_revision": self.durable_revision,
            "oldest_revision": self.oldest_revision(),
            "digest": head.digest.hex(),
            "appended_bytes": self.appended_bytes,
        }

    def abandon_after_fork(self) -> None:
        """Do nothing: it shares nothing with the parent."""

    def close(self) -> None:
        """Do nothing: the object is the log."""

    def _require_sound(self) -> None:
        if self.failure is not None:
            raise StoreFailedError(
                f"an earlier write failed: {self.failure}: reopen"
            ) from self.failure
