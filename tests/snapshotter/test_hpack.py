"""Header blocks: the examples of RFC 7541, and blocks that are none."""

from __future__ import annotations

import random

import pytest

from snapledger.snapshotter.rpc.hpack import LIST_BYTES_MAX, Decoder, HeaderError, encoded
from snapledger.snapshotter.rpc.huffman import HuffmanError, decoded

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
HOST = (b":authority", b"www.example.com")
NO_CACHE = (b"cache-control", b"no-cache")
SECURE = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    HOST,
    (b"custom-key", b"custom-value"),
]

PLAIN = (
    ("828684410f7777772e6578616d706c652e636f6d", [*GET, HOST]),
    ("828684be58086e6f2d6361636865", [*GET, HOST, NO_CACHE]),
    ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", SECURE),
)
HUFFMAN = (
    ("828684418cf1e3c2e5f23a6ba0ab90f4ff", [*GET, HOST]),
    ("828684be5886a8eb10649cbf", [*GET, HOST, NO_CACHE]),
    ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", SECURE),
)


@pytest.mark.parametrize("blocks", [PLAIN, HUFFMAN], ids=["plain", "huffman"])
def test_the_examples_of_the_rfc_are_decoded(blocks: tuple[tuple[str, object], ...]) -> None:
    decoder = Decoder()
    for block, headers in blocks:
        assert decoder.decode(bytes.fromhex(block)) == headers


def test_a_block_that_was_seen_means_something_else_once_the_table_has_changed() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    assert [decoder.decode(b"\xbe") for _ in range(2)] == [[(b"a", b"b")]] * 2
    decoder.decode(b"\x40\x01c\x01d")
    assert decoder.decode(b"\xbe") == [(b"c", b"d")]
    assert decoder.decode(b"\xbf") == [(b"a", b"b")]


def test_the_oldest_headers_leave_a_table_that_is_full() -> None:
    decoder = Decoder()
    for number in range(100):
        decoder.decode(encoded((b"n%d" % number, b"v" * 1000)).replace(b"\0", b"\x40", 1))
    assert [decoder.decode(bytes([0xBE + place]))[0][0] for place in range(3)] == [
        b"n99",
        b"n98",
        b"n97",
    ]
    with pytest.raises(HeaderError, match="number 65"):
        decoder.decode(b"\xc1")


def test_a_header_larger_than_the_table_empties_it() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    decoder.decode(encoded((b"big", b"v" * 5000)).replace(b"\0", b"\x40", 1))
    with pytest.raises(HeaderError):
        decoder.decode(b"\xbe")


def test_what_we_send_is_decoded_as_it_was() -> None:
    headers = [(b"grpc-status", b"13")]
    headers += [(b"n%d" % length, b"x" * length) for length in (0, 126, 127, 254, 255, 20_000)]
    assert Decoder().decode(encoded(*headers)) == headers


@pytest.mark.parametrize(
    "block",
    [b"\x80", b"\xff\xff\xff\xff\xff\xff\x7f", b"\x3f\xe2\x1f", b"\x82\x20", b"\x40\x05a", b"\xbe"],
    ids=["zero", "too long", "table too large", "late resize", "short", "not there"],
)
def test_what_is_no_block_is_refused(block: bytes) -> None:
    with pytest.raises(HeaderError):
        Decoder().decode(block)


def test_a_few_bytes_that_stand_for_many_are_refused() -> None:
    decoder = Decoder()
    decoder.decode(encoded((b"a", b"v" * 4000)).replace(b"\0", b"\x40", 1))
    with pytest.raises(HeaderError, match=str(LIST_BYTES_MAX)):
        decoder.decode(b"\xbe" * 100)


def test_every_prefix_and_every_flipped_bit_of_a_block_is_decoded_or_refused() -> None:
    for text, _ in (*PLAIN[::2], *HUFFMAN[::2]):
        block = bytes.fromhex(text)
        changed = [block[:end] for end in range(len(block))]
        for bit in range(len(block) * 8):
            flipped = bytearray(block)
            flipped[bit // 8] ^= 1 << bit % 8
            changed.append(bytes(flipped))
        for each in changed:
            try:
                Decoder().decode(each)
            except HeaderError:
                continue


def test_random_bytes_are_decoded_or_refused() -> None:
    chance = random.Random(7541)
    for _ in range(3000):
        decoder = Decoder()
        try:
            for _ in range(3):
                decoder.decode(chance.randbytes(chance.randrange(40)))
        except HeaderError:
            continue


@pytest.mark.parametrize(
    "text", ["1c64ff", "1c64ffff", "ffffffff", "18"], ids=["8 bits", "more", "end", "zeros"]
)
def test_padding_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(HuffmanError):
        decoded(bytes.fromhex(text))
