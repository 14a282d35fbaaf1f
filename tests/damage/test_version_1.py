"""A store of the first release, byte for byte as that wrote it, is read and gone on with."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path

import pytest
from support.damage import (
    PATH,
    Files,
    Image,
    Shelf,
    as_version_1,
    build_image,
    file_system_of,
    files_of,
    items_of,
    mark_of,
    open_on,
)

from eventstore import Event, Receipt, Verdict, repair_store
from eventstore.format.segment import WRITTEN_VERSION, pack_segment_header, unpack_segment_header
from eventstore.testing.simulated import SimulatedFileSystem

GOLDEN = json.loads(
    (Path(__file__).parent.parent / "data" / "format" / "version-1.json").read_text()
)
REVISION, ITEMS = GOLDEN["revision"], GOLDEN["items"]
DIGESTS = tuple(map(bytes.fromhex, GOLDEN["digests"]))


@pytest.fixture
def files() -> Files:
    return {
        path: zlib.decompress(base64.b64decode(packed)) for path, packed in GOLDEN["files"].items()
    }


def segments(files: Files) -> Files:
    return {path: data for path, data in files.items() if ".log" in path}


@pytest.mark.parametrize("read_only", [False, True])
def test_all_of_it_is_read(files: Files, read_only: bool) -> None:
    file_system = file_system_of(files)
    with open_on(file_system, read_only=read_only) as store:
        assert items_of(store) == (REVISION, ITEMS)
        assert tuple(batch.digest for batch in store.batches()) == DIGESTS
        assert store.verify().is_sound
        store_id = bytes.fromhex(str(store.stats()["store_id"]))
        assert store.check_receipt(Receipt(store_id, 5, DIGESTS[4]))
    assert segments(files_of(file_system)) == segments(files)


def test_the_next_batch_goes_into_a_segment_of_the_present_version(files: Files) -> None:
    file_system = file_system_of(files)
    with open_on(file_system) as store, store.transaction(writable=True) as tx:
        tx.emit(Event("put", {"name": "new", "text": "written later"}))
    after = segments(files_of(file_system))
    added = after.keys() - segments(files).keys()
    assert added == {f"wal/{REVISION + 1:020d}.log"}
    assert {path: after[path] for path in segments(files)} == segments(files)
    assert [after[path][8] for path in added] == [WRITTEN_VERSION]
    with open_on(file_system) as store:
        assert items_of(store) == (REVISION + 1, {**ITEMS, "new": "written later"})
        assert store.verify().is_sound
        store.checkpoint()
        store.compact()
        assert len(list(store.batches())) == REVISION + 1


def test_its_torn_tail_is_cut(files: Files) -> None:
    path = max(segments(files))
    end = len(files[path].rstrip(b"\0"))
    end += -end % 8
    torn = files[path][:end] + b"torn" * 20
    file_system = file_system_of({**files, path: torn.ljust(len(files[path]), b"\0")})
    with open_on(file_system) as store:
        assert store.recovery.verdict is Verdict.TORN_TAIL
        assert items_of(store) == (REVISION, ITEMS)
    assert files_of(file_system)[path] == files[path]


def test_a_repair_writes_the_present_version_with_the_same_digests(files: Files) -> None:
    file_system = file_system_of(files)
    assert repair_store(PATH, "/new", [Shelf()], file_system=file_system).is_complete
    repaired = files_of(file_system, "/new")
    assert all(data[8] == 2 for path, data in repaired.items() if path.endswith(".log"))
    new = file_system_of(repaired)
    with open_on(new) as store:
        assert items_of(store) == (REVISION, ITEMS)
        assert tuple(batch.digest for batch in store.batches()) == DIGESTS


def test_the_first_release_would_say_that_a_segment_is_of_a_newer_format() -> None:
    """It looks for its magic and a good checksum over the first sector, and then at the version."""
    image = build_image()
    for path in image.segments:
        block = image.contents[path][:512]
        assert block[:8] == b"EVSTWAL\0"
        assert struct.unpack("<I", block[-4:])[0] == zlib.crc32(block[:-4])
        assert struct.unpack("<I", block[8:12])[0] == 2


def test_the_images_of_the_other_tests_are_like_it(files: Files) -> None:
    """What `as_version_1` makes differs from what the first release wrote in nothing but time."""
    image = as_version_1(build_image())
    golden = Image(files, REVISION, REVISION, ({},) * (REVISION + 1), DIGESTS)
    assert image.written == golden.written
    for one in (image, golden):
        for path in one.segments:
            content = one.contents[path]
            assert mark_of(content) == b""
            header = unpack_segment_header(content[:512])
            assert pack_segment_header(header) == content[:512]
            assert not any(content[88:508])


def test_an_empty_segment_is_replaced() -> None:
    file_system = SimulatedFileSystem(keep_steps=False)
    open_on(file_system).close()
    files = files_of(file_system)
    [path] = segments(files)
    header = unpack_segment_header(files[path][:512])
    first = pack_segment_header(header._replace(mark=b""))
    file_system = file_system_of({**files, path: first + files[path][512:]})
    with open_on(file_system) as store, store.transaction(writable=True) as tx:
        tx.emit(Event("put", {"name": "new", "text": "written later"}))
    assert {name: data[8] for name, data in segments(files_of(file_system)).items()} == {path: 2}
    with open_on(file_system) as store:
        assert items_of(store) == (1, {"new": "written later"})
        assert store.verify().is_sound
