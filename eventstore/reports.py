"""What an open, a verification and a compaction tell of themselves."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from eventstore.errors import CorruptionError

PROBLEMS_MAX = 100
"""How many problems a report lists; the others it counts."""


class Verdict(enum.Enum):
    """What an open finds; a corrupt store it refuses."""

    NEW = "new"
    CLEAN = "clean"
    TORN_TAIL = "torn tail"
    CORRUPT = "corrupt"


class Damage(NamedTuple):
    """Something that is wrong in a store: bytes that can't be used, or a file that is missing.

    Attributes:
        path: of the file, or of the directory where a file is missing.
        offset_bytes: where it starts; of an archived segment, in the unpacked content.
        size_bytes: how many bytes are damaged; 0 where none are, because the file is whole but out
            of place, and where that is not known: only a repair counts them.
        reason: what is wrong there.
    """

    path: str
    offset_bytes: int
    size_bytes: int
    reason: str

    def error(self) -> CorruptionError:
        """Return the error that says so."""
        return CorruptionError(self.path, self.offset_bytes, self.reason)


Problem = Damage
"""The name of `Damage` in reports of a verification, as it was before there was one class."""


@dataclass(frozen=True, slots=True)
class TornTail:
    """A tail that was cut.

    Attributes:
        revision: that its first record would have had.
        offset_bytes: where in the segment it began.
        size_bytes: how much was cut.
        reason: why its first record was not valid.
        saved_path: where the bytes were copied before they were cut.
    """

    revision: int
    offset_bytes: int
    size_bytes: int
    reason: str
    saved_path: str


@dataclass(frozen=True, slots=True)
class RebuiltProjection:
    """A projection that an open has folded anew, because its checkpoint did not hold it.

    Attributes:
        name: of the projection.
        version: that it has now.
        held_version: that the checkpoint held; None if it held none; the same as `version` if it
            held other tables.
        revision: of the last batch that was read for it; the first one was revision 1.
    """

    name: str
    version: int
    held_version: int | None
    revision: int


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What the last open found and did.

    Attributes:
        verdict: new, clean or torn tail.
        revision: of the last batch recovered.
        checkpoint_revision: where the replay started; 0 without a checkpoint.
        replayed_batches: how many batches were replayed from there.
        replayed_bytes: how much log they take.
        torn_tail: what was cut, if anything was.
        damaged_checkpoints: checkpoints that could not be used and were set aside.
        removed_files: leftovers of interrupted writes.
        rebuilt: projections that were folded anew.
        seconds: how long it took, once the store was locked.
    """

    verdict: Verdict
    revision: int = 0
    checkpoint_revision: int = 0
    replayed_batches: int = 0
    replayed_bytes: int = 0
    torn_tail: TornTail | None = None
    damaged_checkpoints: tuple[str, ...] = ()
    removed_files: tuple[str, ...] = ()
    rebuilt: tuple[RebuiltProjection, ...] = ()
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did.

    Attributes:
        archived: segments moved into the archive.
        dropped: segments removed for good, by retention.
        checkpoints_removed: older checkpoints removed.
        freed_bytes: how much less the store takes; negative if it takes more.
    """

    archived: int = 0
    dropped: int = 0
    checkpoints_removed: int = 0
    freed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        is_full: whether every byte was read.
        verdict: what an open would find, now.
        problems: what is wrong, the first `PROBLEMS_MAX` of it; empty for a sound store.
        more_problems: how many more there are.
        remarks: what is unusual but legal, such as a torn tail that the next open will cut, and
            where the replay had to end.
        segment_count: segments whose records were read, archived ones included.
        unread_segments: those whose records were not: earlier ones, by a quick verification.
        batch_count: batches read, of a damaged segment those before the damage.
        checkpoint_count: checkpoints read.
        replayed_checkpoints: checkpoints that were compared with a fold of the log, but for the
            tables of `unknown_projections`. The one that the replay began at, because the log does
            not reach back to revision 1, is none of them: nothing says how it came about.
        unknown_projections: names of projections that have tables in a checkpoint, but were not
            given to the verification, or not in that version: nothing says whether these tables are
            right.
        first_revision: of the oldest segment, archived ones included, by its name; 0 if there is
            none. If it is more than 1, the batches before were dropped by retention, left out by
            a repair or removed by hand: what is left looks the same.
        revision: of the last batch read; where the log holds none, the one that it continues.
    """

    is_full: bool
    verdict: Verdict
    problems: tuple[Damage, ...]
    more_problems: int
    remarks: tuple[str, ...]
    segment_count: int
    unread_segments: int
    batch_count: int
    checkpoint_count: int
    replayed_checkpoints: int
    unknown_projections: tuple[str, ...]
    first_revision: int
    revision: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
