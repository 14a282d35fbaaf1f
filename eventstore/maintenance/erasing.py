"""Taking what an erasure names out of the files of a store.

An erasure is an event of the engine's own (`eventstore.engine_events`) that names batches, and in
them texts. What becomes of a record is `eventstore.log.redaction`.

Before the event is committed, the file `ERASING` is written, and it is removed at the very end. An
open that finds it first finishes what may have been begun: every step may be done twice.

1. Each segment that holds such a batch, in the log and in the archive, is written anew beside,
   synced, and renamed into its place.
2. Checkpoints of the first such batch or later are removed, newest first: whoever opens the store
   folds the redacted log into new ones.
3. So are the indexes of those segments, which hold hashes of actors, what recoveries have set
   aside, damaged checkpoints and torn tails, which nobody can look into, and what an interrupted
   checkpoint or compaction has left: a handle that goes on after an interrupt may erase.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.loader import list_checkpoints
from eventstore.files.content import read_file, write_temporary
from eventstore.files.paths import join, parent
from eventstore.format.names import (
    ARCHIVE_NAME,
    CHECKPOINTS_NAME,
    DAMAGED_SUFFIX,
    ERASING_NAME,
    INDEX_NAME,
    TEMPORARY_SUFFIX,
    TORN_NAME,
    index_name,
)
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.redaction import may_erase, redacted_segment, redactions_in
from eventstore.log.segments import (
    compress,
    list_archived,
    list_segments,
    list_sources,
    opened_source,
)
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from eventstore.checkpoints.chains import CheckpointFile
    from eventstore.files.interface import FileSystem
    from eventstore.log.redaction import Redaction
    from eventstore.log.segments import SegmentSource

_REVISION_BYTES_MAX = 21
_LEFT_BEHIND = (DAMAGED_SUFFIX, TEMPORARY_SUFFIX)


def obstacle(file_system: FileSystem, path: str, payloads: Mapping[int, bytes]) -> str | None:
    """Say why what is left of some batches can't stand in their segments, if that is so."""
    sources = [*list_archived(file_system, path), *list_segments(file_system, path)]
    for revision, payload in payloads.items():
        before = [source for source in sources if source.first_revision <= revision]
        with opened_source(file_system, max(before)) as file:
            mark = read_segment_header(file).mark
        if not mark:
            return (
                f"revision {revision} is in a segment of format version 1, which has no redacted "
                "records: a repair makes a store of the present one"
            )
        if mark in payload:
            return f"revision {revision} would hold the mark of its segment"
    return None


def note_erasing(file_system: FileSystem, path: str, revision: int) -> None:
    """Make it known that what is committed after a revision may be an erasure to be finished."""
    note = join(path, ERASING_NAME)
    write_temporary(file_system, note + TEMPORARY_SUFFIX, b"%d\n" % revision)
    file_system.rename(note + TEMPORARY_SUFFIX, note)
    file_system.sync_directory(path)


def carry_note(source: FileSystem, source_path: str, target: FileSystem, path: str) -> None:
    """Have a copy of a store know of the erasure that is unfinished in the store."""
    note_erasing(target, path, _noted_revision(source, source_path))


def is_erasing(file_system: FileSystem, path: str) -> bool:
    """Say whether an erasure may be unfinished."""
    return file_system.exists(join(path, ERASING_NAME))


def finish_erasure(file_system: FileSystem, path: str) -> None:
    """Take out what unfinished erasures name, as the holder of the lock; else do nothing.

    Raises:
        CorruptionError: a segment that must be written anew is damaged; the rest of it stays as it
            was, and so does the note that the erasure is unfinished.
        OSError: the medium fails, or is full.
    """
    if not is_erasing(file_system, path):
        return
    wanted = unfinished(file_system, path)
    if wanted:
        _redact_all(file_system, path, wanted)
    file_system.remove(join(path, ERASING_NAME))
    file_system.sync_directory(path)


def unfinished(file_system: FileSystem, path: str) -> Mapping[int, Sequence[Redaction]]:
    """Return what the erasure names that is noted, of each revision: some of it may be done."""
    wanted: dict[int, list[Redaction]] = defaultdict(list)
    for one in _erased_since(file_system, path, _noted_revision(file_system, path)):
        wanted[one.revision].append(one)
    return wanted


