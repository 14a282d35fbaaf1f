"""The judgement: what was found of a store, and what that means. Pure: values in, values out.

It is the table in FORMAT.md, "Recovery", case for case, and the only one: an open carries the
decision out (`eventstore.recovery.execute`), a follower shows or refuses what it judges
(`eventstore.backend.follower` ), a verification reports it (`eventstore.integrity.verify`). Nothing
here reads, writes or raises. Newer formats are not judged: whoever meets one raises
`FormatVersionError` there and then.

The line between a torn tail and corruption: bytes that are no valid record may be cut if no
acknowledged batch can be in them. A batch is acknowledged only after a sync, and what had been
synced is told by the `durable` file, by checkpoints and by every record written later. If any of
these reaches the revision of the invalid record, its batch had been acknowledged: the store is
refused, and left unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from eventstore.files.paths import join
from eventstore.format.names import WAL_NAME
from eventstore.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader, genesis_digest
from eventstore.reports import Damage, Verdict

if TYPE_CHECKING:
    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.log.reader import Position, ScanEnd
    from eventstore.log.segments import SegmentSource


@dataclass(frozen=True, slots=True)
class Tail:
    """A segment and how its records end; of a whole log, the last one.

    Attributes:
        source: where it is.
        header: its first sector.
        end: where its valid records end, and why.
        durable_claim: the highest durable revision that record headers behind an invalid record
            state; 0 if there is no such header.
        proven_bytes: where the records end that are known to have been synced.
    """

    source: SegmentSource
    header: SegmentHeader
    end: ScanEnd
    durable_claim: int
    proven_bytes: int = SEGMENT_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a store, as far as an open reads it.

    Attributes:
        path: of the store.
        acknowledged: all batches up to this revision had been, by the `durable` file and the
            newest valid checkpoint; 0 if neither says anything.
        has_checkpoints: whether there is any checkpoint, valid or not.
        tail: the last segment; None if there is no segment.
        damage: the first thing that is wrong before the end of the log: it is corruption.
    """

    path: str
    acknowledged: int
    has_checkpoints: bool
    tail: Tail | None
    damage: Damage | None


class Decision(NamedTuple):
    """What it means.

    Attributes:
        verdict: the case.
        end: where the log goes on; None for a new or a corrupt store.
        problem: what is damaged in a corrupt store; None in every other case.
    """

    verdict: Verdict
    end: Position | None
    problem: Damage | None


def decide(found: Found) -> Decision:
    """Return what was found means."""
    wal_path = join(found.path, WAL_NAME)
    if found.damage is not None:
        return _corrupt(found.damage)
    tail = found.tail
    if tail is None:
        if found.acknowledged or found.has_checkpoints:
            return _corrupt(Damage(wal_path, 0, 0, "all segments of the log are missing"))
        return Decision(Verdict.NEW, None, None)
    if tail.source.is_archived:
        reason = "the log is missing; only its archived part is left"
        return _corrupt(Damage(wal_path, 0, 0, reason))
    end, problem = tail.end
    acknowledged = max(found.acknowledged, tail.durable_claim)
    if acknowledged > end.revision:
        reason = (
            f"{problem or 'the log ends'} after revision {end.revision}, but revision "
            f"{acknowledged} had been acknowledged"
        )
        return _corrupt(Damage(tail.source.path, end.offset_bytes, 0, reason))
    return Decision(Verdict.CLEAN if problem is None else Verdict.TORN_TAIL, end, None)


def misnamed(source: SegmentSource, header: SegmentHeader) -> Damage | None:
    """Say that a segment's name and header differ."""
    if header.first_revision == source.first_revision:
        return None
    return Damage(source.path, 0, 0, f"the header states first revision {header.first_revision}")


def sealed_damage(tail: Tail) -> Damage | None:
    """Say what is wrong with a segment that another one follows, and that must end in zeros."""
    end, problem = tail.end
    if problem is None:
        return None
    return Damage(tail.source.path, end.offset_bytes, 0, f"in a sealed segment, {problem}")


def discontinuity(previous: Tail, source: SegmentSource, header: SegmentHeader) -> Damage | None:
    """Say why a segment does not continue the one before it."""
    end, reason = previous.end.position, None
    if header.store_id != previous.header.store_id:
        reason = "the segment belongs to another store than the one before it"
    elif header.first_revision != end.revision + 1:
        reason = (
            f"the segment starts at revision {header.first_revision}, but the one before it ends "
            f"at {end.revision}"
        )
    elif header.predecessor_digest != end.digest or header.predecessor_bytes != end.offset_bytes:
        reason = "the segment does not continue the digest chain of the one before it"
    return Damage(source.path, 0, 0, reason) if reason else None


def detachment(
    checkpoint: Checkpoint | None, source: SegmentSource, header: SegmentHeader
) -> Damage | None:
    """Say why the first segment read does not continue the checkpoint, or the empty store."""
    base_revision = checkpoint.revision if checkpoint else 0
    base_digest = checkpoint.digest if checkpoint else genesis_digest(header.store_id)
    reason = None
    if checkpoint is not None and header.store_id != checkpoint.store_id:
        reason = "the segment belongs to another store than the checkpoint"
    elif header.first_revision > base_revision + 1:
        reason = (
            f"the log starts at revision {header.first_revision}, and no valid checkpoint holds "
            "the state before it"
        )
    elif header.first_revision == base_revision + 1 and header.predecessor_digest != base_digest:
        reason = (
            "the segment does not continue the history of the checkpoint"
            if checkpoint
            else "the first segment does not start the digest chain of its store"
        )
    return Damage(source.path, 0, 0, reason) if reason else None


def contradiction(
    checkpoint: Checkpoint, digest: bytes, path: str, offset_bytes: int
) -> Damage | None:
    """Say that the log holds another history than a checkpoint was made from.

    Args:
        checkpoint: to be compared.
        digest: of the log at the checkpoint's revision.
        path: of the segment that states it.
        offset_bytes: where in the segment.
    """
    if digest == checkpoint.digest:
        return None
    return Damage(path, offset_bytes, 0, "the checkpoint was made from another history")


def _corrupt(problem: Damage) -> Decision:
    return Decision(Verdict.CORRUPT, None, problem)
