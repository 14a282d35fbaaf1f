"""Decoder of the `metadata.db` that a containerd snapshotter keeps its snapshots in.

The schema is what containerd's `core/snapshots/storage/bolt.go` and `core/metadata/boltutil`
write; it is the same in containerd 1.x (`snapshots/storage`) and 2.x. The file is a bbolt
database, see `projections.snapshots.boltfile`:

    v1
      snapshots            its sequence is the id counter: the last id given out
        NAME               one bucket a snapshot; the key of an active one, else the name
          id               uvarint
          kind             one byte: 1 view, 2 active, 3 committed
          parent           name of the parent; absent without one
          createdat        time
          updatedat        time
          inodes           varint; committed snapshots only
          size             varint; committed snapshots only
          labels           bucket of key -> value; absent without labels
      parents
        uvarint(parent id) 0x00 uvarint(id) -> name of the snapshot

Uvarint and varint are those of Go's `encoding/binary`: groups of 7 bits, the lowest first, the
high bit set on all but the last byte; varint maps 0, -1, 1, -2 ... to 0, 1, 2, 3 ... first.

A time is that of Go's `time.Time.MarshalBinary`, big-endian:

    version u8 (1 or 2) | seconds since 0001-01-01 UTC, i64 | nanoseconds i32
    zone offset in minutes, i16 (-1: UTC) | version 2 only: further seconds of the offset, i8

The seconds count in UTC whatever the zone is, so the zone only says how containerd would print
the time, and is dropped.

**What is refused.** bbolt has no checksums over its content, so the redundancy in it is all there
is to notice damage by: everything is refused that containerd would not have written. Fields must
be known, complete and exactly encoded, ids unique and within the counter, parents present,
committed and without cycles (containerd let a commit name itself as its parent), and the parents
bucket must say the same as the snapshots. A snapshot of a kind that this model doesn't have is
refused too, not left out. Keys beside `snapshots` and `parents`, and buckets beside `v1`, are not
a snapshotter's and are not looked at.
"""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from projections.snapshots.boltfile import BoltFile, BoltFormatError, Bucket
from projections.snapshots.model import Info, Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION: Final = b"v1"
SNAPSHOTS: Final = b"snapshots"
PARENTS: Final = b"parents"

ID: Final = b"id"
KIND: Final = b"kind"
PARENT: Final = b"parent"
CREATED: Final = b"createdat"
UPDATED: Final = b"updatedat"
INODES: Final = b"inodes"
SIZE: Final = b"size"
LABELS: Final = b"labels"

_REQUIRED: Final = frozenset({ID, KIND, CREATED, UPDATED})
_USAGE: Final = frozenset({INODES, SIZE})
_KNOWN: Final = _REQUIRED | {PARENT, LABELS}
_KNOWN_COMMITTED: Final = _KNOWN | _USAGE

_FIRST_TRANSACTION_ID: Final = 1  # of a new database; bbolt's `db.init` writes 0 and 1

KINDS: Final = {b"\x01": Kind.VIEW, b"\x02": Kind.ACTIVE, b"\x03": Kind.COMMITTED}

_NO_USAGE: Final = Usage()

_UVARINT_BYTES_MAX: Final = 10
_UINT64_END: Final = 1 << 64
_INT64_END: Final = 1 << 63

TIMES: Final = {1: struct.Struct(">Bqih"), 2: struct.Struct(">Bqihb")}
if [layout.size for layout in TIMES.values()] != [15, 16]:
    raise RuntimeError("a layout of times is not that of Time.MarshalBinary")

NS_PER_SECOND: Final = 1_000_000_000
UNIX_EPOCH_SECONDS: Final = 62_135_596_800  # from 0001-01-01 to 1970-01-01

_SHOWN_CHARACTERS: Final = 120

_T = TypeVar("_T")


class ContainerdDatabaseError(BoltFormatError):
    """A sound bbolt database that holds something other than a snapshotter's metadata should."""


class ContainerdSnapshot(NamedTuple):
    """One snapshot.

    Attributes:
        id: the number of its directory, which is `snapshots/ID` with most snapshotters.
        info: name, parent, kind, labels and times.
        usage: as committed; zero for an active snapshot or view.
    """

    id: int
    info: Info
    usage: Usage


class ContainerdSnapshots(NamedTuple):
    """What a snapshotter's database holds.

    Attributes:
        last_id: the last id that was given out, to a snapshot that may be removed since; 0: none.
        snapshots: in byte order of their names.
    """

    last_id: int
    snapshots: tuple[ContainerdSnapshot, ...]


