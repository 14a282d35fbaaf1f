"""Writer of bbolt files: a whole database at once, from buckets in memory.

The format is that of `projections.snapshots.boltfile`. What is written is what bbolt would have
after one transaction: two meta pages that lead to the same state, an empty free list, and trees of
branch and leaf pages, filled in key order. A bucket that is small and holds no other is inline.

The same buckets give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from projections.snapshots.boltfile import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET_ELEMENT,
    BUCKET_HEADER,
    LEAF,
    LEAF_ELEMENT,
    MAGIC,
    META,
    META_CHECKED_BYTES,
    PAGE_HEADER,
    PLAIN_ELEMENT,
    VERSION,
    fnv1a_64,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PAGE_BYTES: Final = 4096

_META_FLAG: Final = 0x04
_FREE_LIST_FLAG: Final = 0x10
_FREE_LIST_PAGE: Final = 2
_FIRST_DATA_PAGE: Final = 3
_TRANSACTION_ID: Final = 2  # the first after those of an empty database; even, as meta page 0 asks
_INLINE_BYTES_MAX: Final = PAGE_BYTES // 4  # as bbolt's `Bucket.inlineable`
_ELEMENTS_MAX: Final = 0xFFFF - 1


class NewBucket(NamedTuple):
    """A bucket to be written.

    Attributes:
        entries: values and buckets by their keys, which are not empty.
        sequence: of `NextSequence`.
    """

    entries: Mapping[bytes, bytes | NewBucket]
    sequence: int = 0


class _Element(NamedTuple):
    """An element of a leaf: its flags, key and value."""

    flags: int
    key: bytes
    value: bytes


class _Child(NamedTuple):
    """An element of a branch: its key and the page that it leads to."""

    key: bytes
    page: int


_T = TypeVar("_T", _Element, _Child)


def bolt_file(root: NewBucket) -> bytes:
    """Return the bytes of a database."""
    pages = _Pages()
    root_page = pages.add_bucket(root)
    return pages.finish(root_page, root.sequence)


class _Pages:
    """The pages behind the free list, as they are written."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add_bucket(self, bucket: NewBucket) -> int:
        """Write a bucket with all in it, and return its root page."""
        elements = [self._element(key, bucket.entries[key]) for key in sorted(bucket.entries)]
        level: Sequence[_Child] = [
            _Child(group[0].key if group else b"", self._add(_leaf(group), LEAF, len(group)))
            for group in _groups(elements)
        ]
        while len(level) > 1:
            level = [
                _Child(group[0].key, self._add(_branch(group), BRANCH, len(group)))
                for group in _groups(level, least=2)  # else a level would be as long as the last
            ]
        return level[0].page

    def finish(self, root_page: int, sequence: int) -> bytes:
        """Return the whole file."""
        end_page = _FIRST_DATA_PAGE + len(self._data) // PAGE_BYTES
        metas = b"".join(_meta(n, root_page, sequence, end_page) for n in (0, 1))
        free_list = _padded(PAGE_HEADER.pack(_FREE_LIST_PAGE, _FREE_LIST_FLAG, 0, 0))
        return metas + free_list + bytes(self._data)

    def _element(self, key: bytes, value: bytes | NewBucket) -> _Element:
        if isinstance(value, bytes):
            return _Element(PLAIN_ELEMENT, key, value)
        inline = _inline(value)
        if inline is None:
            inline = BUCKET_HEADER.pack(self.add_bucket(value), value.sequence)
        return _Element(BUCKET_ELEMENT, key, inline)

    def _add(self, content: bytes, flags: int, count: int) -> int:
        page = _FIRST_DATA_PAGE + len(self._data) // PAGE_BYTES
        overflow = (PAGE_HEADER.size + len(content) - 1) // PAGE_BYTES
        self._data += _padded(PAGE_HEADER.pack(page, flags, count, overflow) + content)
        return page


def _inline(bucket: NewBucket) -> bytes | None:
    """Return the value that holds a whole bucket; None if it must have pages of its own."""
    elements = []
    for key in sorted(bucket.entries):
        value = bucket.entries[key]
        if not isinstance(value, bytes):
            return None
        elements.append(_Element(PLAIN_ELEMENT, key, value))
    content = _leaf(elements)
    if PAGE_HEADER.size + len(content) > _INLINE_BYTES_MAX:
        return None
    header = BUCKET_HEADER.pack(0, bucket.sequence)
    return header + PAGE_HEADER.pack(0, LEAF, len(elements), 0) + content


def _groups(elements: Sequence[_T], least: int = 1) -> Iterator[list[_T]]:
    """Cut elements into those of one page each, or of more pages where `least` are larger."""
    group: list[_T] = []
    size = PAGE_HEADER.size
    for element in elements:
        needed = LEAF_ELEMENT.size + len(element.key)
        if isinstance(element, _Element):
            needed += len(element.value)
        is_full = size + needed > PAGE_BYTES or len(group) >= _ELEMENTS_MAX
        if len(group) >= least and is_full:
            yield group
            group, size = [], PAGE_HEADER.size
        group.append(element)
        size += needed
    yield group


def _leaf(elements: Sequence[_Element]) -> bytes:
    table, data = bytearray(), bytearray()
    for index, (flags, key, value) in enumerate(elements):
        position = (len(elements) - index) * LEAF_ELEMENT.size + len(data)
        table += LEAF_ELEMENT.pack(flags, position, len(key), len(value))
        data += key + value
    return bytes(table + data)


def _branch(children: Sequence[_Child]) -> bytes:
    table, data = bytearray(), bytearray()
    for index, (key, page) in enumerate(children):
        position = (len(children) - index) * BRANCH_ELEMENT.size + len(data)
        table += BRANCH_ELEMENT.pack(position, len(key), page)
        data += key
    return bytes(table + data)


def _meta(number: int, root_page: int, sequence: int, end_page: int) -> bytes:
    transaction_id = _TRANSACTION_ID + number
    fields = (PAGE_BYTES, 0, root_page, sequence, _FREE_LIST_PAGE, end_page, transaction_id)
    checked = META.pack(MAGIC, VERSION, *fields, 0)[:META_CHECKED_BYTES]
    meta = checked + fnv1a_64(checked).to_bytes(8, "little")
    return _padded(PAGE_HEADER.pack(number, _META_FLAG, 0, 0) + meta)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % PAGE_BYTES)
