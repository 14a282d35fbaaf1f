"""Encoder of the `metadata.db` of a containerd snapshotter: what `containerd_db` decodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from projections.snapshots.boltwriter import NewBucket, bolt_file
from projections.snapshots.containerd_db import (
    CREATED,
    ID,
    INODES,
    KIND,
    KINDS,
    LABELS,
    NS_PER_SECOND,
    PARENT,
    PARENTS,
    SIZE,
    SNAPSHOTS,
    TIMES,
    UNIX_EPOCH_SECONDS,
    UPDATED,
    VERSION,
    encode_uvarint,
)
from projections.snapshots.model import Kind

if TYPE_CHECKING:
    from projections.snapshots.containerd_db import ContainerdSnapshot, ContainerdSnapshots

_KIND_BYTES: Final = {kind: byte for byte, kind in KINDS.items()}
_TIME_VERSION: Final = 1
_UTC: Final = -1


def write_snapshots(content: ContainerdSnapshots) -> bytes:
    """Return the bytes of a `metadata.db`; the same content gives the same bytes."""
    ids = {snapshot.info.name: snapshot.id for snapshot in content.snapshots}
    snapshots = {each.info.name.encode(): _bucket(each) for each in content.snapshots}
    parents = {
        _link(ids[each.info.parent], each.id): each.info.name.encode()
        for each in content.snapshots
        if each.info.parent
    }
    version = NewBucket(
        {SNAPSHOTS: NewBucket(snapshots, content.last_id), PARENTS: NewBucket(parents)}
    )
    return bolt_file(NewBucket({VERSION: version}))


def _bucket(snapshot: ContainerdSnapshot) -> NewBucket:
    info = snapshot.info
    fields: dict[bytes, bytes | NewBucket] = {
        ID: encode_uvarint(snapshot.id),
        KIND: _KIND_BYTES[info.kind],
        CREATED: _encode_time(info.created_ns),
        UPDATED: _encode_time(info.updated_ns),
    }
    if info.parent:
        fields[PARENT] = info.parent.encode()
    if info.kind is Kind.COMMITTED:
        fields[INODES] = _encode_varint(snapshot.usage.inodes)
        fields[SIZE] = _encode_varint(snapshot.usage.size)
    if info.labels:
        labels = {key.encode(): value.encode() for key, value in info.labels.items()}
        fields[LABELS] = NewBucket(labels)
    return NewBucket(fields)


def _link(parent_id: int, snapshot_id: int) -> bytes:
    return encode_uvarint(parent_id) + b"\x00" + encode_uvarint(snapshot_id)


def _encode_varint(number: int) -> bytes:
    return encode_uvarint(number << 1 if number >= 0 else ~(number << 1))


def _encode_time(since_epoch_ns: int) -> bytes:
    seconds, nanoseconds = divmod(since_epoch_ns, NS_PER_SECOND)
    return TIMES[_TIME_VERSION].pack(_TIME_VERSION, seconds + UNIX_EPOCH_SECONDS, nanoseconds, _UTC)
