"""Another name for a snapshotter in containerd's own metadata, its `meta.db`.

containerd knows its snapshots by the name of their snapshotter, and a proxy can't have the name of
a built-in one. So whoever takes over the root of `overlayfs` gives it another name here too, else
containerd knows none of the snapshots that the new name has, and its garbage collection removes
them.

The name is in (containerd's `metadata/buckets.go`):

    v1 / NAMESPACE / snapshots / NAME                       a bucket
    v1 / NAMESPACE / leases / ID / snapshots / NAME         a bucket
    v1 / NAMESPACE / containers / ID / snapshotter          a value
    … / labels / containerd.io/gc.ref.snapshot.NAME         a key, perhaps with a further `/…`

All else is written as it was read. The old file stays beside, under the name that is returned.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import Final, NamedTuple

from projections.snapshots import InvalidArgumentError
from projections.snapshots.boltfile import BoltFile, BoltFormatError, Bucket
from projections.snapshots.boltwriter import NewBucket, bolt_file
from snapledger.snapshotter.alone import alone
from snapledger.snapshotter.replacing import kept_copy, written

_REFERENCE: Final = b"containerd.io/gc.ref.snapshot."
_LABELS: Final = b"labels"
_SNAPSHOTS: Final = b"snapshots"
_SHOWN_DIGITS = 12
_NAME: Final = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
"""As containerd's own check of identifiers (`identifiers/validate.go`)."""
_NAME_MAX: Final = 76
_KEPT: Final = ".before-renaming-"

_Path = tuple[bytes, ...]


class Renamed(NamedTuple):
    """What was done.

    Attributes:
        places: in how many the name was found.
        kept: where the old file is.
    """

    places: int
    kept: str


def rename_snapshotter(database: str, old: str, new: str) -> Renamed:
    """Give a snapshotter another name in containerd's metadata.

    Raises:
        FailedPreconditionError: containerd has the database open.
        InvalidArgumentError: it is damaged, knows no snapshotter of the old name, or has the new
            name in use; or containerd would take the new name for none.
        OSError: it can't be read or written; it is then as it was.
    """
    if not _NAME.fullmatch(new) or len(new) > _NAME_MAX:
        raise InvalidArgumentError(
            f"a snapshotter can't be called {new[:_NAME_MAX]!r}: a name has letters and digits, "
            f"single dots, dashes or underscores in between, and {_NAME_MAX} characters at most"
        )
    path = os.path.abspath(database)
    with alone(path) as held:
        data = held.file.read()
        before = _done_before(path, data, old, new)
        if before is not None:
            return before
        changed, places = _renamed(data, old, new, path)
        digits = hashlib.sha256(data).hexdigest()[:_SHOWN_DIGITS]
        mode = os.fstat(held.file.fileno()).st_mode & 0o777
        kept = kept_copy(f"{path}{_KEPT}{digits}", data, mode, path)
        held.replace_by(written(changed, mode, path))
    return Renamed(places, kept)


def _done_before(path: str, data: bytes, old: str, new: str) -> Renamed | None:
    """Return what was done if this very renaming has made the database that is there.

    It was killed before it could say so, or is called twice.
    """
    directory, name = os.path.split(path)
    for each in sorted(os.listdir(directory)):
        if each.startswith(name + _KEPT):
            with open(f"{directory}/{each}", "rb") as file, suppress(InvalidArgumentError):
                changed, places = _renamed(file.read(), old, new, each)
                if changed == data:
                    return Renamed(places, f"{directory}/{each}")
    return None


def _renamed(data: bytes, old: str, new: str, path: str) -> tuple[bytes, int]:
    """Return a database with another name in it, and in how many places.

    Raises:
        InvalidArgumentError: as `rename_snapshotter` does.
    """
    renaming = _Renaming(old.encode(), new.encode())
    try:
        changed = bolt_file(renaming.of(BoltFile(data).root, ()))
    except BoltFormatError as error:
        raise InvalidArgumentError(f"{path}: {error}; it is as it was") from error
    if renaming.places == 0:
        raise InvalidArgumentError(
            f"{path}: no snapshotter is called {old} there, {renaming.others()}; it is as it was"
        )
    return changed, renaming.places


class _Renaming:
    """Copies buckets, counts where it puts the new name, and knows which others there are."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self._old = old
        self._new = new
        self.places = 0
        self._names: set[bytes] = set()

    def others(self) -> str:
        """Say which snapshotters there are."""
        names = sorted(name.decode(errors="backslashreplace") for name in self._names)
        return f"but {', '.join(names)}" if names else "nor is any other"

    def of(self, bucket: Bucket, path: _Path) -> NewBucket:
        """Return a bucket as it is to be; `path` are the keys that lead to it."""
        entries: dict[bytes, bytes | NewBucket] = {}
        for key, value in bucket:
            new_key = self._key(key, path)
            if new_key in entries or (new_key != key and _has(bucket, new_key)):
                raise InvalidArgumentError(
                    f"{self._new.decode()} is in use already, in {b'/'.join(path).decode()}"
                )
            if isinstance(value, Bucket):
                entries[new_key] = self.of(value, (*path, key))
            else:
                entries[new_key] = self._value(key, value, path)
        return NewBucket(entries, bucket.sequence)

    def _key(self, key: bytes, path: _Path) -> bytes:
        is_name = path[2:] == (_SNAPSHOTS,) or (
            len(path) == 5 and path[2] == b"leases" and path[4] == _SNAPSHOTS
        )
        if is_name:
            self._names.add(key)
            if key == self._old:
                self.places += 1
                return self._new
        reference = _REFERENCE + self._old
        if path and path[-1] == _LABELS and (key == reference or key.startswith(reference + b"/")):
            self.places += 1
            return _REFERENCE + self._new + key[len(reference) :]
        return key

    def _value(self, key: bytes, value: bytes, path: _Path) -> bytes:
        is_containers = len(path) == 4 and path[2] == b"containers"
        if is_containers and key == b"snapshotter":
            self._names.add(value)
            if value == self._old:
                self.places += 1
                return self._new
        return value


def _has(bucket: Bucket, key: bytes) -> bool:
    return bucket.get(key) is not None or bucket.bucket(key) is not None
