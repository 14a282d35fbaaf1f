"""Verifying checkpoint files: by themselves, and that the log goes on from them.

Memory: the rows of one checkpoint; of a ladder of them there is never room for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.checkpoints.chains import CheckpointFile, must_keep
from eventstore.checkpoints.checkpoint import Checkpoint, without_rows
from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints
from eventstore.checkpoints.rungs import list_rungs
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.recovery.carrying import carried_over
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.integrity.problems import Problems
    from eventstore.log.segments import SegmentSource
    from eventstore.projection import Projection


class CheckpointCheck:
    """The checkpoint files of a store, read once in full; their rows again where they are compared.

    Attributes:
        files: as they are listed.
        rungs: those of the ladder, which an open rests on in the last need.
        valid: what each valid file leads to, without rows.
        by_revision: of those the first one at each revision, oldest first.
    """

    def __init__(self, file_system: FileSystem, path: str, problems: Problems) -> None:
        """Read nothing yet.

        Args:
            file_system: that the store is on.
            path: of the store.
            problems: to list in what is wrong.
        """
        self._file_system = file_system
        self._path = path
        self._problems = problems
        self.files: list[CheckpointFile] = []
        self.rungs: list[CheckpointFile] = []
        self.valid: dict[CheckpointFile, Checkpoint] = {}
        self.by_revision: dict[int, Checkpoint] = {}
        self._rungs_loader: CheckpointLoader | None = None

    def read(self, store_id: bytes | None, *, with_digest: bool) -> None:
        """Read every file, and list what is wrong with it.

        Args:
            store_id: of the log; None where that is not known.
            with_digest: whether SHA-256 and the order of rows are checked too.
        """
        self.files = list_checkpoints(self._file_system, self._path)
        self.rungs = list_rungs(self._file_system, self._path)
        loader = self._loader(with_digest=with_digest)
        for file in self.all_files:
            try:
                checkpoint = loader.load_without_rows(file)
                if store_id is not None and checkpoint.store_id != store_id:
                    raise CorruptionError(file.path, 0, "the checkpoint belongs to another store")
            except CorruptionError as error:
                self._problems.add_error(error)
            else:
                self.valid[file] = checkpoint
                self.by_revision.setdefault(file.revision, checkpoint)

    @property
    def all_files(self) -> list[CheckpointFile]:
        """The files of checkpoints and the rungs, oldest first."""
        return sorted([*self.files, *self.rungs], key=lambda file: (file.revision, file.is_rung))

    @property
    def base_revision(self) -> int:
        """Of what an open begins at: the newest valid checkpoint, or else rung; 0 without any."""
        bearing = self._kept() or [*self.valid]
        return max((file.revision for file in bearing), default=0)

    def check_start_of_log(self, sources: Sequence[SegmentSource]) -> None:
        """Check that the log goes on from every checkpoint, or starts at the first batch.

        Compaction keeps each segment with a batch after the newest checkpoint that shares no file
        with the newest one.
        """
        first_revision = first_revision_of(sources) or 1
        newest, fallback = self.base_revision, must_keep(self._kept()).fallback
        if first_revision == 1 or min(newest, fallback or newest) >= first_revision - 1:
            return
        reason = f"the log starts at revision {first_revision}, "
        if newest < first_revision - 1:
            reason += "and no valid checkpoint holds the state before it"
        else:
            reason += f"but checkpoint {fallback} needs the batches before it"
        self._problems.add(Damage(sources[0].path, 0, 0, reason))

    def _kept(self) -> list[CheckpointFile]:
        """Return the valid files that compactions go by: no rung."""
        return [file for file in self.valid if not file.is_rung]

    def carry_over(self, projections: Sequence[Projection]) -> None:
        """Bring checkpoints to the versions of the projections, so that all can be compared."""
        versions = {projection.name: projection.version for projection in projections}
        carried: dict[int, Checkpoint] = {}
        for file, checkpoint in self.valid.items():
            if any(
                name.projection_version < versions.get(name.projection, 0)
                for name, _ in checkpoint.tables
            ):
                try:
                    self.valid[file] = without_rows(self.with_rows(file, projections))
                except CorruptionError as error:
                    self._problems.add_error(error)
                except ProjectionError as error:
                    self._problems.add(Damage(file.path, 0, 0, error.what))
            carried.setdefault(file.revision, self.valid[file])
        self.by_revision = carried

    def with_rows(self, file: CheckpointFile, projections: Sequence[Projection]) -> Checkpoint:
        """Read what a file leads to again, and bring it to the versions of the projections.

        Raises:
            CorruptionError: it has become damaged, or what is carried over is.
            ProjectionError: a projection can't carry it over.
        """
        if file.is_rung:  # they are asked for in order, and each goes on from the one before
            loader = self._rungs_loader = self._rungs_loader or self._loader(with_digest=True)
        else:
            # What is slow to check of all the bytes was checked when they were read first.
            loader = self._loader(with_digest=False)
        return carried_over(projections, loader.load_by(file))

    def _loader(self, *, with_digest: bool) -> CheckpointLoader:
        return CheckpointLoader(
            self._file_system, self.all_files, with_digest=with_digest, keeps_rows=False
        )

    def files_at(self, revision: int) -> list[CheckpointFile]:
        """Return the valid files that lead to a revision."""
        return [file for file in self.valid if file.revision == revision]


def first_revision_of(sources: Sequence[SegmentSource]) -> int:
    """Return the first revision of the oldest segment, by its name; 0 if there is none."""
    return sources[0].first_revision if sources else 0
