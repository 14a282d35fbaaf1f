"""Records without the texts that an erasure names: what becomes of a payload, and of a segment.

Each text is overwritten by asterisks, as many as it had bytes: so the batch keeps its length, and
everything behind it its place. The record keeps the digest of the whole batch and says that it is
*redacted*; chain, tree, receipts and proofs go on over that digest. That the digest is not of what
is there now is vouched for by the event of the erasure alone, which states the hash of what is
left and is itself in the chain. All of this is a pure function of the bytes and of that event, so
that a store and each backup of it, whenever they come to it, hold the same.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.engine_events import ERASED
from eventstore.errors import CorruptionError
from eventstore.event import Metadata
from eventstore.format.codec import SALT_BYTES, DecodeError, pack, unpack
from eventstore.format.segment import SEGMENT_HEADER_BYTES, frame_redacted, pack_segment_header
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.segments import MemoryFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from eventstore.event import Event
    from eventstore.log.reader import Record

Path = tuple[str, ...]
"""Where a text is: `("actor",)`, `("reason",)`, `("request_id",)`, or `("data", key, key …)`."""

DATA = "data"
_ERASED = ERASED.encode()
_MARK = b"*"


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
    """Yield what the erasures among some events name; what the engine has not written names none.

    A dump that was written by hand may hold any such event.
    """
    for event in events:
        if event.type == ERASED and isinstance(event.data, dict):
            batches = event.data.get("batches")
            for batch in batches if isinstance(batches, list) else ():
                redaction = _redaction(batch)
                if redaction is not None:
                    yield redaction


def may_erase(payload: bytes) -> bool:
    """Say whether a batch may hold an erasure: a look that costs nothing beside decoding it."""
    return _ERASED in payload


def payload_hash(payload: bytes) -> bytes:
    """Return what an erasure states of what it has left of a batch."""
    return hashlib.sha256(payload).digest()


def _redaction(batch: Any) -> Redaction | None:
    try:
        revision, digest, left_hash = batch["revision"], batch["digest"], batch["payload_hash"]
        paths = tuple(tuple(path) for path in batch["fields"])
    except (LookupError, TypeError):
        return None
    is_right = (
        type(revision) is int
        and type(digest) is bytes
        and type(left_hash) is bytes
        and all(is_path(path) for path in paths)
    )
    return Redaction(revision, digest, left_hash, paths) if is_right else None


def is_path(path: tuple[Any, ...]) -> bool:
    """Say whether something leads to metadata, or into an event's data."""
    if len(path) == 1:
        return path[0] in Metadata._fields
    return path[:1] == (DATA,) and all(type(key) is str for key in path)


def redacted(
    payload: bytes, paths: Iterable[Path], *, counts_gone: bool = False
) -> tuple[bytes, set[Path]]:
    """Return a batch's payload without some texts, as long as before, and where there was one.

    A salt goes with them. What takes its place follows from what was there, which nobody knows any
    more: so each copy of the batch gets the same, and a later erasure of more leaves nothing to try
    that by either.

    Args:
        payload: of the batch.
        paths: of the texts that go.
        counts_gone: whether there was one also where nothing but asterisks is left.

    Raises:
        ValueError: the batch was packed by another program, so that its places can't be kept.
    """
    metadata, events, *salts = unpack(payload)
    if {type(each) for each in (metadata, events, *events)} != {list}:
        raise ValueError("the batch was packed by another program")
    found: set[Path] = set()
    is_changed = False
    for path in paths:
        if path[0] == DATA:
            holders = [text_holder(event[2], path[1:]) for event in events]
        else:
            place = Metadata._fields.index(path[0])
            is_text = place < len(metadata) and isinstance(metadata[place], str)
            holders = [(metadata, place) if is_text else None]
        for holder in holders:
            if holder is not None:
                inside, key = holder
                masked = _masked(inside[key])
                if masked != inside[key]:
                    inside[key] = masked
                    is_changed = True
                elif not counts_gone:
                    continue
                found.add(path)
    if is_changed and salts:
        salts = [hashlib.sha256(payload).digest()[:SALT_BYTES]]
    left = pack([metadata, events, *salts])
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


def texts_in(data: Any, text: str) -> Iterator[tuple[Path, str, bool]]:
    """Yield where a text stands in an event's data, by itself or in a longer one.

    Yields:
        the keys that lead there, a place in a list as its number; the whole text that is there;
        and whether it is a value, not a key.
    """
    level: list[tuple[Path, Any]] = [((), data)]
    while level:
        path, value = level.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                place = (*path, str(key))
                if text in str(key):
                    yield place, str(key), False
                level.append((place, inner))
        elif isinstance(value, list):
            level += [((*path, str(place)), inner) for place, inner in enumerate(value)]
        elif isinstance(value, str | bytes):
            found = value if isinstance(value, str) else value.decode(errors="replace")
            if text in found:
                yield path, found, True


def _masked(value: str | bytes) -> str | bytes:
    if isinstance(value, bytes):
        return _MARK * len(value)
    return _MARK.decode() * len(value.encode())


def redacted_segment(
    path: str, whole: bytes, wanted: Mapping[int, Sequence[Redaction]]
) -> bytes | None:
    """Return a segment without what goes; None if it is gone already.

    Args:
        path: of the segment, for messages.
        whole: its content.
        wanted: for each revision what was erased of it, in order.

    Raises:
        CorruptionError: a batch is not what its erasure is about, or the segment is damaged.
    """
    file = MemoryFile(path, whole)
    header = read_segment_header(file)
    redacting = header._replace(may_redact=True)
    content = bytearray(whole)
    content[:SEGMENT_HEADER_BYTES] = pack_segment_header(redacting)
    is_changed = False
    scanner = SegmentScanner(file, header, start_of(header))
    for record in scanner:
        payload = left_of(record, wanted.get(record.revision, ()))
        if payload == record.payload:
            continue
        content[record.offset_bytes : record.end_bytes] = frame_redacted(
            payload,
            revision=record.revision,
            time_ns=record.time_ns,
            durable_revision=record.durable_revision,
            digest=record.digest,
            framing=redacting.framing,
        )
        is_changed = True
    position, problem = scanner.end or (scanner.position, None)
    if problem is not None and max(wanted, default=0) > position.revision:
        # What must go may be behind the damage.
        raise CorruptionError(path, position.offset_bytes, problem)
    return bytes(content) if is_changed else None


def left_of(record: Record, redactions: Sequence[Redaction]) -> bytes:
    """Return what is left of a batch's payload once all that was erased of it is gone.

    Raises:
        CorruptionError: the batch is not what an erasure is about.
    """
    payload = record.payload
    hashes = [each.payload_hash for each in redactions]
    found = payload_hash(payload)
    done = hashes.index(found) + 1 if found in hashes else 0
    for each in redactions[done:]:
        try:
            payload, _ = redacted(payload, each.paths)
        except (ValueError, DecodeError):
            payload = b""
        if payload_hash(payload) != each.payload_hash or record.digest != each.digest:
            reason = f"revision {record.revision} is not what its erasure is about"
            raise CorruptionError(record.path, record.offset_bytes, reason)
    return payload
