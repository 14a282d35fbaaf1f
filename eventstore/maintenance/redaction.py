"""Taking what an erasure names out of the files of a store.

An erasure is an event of the engine's own (`eventstore.engine_events`) that names batches, and in
them texts. Each is overwritten by asterisks, as many as it had bytes: so the batch keeps its
length, and everything behind it its place. The record keeps the digest of the whole batch and says
that it is *redacted*; chain, tree, receipts and proofs go on over that digest. That the digest is
not of what is there now is vouched for by the event alone, which states the hash of it and is
itself in the chain.

Before the event is committed, the file `ERASING` is written, and it is removed at the very end. An
open that finds it first finishes what may have been begun: every step may be done twice.

1. Each segment that holds such a batch, in the log and in the archive, is written anew beside,
   synced, and renamed into its place.
2. Checkpoints of the first such batch or later are removed, newest first: whoever opens the store
   folds the redacted log into new ones.
3. So are the indexes of those segments, which hold hashes of actors, and what recoveries have set
   aside: damaged checkpoints and torn tails, which nobody can look into.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.checkpoints.checkpoint import list_checkpoints
from eventstore.engine_events import ERASED
from eventstore.errors import CorruptionError
from eventstore.event import Metadata
from eventstore.files.content import read_file, write_file
from eventstore.files.paths import join, parent
from eventstore.format.codec import pack, unpack
from eventstore.format.names import (
    CHECKPOINTS_NAME,
    DAMAGED_SUFFIX,
    ERASING_NAME,
    INDEX_NAME,
    TEMPORARY_SUFFIX,
    TORN_NAME,
    index_name,
)
from eventstore.format.segment import SEGMENT_HEADER_BYTES, frame_redacted, pack_segment_header
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.segments import (
    MemoryFile,
    compress,
    list_archived,
    list_segments,
    opened_source,
)
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from eventstore.event import Event
    from eventstore.files.interface import FileSystem
    from eventstore.log.reader import Record
    from eventstore.log.segments import SegmentSource

Path = tuple[str, ...]
"""Where a text is: `("actor",)`, `("reason",)`, `("request_id",)`, or `("data", key, key …)`."""

DATA = "data"
_MARK = b"*"
_REVISION_BYTES_MAX = 20


class Redaction(NamedTuple):
    """What becomes of one batch.

    Attributes:
        revision: of the batch.
        digest: of the whole batch.
        payload_hash: SHA-256 of what is left.
        paths: of the texts that go.
    """

    revision: int
    digest: bytes
    payload_hash: bytes
    paths: tuple[Path, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as the event holds it."""
        return {
            "revision": self.revision,
            "digest": self.digest,
            "payload_hash": self.payload_hash,
            "fields": [list(path) for path in self.paths],
        }


def redactions_in(events: Iterable[Event]) -> Iterator[Redaction]:
    """Yield what the erasures among some events name."""
    for event in events:
        if event.type != ERASED:
            continue
        for batch in event.data["batches"]:
            paths = tuple(tuple(path) for path in batch["fields"])
            yield Redaction(batch["revision"], batch["digest"], batch["payload_hash"], paths)


def payload_hash(record: Record) -> bytes:
    """Return what an erasure states of a record that it has redacted."""
    return hashlib.sha256(record.payload).digest()


def redacted(payload: bytes, paths: Iterable[Path]) -> tuple[bytes, set[Path]]:
    """Return a batch's payload without some texts, as long as before, and what was found of them.

    Raises:
        ValueError: it can't be told apart from another payload once it is packed again.
    """
    metadata, events = unpack(payload)
    found: set[Path] = set()
    for path in paths:
        if path[0] == DATA:
            holders = [text_holder(event[2], path[1:]) for event in events]
        else:
            place = Metadata._fields.index(path[0])
            holders = [(metadata, place) if metadata[place] is not None else None]
        for holder in holders:
            if holder is not None:
                inside, key = holder
                inside[key] = _masked(inside[key])
                found.add(path)
    left = pack([metadata, events])
    if len(left) != len(payload):
        raise ValueError("the batch was not packed as this release packs one")
    return left, found


def text_holder(data: Any, path: Path) -> tuple[Any, Any] | None:
    """Return the dictionary that holds a text, and its key; None if there is no text there."""
    *above, key = path
    for name in above:
        data = data.get(name) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get(key), str | bytes):
        return None
    return data, key


