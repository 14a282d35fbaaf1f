"""What stands inside a record's payload is never taken for a record."""

from __future__ import annotations

import secrets
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from support.damage import (
    HEADER_BYTES,
    OPTIONS,
    PATH,
    Image,
    Shelf,
    as_version_1,
    build_image,
    file_system_of,
    files_of,
    forge_record,
    items_of,
    mark_of,
    open_on,
    record_spans,
    reseal,
)

from eventstore import CorruptionError, Event, EventStore, Receipt, Verdict, repair_store
from eventstore.event import Metadata
from eventstore.format.codec import encode_batch, encode_event
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.search import highest_durable_claim
from eventstore.log.segments import MemoryFile, SegmentSource
from eventstore.log.stretches import SegmentStretches
from eventstore.log.writer import draw_mark
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024


def batch(**data: object) -> bytes:
    return encode_batch(Metadata(), [encode_event(Event("put", data))])


def commit(store: EventStore, **data: object) -> Receipt:
    with store.transaction(writable=True) as tx:
        tx.emit(Event("put", data))
    assert tx.receipt is not None
    return tx.receipt


def flipped(content: bytes, offset: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]


def store_with_a_forgery(mark: Callable[[bytes], bytes], shift_bytes: int) -> SimulatedFileSystem:
    """Write a store whose fourth batch holds, as a value, a record that continues the third."""
    file_system = SimulatedFileSystem(keep_steps=False)
    with open_on(file_system) as store:
        for number in range(3):
            receipt = commit(store, name=f"thing-{number}", text="true")
        [segment] = [data for path, data in files_of(file_system).items() if path.endswith(".log")]
        forged = forge_record(
            receipt.store_id,
            batch(name="forged", text="never put"),
            4,
            3,
            receipt.digest,
            mark=mark(segment),
        )
        commit(store, name="thing-4", text="true", value=bytes(shift_bytes) + forged)
        commit(store, name="thing-5", text="true")
    return file_system


MARKS: dict[str, Callable[[bytes], bytes]] = {
    "the mark of the segment": mark_of,
    "no mark": lambda segment: b"",
    "another mark": lambda segment: b"any mark",
}


@pytest.mark.parametrize("kind", MARKS)
@pytest.mark.parametrize("shift_bytes", range(8))
def test_a_record_inside_a_value_never_becomes_history(kind: str, shift_bytes: int) -> None:
    files = files_of(store_with_a_forgery(MARKS[kind], shift_bytes))
    for path in [path for path in files if path.endswith(".log")]:
        content = files[path]
        for span in record_spans(content):
            if span.revision != 4:
                continue
            # One bit of each field of the record's header, and the header of its segment as well.
            for offset in range(span.start, span.header_end, 4):
                damaged = flipped(content, offset)
                for segment in (damaged, flipped(damaged, 100)):
                    file_system = file_system_of({**files, path: segment})
                    report = repair_store(PATH, "/new", [Shelf()], file_system=file_system)
                    assert report.revision == 3
                    with EventStore.open(
                        "/new", [Shelf()], options=OPTIONS, file_system=file_system
                    ) as store:
                        assert items_of(store)[1].keys() == {f"thing-{n}" for n in range(3)}


@pytest.mark.parametrize("has_header", [True, False])
def test_without_marks_it_never_becomes_history_either(has_header: bool) -> None:
    """In a segment of version 1, where nothing tells it from a record."""
    for shift_bytes in range(8):
        files = files_of(store_with_a_forgery(MARKS["no mark"], shift_bytes))
        [path] = [path for path in files if path.endswith(".log")]
        image = as_version_1(Image(files, 5, 5, ({},) * 6, (b"",) * 5))
        span = image.spans[path][3]
        damaged = flipped(image.files[path], span.start)
        damaged = damaged if has_header else flipped(damaged, 100)
        file_system = file_system_of({**image.files, path: damaged})
        report = repair_store(PATH, "/new", [Shelf()], file_system=file_system)
        assert report.revision == 3


def test_a_value_that_holds_the_mark_goes_into_another_segment() -> None:
    """So the mark stands in a segment's header and where records start, and nowhere else."""
    file_system = SimulatedFileSystem(keep_steps=False)
    with open_on(file_system) as store:
        commit(store, name="first", text="")
        for number in range(5):
            files = files_of(file_system)
            newest = max(path for path in files if path.endswith(".log"))
            mark = mark_of(files[newest])
            commit(store, name=f"thing-{number}", text="", value=b"x" * number + mark)
    segments = {path: data for path, data in files_of(file_system).items() if ".log" in path}
    assert len(segments) == 6
    for content in segments.values():
        mark = mark_of(content)
        assert 0 not in mark
        assert content.count(mark) == 1 + len(record_spans(content))
    with open_on(file_system) as store:
        assert store.recovery.revision == 6
        assert store.verify().is_sound


def test_a_mark_has_no_zero_and_is_not_in_the_payload_that_it_is_drawn_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = iter([bytes(8), b"\0the mar", b"in there", b"the mark"])
    monkeypatch.setattr(secrets, "token_bytes", lambda size: next(drawn))
    assert draw_mark() == b"\1" * 8
    assert draw_mark() == b"\1the mar"
    assert draw_mark(b"what is in there") == b"the mark"


