"""Taking what an erasure names out of the files of a store.

An erasure is an event of the engine's own (`eventstore.engine_events`) that names batches, and in
them texts. What becomes of a record is `eventstore.log.redaction`.

Before the event is committed, the file `ERASING` is written, and it is removed at the very end. An
open that finds it first finishes what may have been begun: every step may be done twice. Before the
file, two spare segments are made: the log goes on in one, and where the disk is full, a segment can
be written anew in the space of the other.

1. Each segment that holds such a batch, in the log and in the archive, is written anew beside,
   synced, and renamed into its place.
2. Checkpoints between such a batch and its erasure are removed, newest first: whoever opens the
   store folds the redacted log into new ones. That this can be done is found out before step 1.
3. So are the indexes of those segments, which hold hashes of actors, what recoveries have set
   aside, damaged checkpoints and torn tails, which nobody can look into, and what an interrupted
   checkpoint or compaction has left: a handle that goes on after an interrupt may erase.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.loader import list_checkpoints
from eventstore.checkpoints.rungs import list_rungs
from eventstore.errors import CorruptionError, StorageFullError
from eventstore.files.content import write_temporary
from eventstore.files.failures import is_full
from eventstore.files.forwarding import ForwardingFileSystem
from eventstore.files.paths import join, parent
from eventstore.format.names import (
    ARCHIVE_NAME,
    CHECKPOINTS_NAME,
    DAMAGED_SUFFIX,
    ERASING_NAME,
    INDEX_NAME,
    LADDER_NAME,
    TEMPORARY_SUFFIX,
    TORN_NAME,
    WAL_NAME,
    index_name,
    is_spare_name,
)
from eventstore.log.reader import read_segment_header
from eventstore.log.redaction import redacted_segment
from eventstore.log.segments import (
    compress,
    list_archived,
    list_segments,
    list_sources,
    opened_source,
)
from eventstore.maintenance.erasing_note import is_erasing
from eventstore.maintenance.erasures import fitting, unfinished
from eventstore.recovery.decide import decide
from eventstore.recovery.replay import decode_record
from eventstore.recovery.scan import scan_store
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from eventstore.checkpoints.chains import CheckpointFile
    from eventstore.files.interface import FileSystem
    from eventstore.log.segments import SegmentSource
    from eventstore.maintenance.erasures import Erased, Said

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


def finish_erasure(file_system: FileSystem, path: str) -> Erased:
    """Take out what unfinished erasures name, as the holder of the lock; else do nothing.

    Whether that can be done is decided before anything is changed: what is left must make the state
    anew, since the checkpoints go that hold what was erased.

    Returns:
        what was taken out.

    Raises:
        CorruptionError: something is damaged that is needed for that; nothing was changed.
        OSError: the medium fails, or is full.
    """
    if not is_erasing(file_system, path):
        return {}
    wanted = unfinished(file_system, path)
    problem = hindrance(file_system, path, wanted)
    if problem is not None:
        raise problem.error()
    if wanted:
        _redact_all(file_system, path, wanted)
    file_system.remove(join(path, ERASING_NAME))
    file_system.sync_directory(path)
    return wanted


def finish_erasure_in_spares(file_system: FileSystem, path: str) -> Erased:
    """Do what `finish_erasure` does before a store is opened; on a full disk in place of spares.

    What another handle has left of them is of no use to anybody: an open removes them in any case.

    Raises:
        CorruptionError: as of `finish_erasure`.
        StorageFullError: there is no space even so.
    """
    try:
        return finish_erasure(file_system, path)
    except OSError as error:
        if not is_full(error):
            raise
    wal_path = join(path, WAL_NAME)
    names = file_system.list_directory(wal_path)
    _remove(file_system, wal_path, filter(is_spare_name, names))
    try:
        return finish_erasure(file_system, path)
    except OSError as error:
        if not is_full(error):
            raise
        raise unfinished_for_space(file_system, path) from error


def unfinished_for_space(file_system: FileSystem, path: str) -> StorageFullError:
    """Return what to tell whoever can't finish an erasure since the disk is full."""
    sources = [*list_archived(file_system, path), *list_segments(file_system, path)]
    wanted = unfinished(file_system, path)
    if not wanted:
        return StorageFullError(
            f"{path}: no space to remove {ERASING_NAME}, although nothing is to be erased; nothing "
            "was lost",
            "free some space and open the store again",
        )
    segments = _affected(file_system, path, sources, wanted).segments
    largest = max(
        (
            file_system.size_bytes(source.path)
            for source in sources
            if source.first_revision in segments
        ),
        default=0,
    )
    return StorageFullError(
        f"{path}: no space to take out of the files what was erased in revision "
        f"{', '.join(map(str, sorted(wanted)))}: the erasure is committed, and its texts "
        "are still there; nothing was lost",
        f"free at least {largest} bytes, and open the store again, which goes on with it",
    )


def carry_out(file_system: FileSystem, path: str, wanted: Erased, *, base_revision: int) -> None:
    """Take what erasures name out of a new store, of which nobody knows what was done before.

    What is not what an erasure is about stays. So does the checkpoint of `base_revision`.

    Raises:
        CorruptionError: a segment is damaged.
        OSError: the medium fails, or is full.
    """
    found = fitting(file_system, path, wanted)
    if found:
        _redact_all(file_system, path, found, base_revision=base_revision)