def read_snapshots(data: bytes | bytearray | memoryview) -> ContainerdSnapshots:
    """Read a snapshotter's `metadata.db`.

    A database that nothing was ever committed to is that of a snapshotter never used, and gives
    no snapshots. One that lost its buckets later is damaged.

    Args:
        data: the whole file, not being written to meanwhile.

    Raises:
        BoltFormatError: not a bbolt database, or a damaged one.
        ContainerdDatabaseError: a database of something else, or inconsistent content.

    Complexity: time and memory are proportional to the size of the data.
    """
    file = BoltFile(data)
    if file.transaction_id <= _FIRST_TRANSACTION_ID and next(iter(file.root), None) is None:
        return ContainerdSnapshots(0, ())
    version = file.root.bucket(VERSION)
    if version is None:
        raise ContainerdDatabaseError(
            "not a snapshotter's metadata.db: a bbolt database without the bucket 'v1'"
        )
    bucket = version.bucket(SNAPSHOTS)
    if bucket is None:
        raise ContainerdDatabaseError(
            "not a snapshotter's metadata.db: no bucket 'snapshots' in 'v1' "
            "(containerd's own meta.db has a 'v1' too)"
        )
    snapshots = tuple(_read_snapshot(name, value) for name, value in bucket)
    _check_ids(snapshots, bucket.sequence)
    by_name = {snapshot.info.name: snapshot for snapshot in snapshots}
    _check_parents(by_name)
    _check_links(by_name, version.bucket(PARENTS))
    return ContainerdSnapshots(bucket.sequence, snapshots)


def _read_snapshot(raw_name: bytes, value: bytes | Bucket) -> ContainerdSnapshot:
    try:
        name = raw_name.decode()
    except UnicodeDecodeError as error:
        raise ContainerdDatabaseError(f"snapshot name {_shown(raw_name)}: {error}") from error
    if not isinstance(value, Bucket):
        raise ContainerdDatabaseError(f"snapshot {_shown(name)} is a plain value, not a bucket")
    fields = _Fields(name, value)
    kind = fields.required(KIND, _decode_kind)
    fields.check_names(kind)
    parent, labels = fields.parent(), fields.labels()
    created_ns = fields.required(CREATED, _decode_time)
    updated_ns = fields.required(UPDATED, _decode_time)
    info = Info(name, parent, kind, labels, created_ns, updated_ns)
    usage = _NO_USAGE
    if kind is Kind.COMMITTED:
        inodes = fields.required(INODES, _decode_varint)
        usage = Usage(inodes, fields.required(SIZE, _decode_varint))
    return ContainerdSnapshot(fields.required(ID, _decode_uvarint), info, usage)


class _Fields:
    """The fields of one snapshot; errors name the snapshot and the field."""

    __slots__ = ("_bucket", "_name")

    def __init__(self, name: str, bucket: Bucket) -> None:
        self._name = name
        self._bucket = bucket

    def required(self, field: bytes, decode: Callable[[bytes], _T]) -> _T:
        """Decode a field; `decode` raises ValueError for what it can't."""
        value = self._bucket.get(field)
        if value is None:
            raise self._error(field, "missing")
        try:
            return decode(value)
        except ValueError as error:
            raise self._error(field, str(error)) from error

    def parent(self) -> str:
        return "" if self._bucket.get(PARENT) is None else self.required(PARENT, bytes.decode)

    def labels(self) -> Mapping[str, str]:
        labels = {}
        for key, value in self._bucket.bucket(LABELS) or ():
            if type(value) is Bucket:
                raise self._error(LABELS, f"label {_shown(key)} is a bucket")
            try:
                labels[key.decode()] = value.decode()
            except UnicodeDecodeError as error:
                raise self._error(LABELS, f"label {_shown(key)}: {error}") from error
        return MappingProxyType(labels)

    def check_names(self, kind: Kind) -> None:
        """Refuse fields that a snapshot of that kind does not have, and those of a wrong type."""
        known = _KNOWN_COMMITTED if kind is Kind.COMMITTED else _KNOWN
        for field, value in self._bucket:
            if field not in known:
                raise self._error(field, f"unknown for a snapshot that is {kind}")
            if (type(value) is Bucket) != (field == LABELS):
                raise self._error(field, "a bucket where a value belongs, or the reverse")

    def _error(self, field: bytes, reason: str) -> ContainerdDatabaseError:
        return ContainerdDatabaseError(
            f"snapshot {_shown(self._name)}, field {_shown(field)}: {reason}"
        )


def _decode_kind(value: bytes) -> Kind:
    kind = KINDS.get(value)
    if kind is None:
        raise ValueError(f"unknown kind {_shown(value)}")
    return kind


