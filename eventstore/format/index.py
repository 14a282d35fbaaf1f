"""The index of a segment: which of its records are about what, and where they are.

Everything in it can be made again from the segment, and what is read by it is checked there. Three
arrays of 64-bit numbers, in pages that each have a checksum, so that a look-up reads two of them:

- the *fences*: the first posting of each page of postings;
- the *anchors*: place and time of every 64th record, from the first one on;
- the *postings*, ascending: 36 bits of the hash of a term, 28 bits of the place of a record.

A place is the offset of a record divided by 8, on whose grid records stand. Numbers instead of the
terms make an index a quarter as large, and its look-up one search; that two terms may have one hash
costs a record read in vain.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from eventstore.format.blocks import UINT32, MalformedError, known_version
from eventstore.format.codec import DecodeError, pack, unpack
from eventstore.format.segment import RECORD_ALIGNMENT_BYTES, record_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

INDEX_VERSION = 1
"""Of indexes as they are written; it and every older one is read."""

RECORDS_PER_ANCHOR = 64
INDEX_PREFIX_BYTES = 16
"""Of an index: with these it is known how long its header is."""

_MAGIC = b"EVSTIDX\0"
_HEADER = struct.Struct("<8sII16sQQQ32sII")
_PLACE_BITS = 28
_PLACE_MASK = (1 << _PLACE_BITS) - 1
_HASH_BYTES = 8
_HASH_SHIFT = 64 - 36
_VALUE_BYTES = 8
_PAGE_VALUES = 512
_PAGE_BYTES = _PAGE_VALUES * _VALUE_BYTES + UINT32.size
_HEADER_BYTES_MAX = 1024 * 1024


class IndexHeader(NamedTuple):
    """What an index covers, and by whose word.

    Attributes:
        store_id: of the store.
        first_revision: of the first record, that of the segment.
        last_revision: of the last record; of the active segment's index not the newest.
        last_bytes: where the last record starts.
        digest: chain digest of the last record, which binds all history up to it.
        projections: name and version of each one whose keys are in it.
    """

    store_id: bytes
    first_revision: int
    last_revision: int
    last_bytes: int
    digest: bytes
    projections: tuple[tuple[str, int], ...]


class IndexLayout(NamedTuple):
    """Where things are in an index, by its header.

    Attributes:
        header: of the index.
        seed: of the checksums of pages.
        anchor_count: of anchors.
        posting_count: of postings.
        fences_at: where the fences start.
        anchors_at: where the pages of anchors start.
        postings_at: where the pages of postings start.
        size_bytes: of the whole index.
    """

    header: IndexHeader
    seed: int
    anchor_count: int
    posting_count: int
    fences_at: int
    anchors_at: int
    postings_at: int
    size_bytes: int

    def fences(self) -> tuple[int, int]:
        """Return where the fences are: offset and length, with their checksum."""
        return self.fences_at, self.anchors_at - self.fences_at

    def postings_page(self, number: int) -> tuple[int, int]:
        """Return where a page of postings is: offset and length, with its checksum."""
        return self._page(self.postings_at, number, self.posting_count)

    def anchors_page(self, number: int) -> tuple[int, int]:
        """Return where a page of anchors is: offset and length, with its checksum."""
        return self._page(self.anchors_at, number, 2 * self.anchor_count)

    @staticmethod
    def _page(start: int, number: int, value_count: int) -> tuple[int, int]:
        values = min(_PAGE_VALUES, value_count - number * _PAGE_VALUES)
        return start + number * _PAGE_BYTES, values * _VALUE_BYTES + UINT32.size


ANCHORS_PER_PAGE = _PAGE_VALUES // 2


class TermHasher:
    """Hashes terms of one kind, keyed by the store id: nobody can choose keys that collide."""

    def __init__(self, store_id: bytes, kind: bytes) -> None:
        # A copy of this takes half of the time of a new one.
        self._start = hashlib.blake2b(kind, digest_size=_HASH_BYTES, key=store_id)

    def hash(self, text: str) -> int:
        """Return the hash of a term."""
        hasher = self._start.copy()
        hasher.update(text.encode("utf-8", "surrogatepass"))
        return int.from_bytes(hasher.digest()) >> _HASH_SHIFT


def posting(hashed: int, offset_bytes: int) -> int:
    """Return the posting of a term at the record that starts at an offset."""
    return hashed << _PLACE_BITS | offset_bytes // RECORD_ALIGNMENT_BYTES


def posting_range(hashed: int) -> tuple[int, int]:
    """Return the least posting that a term can have, and the least beyond it."""
    return hashed << _PLACE_BITS, (hashed + 1) << _PLACE_BITS


def offset_in(value: int) -> int:
    """Return the offset of the record that a posting names."""
    return (value & _PLACE_MASK) * RECORD_ALIGNMENT_BYTES


def pack_index(
    header: IndexHeader, anchors: Iterable[tuple[int, int]], postings: Iterable[int]
) -> bytes:
    """Return an index.

    Args:
        header: what it covers.
        anchors: offset and time of every 64th record.
        postings: in ascending order.
    """
    seed = record_seed(header.store_id)
    flat = array("Q", (number for anchor in anchors for number in anchor))
    sorted_postings = array("Q", postings)
    fences = sorted_postings[::_PAGE_VALUES]
    projections = pack([list(projection) for projection in header.projections])
    fields = _HEADER.pack(
        _MAGIC,
        INDEX_VERSION,
        _HEADER.size + len(projections) + UINT32.size,
        header.store_id,
        header.first_revision,
        header.last_revision,
        header.last_bytes,
        header.digest,
        len(flat) // 2,
        len(sorted_postings),
    )
    block = fields + projections
    return b"".join(
        (
            block,
            UINT32.pack(crc32(block)),
            _packed_page(fences, seed),
            *_packed_pages(flat, seed),
            *_packed_pages(sorted_postings, seed),
        )
    )


def index_header_bytes(prefix: bytes) -> int:
    """Return the length of an index's header, of which these are the first bytes.

    Raises:
        MalformedError: it is no header of an index, or longer than one can be.
    """
    if len(prefix) < INDEX_PREFIX_BYTES or prefix[: len(_MAGIC)] != _MAGIC:
        raise MalformedError(0, "the index does not start with its magic number")
    size = int(UINT32.unpack_from(prefix, 12)[0])
    if not _HEADER.size + UINT32.size <= size <= _HEADER_BYTES_MAX:
        raise MalformedError(12, f"the index states a header of {size} bytes")
    return size


def unpack_index_header(block: bytes) -> IndexLayout:
    """Return what the header of an index states.

    Raises:
        MalformedError: it is damaged.
        NewerVersionError: it is one of a newer format.
    """
    if len(block) != index_header_bytes(block):
        raise MalformedError(0, "the header of the index is cut short")
    if crc32(block[: -UINT32.size]) != UINT32.unpack(block[-UINT32.size :])[0]:
        raise MalformedError(0, "the header of the index fails its checksum")
    _, version, _, store_id, first, last, last_bytes, digest, anchor_count, posting_count = (
        _HEADER.unpack_from(block)
    )
    known_version(version, INDEX_VERSION)
    header = IndexHeader(
        store_id, first, last, last_bytes, digest, _projections_in(block[_HEADER.size : -4])
    )
    if anchor_count != -(-(last + 1 - first) // RECORDS_PER_ANCHOR) or last < first:
        raise MalformedError(0, "the header of the index states a wrong number of anchors")
    fences_at = len(block)
    fence_count = -(-posting_count // _PAGE_VALUES)
    anchors_at = fences_at + fence_count * _VALUE_BYTES + UINT32.size
    postings_at = anchors_at + _pages_bytes(2 * anchor_count)
    size_bytes = postings_at + _pages_bytes(posting_count)
    return IndexLayout(
        header,
        record_seed(store_id),
        anchor_count,
        posting_count,
        fences_at,
        anchors_at,
        postings_at,
        size_bytes,
    )


def unpack_values(page: bytes, seed: int) -> array[int]:
    """Return the numbers in a page.

    Raises:
        MalformedError: it fails its checksum.
    """
    if len(page) < UINT32.size:
        raise MalformedError(0, "a page of the index is cut short")
    body = page[: -UINT32.size]
    if len(body) % _VALUE_BYTES or crc32(body, seed) != UINT32.unpack(page[-UINT32.size :])[0]:
        raise MalformedError(0, "a page of the index fails its checksum")
    values = array("Q", body)
    if sys.byteorder == "big":  # pragma: no cover
        values.byteswap()
    return values


def _projections_in(packed: bytes) -> tuple[tuple[str, int], ...]:
    try:
        return tuple((str(name), int(version)) for name, version in unpack(packed))
    except (DecodeError, TypeError, ValueError) as error:
        raise MalformedError(0, f"the projections of the index: {error}") from error


def _pages_bytes(value_count: int) -> int:
    return value_count * _VALUE_BYTES + -(-value_count // _PAGE_VALUES) * UINT32.size


def _packed_pages(values: array[int], seed: int) -> list[bytes]:
    starts = range(0, len(values), _PAGE_VALUES)
    return [_packed_page(values[start : start + _PAGE_VALUES], seed) for start in starts]


def _packed_page(values: array[int], seed: int) -> bytes:
    if sys.byteorder == "big":  # pragma: no cover
        values = values[:]
        values.byteswap()
    body = values.tobytes()
    return body + UINT32.pack(crc32(body, seed))