def hindrance(file_system: FileSystem, path: str, wanted: Erased) -> Damage | None:
    """Say what is damaged that is needed to finish erasures, if anything is; change nothing."""
    sources = [*list_archived(file_system, path), *list_segments(file_system, path)]
    affected = _affected(file_system, path, sources, wanted)
    try:
        for source in sources:
            if source.first_revision in affected.segments:
                _redacted(file_system, source, affected.segments[source.first_revision])
        problem = _problem_without(file_system, path, {file.path for file in affected.checkpoints})
    except CorruptionError as error:
        problem = Damage(error.path, error.offset_bytes, 0, error.reason)
    if problem is None or not wanted:
        return problem
    reason = (
        f"{problem.reason}; so the erasure of revision {min(wanted)}, which was cut short, can't "
        "be finished: a repair makes a store of what can be read"
    )
    return problem._replace(reason=reason)


def _problem_without(file_system: FileSystem, path: str, hidden: Container[str]) -> Damage | None:
    """Say what an open would meet that had some checkpoints no more."""
    # A handle finishes its erasure while others commit, and a verification may run beside a writer.
    scan = scan_store(_Without(file_system, hidden), path, beside_writer=True)
    for record in scan:
        decode_record(record)
    return decide(scan.result().found).problem


class _Without(ForwardingFileSystem):
    """A store as it will be without some of its files."""

    def __init__(self, file_system: FileSystem, hidden: Container[str]) -> None:
        super().__init__(file_system)
        self._hidden = hidden

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory but those that go."""
        names = super().list_directory(path)
        return [name for name in names if join(path, name) not in self._hidden]


class _Affected(NamedTuple):
    """What carrying an erasure out does besides writing segments anew.

    Attributes:
        segments: what goes of each segment that holds some, by its first revision.
        checkpoints: that go, newest first.
        indexes: names of those that go.
    """

    segments: Mapping[int, Erased]
    checkpoints: tuple[CheckpointFile, ...]
    indexes: tuple[str, ...]


def _affected(
    file_system: FileSystem,
    path: str,
    sources: Sequence[SegmentSource],
    wanted: Erased,
) -> _Affected:
    firsts = sorted({source.first_revision for source in sources})
    holding: dict[int, dict[int, Sequence[Said]]] = defaultdict(dict)
    for revision, found in wanted.items():
        holding[max((each for each in firsts if each <= revision), default=0)][revision] = found
    checkpoints = _holding(list_checkpoints(file_system, path), wanted)
    rungs = _holding(list_rungs(file_system, path), wanted)
    return _Affected(
        holding,
        tuple(sorted([*checkpoints, *rungs], key=lambda file: file.revision, reverse=True)),
        tuple(index_name(each) for each in sorted(holding)),
    )


def _holding(files: Sequence[CheckpointFile], wanted: Erased) -> list[CheckpointFile]:
    """Return the checkpoints that may hold what was erased.

    Those from before the erasure do; from its revision on, the handle that erases has the state
    without it, and no other has the store before this is finished. A delta goes with what it
    continues.
    """
    going: list[CheckpointFile] = []
    kept: set[int] = set()
    for file in sorted(files, key=lambda file: (file.revision, file.previous is not None)):
        holds = any(each <= file.revision < wanted[each][-1].said_at for each in wanted)
        if holds or (file.previous is not None and file.previous not in kept):
            going.append(file)
        else:
            kept.add(file.revision)
    return going if wanted else []


def paths_to_go(file_system: FileSystem, path: str) -> frozenset[str]:
    """Return the checkpoints and indexes that an unfinished erasure takes away in the end."""
    wanted = unfinished(file_system, path)
    if not wanted:
        return frozenset()
    affected = _affected(file_system, path, list_sources(file_system, path), wanted)
    indexes = (join(path, INDEX_NAME, name) for name in affected.indexes)
    return frozenset((*(file.path for file in affected.checkpoints), *indexes))


def _redact_all(
    file_system: FileSystem, path: str, wanted: Erased, *, base_revision: int = 0
) -> None:
    sources = [*list_archived(file_system, path), *list_segments(file_system, path)]
    affected = _affected(file_system, path, sources, wanted)
    for source in sources:
        if source.first_revision in affected.segments:
            _redact(file_system, source, affected.segments[source.first_revision])
    directory = join(path, CHECKPOINTS_NAME)
    for file in affected.checkpoints:
        if file.revision == base_revision and not file.is_rung:
            continue
        file_system.remove(file.path)
        # Before that which it continues goes: a delta alone would be damage.
        file_system.sync_directory(parent(file.path))
    for each in (directory, join(path, ARCHIVE_NAME), join(path, LADDER_NAME)):
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


def _redact(file_system: FileSystem, source: SegmentSource, wanted: Erased) -> None:
    """Write a segment anew without what goes, in its place."""
    content = _redacted(file_system, source, wanted)
    if content is None:
        return
    temporary = source.path + TEMPORARY_SUFFIX
    packed = compress(content) if source.is_archived else content
    write_temporary(file_system, temporary, packed)
    file_system.rename(temporary, source.path)
    file_system.sync_directory(parent(source.path))


def _redacted(file_system: FileSystem, source: SegmentSource, wanted: Erased) -> bytes | None:
    """Return what becomes of a segment; None if nothing does."""
    redactions = {each: [one.redaction for one in found] for each, found in wanted.items()}
    with opened_source(file_system, source) as file:
        whole = file.read(0, file.size_bytes())
    return redacted_segment(source.path, whole, redactions)
