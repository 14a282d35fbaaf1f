"""Read-only reader of the bbolt file format, the B+tree store under containerd and etcd.

The format is what bbolt's `page.go`, `db.go` (meta pages), `bucket.go` and `node.go` write, up to
bbolt 1.4 (there `internal/common`); it has not changed since Bolt's data version 2.

**File.** A row of pages; page n begins at n * page size, and every page begins with

    id u64 | flags u16 | count u16 | overflow u32                                   16 bytes

The flags say what it is: branch 0x01, leaf 0x02, meta 0x04, free list 0x10. A page that needs
more room goes on over the next `overflow` pages, which then have no header of their own. bbolt
writes integers in the order of its machine; this reader takes little-endian files only.

**Meta pages.** Pages 0 and 1, behind the header:

    magic u32 (0xED0CDAED) | version u32 (2) | page size u32 | flags u32
    root bucket: page u64, sequence u64 | free list page u64
    high-water mark u64 | transaction id u64 | FNV-1a of the 56 bytes before it, u64    64 bytes

Transactions write them in turn, so the valid one with the higher transaction id is the state last
committed, and the other still leads to the state before it, whose pages are not reused yet. Pages
at and above the high-water mark were never used. As bbolt does, the page size is taken from meta
page 0, and if that is damaged, a valid meta page is looked for at each possible page size.

**Branch and leaf pages.** Behind the header stand `count` elements of 16 bytes, behind these
their data, in the same order, without gaps or overlap (`node.write`; `Bucket.Stats` relies on
it); `position` counts from the element itself:

    branch: position u32 | key size u32 | child page u64            data: key
    leaf:   flags u32 | position u32 | key size u32 | value size u32    data: key, value

Keys are not empty and rise strictly in byte order. The keys below a branch element are not less
than its key and less than the key of the element after it.

**Buckets.** A leaf element with flag 0x01 is a nested bucket: its value is

    root page u64 | sequence u64                                                    16 bytes

With root page 0 the bucket is *inline*: a leaf page (id 0, no overflow) follows in the value
itself and fills it exactly (`Bucket.write`). Inline buckets hold no buckets
(`Bucket.inlineable`).

**How it is read.** `BoltFile` walks everything reachable once, checks it and keeps it, so that
nothing can fail afterwards. Each page is claimed by whoever reaches it first and a second claim
is an error: there are no cycles, and as the data of elements can't overlap either, time and
memory are proportional to the file whatever its bytes are. The walk keeps its own stack, so
depth can't exhaust Python's; buckets nest at most `BUCKET_DEPTH_MAX` deep so that callers may
recurse.

**What it does not do.** No I/O. It does not read the free list, which says nothing about content.
Only meta pages have a checksum: a changed byte inside a key or value can't be noticed here, and a
file that a process is writing to meanwhile may be read as a mixture; read it while the daemon is
stopped, or under bbolt's file lock.
"""

from __future__ import annotations

import struct
from itertools import islice, pairwise
from operator import lt
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET_DEPTH_MAX: Final = 64
"""The deepest nesting of buckets that is read; the root bucket is at depth 0."""

MAGIC: Final = 0xED0CDAED
VERSION: Final = 2
_PAGE_SIZES: Final = tuple(1024 << shift for shift in range(15))  # those that bbolt's db.go tries
_META_PAGES: Final = 2

BRANCH: Final = 0x01
LEAF: Final = 0x02

PLAIN_ELEMENT: Final = 0
BUCKET_ELEMENT: Final = 0x01

_SHOWN_BYTES: Final = 64

_Entries: TypeAlias = "dict[bytes, bytes | Bucket]"


def _layout(fields: str, size_bytes: int) -> struct.Struct:
    """Return the layout of a little-endian struct; its size must be that of bbolt's own."""
    layout = struct.Struct("<" + fields)
    if layout.size != size_bytes:
        raise RuntimeError(f"layout {fields!r} has {layout.size} bytes, not {size_bytes}")
    return layout


PAGE_HEADER: Final = _layout("QHHI", 16)
META: Final = _layout("IIIIQQQQQQ", 64)
META_CHECKED_BYTES: Final = _layout("IIIIQQQQQ", 56).size
BRANCH_ELEMENT: Final = _layout("IIQ", 16)
LEAF_ELEMENT: Final = _layout("IIII", 16)
_HEADER_BYTES: Final = PAGE_HEADER.size
_ELEMENT_BYTES: Final = 16
BUCKET_HEADER: Final = _layout("QQ", 16)


