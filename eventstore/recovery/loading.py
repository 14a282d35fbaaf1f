"""Building the state while a store is opened.

Recovery hands over the checkpoint that it chose, and then every record after it. A projection
that the checkpoint does not hold, or holds in another version, is rebuilt from the log first.
Tables in the checkpoint of projections that were not given are *left out*: they belong to its
revision, and nobody here can fold a later batch into them.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CompactedError, CorruptionError, ProjectionError
from eventstore.log.cursor import RecordCursor
from eventstore.recovery import replay
from eventstore.recovery.decide import contradiction
from eventstore.reports import RebuiltProjection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.log.reader import Record
    from eventstore.projection import Projection
    from eventstore.tables.checkpoint import Checkpoint, TableName
    from eventstore.tables.packed import PackedRows

_BATCHES_BETWEEN_CALLS = 1000

_logger = logging.getLogger("eventstore")


class LeftOut(NamedTuple):
    """Tables in a checkpoint that belong to none of the projections given.

    Attributes:
        revision: of the checkpoint.
        tables: what each table is, and its rows.
    """

    revision: int
    tables: tuple[tuple[TableName, PackedRows], ...]


class Loading:
    """The state that an open builds.

    Attributes:
        state: as far as it has been built.
        checkpointed_revision: of the checkpoint that it was built on, 0 if there was none, or
            if it does not hold all projections.
        left_out: what the checkpoint holds of projections that were not given.
        rebuilt: the projections that were folded anew.
    """

    def __init__(
        self,
        file_system: FileSystem,
        path: str,
        projections: Sequence[Projection],
        on_rebuild: Callable[[int, int], object] | None = None,
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._projections = projections
        self._on_rebuild = on_rebuild
        self.state = replay.start_state(projections, None)
        self.checkpointed_revision = 0
        self.left_out = LeftOut(0, ())
        self.rebuilt: tuple[RebuiltProjection, ...] = ()

    def start(self, checkpoint: Checkpoint | None) -> Callable[[Record], None]:
        """Take the checkpoint, rebuild what it does not hold, and return the replay."""
        self.state = replay.start_state(self._projections, checkpoint)
        if checkpoint is not None:
            given = {projection.name for projection in self._projections}
            self.left_out = LeftOut(
                checkpoint.revision,
                tuple(table for table in checkpoint.tables if table[0].projection not in given),
            )
        stale = replay.stale_projections(self._projections, checkpoint)
        if checkpoint is not None and stale:
            self._rebuild(stale, checkpoint)
        elif checkpoint is not None:
            self.checkpointed_revision = checkpoint.revision
        return lambda record: replay.replay_record(self.state, record)

    def _rebuild(self, stale: list[Projection], checkpoint: Checkpoint) -> None:
        """Fold the log up to the checkpoint into the projections that it does not hold."""
        rebuilt = replay.start_state(stale, None)
        names = ", ".join(f"{projection.name!r}" for projection in stale)
        last = checkpoint.revision
        _logger.warning(
            "%s: rebuilding projection %s from revisions 1 to %d, since the newest checkpoint does "
            "not hold it in this version",
            self._path,
            names,
            last,
        )
        started = time.monotonic()
        cursor = RecordCursor(self._file_system, self._path, checkpoint.store_id, 1)
        try:
            for record in cursor.read(last):
                replay.replay_record(rebuilt, record)
                if record.revision == checkpoint.revision:
                    _require_same_history(checkpoint, record)
                if self._on_rebuild is not None and (
                    record.revision == last or record.revision % _BATCHES_BETWEEN_CALLS == 0
                ):
                    self._on_rebuild(record.revision, last)
        except CompactedError as error:
            raise ProjectionError(
                f"{self._path}: the newest checkpoint does not hold projection {names} in this "
                f"version, and it can't be rebuilt: {error}"
            ) from error
        finally:
            cursor.close()
        self.state.adopt(rebuilt)
        held = {table.projection: table.projection_version for table, _ in checkpoint.tables}
        self.rebuilt = tuple(
            RebuiltProjection(one.name, one.version, held.get(one.name), last) for one in stale
        )
        _logger.info(
            "%s: rebuilt projection %s in %.1f s", self._path, names, time.monotonic() - started
        )


def _require_same_history(checkpoint: Checkpoint, record: Record) -> None:
    """Check that the log at a checkpoint's revision is what the checkpoint was made from."""
    problem = contradiction(checkpoint, record.digest, record.path, record.offset_bytes)
    if problem is not None:
        raise CorruptionError(*problem)
