"""What the erasures in a log say, and of which batches that is not done.

An erasure is an event of the engine's own (`eventstore.engine_events`) that names batches, and in
them texts. `eventstore.maintenance.erasing` carries it out.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.loader import list_checkpoints
from eventstore.checkpoints.rungs import list_rungs
from eventstore.errors import CorruptionError
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.redaction import left_of, may_erase, redactions_in
from eventstore.log.segments import (
    list_archived,
    list_segments,
    list_sources,
    opened_source,
)
from eventstore.maintenance.erasing_note import noted_revision
from eventstore.recovery.replay import decode_record
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.files.interface import FileSystem
    from eventstore.log.reader import Record
    from eventstore.log.redaction import Redaction
    from eventstore.log.segments import SegmentSource


class Said(NamedTuple):
    """What an erasure says of a batch.

    Attributes:
        said_at: revision of the erasure.
        redaction: what becomes of the batch.
    """

    said_at: int
    redaction: Redaction


Erased = Mapping[int, Sequence[Said]]
"""What was erased of each revision, in order."""


def unfinished(file_system: FileSystem, path: str) -> Erased:
    """Return what the erasure names that is noted, of each revision: some of it may be done.

    Where the note does not say which that is, all that the log and the checkpoints show to be
    undone.

    Raises:
        CorruptionError: a segment is damaged that may hold the erasure that is noted.
    """
    since = noted_revision(file_system, path)
    wanted: dict[int, list[Said]] = defaultdict(list)
    for one in _said_since(file_system, path, since):
        wanted[one.redaction.revision].append(one)
    if since is None:
        return {each: wanted[each] for each in _undone(file_system, path, wanted)}
    return wanted


def _said_since(file_system: FileSystem, path: str, since: int | None) -> Iterator[Said]:
    """Yield what was erased after a revision, in order; None: all that can be read."""
    ordered = sorted([*list_archived(file_system, path), *list_segments(file_system, path)])
    start = since or 0
    later = [each for each in ordered if each.first_revision > start]
    before = [each for each in ordered if each.first_revision <= start]
    for source in [*before[-1:], *later]:
        try:
            yield from _said_in(file_system, source, start, is_last=source is ordered[-1])
        except CorruptionError:
            if since is not None:
                raise


def _said_in(
    file_system: FileSystem, source: SegmentSource, since: int, *, is_last: bool
) -> Iterator[Said]:
    with opened_source(file_system, source) as file:
        header = read_segment_header(file)
        scanner = SegmentScanner(file, header, start_of(header))
        for record in scanner:
            if record.revision > since and may_erase(record.payload):
                for one in redactions_in(decode_record(record).events):
                    yield Said(record.revision, one)
    if scanner.end is not None and scanner.end.problem is not None and not is_last:
        offset_bytes = scanner.end.position.offset_bytes
        raise CorruptionError(source.path, offset_bytes, scanner.end.problem)


def _undone(file_system: FileSystem, path: str, wanted: Erased) -> Iterator[int]:
    """Yield the revisions of which a record or a checkpoint still holds what was erased."""
    files = [*list_checkpoints(file_system, path), *list_rungs(file_system, path)]
    revisions = [file.revision for file in files]
    undone = {
        revision
        for revision, found in wanted.items()
        if any(revision <= each < found[-1].said_at for each in revisions)
    }
    for source in list_sources(file_system, path):
        try:
            undone |= _whole_in(file_system, source, wanted)
        except CorruptionError:  # whether that matters, `hindrance` says
            continue
    yield from sorted(undone)


def still_whole(file_system: FileSystem, path: str, wanted: Erased) -> Iterator[Damage]:
    """Yield the records that hold what erasures name, although these are said to be done."""
    for source in list_sources(file_system, path):
        with contextlib.suppress(CorruptionError), opened_source(file_system, source) as file:
            header = read_segment_header(file)
            for record in SegmentScanner(file, header, start_of(header)):
                found = wanted.get(record.revision)
                if found and _is_whole(record, found):
                    reason = (
                        f"revision {record.revision} still holds what the erasure in revision "
                        f"{found[-1].said_at} names: erase it again"
                    )
                    yield Damage(record.path, record.offset_bytes, 0, reason)


def _whole_in(file_system: FileSystem, source: SegmentSource, wanted: Erased) -> set[int]:
    with opened_source(file_system, source) as file:
        header = read_segment_header(file)
        return {
            record.revision
            for record in SegmentScanner(file, header, start_of(header))
            if record.revision in wanted and _is_whole(record, wanted[record.revision])
        }


def fitting(file_system: FileSystem, path: str, wanted: Erased) -> Erased:
    """Return what of erasures is about batches that are there."""
    fitting: dict[int, list[Said]] = {}
    for source in list_sources(file_system, path):
        with opened_source(file_system, source) as file:
            header = read_segment_header(file)
            for record in SegmentScanner(file, header, start_of(header)):
                of_it = [
                    each
                    for each in wanted.get(record.revision, ())
                    if each.redaction.digest == record.digest
                ]
                if of_it and _fits(record, of_it):
                    fitting[record.revision] = of_it
    return fitting


def _fits(record: Record, said: Sequence[Said]) -> bool:
    try:
        left_of(record, [each.redaction for each in said])
    except CorruptionError:
        return False
    return True


def _is_whole(record: Record, said: Sequence[Said]) -> bool:
    try:
        return left_of(record, [each.redaction for each in said]) != record.payload
    except CorruptionError:  # it is about another batch
        return False
