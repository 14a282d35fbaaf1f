"""The seam between the engine and a log.

The engine needs little of a log: append a batch at an expected revision, make it durable, read
from a revision on, store and fetch checkpoints. The file log (`eventstore.backend.file_log`) is the
embedded default. A log replicated by an existing distributed engine can stand in its place: the
expected revision is then what fences off a writer that has lost its turn. `EventStore.open` takes
any `Log`; how one is opened itself, and what `verify` reads, is each log's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eventstore.checkpoints.checkpoint import Checkpoint, CheckpointContent
    from eventstore.engine_events import Dropping
    from eventstore.log.reader import Record
    from eventstore.reports import CompactionReport, RecoveryReport


class Head(NamedTuple):
    """The last batch appended: its revision, chain digest and time. It need not be durable yet."""

    revision: int
    digest: bytes
    time_ns: int


class Wanted(NamedTuple):
    """Which batches are asked for: those that have all of what is not None.

    Attributes:
        keys: any of these, as `Projection.keys` declares them of an event.
        actor: of the batch.
        event_type: of any of its events.
    """

    keys: tuple[str, ...] | None = None
    actor: str | None = None
    event_type: str | None = None


class Appended(Protocol):
    """A batch that was appended and is on its way to stable storage."""

    @property
    def revision(self) -> int:
        """Given to the batch."""

    @property
    def digest(self) -> bytes:
        """Chain digest of the batch."""

    @property
    def time_ns(self) -> int:
        """Time of the batch."""


class LogReader(Protocol):
    """A log for who reads it: history, the state as it was, and followers of another writer.

    Called by any thread. All errors are those of `eventstore.errors`.
    """

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn when the store was made."""

    @property
    def recovery(self) -> RecoveryReport:
        """What opening the log found and did."""

    @property
    def durable_revision(self) -> int:
        """The highest revision that is known to be on stable storage."""

    def refuse_reentry(self) -> None:
        """Raise `ReentrantUseError` if the running thread is in the middle of a call to the log.

        What asks for this is then run by a signal handler or a finalizer. For what only reads,
        and for what takes the log's locks, the log asks by itself.
        """

    def read(self, first_revision: int, last_revision: int) -> Iterator[Record]:
        """Yield durable records."""

    def select(
        self, first_revision: int, last_revision: int, wanted: Wanted, *, reverse: bool = False
    ) -> Iterator[Record]:
        """Yield durable records that may be wanted, oldest or newest first.

        An index may leave out those that are not; whoever asks looks at what comes.
        """

    def revision_at(self, time_ns: int, last_revision: int) -> int:
        """Return the last revision up to another whose time is not after a time.

        Returns:
            the one before the oldest that is kept, if that is after the time too.
        """

    def await_durable(self, revision: int, seconds: float) -> None:
        """Return once a revision is durable, or after so long; or earlier, and it may not be.

        It need not have been appended yet. A log that has been closed returns at once.
        """

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""

    def oldest_state(self) -> int:
        """Return the first revision whose state can be told, as the names of files say.

        It may lie behind `oldest_revision`: a state is made of an earlier one and what follows.
        """

    def checkpoint_before(self, revision: int) -> Checkpoint | None:
        """Return the newest valid checkpoint of this history at or before a revision."""

    def stats(self) -> Mapping[str, Any]:
        """Return sizes and counts."""

    def abandon_after_fork(self) -> None:
        """Give up what must not be shared with the parent process, without any I/O."""

    def close(self) -> None:
        """Release everything; does nothing the second time."""


class Log(LogReader, Protocol):
    """Where batches and checkpoints are kept, for the one who writes them.

    `append` is called by one thread at a time, everything else by any.
    """

    @property
    def head(self) -> Head:
        """The last batch appended."""

    @property
    def appended_bytes(self) -> int:
        """How much was appended through this handle."""

    @property
    def failure(self) -> BaseException | None:
        """What ended this handle's writing, if anything has."""

    def append(
        self, payload: bytes, *, expected_revision: int, frees_space: Callable[[], bool]
    ) -> Appended:
        """Give a batch the expected revision and queue it; it is not durable yet."""

    def make_durable(self, appended: Appended) -> None:
        """Return once a batch that the caller has appended is durable."""

    def abandon(self, error: BaseException) -> None:
        """Fail the handle: an interrupt left an appended batch that nobody makes durable."""

    def wait_until_durable(self, revision: int) -> None:
        """Return once a batch that some thread is making durable is so."""

    def save_checkpoint(self, content: CheckpointContent, pause: Callable[[], object]) -> None:
        """Store a checkpoint durably, and verify it."""

    def look(self) -> None:
        """Fail, and raise, if what is committed would not be found; called once a second."""

    def compact(
        self,
        pause: Callable[[], object],
        say_dropped: Callable[[Dropping], bool],
        on_segment: Callable[[int, int], object],
    ) -> CompactionReport:
        """Archive or drop what checkpoints supersede.

        Args:
            pause: called now and then, so that others get the processor.
            say_dropped: commits that batches are about to be dropped, and returns whether that is
                done; else they stay.
            on_segment: called with how many segments are done, and how many there are to do.
        """

    @property
    def is_index_behind(self) -> bool:
        """Whether it is time for `index`."""

    @property
    def unindexed_count(self) -> int:
        """How many batches were appended since this was opened that no call of `index` has seen."""

    def index(self, pause: Callable[[], object], batches_min: int = ...) -> None:
        """Bring the stored index of the past up to date.

        Args:
            pause: called now and then, so that others get the processor.
            batches_min: how many of the active segment are worth a new file.
        """