def _decode_uvarint(value: bytes) -> int:
    """Decode as Go's `binary.Uvarint`, but only what its `PutUvarint` gives for a number."""
    if len(value) == 1 and value[0] < 0x80:
        return value[0]
    number = shift = last = 0
    for byte in value[:_UVARINT_BYTES_MAX]:
        number |= (byte & 0x7F) << shift
        shift += 7
        last = byte
        if byte < 0x80:
            break
    # The byte that says that none follows must be there, be the last one, and be needed.
    if shift != 7 * len(value) or not 0 < last < 0x80 or number >= _UINT64_END:
        raise ValueError(f"not a 64-bit varint: {_shown(value)}")
    return number


def _decode_varint(value: bytes) -> int:
    number = _decode_uvarint(value)
    return (number >> 1) ^ -(number & 1)


def _decode_time(value: bytes) -> int:
    """Return nanoseconds since 1970, as long as a signed 64-bit number holds them."""
    layout = TIMES.get(value[0]) if value else None
    if layout is None or len(value) != layout.size:
        raise ValueError(f"not a time of version 1 or 2: {_shown(value)}")
    _, seconds, nanoseconds, *_ = layout.unpack(value)
    if not 0 <= nanoseconds < NS_PER_SECOND:
        raise ValueError(f"time with {nanoseconds} nanoseconds")
    since_epoch_ns = (seconds - UNIX_EPOCH_SECONDS) * NS_PER_SECOND + nanoseconds
    if not -_INT64_END <= since_epoch_ns < _INT64_END:
        raise ValueError(f"time {seconds} s after the year 1 is not within 1677 to 2262")
    return int(since_epoch_ns)


def encode_uvarint(number: int) -> bytes:
    """Encode as Go's `binary.PutUvarint`."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _check_ids(snapshots: tuple[ContainerdSnapshot, ...], last_id: int) -> None:
    names: dict[int, str] = {}
    for number, info, _ in snapshots:
        if not 1 <= number <= last_id:
            raise ContainerdDatabaseError(
                f"snapshot {_shown(info.name)} has id {number}, but the counter gave out 1 to "
                f"{last_id}"
            )
        if number in names:
            raise ContainerdDatabaseError(
                f"snapshots {_shown(names[number])} and {_shown(info.name)} both have id {number}"
            )
        names[number] = info.name


def _check_parents(by_name: Mapping[str, ContainerdSnapshot]) -> None:
    for name, snapshot in by_name.items():
        if not snapshot.info.parent:
            continue
        parent = by_name.get(snapshot.info.parent)
        if parent is None or parent.info.kind is not Kind.COMMITTED:
            state = "does not exist" if parent is None else f"is {parent.info.kind}"
            raise ContainerdDatabaseError(
                f"parent {_shown(snapshot.info.parent)} of snapshot {_shown(name)} {state}"
            )
    _check_ancestry(by_name)


def _check_ancestry(by_name: Mapping[str, ContainerdSnapshot]) -> None:
    """Refuse cycles. Each snapshot is passed once, however long the chains are."""
    leads_to_a_base = {""}
    for start in by_name:
        chain: set[str] = set()
        name = start
        while name not in leads_to_a_base:
            if name in chain:
                raise ContainerdDatabaseError(f"snapshot {_shown(name)} is its own ancestor")
            chain.add(name)
            name = by_name[name].info.parent
        leads_to_a_base |= chain


def _check_links(by_name: Mapping[str, ContainerdSnapshot], parents: Bucket | None) -> None:
    """Check that the parents bucket has a link for each snapshot with a parent, and no other."""
    stored = dict(parents or ())
    for name, snapshot in by_name.items():
        if not snapshot.info.parent:
            continue
        parent_id = by_name[snapshot.info.parent].id
        link = encode_uvarint(parent_id) + b"\x00" + encode_uvarint(snapshot.id)
        found = stored.pop(link, None)
        if found != name.encode():
            raise ContainerdDatabaseError(
                f"snapshot {_shown(name)}: its link in the bucket 'parents', from {parent_id} to "
                f"{snapshot.id}, is {'missing' if found is None else 'to something else'}"
            )
    for link in stored:
        raise ContainerdDatabaseError(
            f"link {_shown(link)} in the bucket 'parents' belongs to no snapshot"
        )


def _shown(text: str | bytes) -> str:
    more = "..." if len(text) > _SHOWN_CHARACTERS else ""
    return f"{text[:_SHOWN_CHARACTERS]!r}{more}"
