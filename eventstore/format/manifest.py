"""The manifest of a backup: which files belong to it, and what they hold.

One line of JSON in ASCII, its fields in a fixed order, that ends in the SHA-256 of what stands
before. So there is one way only to write a manifest, and whatever differs from that is damage.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

from eventstore.format.blocks import MalformedError, known_version

MANIFEST_NAME = "MANIFEST"
MANIFEST_VERSION = 1
"""Of manifests as they are written; it and every older one is read."""

MANIFEST_BYTES_MAX = 256 * 1024 * 1024
"""Nobody reads a longer one: room for about 700,000 files."""

_FORMAT = "snapledger-backup"
MANIFEST_START = f'{{"format":"{_FORMAT}",'.encode()
"""What every manifest begins with."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_STORE_ID = re.compile(r"[0-9a-f]{32}")
_REVISION_MAX = 2**63 - 1
_NAME_DIGITS = 16
_BATCHES_NAME = re.compile(r"batches-[0-9]{20}-[0-9]{20}-[0-9a-f]{16}\.log\.gz")
_STATE_NAME = re.compile(r"state-[0-9]{20}-[0-9a-f]{16}\.ckpt")
_LEAVES_NAME = re.compile(r"leaves-[0-9]{20}-[0-9a-f]{16}\.digests")
_NAMES = (_BATCHES_NAME, _STATE_NAME, _LEAVES_NAME)


class StoredFile(NamedTuple):
    """A file of a backup; its name never stands for another content.

    Attributes:
        name: of the file.
        size_bytes: its length.
        sha256: of its content, in hex.
        revision: the last one that it is about.
    """

    name: str
    size_bytes: int
    sha256: str
    revision: int


class BatchesFile(NamedTuple):
    """A file of batches: a segment, as the archive of a store has them.

    Attributes:
        file: name, length, checksum, and the revision of the last batch.
        first_revision: of the first one.
        digest: chain digest of the last one.
        time_ns: its time.
        end_bytes: where its record ends, unpacked.
    """

    file: StoredFile
    first_revision: int
    digest: bytes
    time_ns: int
    end_bytes: int


class Manifest(NamedTuple):
    """What a backup holds.

    Attributes:
        store_id: of the store.
        first_revision: the oldest batch.
        start_digest: the chain digest that it continues.
        batches: the files of batches, ascending, without a gap.
        state: the state at some revision from that before the first batch on, where the first
            batch is not revision 1.
        leaves: digests of all batches before the first, for the tree, if they were known.
    """

    store_id: bytes
    first_revision: int
    start_digest: bytes
    batches: tuple[BatchesFile, ...] = ()
    state: StoredFile | None = None
    leaves: StoredFile | None = None

    @property
    def revision(self) -> int:
        """The newest batch; the one before the first if there is none."""
        return self.batches[-1].file.revision if self.batches else self.first_revision - 1

    @property
    def digest(self) -> bytes:
        """Chain digest of the newest batch."""
        return self.batches[-1].digest if self.batches else self.start_digest

    @property
    def time_ns(self) -> int:
        """Time of the newest batch; 0 if there is none."""
        return self.batches[-1].time_ns if self.batches else 0

    @property
    def oldest_state(self) -> int:
        """The oldest revision that a store can be made at."""
        return self.state.revision if self.state is not None else self.first_revision - 1

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every file but the manifest."""
        others = [file for file in (self.state, self.leaves) if file is not None]
        return (*others, *(each.file for each in self.batches))


def batches_file(
    packed: bytes,
    first_revision: int,
    last_revision: int,
    *,
    digest: bytes,
    time_ns: int,
    end_bytes: int,
) -> BatchesFile:
    """Return the entry of a file of batches with that content."""
    name = f"batches-{first_revision:020d}-{last_revision:020d}-{{}}.log.gz"
    file = _stored(name, packed, last_revision)
    return BatchesFile(file, first_revision, digest, time_ns, end_bytes)


def state_file(packed: bytes, revision: int) -> StoredFile:
    """Return the entry of a file with the state at a revision."""
    return _stored(f"state-{revision:020d}-{{}}.ckpt", packed, revision)


def leaves_file(packed: bytes, revision: int) -> StoredFile:
    """Return the entry of a file with the digests of all batches up to a revision."""
    return _stored(f"leaves-{revision:020d}-{{}}.digests", packed, revision)


def is_name_of_backup(name: str) -> bool:
    """Say whether a file of that name, or a temporary one, is a backup's and not a manifest."""
    stem = name.removesuffix(".tmp")
    return stem == MANIFEST_NAME != name or any(each.fullmatch(stem) for each in _NAMES)


