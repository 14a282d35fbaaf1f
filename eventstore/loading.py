"""Building the state while a store is opened.

Recovery hands over the checkpoint that it chose, and then every record after it. A projection
that the checkpoint does not hold, or holds in another version, is rebuilt from the log first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore import replay
from eventstore.errors import CompactedError, CorruptionError, ProjectionError
from eventstore.judgement import contradiction
from eventstore.log.cursor import RecordCursor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventstore.checkpoint import Checkpoint
    from eventstore.filesystem import FileSystem
    from eventstore.log.reader import Record
    from eventstore.projection import Projection


class Loading:
    """The state that an open builds.

    Attributes:
        state: as far as it has been built.
        checkpointed_revision: of the checkpoint that it was built on, 0 if there was none, or
            if it does not hold all projections.
        left_out: the names of projections that the checkpoint holds and that were not given.
    """

    def __init__(
        self, file_system: FileSystem, path: str, projections: Sequence[Projection]
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._projections = projections
        self.state = replay.start_state(projections, None)
        self.checkpointed_revision = 0
        self.left_out: tuple[str, ...] = ()

    def start(self, checkpoint: Checkpoint | None) -> Callable[[Record], None]:
        """Take the checkpoint, rebuild what it does not hold, and return the replay."""
        self.state = replay.start_state(self._projections, checkpoint)
        if checkpoint is not None:
            held = {table.projection for table, _ in checkpoint.tables}
            given = {projection.name for projection in self._projections}
            self.left_out = tuple(sorted(held - given))
        stale = replay.stale_projections(self._projections, checkpoint)
        if checkpoint is not None and stale:
            self._rebuild(stale, checkpoint)
        elif checkpoint is not None:
            self.checkpointed_revision = checkpoint.revision
        return lambda record: replay.replay_record(self.state, record)

    def _rebuild(self, stale: list[Projection], checkpoint: Checkpoint) -> None:
        """Fold the log up to the checkpoint into the projections that it does not hold."""
        rebuilt = replay.start_state(stale, None)
        cursor = RecordCursor(self._file_system, self._path, 1)
        try:
            for record in cursor.read(checkpoint.revision):
                replay.replay_record(rebuilt, record)
                if record.revision == checkpoint.revision:
                    _require_same_history(checkpoint, record)
        except CompactedError as error:
            names = ", ".join(f"{projection.name!r}" for projection in stale)
            raise ProjectionError(
                f"{self._path}: the newest checkpoint does not hold projection {names} in this "
                f"version, and it can't be rebuilt: {error}"
            ) from error
        finally:
            cursor.close()
        self.state.adopt(rebuilt)


def _require_same_history(checkpoint: Checkpoint, record: Record) -> None:
    """Check that the log at a checkpoint's revision is what the checkpoint was made from."""
    problem = contradiction(checkpoint, record.digest, record.path, record.offset_bytes)
    if problem is not None:
        raise CorruptionError(*problem)
