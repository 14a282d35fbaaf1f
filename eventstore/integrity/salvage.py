"""Salvage: everything in a damaged store that still holds by its own checksums. Reads only.

Of the log that is the *stretches* of each segment (`eventstore.log.stretches`), archived ones
included, which `eventstore.integrity.chains` joins. A state can start at a *base*: a valid
checkpoint, or the empty state at revision 0. Everything that was not usable is listed as damage.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints, verify_checkpoint
from eventstore.errors import CorruptionError
from eventstore.format.segment import genesis_digest
from eventstore.log.reader import Record, read_segment_header
from eventstore.log.redaction import may_erase
from eventstore.log.segments import (
    SegmentSource,
    list_archived,
    list_segments,
    open_readable_part,
)
from eventstore.log.stretches import Gap, SegmentStretches, Stretch
from eventstore.maintenance.erasing_note import is_erasing, noted_revision
from eventstore.recovery.replay import decode_record
from eventstore.recovery.scan import read_durable_bound, read_durable_store_id
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.files.interface import FileSystem


class Base(NamedTuple):
    """Where a state can start: a valid checkpoint, or the empty state at revision 0.

    Attributes:
        revision: of the checkpoint.
        digest: chain digest at that revision.
        path: of the checkpoint; None for the empty state.
    """

    revision: int
    digest: bytes
    path: str | None


@dataclass
class Findings:
    """All that was found in a store.

    Attributes:
        store_id: that most of its files state.
        stretches: everything of the log that can be read.
        bases: where a state can start, in the order of their revisions.
        damage: everything that can't be used.
        oldest_revision: the first revision that is, or by its file's name was, in the log.
        newest_revision: the highest one that was found or is known to have been acknowledged.
        erasing: the records that are redacted, or that say what was erased of others.
        unfinished_since: behind this revision an erasure may have been committed that is not
            finished, by the note of it, or 0 if that does not say; None if there is no note.
    """

    store_id: bytes
    stretches: list[Stretch] = field(default_factory=list)
    bases: list[Base] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    oldest_revision: int = 0
    newest_revision: int = 0
    erasing: list[Record] = field(default_factory=list)
    unfinished_since: int | None = None


def salvage(
    file_system: FileSystem, path: str, on_batch: Callable[[int], object] = lambda revision: None
) -> Findings:
    """Read a store and return everything in it that holds.

    Args:
        file_system: to read the store by.
        path: of the store.
        on_batch: called with each revision that was read, for progress.

    Raises:
        CorruptionError: not one file says which store it belongs to.
        FormatVersionError: a file has a newer format.
    """
    return _Salvage(file_system, path, on_batch).run()


class _Salvage:
    def __init__(
        self, file_system: FileSystem, path: str, on_batch: Callable[[int], object]
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._on_batch = on_batch
        self._sources = [*list_archived(file_system, path), *list_segments(file_system, path)]

    def run(self) -> Findings:
        checkpoints = list(self._checkpoints())
        self._found = Findings(self._identity([base_id for _, base_id in checkpoints]))
        found = self._found
        found.bases.append(Base(0, genesis_digest(found.store_id), None))
        for outcome, store_id in checkpoints:
            if isinstance(outcome, Damage):
                found.damage.append(outcome)
            elif store_id != found.store_id:
                self._add_foreign(str(outcome.path))
            else:
                self._add_checkpoint(outcome)
        found.bases.sort(key=lambda base: base.revision)
        for source in self._sources:
            self._read(source)
        if is_erasing(self._file_system, self._path):
            found.unfinished_since = noted_revision(self._file_system, self._path) or 0
        bound = read_durable_bound(self._file_system, self._path, found.store_id)
        found.newest_revision = max(found.newest_revision, bound, found.bases[-1].revision)
        return found

    def _identity(self, votes: list[bytes | None]) -> bytes:
        """Return the id that most files state; of two as frequent ones, that of the newest."""
        ids = [store_id for store_id in votes if store_id is not None]
        for source in self._sources:
            file, _ = open_readable_part(self._file_system, source)
            try:
                ids.append(read_segment_header(file).store_id)
            except CorruptionError:
                continue
            finally:
                file.close()
        store_id = read_durable_store_id(self._file_system, self._path)
        ids += [store_id] if store_id is not None else []
        if not ids:
            raise CorruptionError(
                self._path,
                0,
                "no segment, checkpoint or `durable` file says which store it is",
            )
        counts = Counter(reversed(ids))
        return max(counts, key=lambda store_id: counts[store_id])

    def _checkpoints(self) -> Iterator[tuple[Base | Damage, bytes | None]]:
        files = self._files = list_checkpoints(self._file_system, self._path)
        loader = CheckpointLoader(self._file_system, files, with_digest=True)
        for file in files:
            path = file.path
            try:
                if file.previous is None:  # one with a wrong name is good for a state too
                    checkpoint = verify_checkpoint(self._file_system, path)
                else:
                    checkpoint = loader.load_by(file)
            except CorruptionError as error:
                size = self._file_system.size_bytes(path)
                reason = f"at byte {error.offset_bytes}: {error.reason}"
                yield Damage(path, 0, size, reason), None
            else:
                base = Base(checkpoint.revision, checkpoint.digest, path)
                yield base, checkpoint.store_id

    def _add_checkpoint(self, base: Base) -> None:
        self._found.bases.append(base)
        path = str(base.path)
        if path not in (file.path for file in self._files if file.revision == base.revision):
            reason = f"the header states revision {base.revision}, the name another one"
            self._found.damage.append(Damage(path, 0, 0, reason))

    def _add_foreign(self, path: str) -> None:
        size = self._file_system.size_bytes(path)
        self._found.damage.append(Damage(path, 0, size, "the file belongs to another store"))

    def _read(self, source: SegmentSource) -> None:
        file, problem = open_readable_part(self._file_system, source)
        try:
            segment = SegmentStretches(source, file, self._is_batch)
            if segment.header is not None and segment.header.store_id != self._found.store_id:
                self._add_foreign(source.path)
                self._add_oldest(source.first_revision)
                return
            segment.read(self._found.store_id)
        finally:
            file.close()
        found = self._found
        found.stretches += segment.stretches
        # A record that is not believed says nothing of how far the history went.
        read = (
            stretch.end.revision
            for stretch in segment.stretches
            if stretch.end.revision > stretch.start.revision
        )
        found.newest_revision = max(found.newest_revision, *read, 0)
        self._add_damage(source, problem, segment.gaps)
        first_revision = source.first_revision
        if segment.header is not None and segment.header.first_revision != first_revision:
            stated = segment.header.first_revision
            reason = f"the header states first revision {stated}, the name another one"
            found.damage.append(Damage(source.path, 0, 0, reason))
            self._add_oldest(stated)
        # What the file of that name held is gone if another one has taken its place.
        self._add_oldest(first_revision)

    def _add_oldest(self, revision: int) -> None:
        self._found.oldest_revision = min(self._found.oldest_revision or revision, revision)

    def _is_batch(self, record: Record) -> bool:
        try:
            decode_record(record)
        except CorruptionError:
            return False
        if record.is_redacted or may_erase(record.payload):
            self._found.erasing.append(record)
        self._on_batch(record.revision)
        return True

    def _add_damage(self, source: SegmentSource, problem: str | None, gaps: list[Gap]) -> None:
        if not source.is_archived:
            self._found.damage += [Damage(source.path, *gap) for gap in gaps]
        elif problem or gaps:
            # A place in the unpacked content is none in the file.
            size = self._file_system.size_bytes(source.path)
            reason = problem or f"unpacked, at byte {gaps[0].offset_bytes}: {gaps[0].reason}"
            self._found.damage.append(Damage(source.path, 0, size, reason))