def _noted_revision(file_system: FileSystem, path: str) -> int:
    """Return the revision behind which the erasure was committed that is noted."""
    note = read_file(file_system, join(path, ERASING_NAME), _REVISION_BYTES_MAX)
    if note.endswith(b"\n") and note[:-1].isdigit():
        return int(note)
    # Older releases could be killed before it was whole, and so before anything was committed.
    return sys.maxsize


def _erased_since(file_system: FileSystem, path: str, since: int) -> Iterator[Redaction]:
    """Yield what was erased after a revision, in order."""
    ordered = sorted([*list_archived(file_system, path), *list_segments(file_system, path)])
    later = [each for each in ordered if each.first_revision > since]
    before = [each for each in ordered if each.first_revision <= since]
    for source in [*before[-1:], *later]:
        with opened_source(file_system, source) as file:
            header = read_segment_header(file)
            for record in SegmentScanner(file, header, start_of(header)):
                if record.revision > since and may_erase(record.payload):
                    yield from redactions_in(decode_record(record).events)


class _Affected(NamedTuple):
    """What carrying an erasure out does besides writing segments anew.

    Attributes:
        segments: first revisions of the segments that hold what goes.
        checkpoints: that go, newest first.
        indexes: names of those that go.
    """

    segments: frozenset[int]
    checkpoints: tuple[CheckpointFile, ...]
    indexes: tuple[str, ...]


def _affected(
    file_system: FileSystem,
    path: str,
    sources: Sequence[SegmentSource],
    wanted: Mapping[int, Sequence[Redaction]],
) -> _Affected:
    firsts = sorted({source.first_revision for source in sources})
    holding = {max((each for each in firsts if each <= revision), default=0) for revision in wanted}
    checkpoints = [f for f in list_checkpoints(file_system, path) if f.revision >= min(wanted)]
    return _Affected(
        frozenset(holding),
        tuple(sorted(checkpoints, key=lambda file: file.revision, reverse=True)),
        tuple(index_name(each) for each in sorted(holding)),
    )


def paths_to_go(file_system: FileSystem, path: str) -> frozenset[str]:
    """Return the checkpoints and indexes that an unfinished erasure takes away in the end."""
    wanted = unfinished(file_system, path)
    if not wanted:
        return frozenset()
    affected = _affected(file_system, path, list_sources(file_system, path), wanted)
    indexes = (join(path, INDEX_NAME, name) for name in affected.indexes)
    return frozenset((*(file.path for file in affected.checkpoints), *indexes))


def _redact_all(
    file_system: FileSystem, path: str, wanted: Mapping[int, Sequence[Redaction]]
) -> None:
    sources = [*list_archived(file_system, path), *list_segments(file_system, path)]
    affected = _affected(file_system, path, sources, wanted)
    for source in sources:
        if source.first_revision in affected.segments:
            _redact(file_system, source, wanted)
    directory = join(path, CHECKPOINTS_NAME)
    for file in affected.checkpoints:
        file_system.remove(file.path)
        # Before that which it continues goes: a delta alone would be damage.
        file_system.sync_directory(directory)
    for each in (directory, join(path, ARCHIVE_NAME)):
        if file_system.is_directory(each):
            names = file_system.list_directory(each)
            _remove(file_system, each, [name for name in names if name.endswith(_LEFT_BEHIND)])
    _remove(file_system, join(path, INDEX_NAME), affected.indexes)
    torn = join(path, TORN_NAME)
    if file_system.is_directory(torn):
        _remove(file_system, torn, file_system.list_directory(torn))


def _remove(file_system: FileSystem, directory: str, names: Iterable[str]) -> None:
    """Remove what is there of some files."""
    for name in names:
        if file_system.exists(join(directory, name)):
            file_system.remove(join(directory, name))
    if file_system.exists(directory):
        file_system.sync_directory(directory)


def _redact(
    file_system: FileSystem, source: SegmentSource, wanted: Mapping[int, Sequence[Redaction]]
) -> None:
    """Write a segment anew without what goes, in its place."""
    with opened_source(file_system, source) as file:
        whole = file.read(0, file.size_bytes())
    content = redacted_segment(source.path, whole, wanted)
    if content is None:
        return
    temporary = source.path + TEMPORARY_SUFFIX
    packed = compress(content) if source.is_archived else content
    write_temporary(file_system, temporary, packed)
    file_system.rename(temporary, source.path)
    file_system.sync_directory(parent(source.path))
