"""What a store has erased goes from its backup too.

A backup that grows by an erasure holds the batches that it names, from when they were whole. The
files that hold them are written anew under other names, and the manifest that first names the
erasure names these in their place: so a backup that is cut short holds the erasure and what it has
left, or neither. Only then are the old files removed; what a kill leaves of them no manifest names.
The store is not asked: it may have dropped such a batch since.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from eventstore.copies.backups import read_stored, write_stored
from eventstore.errors import CorruptionError, DamagedBackupError
from eventstore.files.paths import join
from eventstore.format.archive import pack_archive
from eventstore.format.manifest import batches_file
from eventstore.log.redaction import may_erase, redacted_segment, redactions_in
from eventstore.log.segments import MemoryFile, inflated
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventstore.copies.places import BackupPlace
    from eventstore.format.manifest import BatchesFile, Manifest
    from eventstore.log.redaction import Redaction
    from eventstore.recovery.replay import PackedRecord


class Erasures:
    """What the batches that come by have erased of others."""

    def __init__(self) -> None:
        self._found: list[tuple[int, Redaction]] = []

    def take_in(self, record: PackedRecord) -> None:
        """Take in the next batch."""
        if may_erase(record.payload):
            events = decode_record(record).events
            self._found += [(record.revision, one) for one in redactions_in(events)]

    def due(self, revision: int) -> dict[int, list[Redaction]]:
        """Return what was erased by batches up to one, of each revision, and forget it."""
        wanted: dict[int, list[Redaction]] = defaultdict(list)
        for by_revision, one in self._found:
            if by_revision <= revision:
                wanted[one.revision].append(one)
        self._found = [each for each in self._found if each[0] > revision]
        return wanted


def without_erased(
    place: BackupPlace, manifest: Manifest, wanted: Mapping[int, Sequence[Redaction]]
) -> Manifest:
    """Write the files of batches anew that hold what was erased.

    Returns:
        the manifest that names them; the old ones are still there.

    Raises:
        DamagedBackupError: a file is not what it should be, or not what the erasure is about.
    """
    batches = tuple(
        _without_erased(place, entry, wanted)
        if any(entry.first_revision <= revision <= entry.file.revision for revision in wanted)
        else entry
        for entry in manifest.batches
    )
    return manifest._replace(batches=batches)


def _without_erased(
    place: BackupPlace, entry: BatchesFile, wanted: Mapping[int, Sequence[Redaction]]
) -> BatchesFile:
    path = join(place.name, entry.file.name)
    packed = MemoryFile(path, read_stored(place, entry.file))
    try:
        content = redacted_segment(path, b"".join(inflated(packed)), wanted)
    except CorruptionError as error:
        raise DamagedBackupError(path, error.offset_bytes, error.reason) from error
    if content is None:
        return entry
    left = pack_archive(content)
    replacing = batches_file(
        left,
        entry.first_revision,
        entry.file.revision,
        digest=entry.digest,
        time_ns=entry.time_ns,
        end_bytes=entry.end_bytes,
    )
    write_stored(place, replacing.file, left)
    return replacing