def _masked(value: str | bytes) -> str | bytes:
    if isinstance(value, bytes):
        return _MARK * len(value)
    return _MARK.decode() * len(value.encode())


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
    write_file(file_system, join(path, ERASING_NAME), b"%d\n" % revision)
    file_system.sync_directory(path)


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
    note = read_file(file_system, join(path, ERASING_NAME), _REVISION_BYTES_MAX).strip()
    since = int(note) if note.isdigit() else 0  # a crash may have torn it: all may be unfinished
    sources = [*list_archived(file_system, path), *list_segments(file_system, path)]
    wanted = {one.revision: one for one in _unfinished(file_system, sources, since)}
    if wanted:
        _redact_all(file_system, path, sources, wanted)
    file_system.remove(join(path, ERASING_NAME))
    file_system.sync_directory(path)


def _unfinished(
    file_system: FileSystem, sources: Sequence[SegmentSource], since: int
) -> Iterator[Redaction]:
    """Yield what was erased after a revision, in order."""
    ordered = sorted(sources)
    later = [each for each in ordered if each.first_revision > since]
    before = [each for each in ordered if each.first_revision <= since]
    for source in [*before[-1:], *later]:
        with opened_source(file_system, source) as file:
            header = read_segment_header(file)
            for record in SegmentScanner(file, header, start_of(header)):
                if record.revision > since:
                    yield from redactions_in(decode_record(record).events)


def _redact_all(
    file_system: FileSystem,
    path: str,
    sources: Sequence[SegmentSource],
    wanted: Mapping[int, Redaction],
) -> None:
    first = min(wanted)
    firsts = sorted({source.first_revision for source in sources})
    holding = {max(each for each in firsts if each <= revision) for revision in wanted}
    for source in sources:
        if source.first_revision in holding:
            _redact(file_system, source, wanted)
    directory = join(path, CHECKPOINTS_NAME)
    gone = [file for file in list_checkpoints(file_system, path) if file.revision >= first]
    for file in sorted(gone, key=lambda file: file.revision, reverse=True):
        file_system.remove(file.path)
        # Before that which it continues goes: a delta alone would be damage.
        file_system.sync_directory(directory)
    _remove(
        file_system,
        directory,
        [name for name in file_system.list_directory(directory) if name.endswith(DAMAGED_SUFFIX)],
    )
    _remove(file_system, join(path, INDEX_NAME), [index_name(each) for each in holding])
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
    file_system: FileSystem, source: SegmentSource, wanted: Mapping[int, Redaction]
) -> None:
    """Write a segment anew without what goes, in its place."""
    with opened_source(file_system, source) as file:
        whole = file.read(0, file.size_bytes())
    content = _redacted_content(source.path, whole, wanted)
    if content is None:
        return
    temporary = source.path + TEMPORARY_SUFFIX
    if file_system.exists(temporary):
        file_system.remove(temporary)
    write_file(file_system, temporary, compress(content) if source.is_archived else content)
    file_system.rename(temporary, source.path)
    file_system.sync_directory(parent(source.path))


def _redacted_content(path: str, whole: bytes, wanted: Mapping[int, Redaction]) -> bytes | None:
    """Return a segment without what goes; None if it is gone already."""
    file = MemoryFile(path, whole)
    header = read_segment_header(file)
    redacting = header._replace(may_redact=True)
    content = bytearray(whole)
    content[:SEGMENT_HEADER_BYTES] = pack_segment_header(redacting)
    is_changed = False
    for record in SegmentScanner(file, header, start_of(header)):
        redaction = wanted.get(record.revision)
        if redaction is None or payload_hash(record) == redaction.payload_hash:
            continue
        payload, _ = redacted(record.payload, redaction.paths)
        if hashlib.sha256(payload).digest() != redaction.payload_hash:
            reason = f"revision {record.revision} is not what its erasure is about"
            raise CorruptionError(path, record.offset_bytes, reason)
        content[record.offset_bytes : record.end_bytes] = frame_redacted(
            payload,
            revision=record.revision,
            time_ns=record.time_ns,
            durable_revision=record.durable_revision,
            digest=record.digest,
            framing=redacting.framing,
        )
        is_changed = True
    return bytes(content) if is_changed else None
