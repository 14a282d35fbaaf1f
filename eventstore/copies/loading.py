"""Loading a dump: a new store whose history is equal, and refused where a line is not right.

Each line must be the next batch: of the next revision, not older than the one before, and with the
digest that follows from what it says and from all lines before. So what was changed, left out, put
in or put elsewhere is found at its line. Of a batch that was redacted the digest says no more than
that the batches after it follow: a later line must hold the erasure that names what is left of it,
or nothing is loaded. The file is read once, forwards.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from eventstore.copies.dumping import DUMP_FORMAT, DUMP_VERSION
from eventstore.copies.framing import ChainPosition, PackedBatch, digest_after
from eventstore.copies.remaking import Beginning, NewPlace, make_store
from eventstore.errors import DumpError, InvalidEventError
from eventstore.event import Event, Metadata
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute
from eventstore.format.codec import (
    DecodeError,
    checked_metadata,
    decode_batch,
    encode_batch,
    encode_event,
    with_salt,
)
from eventstore.format.jsonlines import LineError, parse_line
from eventstore.format.segment import genesis_digest
from eventstore.integrity.redacted import RedactedCheck
from eventstore.options import checked_options
from eventstore.projection import checked_projections

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from eventstore.files.interface import FileSystem
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection

_HEADER_FIELDS = {"format", "version", "store_id", "first_revision", "revision"}
_PLACE_FIELDS = {"revision", "time_ns", "durable_revision", "digest"}
_BATCH_FIELDS = _PLACE_FIELDS | {"actor", "reason", "request_id", "events"}
_PACKED_FIELDS = _PLACE_FIELDS | {"payload"}
_MORE_FIELDS = {"redacted", "salt"}
"""Of a line whose batch was redacted, where it is true; and of one with a salt."""
_EVENT_FIELDS = {"type", "version", "data"}
_STORE_ID = re.compile(r"[0-9a-f]{32}")
_SALT = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER_MAX = 2**63 - 1
_HEADER_BYTES_MAX = 4096
_LINE_FACTOR = 4
_LINE_BYTES_MORE = 64 * 1024


class Lines(Protocol):
    """A binary file that is open for reading."""

    def readline(self, limit: int, /) -> bytes:
        """Return the next line, or no more than so many bytes of it; none at the end."""


class LoadReport(NamedTuple):
    """What was loaded.

    Attributes:
        store_id: of the new store, and of the one that was dumped.
        revision: that it is at.
        digest: chain digest of that.
    """

    store_id: bytes
    revision: int
    digest: bytes


def load_store(
    lines: Lines,
    path: str | os.PathLike[str],
    projections: Iterable[Projection],
    *,
    options: StoreOptions | None = None,
    on_batch: Callable[[int], object] = lambda revision: None,
    file_system: FileSystem | None = None,
) -> LoadReport:
    """Make a store of a dump: the same store id, revisions, times and digests.

    So every receipt, head and proof of the store that was dumped holds in it; that one must be
    retired, since two with one identity would part ways.

    Args:
        lines: a binary file with what `EventStore.dump` has given; it is read to its end.
        path: of the new store, where nothing is, or an empty directory.
        projections: what the events are folded into; the store is made only if they can be.
        options: of the new store; no line may be longer than 4 times `batch_bytes_max`, and 64 KiB.
        on_batch: called with each revision that was read, for progress.
        file_system: that the store goes to; the local one unless given.

    Raises:
        DumpError: a line is not what must stand there; nothing is left at the path.
        StoreExistsError: something is at the path, which is unchanged; or it is in a store.
        BackupError: the path is in a backup.
        StoreLockedError: another process has the path.
        ProjectionError: as of `EventStore.open`.
        StorageFullError: there is no space.
        ForeignOwnerError: the directory belongs to another user.
        UnsupportedFileSystemError: the path is on a network file system.
    """
    known = checked_projections(projections)
    options = checked_options(options)
    file_system = file_system or local_file_system()
    new = NewPlace(file_system, absolute(path), known, options, "load of a dump")
    reader = DumpReader(lines, _LINE_FACTOR * options.batch_bytes_max + _LINE_BYTES_MORE)
    beginning, end = make_store(new, lambda: reader.begin(on_batch))
    return LoadReport(beginning.store_id, end.revision, end.digest)


class DumpReader:
    """Reads the lines of a dump, and knows where it is."""

    def __init__(self, lines: Lines, line_bytes_max: int) -> None:
        self._lines = lines
        self._line_bytes_max = line_bytes_max
        self._number = 0
        self._last_revision = 0
        self._store_id = b""
        self._redacted = RedactedCheck()

    def begin(self, on_batch: Callable[[int], object]) -> tuple[Beginning, Iterator[PackedBatch]]:
        """Read the first line, and return what the store is made of."""
        fields = self._fields(_HEADER_BYTES_MAX)
        if fields is None:
            raise self._error("the dump is empty")
        version = fields.get("version")
        if fields.get("format") != DUMP_FORMAT or (type(version), version) != (int, DUMP_VERSION):
            raise self._error(
                f"not the first line of a dump of version {DUMP_VERSION}, the newest that this "
                "release reads"
            )
        self._require_fields(fields, _HEADER_FIELDS)
        store_id = bytes.fromhex(self._matching(_STORE_ID, fields, "store_id"))
        first = self._whole(fields, "first_revision", 1)
        self._last_revision = self._whole(fields, "revision", 0)
        if first != 1:
            raise self._error(
                f"the history begins at revision {first}: what was before is in no line, so no "
                "store can be made of it; use a backup"
            )
        self._store_id = store_id
        place = ChainPosition(0, genesis_digest(store_id), 0, 0)
        return Beginning(store_id, place), self._batches(place, on_batch)

    def _batches(
        self, place: ChainPosition, on_batch: Callable[[int], object]
    ) -> Iterator[PackedBatch]:
        digest, time_ns = place.digest, place.time_ns
        for revision in range(1, self._last_revision + 1):
            fields = self._fields(self._line_bytes_max)
            if fields is None:
                raise self._error(
                    f"the dump ends before revision {revision}, but goes to {self._last_revision}: "
                    "it was cut short"
                )
            batch = self._batch(fields, revision, digest, time_ns)
            digest, time_ns = batch.digest, batch.time_ns
            self._redacted.take_in(batch)
            on_batch(revision)
            yield batch
        for unnamed in self._redacted.unnamed():
            raise self._error(unnamed.reason)
        if self._fields(self._line_bytes_max) is not None:
            raise self._error(f"more after revision {self._last_revision}, which is the last one")

    def _batch(
        self, fields: dict[str, Any], revision: int, previous_digest: bytes, previous_ns: int
    ) -> PackedBatch:
        is_packed, is_redacted = "payload" in fields, "redacted" in fields
        names = _PACKED_FIELDS if is_packed else _BATCH_FIELDS
        self._require_fields(fields, names | (_MORE_FIELDS & fields.keys()))
        if is_redacted and fields["redacted"] is not True:
            raise self._error("'redacted' is not true")
        found = self._whole(fields, "revision", 1)
        if found != revision:
            raise self._error(f"revision {found}, where {revision} must stand")
        time_ns = self._whole(fields, "time_ns", 0)
        if time_ns < previous_ns:
            raise self._error("the batch is older than the one before it")
        durable_revision = self._whole(fields, "durable_revision", 0)
        if durable_revision >= revision:
            raise self._error("the batch claims to have been durable before it was written")
        digest = bytes.fromhex(self._matching(_DIGEST, fields, "digest"))
        payload = self._packed(fields) if is_packed else self._encoded(fields)
        batch = PackedBatch(
            payload, revision, time_ns, durable_revision, digest, is_redacted=is_redacted
        )
        if digest_after(batch, self._store_id, previous_digest) != digest:
            raise self._error(
                "the digest is not that of the batch: this line, or one before it, was changed"
            )
        return batch

    def _encoded(self, fields: dict[str, Any]) -> bytes:
        events = fields["events"]
        if type(events) is not list:
            raise self._error("'events' is not a list")
        try:
            metadata = checked_metadata(
                Metadata(fields["actor"], fields["reason"], fields["request_id"])
            )
            packed = encode_batch(metadata, [encode_event(self._event(each)) for each in events])
        except InvalidEventError as error:
            raise self._error(str(error)) from error
        if "salt" not in fields:
            return packed
        return with_salt(packed, bytes.fromhex(self._matching(_SALT, fields, "salt")))

    def _event(self, fields: Any) -> Event:
        if type(fields) is not dict:
            raise self._error("an event is not an object")
        self._require_fields(fields, _EVENT_FIELDS)
        return Event(fields["type"], fields["data"], fields["version"])

    def _packed(self, fields: dict[str, Any]) -> bytes:
        text = fields["payload"]
        try:
            if type(text) is not str:
                raise ValueError("not a text")
            payload = base64.b64decode(text.encode(), validate=True)
            decode_batch(payload)
        except (binascii.Error, ValueError, DecodeError) as error:
            raise self._error(f"'payload' is no batch: {error}") from error
        return payload

    def _fields(self, line_bytes_max: int) -> dict[str, Any] | None:
        """Return the next line; None at the end."""
        self._number += 1
        line = self._lines.readline(line_bytes_max + 1)
        if not line:
            return None
        if not line.endswith(b"\n"):
            is_long = len(line) > line_bytes_max
            raise self._error(
                f"longer than {line_bytes_max} bytes" if is_long else "the line was cut short"
            )
        try:
            return parse_line(line)
        except LineError as error:
            raise self._error(str(error)) from error

    def _require_fields(self, fields: dict[str, Any], names: set[str]) -> None:
        if fields.keys() != names:
            wrong = min(map(str, fields.keys() ^ names))
            is_there = wrong in fields
            raise self._error(f"{'an unknown' if is_there else 'no'} field {wrong[:40]!r}")

    def _whole(self, fields: dict[str, Any], name: str, least: int) -> int:
        value = fields[name]
        if type(value) is not int or not least <= value <= _NUMBER_MAX:
            raise self._error(f"{name!r} is not a whole number from {least} on")
        return value

    def _matching(self, pattern: re.Pattern[str], fields: dict[str, Any], name: str) -> str:
        value = fields[name]
        if type(value) is not str or not pattern.fullmatch(value):
            raise self._error(f"{name!r} is not in hex, or of another length")
        return value

    def _error(self, reason: str) -> DumpError:
        return DumpError(self._number, reason)
