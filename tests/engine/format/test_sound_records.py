"""The quick way over the records of a segment gives out nothing that a closer look refuses."""

from __future__ import annotations

from zlib import crc32

import pytest

from eventstore.format import segment
from eventstore.format.segment import (
    RECORD_HEADER_BYTES,
    Framing,
    frame_record,
    frame_redacted,
    genesis_digest,
    record_seed,
    sound_records,
)

STORE_ID = bytes(range(16))
FRAMING = Framing(record_seed(STORE_ID), b"the mark")
START = (0, 0, genesis_digest(STORE_ID))
PAYLOADS = (b"first", b"the second one", b"x" * 100)
CAP = 100


def framed(payload: bytes, previous: tuple[int, int, bytes], **fields: int) -> tuple[bytes, bytes]:
    revision = fields.get("revision", previous[0] + 1)
    return frame_record(
        payload,
        revision=revision,
        time_ns=fields.get("time_ns", 10 * revision),
        durable_revision=fields.get("durable_revision", revision - 1),
        previous_digest=previous[2],
        framing=FRAMING,
    )


def three_records() -> tuple[bytes, list[int]]:
    """Return records as they stand one after the other, and where each starts and the last ends."""
    content, starts, previous = b"", [0], START
    for payload in PAYLOADS:
        record, digest = framed(payload, previous)
        content += record
        starts.append(len(content))
        previous = (previous[0] + 1, 10 * previous[0] + 10, digest)
    return content, starts


def sound(content: bytes, start: int = 0, framing: Framing = FRAMING) -> list[bytes]:
    return [found[5] for found in sound_records(content, start, framing, START, CAP)]


def one_bad(payload: bytes, **fields: int) -> list[bytes]:
    """Return what is sound of two records, the second of which was framed with wrong fields."""
    first, digest = framed(PAYLOADS[0], START)
    second, _ = framed(payload, (1, 10, digest), **fields)
    return sound(first + second)


def test_sound_records_come_with_all_that_their_headers_state() -> None:
    content, starts = three_records()
    found = list(sound_records(b"junk" + content + bytes(200), 4, FRAMING, START, CAP))
    assert [each[0] - 4 for each in found] == starts[:-1]
    assert [each[6] - 4 for each in found] == starts[1:]
    assert [each[1:4] for each in found] == [(1, 10, 0), (2, 20, 1), (3, 30, 2)]
    assert [each[5] for each in found] == list(PAYLOADS)
    previous = START[2]
    for payload, each in zip(PAYLOADS, found, strict=True):
        _, previous = framed(payload, (each[1] - 1, each[2], previous))
        assert each[4] == previous


def test_records_without_a_mark_are_found_too() -> None:
    framing = Framing(FRAMING.seed, b"")
    record, _ = frame_record(
        b"old",
        revision=1,
        time_ns=1,
        durable_revision=0,
        previous_digest=START[2],
        framing=framing,
    )
    assert sound(record + bytes(100), framing=framing) == [b"old"]


def test_a_record_with_any_other_bit_is_not_sound_and_nothing_behind_it() -> None:
    content, starts = three_records()
    for place in range(starts[1], starts[2]):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            assert sound(bytes(changed)) == [PAYLOADS[0]], (place, bit)


def test_a_record_that_the_buffer_cuts_off_is_left_to_who_reads_on() -> None:
    content, starts = three_records()
    for size in range(len(content)):
        whole = sum(1 for end in starts[1:] if end <= size)
        assert sound(content[:size]) == list(PAYLOADS[:whole])


@pytest.mark.parametrize(
    "fields",
    [{"revision": 3}, {"revision": 1}, {"time_ns": 9}, {"durable_revision": 2}],
    ids=["skipped", "repeated", "older", "durable before it was written"],
)
def test_a_whole_record_that_does_not_fit_is_not_sound(fields: dict[str, int]) -> None:
    assert one_bad(b"bad") == [PAYLOADS[0], b"bad"]
    assert one_bad(b"bad", **fields) == [PAYLOADS[0]]


def test_a_payload_without_its_checksum_is_not_sound_although_its_digest_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            segment, "crc32", lambda data, seed=0: crc32(data, seed) ^ (data == b"wrong")
        )
        record, _ = framed(b"wrong", START)
    assert not sound(record)
    record, _ = framed(b"wrong", START)
    assert sound(record) == [b"wrong"]


def test_a_payload_over_the_cap_is_not_sound() -> None:
    assert one_bad(b"x" * CAP) == [PAYLOADS[0], b"x" * CAP]
    assert one_bad(b"x" * (CAP + 1)) == [PAYLOADS[0]]


def test_a_record_of_another_chain_or_another_store_is_not_sound() -> None:
    content, starts = three_records()
    other = (0, 0, genesis_digest(bytes(16)))
    assert not list(sound_records(content, 0, FRAMING, other, CAP))
    assert sound(content[: starts[1]] + content[starts[2] :]) == [PAYLOADS[0]]
    assert not sound(content, framing=Framing(record_seed(bytes(16)), FRAMING.mark))
    assert not sound(content, framing=Framing(FRAMING.seed, b"another."))


def test_a_redacted_record_is_left_to_who_knows_of_erasures() -> None:
    first, digest = framed(PAYLOADS[0], START)
    framing = FRAMING._replace(may_redact=True)
    _, fitting = framed(b"***", (1, 10, digest))
    redacted = frame_redacted(
        b"***",
        revision=2,
        time_ns=20,
        durable_revision=1,
        digest=fitting,
        framing=framing,
    )
    assert sound(first + redacted, framing=framing) == [PAYLOADS[0]]


def test_zeros_and_an_empty_payload_are_not_sound() -> None:
    assert not sound(bytes(10 * RECORD_HEADER_BYTES))
    assert not sound(bytes(10 * RECORD_HEADER_BYTES), framing=Framing(0, b""))
    assert one_bad(b"") == [PAYLOADS[0]]
