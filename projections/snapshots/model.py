"""The values of the snapshot domain: kinds, usage, info, snapshots, and their limits.

All are immutable. They are named tuples rather than dataclasses because a walk over a large
store builds one `Info` a row: a frozen dataclass with six fields costs about four times as
much to build.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY_BYTES_MAX = 32_768
"""The longest key or name, in bytes of UTF-8: bbolt's limit on a bucket's name."""

LABEL_PAIR_BYTES_MAX = 4_096
"""The longest label: bytes of its key and value together (containerd's `labels.Validate`)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(time_ns: int) -> datetime:
    """Return nanoseconds since the epoch as a UTC time, cut to its microseconds."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


class Kind(enum.StrEnum):
    """What a snapshot is: a writable or read-only work in progress, or committed."""

    VIEW = "view"
    ACTIVE = "active"
    COMMITTED = "committed"

    @classmethod
    def parse(cls, text: str) -> Kind:
        """Return the kind that `str` of it gives.

        Raises:
            InvalidArgumentError: there is no such kind.
        """
        try:
            return cls(text)
        except ValueError:
            expected = ", ".join(kind.value for kind in cls)
            given = repr(text[:80]) if isinstance(text, str) else f"of type {type(text).__name__}"
            raise InvalidArgumentError(
                f"unknown snapshot kind {given}: expected one of {expected}"
            ) from None


class Usage(NamedTuple):
    """Resources that a committed snapshot takes: inodes, and size in bytes."""

    inodes: int = 0
    size: int = 0


class Info(NamedTuple):
    """What is known of a snapshot.

    Attributes:
        name: the key of an active snapshot or view, the name of a committed one.
        parent: name of the parent, "" for a base snapshot.
        kind: active, view or committed.
        labels: a read-only mapping.
        created_ns: nanoseconds since the epoch, UTC.
        updated_ns: nanoseconds since the epoch, UTC.
    """

    name: str
    parent: str
    kind: Kind
    labels: Mapping[str, str]
    created_ns: int
    updated_ns: int

    @property
    def created(self) -> datetime:
        """Creation time in UTC, cut to the microseconds that a datetime holds."""
        return utc(self.created_ns)

    @property
    def updated(self) -> datetime:
        """Time of the last change in UTC, cut to the microseconds that a datetime holds."""
        return utc(self.updated_ns)

    def __hash__(self) -> int:
        return hash((*self[:3], frozenset(self.labels.items()), *self[4:]))

    def __reduce__(self) -> tuple[Callable[..., Info], tuple[object, ...]]:
        # A read-only mapping can't be pickled, nor copied in depth.
        return _restored, tuple(self._replace(labels=dict(self.labels)))


def _restored(
    name: str, parent: str, kind: Kind, labels: dict[str, str], created_ns: int, updated_ns: int
) -> Info:
    return Info(name, parent, kind, MappingProxyType(labels), created_ns, updated_ns)


class Snapshot(NamedTuple):
    """An active snapshot or view, as a driver needs it to mount one.

    Attributes:
        kind: active or view.
        id: decimal string, never used for another snapshot of the store.
        parent_ids: ids of all ancestors, the nearest parent first.
    """

    kind: Kind
    id: str
    parent_ids: tuple[str, ...]