def test_a_repair_keeps_the_marks_out_of_payloads() -> None:
    """Each of three batches holds the mark of another segment; a stretch is written with one."""
    image = build_image()
    marks = [mark_of(content) for content in image.contents.values()]
    file_system = file_system_of(image.files)
    with open_on(file_system) as store:
        for mark in marks:
            commit(store, name="a mark", text="", value=mark)
    repair_store(PATH, "/new", [Shelf()], file_system=file_system)
    for path, content in files_of(file_system, "/new").items():
        if path.endswith(".log"):
            assert content.count(mark_of(content)) == 1 + len(record_spans(content))


def with_torn_batch(image: Image, payload: bytes) -> bytes:
    """Return the active segment with a batch behind the last one whose end is missing."""
    whole, last = image.files[image.active], image.spans[image.active][-1]
    record = forge_record(
        image.store_id, payload, last.revision + 1, last.revision, last.digest, mark=mark_of(whole)
    )
    return (whole[: last.end] + record[:-64]).ljust(len(whole), b"\0")


def claims(image: Image, revision: int, mark: bytes, count: int = 1) -> bytes:
    """Return what looks like records that were written when a revision was durable."""
    record = forge_record(image.store_id, b"x", revision + 1, revision, bytes(32), mark=mark)
    return b"".join(bytes(shift) + count * record for shift in range(8)) + b"." * 64


@pytest.mark.parametrize("mark", [b"", b"any mark"])
@pytest.mark.parametrize("is_header_torn", [False, True])
def test_what_a_torn_batch_holds_claims_nothing(mark: bytes, is_header_torn: bool) -> None:
    image = build_image()
    for revision in (image.written + 1, image.written + 3, 538976288125):
        segment = with_torn_batch(image, batch(name="torn", value=claims(image, revision, mark)))
        if is_header_torn:
            segment = flipped(segment, image.spans[image.active][-1].end + 20)
        file_system = file_system_of(image.damaged(image.active, segment))
        with open_on(file_system) as store:
            assert store.recovery.verdict is Verdict.TORN_TAIL
            assert items_of(store) == (image.written, image.states[-1])


def test_without_marks_it_claims_nothing_where_the_batch_s_length_is_known() -> None:
    image = as_version_1(build_image())
    for revision in (image.written + 1, 538976288125):
        segment = with_torn_batch(image, batch(name="torn", value=claims(image, revision, b"")))
        with open_on(file_system_of(image.damaged(image.active, segment))) as store:
            assert store.recovery.verdict is Verdict.TORN_TAIL


def test_without_marks_and_length_a_claim_that_can_be_true_is_refused_rather_than_cut() -> None:
    image = as_version_1(build_image())
    for revision, is_refused in ((image.written + 1, True), (538976288125, False)):
        segment = with_torn_batch(image, batch(name="torn", value=claims(image, revision, b"")))
        segment = flipped(segment, image.spans[image.active][-1].end + 20)
        file_system = file_system_of(image.damaged(image.active, segment))
        if is_refused:
            with pytest.raises(CorruptionError, match="had been acknowledged"):
                open_on(file_system)
        else:
            open_on(file_system).close()


class CountingFile(MemoryFile):
    """A file that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__("counted", data)
        self.read_bytes = 0

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        data = super().read(offset_bytes, size_bytes)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize("is_marked", [True, False])
@pytest.mark.parametrize("prefix", [b"", b"no place"])
def test_forged_lengths_cost_no_more_than_reading_the_file_a_few_times(
    is_marked: bool, prefix: bytes
) -> None:
    """Twenty thousand headers that hold, each of a payload of all the rest that does not."""
    image = build_image() if is_marked else as_version_1(build_image())
    whole, last = image.files[image.active], image.spans[image.active][-1]
    mark, count, step = mark_of(whole), 20_000, 96
    seed = zlib.crc32(image.store_id)
    parts = []
    for number in range(count):
        left = step * (count - number) - len(mark) - 72
        fields = struct.pack("<IIQQQ", left, 1, last.revision + 2 + number, 0, 1) + bytes(36)
        fields = mark + fields
        parts.append((fields + struct.pack("<I", zlib.crc32(fields, seed))).ljust(step, b"-"))
    header = bytearray(whole[:HEADER_BYTES])
    struct.pack_into("<I", header, 12, 16 * MIB)
    content = reseal(bytes(header)) + whole[HEADER_BYTES : last.end] + prefix + b"".join(parts)
    file = CountingFile(content)
    segment = read_segment_header(file)
    scanner = SegmentScanner(file, segment, start_of(segment))
    assert sum(1 for _ in scanner) == len(image.spans[image.active])
    assert scanner.end is not None
    file.read_bytes = 0
    assert highest_durable_claim(file, segment, scanner.end.position) == 1
    assert file.read_bytes < 2 * len(content)
    file.read_bytes = 0
    source = SegmentSource(segment.first_revision, "counted", is_archived=False)
    runs = SegmentStretches(source, file, lambda record: True)
    runs.read(image.store_id)
    assert file.read_bytes < 6 * len(content)
