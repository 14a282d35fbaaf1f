"""Lengths that lie: none makes the engine allocate what the file can't hold.

Every forged length stands under checksums that hold. What is measured is the peak of all that
Python allocates while the store is opened, followed and verified on the real file system.
"""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from support.damage import (
    HEADER_BYTES,
    OPTIONS,
    Files,
    Image,
    Shelf,
    build_image,
    forge_record,
    mark_of,
    reseal,
)

from eventstore import CorruptionError, EventStore, StoreOptions
from eventstore.integrity.verify import verify_store
from eventstore.log import segments
from eventstore.log.segments import MemoryFile, UnpackedFile, compress, inflated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024
PEAK_BYTES_MAX = 16 * MIB
"""Read-ahead windows of 1 MiB and some copies; what was forged is from 64 MiB to 4 GiB."""

LENGTHS = (64 * MIB, 2**30, 2**31, 2**32 - 1)


def _with_cap(segment: bytes, cap: int) -> bytes:
    """Return a segment whose header allows payloads of that length."""
    header = segment[:12] + struct.pack("<I", cap) + segment[16:HEADER_BYTES]
    return reseal(header) + segment[HEADER_BYTES:]


def _record_lengths(image: Image) -> dict[str, Files]:
    """Forge the payload length of the next record, and the cap that would allow it."""
    path, spans = image.active, image.spans[image.active]
    end, digest = spans[-1].end, spans[-1].digest
    cases = {}
    for length in LENGTHS:
        record = forge_record(
            image.store_id,
            b"x",
            image.written + 1,
            0,
            digest,
            mark=mark_of(image.files[path]),
            payload_bytes=length,
        )
        whole = _with_cap(image.files[path], 2**30)
        content = whole[:end] + record + whole[end + len(record) :]
        cases[f"the next record of {length} bytes"] = image.damaged(path, content)
        # Behind an invalid record, where later ones are searched for what they claim.
        start = end + 64
        content = whole[:end] + b"\xff" * 8 + whole[end + 8 : start]
        cases[f"a later record of {length} bytes"] = image.damaged(
            path, content + record + whole[start + len(record) :]
        )
    return cases


def _checkpoint_lengths(image: Image) -> dict[str, Files]:
    """Forge the lengths in the header and in the first chunk of the newest checkpoint."""
    path = list(image.checkpoints)[-1]
    whole = image.files[path]
    (header_bytes,) = struct.unpack_from("<I", whole, 12)
    seed = zlib.crc32(image.store_id)
    cases = {}
    for length in LENGTHS:
        forged = whole[:12] + struct.pack("<I", length) + whole[16:]
        cases[f"a header of {length} bytes"] = image.damaged(path, forged)
        for place in range(5):
            chunk = bytearray(whole[header_bytes:-100])
            struct.pack_into("<I", chunk, 4 * place, length)
            crc = zlib.crc32(chunk[24:], zlib.crc32(chunk[:20], seed))
            struct.pack_into("<I", chunk, 20, crc)
            forged = whole[:header_bytes] + bytes(chunk) + whole[-100:]
            cases[f"field {place} of a chunk is {length}"] = image.damaged(path, forged)
    return cases


def _packed_lengths(image: Image) -> dict[str, Files]:
    """Forge lengths of msgpack in a payload that holds by checksum and digest."""
    path, spans = image.active, image.spans[image.active]
    end, digest = spans[-1].end, spans[-1].digest
    cases = {}
    mark = mark_of(image.files[path])
    for code, name in ((0xDD, "array"), (0xDF, "map"), (0xDB, "text"), (0xC6, "bytes")):
        for length in LENGTHS:
            lie = bytes([code]) + struct.pack(">I", length)
            for payload in (
                lie,
                b"\x92\x93\xc0\xc0\xc0" + lie,
                b"\x92\x93\xc0\xc0\xc0\x91\x93\xa1a\x01" + lie,
            ):
                record = forge_record(
                    image.store_id, payload, image.written + 1, 0, digest, mark=mark
                )
                whole = image.files[path]
                content = whole[:end] + record + whole[end + len(record) :]
                what = f"a packed {name} of {length} at {len(payload)}"
                cases[what] = image.damaged(path, content)
    return cases


def _archive_lengths(image: Image) -> dict[str, Files]:
    """Forge the length that gzip states of its content, and the one of its name's field."""
    path = image.segments[0]
    whole = image.files[path]
    cases = {}
    for length in LENGTHS:
        cases[f"gzip states {length} bytes"] = image.damaged(
            path, whole[:-4] + struct.pack("<I", length)
        )
    extra = whole[:3] + b"\x04" + whole[4:10] + b"\xff\xff" + whole[10:]
    cases["gzip states an extra field"] = image.damaged(path, extra)
    return cases