class BoltFormatError(Exception):
    """The bytes are not a well-formed bbolt database.

    Attributes:
        reason: what is wrong.
        page: id of the page it is in, if it is in one.
        offset_bytes: where in the file it is, if that is known.
    """

    def __init__(
        self, reason: str, *, page: int | None = None, offset_bytes: int | None = None
    ) -> None:
        place = "" if page is None else f"page {page}"
        if offset_bytes is not None:
            place += f"{', ' if place else ''}offset {offset_bytes}"
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason = reason
        self.page = page
        self.offset_bytes = offset_bytes


@final
class Bucket:
    """Keys in byte order, each with a value or with a nested bucket.

    Iteration gives (key, value or bucket) pairs in byte order of the keys; look-ups are O(1).

    Attributes:
        sequence: the counter that bbolt's `NextSequence` increments; 0 if it was never used.
    """

    __slots__ = ("_entries", "sequence")

    def __init__(self, sequence: int, entries: _Entries) -> None:
        self.sequence = sequence
        self._entries = entries

    def __iter__(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        return iter(self._entries.items())

    def get(self, key: bytes) -> bytes | None:
        """Return the value of the key, None if there is none or it is a bucket."""
        found = self._entries.get(key)
        return found if type(found) is bytes else None

    def bucket(self, name: bytes) -> Bucket | None:
        """Return the bucket of that name, None if there is none or it is a plain value."""
        found = self._entries.get(name)
        return found if type(found) is Bucket else None


@final
class BoltFile:
    """The last committed state of a bbolt database, checked and read as a whole.

    Args:
        data: the whole file; nothing refers to it afterwards. Anything but `bytes` is copied.

    Attributes:
        page_size: in bytes.
        transaction_id: of the transaction that committed this state.
        root: the bucket that holds all others.

    Raises:
        BoltFormatError: the bytes break a rule of the format.
    """

    __slots__ = ("page_size", "root", "transaction_id")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        content = bytes(data)
        meta = _newest_meta(content)
        self.page_size = meta.page_size
        self.transaction_id = meta.transaction_id
        self.root = _TreeReader(content, meta).read()


class _Meta(NamedTuple):
    page_size: int
    root_page: int
    root_sequence: int
    high_water_page: int
    transaction_id: int


def _newest_meta(data: bytes) -> _Meta:
    """Return the valid meta page of the last transaction."""
    try:
        first = _read_meta(data, 0)
    except BoltFormatError as error:
        second = _second_meta(data, _PAGE_SIZES)
        if second is None:
            raise BoltFormatError(
                f"not a bbolt database, or both meta pages are damaged: {error}"
            ) from error
        return second
    second = _second_meta(data, (first.page_size,))
    if second is not None and second.transaction_id > first.transaction_id:
        return second
    return first


def _second_meta(data: bytes, page_sizes: tuple[int, ...]) -> _Meta | None:
    """Return meta page 1: the first valid one that stands where its own page size puts it."""
    for page_size in page_sizes:
        try:
            meta = _read_meta(data, page_size)
        except BoltFormatError:
            continue
        if meta.page_size == page_size:
            return meta
    return None


def _read_meta(data: bytes, page_offset: int) -> _Meta:
    """Read the meta page that begins at an offset.

    Its page header is not looked at: the checksum doesn't cover it, bbolt does not check it, and
    to refuse the page for it would mean to take the older state for the current one.
    """
    offset = page_offset + PAGE_HEADER.size
    if len(data) < offset + META.size:
        raise BoltFormatError("file too short for a meta page", offset_bytes=page_offset)
    magic, version, page_size, _, root, sequence, _, high_water, transaction_id, checksum = (
        META.unpack_from(data, offset)
    )
    if magic != MAGIC:
        raise BoltFormatError(f"no meta page: magic number {magic:#010x}", offset_bytes=offset)
    if checksum != fnv1a_64(data[offset : offset + META_CHECKED_BYTES]):
        raise BoltFormatError("meta page with a wrong checksum", offset_bytes=offset)
    if version != VERSION:
        raise BoltFormatError(f"unknown data version {version}", offset_bytes=offset)
    if page_size not in _PAGE_SIZES:
        raise BoltFormatError(f"impossible page size {page_size}", offset_bytes=offset)
    return _Meta(page_size, root, sequence, high_water, transaction_id)


def fnv1a_64(data: bytes) -> int:
    """Hash as Go's `fnv.New64a`."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return value


class _Node(NamedTuple):
    """A branch or leaf page, or the leaf page inside the value of an inline bucket.

    Attributes:
        page: the page it is or lies in.
        start: offset of its header in the file.
        end: offset behind its last byte, overflow included.
        flags: as in its header.
        table_start: offset of its first element.
        table_end: offset behind its last element.
        inline: whether it is that of an inline bucket.
    """

    page: int
    start: int
    end: int
    flags: int
    table_start: int
    table_end: int
    inline: bool


class _Subtree(NamedTuple):
    """A page yet to be read, with the bucket that its entries belong to.

    Attributes:
        low: no key below it may be less.
        high: every key below it must be less; None: there is no such limit.
        bucket_depth: of the bucket; the root bucket's is 0.
    """

    page: int
    entries: _Entries
    low: bytes
    high: bytes | None
    bucket_depth: int


@final
class _TreeReader:
    """Reads the tree under one meta page.

    Subtrees wait on a stack, the lowest keys on top. A bucket's entries come out in key order by
    that, and its dictionary keeps the order; nested buckets are filled in between.
    """

    def __init__(self, data: bytes, meta: _Meta) -> None:
        self._data = data
        self._meta = meta
        self._page_count = min(meta.high_water_page, len(data) // meta.page_size)
        self._claimed = bytearray(self._page_count)
        self._pending: list[_Subtree] = []

    def read(self) -> Bucket:
        entries: _Entries = {}
        self._pending.append(_Subtree(self._meta.root_page, entries, b"", None, 0))
        while self._pending:
            subtree = self._pending.pop()
            node = self._claim(subtree.page)
            if node.flags == BRANCH:
                self._read_branch(node, subtree)
            elif node.flags == LEAF:
                self._read_leaf(node, subtree)
            else:
                raise _violation(node, node.start, f"neither branch nor leaf: {node.flags:#x}")
        return Bucket(self._meta.root_sequence, entries)

    def _claim(self, page: int) -> _Node:
        """Return the node of a page that nothing else has led to."""
        if not _META_PAGES <= page < self._page_count:
            raise BoltFormatError(
                f"referred to, but only pages from {_META_PAGES} to below {self._page_count} "
                "can hold content in this file",
                page=page,
            )
        start = page * self._meta.page_size
        header_id, flags, count, overflow = PAGE_HEADER.unpack_from(self._data, start)
        end_page = page + 1 + overflow
        node = _node(page, start, end_page * self._meta.page_size, flags, count, inline=False)
        if header_id != page:
            raise _violation(node, start, f"its header says that it is page {header_id}")
        if end_page > self._page_count:
            raise _violation(node, start, f"{overflow} overflow pages reach past the last page")
        if self._claimed.find(1, page, end_page) >= 0:
            raise _violation(node, start, "reached twice")
        self._claimed[page:end_page] = b"\x01" * (end_page - page)
        return _check_room(node, count)

    def _read_branch(self, node: _Node, subtree: _Subtree) -> None:
        elements = list(self._branch_elements(node))
        if not elements:
            raise _violation(node, node.start, "branch page without elements")
        _check_keys(node, [key for key, _ in elements], subtree)
        high = subtree.high
        for key, child in reversed(elements):
            self._pending.append(subtree._replace(page=child, low=key, high=high))
            high = key

    def _read_leaf(self, node: _Node, subtree: _Subtree) -> None:
        # One pass, without a list of elements between: a snapshot has nine, in two leaves.
        data, entries = self._data, subtree.entries
        node_end, data_end = node.end, node.table_end
        keys = []
        for offset, (flags, position, key_size, value_size) in self._table(node, LEAF_ELEMENT):
            key_start = offset + position
            value_start = key_start + key_size
            value_end = value_start + value_size
            if key_start != data_end or value_end > node_end:
                raise _misplaced(node, offset, key_start, value_end, data_end)
            data_end = value_end
            key = data[key_start:value_start]
            keys.append(key)
            if flags == PLAIN_ELEMENT:
                entries[key] = data[value_start:value_end]
            elif flags == BUCKET_ELEMENT:
                depth = subtree.bucket_depth + 1
                entries[key] = self._open_bucket(node, value_start, value_end, depth)
            else:
                raise _violation(node, value_start, f"leaf element with unknown flags {flags:#x}")
        if node.inline and data_end != node_end:
            raise _violation(node, data_end, f"inline bucket goes on to {node_end}")
        _check_keys(node, keys, subtree)

    def _open_bucket(self, node: _Node, start: int, end: int, depth: int) -> Bucket:
        """Return the nested bucket of a value: filled if it is inline, else to be by `read`."""
        if node.inline:
            raise _violation(node, start, "bucket inside an inline bucket")
        if depth > BUCKET_DEPTH_MAX:
            raise _violation(node, start, f"buckets nested more than {BUCKET_DEPTH_MAX} deep")
        if end - start < BUCKET_HEADER.size:
            raise _violation(node, start, "bucket with too short a header")
        root, sequence = BUCKET_HEADER.unpack_from(self._data, start)
        entries: _Entries = {}
        subtree = _Subtree(root, entries, b"", None, depth)
        if root == 0:
            self._read_inline(node, start + BUCKET_HEADER.size, end, subtree)
        elif end - start > BUCKET_HEADER.size:
            raise _violation(node, start, f"bucket with root page {root} and inline data")
        else:
            self._pending.append(subtree)
        return Bucket(sequence, entries)

    def _read_inline(self, outer: _Node, start: int, end: int, subtree: _Subtree) -> None:
        if end - start < PAGE_HEADER.size:
            raise _violation(outer, start, "inline bucket too short for a page header")
        page, flags, count, overflow = PAGE_HEADER.unpack_from(self._data, start)
        if (page, flags, overflow) != (0, LEAF, 0):
            raise _violation(
                outer, start, f"inline page with id {page}, flags {flags:#x}, overflow {overflow}"
            )
        node = _node(outer.page, start, end, flags, count, inline=True)
        self._read_leaf(_check_room(node, count), subtree)

    def _branch_elements(self, node: _Node) -> Iterator[tuple[bytes, int]]:
        data_end = node.table_end
        for offset, (position, key_size, child) in self._table(node, BRANCH_ELEMENT):
            key_start = offset + position
            key_end = key_start + key_size
            if key_start != data_end or key_end > node.end:
                raise _misplaced(node, offset, key_start, key_end, data_end)
            data_end = key_end
            yield self._data[key_start:key_end], child

    def _table(self, node: _Node, layout: struct.Struct) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Give the elements of a node, each with its offset in the file."""
        start, end = node.table_start, node.table_end
        elements = layout.iter_unpack(self._data[start:end])
        return zip(range(start, end, _ELEMENT_BYTES), elements, strict=True)


def _node(
    page: int, start: int, end: int, flags: int, element_count: int, *, inline: bool
) -> _Node:
    table_start = start + _HEADER_BYTES
    table_end = table_start + element_count * _ELEMENT_BYTES
    return _Node(page, start, end, flags, table_start, table_end, inline)


def _check_room(node: _Node, element_count: int) -> _Node:
    if node.table_end > node.end:
        raise _violation(node, node.start, f"no room for {element_count} elements")
    return node


def _misplaced(node: _Node, offset: int, start: int, end: int, expected: int) -> BoltFormatError:
    """Say that the data of the element at an offset lies in the wrong place.

    That it must follow the data before it without a gap does more than to rule out that a small
    file unfolds into a large one: a wrong count is noticed by it, as it moves the end of the
    table.
    """
    return _violation(
        node,
        offset,
        f"element with data at {start} to {end}; it must begin at {expected} and end by {node.end}",
    )


def _check_keys(node: _Node, keys: list[bytes], subtree: _Subtree) -> None:
    """Check that the keys are not empty, rise, and lie within the limits of their subtree."""
    if not keys:
        return
    if not keys[0]:
        raise _violation(node, node.table_start, "empty key")
    if not all(map(lt, keys, islice(keys, 1, None))):
        index = next(place for place, (key, after) in enumerate(pairwise(keys)) if key >= after)
        raise _violation(
            node,
            node.table_start + (index + 1) * _ELEMENT_BYTES,
            f"key {_shown(keys[index + 1])} is not greater than {_shown(keys[index])} before it",
        )
    if keys[0] < subtree.low or (subtree.high is not None and keys[-1] >= subtree.high):
        raise _violation(
            node, node.table_start, "keys outside the limits that the branch page above gives"
        )


def _shown(key: bytes) -> str:
    return f"{key[:_SHOWN_BYTES]!r}{'...' if len(key) > _SHOWN_BYTES else ''}"


def _violation(node: _Node, offset: int, reason: str) -> BoltFormatError:
    return BoltFormatError(reason, page=node.page, offset_bytes=offset)
