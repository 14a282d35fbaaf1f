"""A store to be damaged: how it is written, what its bytes are, and how it is opened.

The few fields that are needed are read by a reader of its own, written after FORMAT.md, so that
what is known of the bytes does not depend on the engine.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import struct
import zlib
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from eventstore import Event, EventStore, Projection, StoreOptions, TableSpec
from eventstore.testing.medium import ROOT, DirectoryNode, FileNode, Medium
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore import WritableTable

ROOT_NAME = "store"
PATH = "/store"
DIRECTORIES = ("wal", "checkpoints", "archive", "torn", "index", "tree")
SEGMENT_BYTES = 4096
HEADER_BYTES = 512
MARK_PLACE = slice(88, 96)
FIELDS_BYTES = 72
RECORD_HEADER_BYTES = 80
"""With the mark, which records of version 1 lack."""
OPTIONS = StoreOptions(segment_bytes=SEGMENT_BYTES, background=False, batch_bytes_max=2048)

LEFTOVERS = {
    "wal/spare-9.tmp": bytes(1024),
    "checkpoints/00000000000000000099.ckpt.tmp": b"half a checkpoint",
    "torn/00000000000000000007-1024.torn": b"what an earlier recovery has cut",
}
"""What interrupted writes and earlier recoveries leave; no part of the store's content."""

Items = dict[str, str]
Files = dict[str, bytes]


class Shelf(Projection):
    """Things by name, and how often each was touched."""

    name = "shelf"
    version = 1
    tables = (TableSpec("things"), TableSpec("touches"))

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        name = event.data["name"]
        if event.type == "taken":
            tables["things"].delete(name)
        else:
            tables["things"].put(name, event.data["text"])
        tables["touches"].put(name, tables["touches"].get(name, 0) + 1)


class Span(NamedTuple):
    """Where a record stands in its segment; padding lies between its payload and its end."""

    revision: int
    start: int
    header_end: int
    payload_end: int
    end: int
    durable_revision: int
    digest: bytes


def record_spans(segment: bytes) -> list[Span]:
    """Walk the records of an undamaged segment."""
    spans = []
    offset = HEADER_BYTES
    mark_bytes = len(mark_of(segment))
    header_bytes = mark_bytes + FIELDS_BYTES
    while offset + header_bytes <= len(segment):
        payload_bytes, _, revision, _, durable, digest = struct.unpack_from(
            "<IIQQQ32s", segment, offset + mark_bytes
        )
        if not payload_bytes:
            break
        header_end = offset + header_bytes
        payload_end = header_end + payload_bytes
        end = (payload_end + 7) // 8 * 8
        spans.append(Span(revision, offset, header_end, payload_end, end, durable, digest))
        offset = end
    return spans


def mark_of(segment: bytes) -> bytes:
    """Return what every record of an undamaged segment starts with: nothing in version 1."""
    return segment[MARK_PLACE] if segment[8] > 1 else b""


def forge_record(
    store_id: bytes,
    payload: bytes,
    revision: int,
    durable_revision: int,
    previous_digest: bytes,
    *,
    mark: bytes,
    time_ns: int = 2**62,
    payload_bytes: int | None = None,
) -> bytes:
    """Return a record that holds by all its checksums, with any length stated."""
    seed = zlib.crc32(store_id)
    stated = len(payload) if payload_bytes is None else payload_bytes
    digested = struct.pack(
        "<IIQQQ", stated, zlib.crc32(payload, seed), revision, time_ns, durable_revision
    )
    digest = hashlib.sha256(previous_digest + digested + payload).digest()
    header = mark + digested + digest + bytes(4)
    record = header + struct.pack("<I", zlib.crc32(header, seed)) + payload
    return record + bytes(-len(record) % 8)


def as_version_1(image: Image) -> Image:
    """Return a store as the first release would have written it: no record has a mark."""
    files = dict(image.files)
    end = 0
    for path in image.segments:
        whole, spans = image.contents[path], image.spans[path]
        header = bytearray(whole[:HEADER_BYTES])
        header[8], header[MARK_PLACE] = 1, bytes(8)
        struct.pack_into("<Q", header, 40, end)
        parts = [reseal(bytes(header))]
        for span in spans:
            fields = whole[span.start + 8 : span.header_end - 4]
            crc = zlib.crc32(fields, zlib.crc32(image.store_id))
            parts += [fields, struct.pack("<I", crc), whole[span.header_end : span.end]]
        content = b"".join(parts)
        end = len(content)
        if path.endswith(".gz"):
            files[path] = gzip.compress(content, mtime=0)
        else:
            files[path] = content.ljust(len(whole), b"\0")
    # What wrote version 1 knew no indexes.
    files = {path: data for path, data in files.items() if not path.startswith("index/")}
    return replace(image, files=files)