FORGERIES: dict[str, Callable[[Image], dict[str, Files]]] = {
    "records": _record_lengths,
    "checkpoints": _checkpoint_lengths,
    "payloads": _packed_lengths,
    "archive": _archive_lengths,
}


def _write(root: Path, files: Files) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def _use(root: Path) -> None:
    """Verify, follow and open a store, each of which may refuse it."""
    verify_store(root, [Shelf()])
    for read_only in (True, False):
        try:
            store = EventStore.open(root, [Shelf()], options=OPTIONS, read_only=read_only)
        except CorruptionError:
            continue
        with store:
            try:
                list(store.batches())
            except CorruptionError:
                continue


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_length_allocates_nothing(
    tmp_path: Path, kind: str, record_proof: Callable[..., None]
) -> None:
    cases = FORGERIES[kind](build_image())
    too_much = {}
    for number, (what, files) in enumerate(cases.items()):
        root = tmp_path / str(number)
        _write(root, files)
        tracemalloc.start()
        try:
            _use(root)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        if peak > PEAK_BYTES_MAX:
            too_much[what] = peak
    assert not too_much
    record_proof("damaged inputs", inputs=len(cases), over_allocated=len(too_much))


def test_an_archive_that_unpacks_to_far_more_than_a_segment_is_bounded(tmp_path: Path) -> None:
    """Deflate makes up to 1,032 bytes of one; it is unpacked as it is read."""
    image = build_image()
    path = image.segments[0]
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = compressor.compress(image.contents[path] + bytes(96 * MIB)) + compressor.flush()
    _write(tmp_path / "store", image.damaged(path, content))
    assert _peak(tmp_path / "store") < PEAK_BYTES_MAX


def test_an_archive_that_unpacks_to_more_than_any_segment_is_damage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = build_image()
    monkeypatch.setattr(segments, "SEGMENT_BYTES_LIMIT", 4 * MIB)
    for size, is_damage in ((4 * MIB, False), (4 * MIB + 1, True)):
        packed = compress(image.contents[image.segments[0]].ljust(size, b"\0"))
        if is_damage:
            with pytest.raises(CorruptionError, match="more than any segment"):
                UnpackedFile(MemoryFile("archived", packed), inflated)
        else:
            assert UnpackedFile(MemoryFile("archived", packed), inflated).size_bytes() == size


def test_a_durable_file_of_any_length_is_not_read_whole(tmp_path: Path) -> None:
    image = build_image()
    _write(tmp_path / "store", image.files)
    with (tmp_path / "store" / "durable").open("r+b") as file:
        file.truncate(2**31)
    tracemalloc.start()
    try:
        _use(tmp_path / "store")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PEAK_BYTES_MAX


def test_the_highest_cap_that_options_allow_is_believed(tmp_path: Path) -> None:
    """A cap of 1 GiB is legal: it costs nothing while no record needs it."""
    options = StoreOptions(batch_bytes_max=1024 * MIB, segment_bytes=4096, background=False)
    tracemalloc.start()
    try:
        with EventStore.open(tmp_path / "store", [Shelf()], options=options):
            pass
        verify_store(tmp_path / "store", [Shelf()])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PEAK_BYTES_MAX


def _sparse(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def _peak(root: Path) -> int:
    tracemalloc.start()
    try:
        _use(root)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_file_longer_than_any_segment_is_damage_and_not_read(tmp_path: Path, place: int) -> None:
    """Sparse, of 64 GiB: reading it would take minutes, or all memory."""
    image = build_image()
    path = tmp_path / "store" / image.segments[place]
    _write(tmp_path / "store", image.files)
    _sparse(path, 2**36)
    assert verify_store(tmp_path / "store", [Shelf()]).problems[0].path == str(path)
    assert _peak(tmp_path / "store") < PEAK_BYTES_MAX


def test_a_sparse_record_takes_no_memory_before_its_checksum_holds(tmp_path: Path) -> None:
    image = build_image()
    path, last = image.active, image.spans[image.active][-1]
    whole = _with_cap(image.files[path], 2**30)
    length = 64 * MIB
    record = forge_record(
        image.store_id,
        b"x",
        image.written + 1,
        image.written,
        last.digest,
        mark=mark_of(whole),
        payload_bytes=length,
    )
    content = whole[: last.end] + record
    _write(tmp_path / "store", image.damaged(path, content))
    _sparse(tmp_path / "store" / path, last.end + length + 4096)
    assert _peak(tmp_path / "store") < PEAK_BYTES_MAX
    with EventStore.open(tmp_path / "store", [Shelf()], options=OPTIONS) as store:
        assert store.recovery.revision == image.written