def file_holds(file: StoredFile, data: bytes) -> bool:
    """Say whether a content is what the manifest says of a file."""
    return len(data) == file.size_bytes and hashlib.sha256(data).hexdigest() == file.sha256


def pack_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as bytes."""
    fields = {
        "format": _FORMAT,
        "version": MANIFEST_VERSION,
        "store_id": manifest.store_id.hex(),
        "first_revision": manifest.first_revision,
        "start_digest": manifest.start_digest.hex(),
        "revision": manifest.revision,
        "digest": manifest.digest.hex(),
        "state": None if manifest.state is None else list(manifest.state),
        "leaves": None if manifest.leaves is None else list(manifest.leaves),
        "batches": [
            [list(each.file), each.first_revision, each.digest.hex(), each.time_ns, each.end_bytes]
            for each in manifest.batches
        ],
    }
    return _sealed(fields)


def unpack_manifest(data: bytes) -> Manifest:
    """Return the manifest in some bytes.

    Raises:
        MalformedError: they are none, or damaged.
        NewerVersionError: it is one of a newer format.
    """
    try:
        fields = json.loads(data)
        sealed = {name: value for name, value in fields.items() if name != "sha256"}
        is_whole = fields["format"] == _FORMAT and _sealed(sealed) == data
        version = fields["version"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedError(0, "the manifest is no manifest, or is cut short") from error
    if not is_whole or type(version) is not int:
        raise MalformedError(0, "the manifest fails its checksum")
    known_version(version, MANIFEST_VERSION)
    try:
        manifest = _unpacked(fields)
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedError(0, f"the manifest contradicts itself: {error}") from error
    if pack_manifest(manifest) != data:
        raise MalformedError(0, "the manifest contradicts itself")
    return manifest


def _stored(name: str, packed: bytes, revision: int) -> StoredFile:
    sha256 = hashlib.sha256(packed).hexdigest()
    return StoredFile(name.format(sha256[:_NAME_DIGITS]), len(packed), sha256, revision)


def _sealed(fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]},"sha256":"{digest}"}}\n'.encode()


def _unpacked(fields: dict[str, Any]) -> Manifest:
    manifest = Manifest(
        bytes.fromhex(_matching(_STORE_ID, fields["store_id"])),
        _number(fields["first_revision"], 1),
        _digest(fields["start_digest"]),
        tuple(_batches(*each) for each in fields["batches"]),
        _file(_STATE_NAME, fields["state"]),
        _file(_LEAVES_NAME, fields["leaves"]),
    )
    expected, time_ns = manifest.first_revision, 0
    for each in manifest.batches:
        if each.first_revision != expected or each.file.revision < expected:
            raise ValueError(f"no file of batches starts at revision {expected}")
        if each.time_ns < time_ns:
            raise ValueError(f"the batches of {each.file.name} are older than those before")
        expected, time_ns = each.file.revision + 1, each.time_ns
    state, before = manifest.state, manifest.first_revision - 1
    if (state is None) != (before == 0):
        raise ValueError("batches from revision 1 on need no state, and later ones need one")
    if state is not None and not before <= state.revision <= manifest.revision:
        raise ValueError("the state is not among the batches")
    if manifest.leaves is not None and manifest.leaves.revision != before:
        raise ValueError("the leaves do not end where the batches begin")
    return manifest


def _batches(
    file: Any, first_revision: Any, digest: Any, time_ns: Any, end_bytes: Any
) -> BatchesFile:
    stored = _file(_BATCHES_NAME, file)
    if stored is None:
        raise ValueError("a file of batches has no name")
    return BatchesFile(
        stored, _number(first_revision, 1), _digest(digest), _number(time_ns), _number(end_bytes)
    )


def _file(name_pattern: re.Pattern[str], value: Any) -> StoredFile | None:
    if value is None:
        return None
    name, size_bytes, sha256, revision = value
    return StoredFile(
        _matching(name_pattern, name),
        _number(size_bytes),
        _matching(_DIGEST, sha256),
        _number(revision),
    )


def _digest(value: Any) -> bytes:
    return bytes.fromhex(_matching(_DIGEST, value))


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if type(value) is not str or not pattern.fullmatch(value):
        raise ValueError(f"{str(value)[:80]!r} is not what stands there")
    return value


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= _REVISION_MAX:
        raise ValueError(f"{str(value)[:80]} is no such number")
    return value