def reseal(block: bytes) -> bytes:
    """Give a block that was changed a good checksum again."""
    return block[:-4] + struct.pack("<I", zlib.crc32(block[:-4]))


@dataclass(frozen=True)
class Image:
    """A whole store, and what is known of it.

    Attributes:
        files: content by path below the store.
        acknowledged: the highest revision whose commit has returned.
        written: the highest revision of which there is a record.
        states: what is on the shelf at each revision, from 0 on.
        digests: chain digest of each revision, from 1 on.
    """

    files: Files
    acknowledged: int
    written: int
    states: tuple[Items, ...]
    digests: tuple[bytes, ...]
    contents: Files = field(init=False, default_factory=dict)
    spans: dict[str, list[Span]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.segments:
            content = self.files[path]
            if path.endswith(".gz"):
                content = zlib.decompress(content, 31)
            self.contents[path] = content
            self.spans[path] = record_spans(content)

    @property
    def segments(self) -> list[str]:
        """Paths of all segments in the order of their revisions, archived ones included."""
        found = [path for path in self.files if ".log" in path]
        return sorted(found, key=lambda path: path.split("/")[1])

    @property
    def active(self) -> str:
        return self.segments[-1]

    @property
    def checkpoints(self) -> dict[str, int]:
        """Revision of each checkpoint by its path, ascending."""
        paths = sorted(path for path in self.files if path.endswith(".ckpt"))
        return {path: int(path.split("/")[1].split(".")[0]) for path in paths}

    @property
    def store_id(self) -> bytes:
        return self.files[self.active][16:32]

    def damaged(self, path: str, content: bytes | None) -> Files:
        """Return the files with another content, or without it."""
        files = dict(self.files)
        if content is None:
            del files[path]
        else:
            files[path] = content
        return files


def file_system_of(files: Files) -> SimulatedFileSystem:
    """Return a file system that holds a store, all of it on stable storage."""
    medium = Medium()
    children: dict[str, dict[str, int]] = {name: {} for name in DIRECTORIES}
    top: dict[str, int] = {}
    for path, content in files.items():
        directory, _, name = path.rpartition("/")
        entries = children[directory] if directory else top
        entries[name] = medium.add(FileNode(content, content))
    for name, entries in children.items():
        top[name] = medium.add(DirectoryNode(entries, entries))
    store = medium.add(DirectoryNode(top, top))
    medium.nodes[ROOT] = DirectoryNode({ROOT_NAME: store}, {ROOT_NAME: store})
    return SimulatedFileSystem(medium, keep_steps=False)


def files_of(file_system: SimulatedFileSystem, root: str = PATH) -> Files:
    """Return the files below a directory."""
    prefix = f"{root}/"
    return {
        path.removeprefix(prefix): content
        for path, content in file_system.medium.files().items()
        if path.startswith(prefix)
    }


def tree_of(file_system: SimulatedFileSystem) -> frozenset[tuple[str, bytes | None]]:
    """Return everything that is there, but for what the holder of the lock writes about itself."""
    tree = file_system.medium.fingerprint()
    return frozenset(entry for entry in tree if entry[0] != f"{PATH}/LOCK")


def open_on(file_system: SimulatedFileSystem, *, read_only: bool = False) -> EventStore:
    return EventStore.open(
        PATH, [Shelf()], options=OPTIONS, file_system=file_system, read_only=read_only
    )


def items_of(store: EventStore) -> tuple[int, Items]:
    """Return the revision and what is on the shelf."""
    with store.transaction() as tx:
        return tx.revision, dict(tx.table("things").items())


class _Writer:
    """Writes batches and folds them into a model of its own."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.states: list[Items] = [{}]
        self.digests: list[bytes] = []

    def events(self) -> list[Event]:
        """Draw the events of one batch, and fold them."""
        shelf = dict(self.states[-1])
        drawn = []
        for _ in range(self.random.randint(1, 3)):
            name = f"thing-{self.random.randrange(12)}"
            if name in shelf and self.random.random() < 0.3:
                del shelf[name]
                drawn.append(Event("taken", {"name": name}))
            else:
                shelf[name] = self.random.randbytes(self.random.randint(1, 60)).hex()
                drawn.append(Event("put", {"name": name, "text": shelf[name]}))
        self.states.append(shelf)
        return drawn

    def commit(self, store: EventStore, batches: int) -> None:
        for _ in range(batches):
            with store.transaction(writable=True, actor="writer", reason="to be damaged") as tx:
                for event in self.events():
                    tx.emit(event)
            assert tx.receipt is not None
            self.digests.append(tx.receipt.digest)


@cache
def build_image(seed: int = 1) -> Image:
    """Write a store with an archive, two checkpoints and several segments, all acknowledged."""
    file_system = SimulatedFileSystem(keep_steps=False)
    writer = _Writer(seed)
    with open_on(file_system) as store:
        writer.commit(store, 34)
        store.checkpoint()
        writer.commit(store, 12)
        store.compact()
        writer.commit(store, 23)
    return _finished(file_system, writer)


@cache
def build_fork(seed: int = 1) -> tuple[Image, Image]:
    """Write two stores with the same identity, that part ways after some batches."""
    images = []
    first = SimulatedFileSystem(keep_steps=False)
    writer = _Writer(seed)
    with open_on(first) as store:
        writer.commit(store, 6)
    start = files_of(first)
    for branch in (seed + 1000, seed + 2000):
        file_system = file_system_of(start)
        own = _Writer(branch)
        own.states, own.digests = list(writer.states), list(writer.digests)
        with open_on(file_system) as store:
            own.commit(store, 14)
            store.checkpoint()
            own.commit(store, 10)
            store.compact()
            own.commit(store, 12)
        images.append(_finished(file_system, own))
    return images[0], images[1]


def _finished(file_system: SimulatedFileSystem, writer: _Writer) -> Image:
    written = len(writer.digests)
    files = {name: data for name, data in files_of(file_system).items() if ".tmp" not in name}
    files |= LEFTOVERS
    image = Image(files, written, written, tuple(writer.states), tuple(writer.digests))
    spans = [span for path in image.segments for span in image.spans[path]]
    assert [span.revision for span in spans] == list(range(1, written + 1))
    assert tuple(span.digest for span in spans) == image.digests
    assert len(image.checkpoints) == 2
    return image


@cache
def with_pending(image_seed: int = 1, batches: int = 2) -> Image:
    """Return a store whose last batches were written but never acknowledged.

    They are of one group: none of them says that one before it was durable.
    """
    image = build_image(image_seed)
    path = image.active
    segment = image.files[path]
    writer = _Writer(77)
    writer.states = list(image.states)
    end = image.spans[path][-1].end
    digest, digests = image.digests[-1], list(image.digests)
    pending = b""
    for revision in range(image.written + 1, image.written + 1 + batches):
        payload = _payload(writer.events())
        record = forge_record(
            image.store_id, payload, revision, image.written, digest, mark=mark_of(segment)
        )
        [span] = record_spans(segment[:HEADER_BYTES] + record)
        digest = span.digest
        digests.append(digest)
        pending += record
    assert end + len(pending) + 64 < len(segment), "choose other numbers: no room for more batches"
    content = segment[:end] + pending + segment[end + len(pending) :]
    return Image(
        image.damaged(path, content),
        image.acknowledged,
        image.written + batches,
        tuple(writer.states),
        tuple(digests),
    )


def without_archive(image: Image) -> Image:
    """Return the store as retention leaves it that keeps no superseded segment."""
    files = {path: data for path, data in image.files.items() if not path.startswith("archive/")}
    return replace(image, files=files)


def _payload(events: list[Event]) -> bytes:
    """Pack a batch of events with short texts, by the msgpack specification."""

    def text(value: str) -> bytes:
        data = value.encode()
        return bytes([0xD9, len(data)]) + data

    packed = [b"\x92\x93\xc0\xc0\xc0", bytes([0x90 + len(events)])]
    for event in events:
        pairs = b"".join(text(key) + text(value) for key, value in event.data.items())
        packed += [b"\x93", text(event.type), b"\x01", bytes([0x80 + len(event.data)]), pairs]
    return b"".join(packed)
