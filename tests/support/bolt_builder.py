"""Builds small bbolt files page by page, so that the readers' tests can also build wrong ones.

The layout is described in `projections.snapshots.boltfile`; it is written here a second time,
independently of the reader.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE_SIZE = 1024
BRANCH, LEAF, META, FREELIST = 0x01, 0x02, 0x04, 0x10
PLAIN, BUCKET = 0, 1


class Leaf(NamedTuple):
    """An element of a leaf page."""

    key: bytes
    value: bytes
    flags: int = PLAIN

    def packed(self, position: int) -> bytes:
        return struct.pack("<IIII", self.flags, position, len(self.key), len(self.value))

    def content(self) -> bytes:
        return self.key + self.value


class Branch(NamedTuple):
    """An element of a branch page."""

    key: bytes
    child: int

    def packed(self, position: int) -> bytes:
        return struct.pack("<IIQ", position, len(self.key), self.child)

    def content(self) -> bytes:
        return self.key


@dataclass
class Tree:
    """A bucket: keys with values or buckets. Inline buckets can't hold buckets."""

    entries: dict[bytes, bytes | Tree] = field(default_factory=dict)
    sequence: int = 0
    inline: bool = False


def fnv1a_64(data: bytes | bytearray) -> int:
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def meta_page(
    page: int,
    transaction_id: int,
    *,
    root: int,
    sequence: int = 0,
    high_water: int,
    page_size: int = PAGE_SIZE,
    version: int = 2,
    magic: int = 0xED0CDAED,
) -> bytes:
    header = struct.pack("<QHHI", page, META, 0, 0)
    checked = struct.pack(
        "<IIIIQQQQQ", magic, version, page_size, 0, root, sequence, 2, high_water, transaction_id
    )
    return header + checked + struct.pack("<Q", fnv1a_64(checked))


def repair_checksums(data: bytearray, page_size: int = PAGE_SIZE) -> None:
    """Make the checksums of both meta pages right for whatever is in them."""
    for start in (16, page_size + 16):
        struct.pack_into("<Q", data, start + 56, fnv1a_64(data[start : start + 56]))


def page_bytes(
    page: int,
    flags: int,
    elements: Sequence[Leaf | Branch],
    *,
    count: int | None = None,
    overflow: int | None = None,
) -> bytes:
    """Return a page padded to whole pages; `count` and `overflow` override the true ones."""
    table, contents = b"", b""
    for index, element in enumerate(elements):
        table += element.packed(16 * (len(elements) - index) + len(contents))
        contents += element.content()
    used = 16 + len(table) + len(contents)
    pages = max(1, -(-used // PAGE_SIZE))
    count = len(elements) if count is None else count
    header = struct.pack("<QHHI", page, flags, count, pages - 1 if overflow is None else overflow)
    return (header + table + contents).ljust(pages * PAGE_SIZE, b"\0")


def leaf_page(page: int, *elements: Leaf) -> bytes:
    return page_bytes(page, LEAF, elements)


def branch_page(page: int, *elements: Branch) -> bytes:
    return page_bytes(page, BRANCH, elements)


def bucket_value(root: int, sequence: int = 0, inline: bytes = b"") -> bytes:
    return struct.pack("<QQ", root, sequence) + inline


def inline_page(*elements: Leaf) -> bytes:
    """Return the leaf page of an inline bucket, which has no padding."""
    used = 16 + sum(16 + len(element.content()) for element in elements)
    return page_bytes(0, LEAF, elements, overflow=0)[:used]


def build_file(
    pages: Mapping[int, bytes], *, root: int = 3, sequence: int = 0, high_water: int | None = None
) -> bytes:
    """Return a file of these pages behind two meta pages and an empty free list (page 2)."""
    end = max((page + len(content) // PAGE_SIZE for page, content in pages.items()), default=3)
    high_water = end if high_water is None else high_water
    data = bytearray(end * PAGE_SIZE)
    metas = [
        meta_page(page, transaction_id, root=root, sequence=sequence, high_water=high_water)
        for page, transaction_id in ((0, 8), (1, 7))
    ]
    freelist = struct.pack("<QHHI", 2, FREELIST, 0, 0)
    for page, content in [*enumerate(metas), (2, freelist), *pages.items()]:
        data[page * PAGE_SIZE : page * PAGE_SIZE + len(content)] = content
    return bytes(data)


def build_tree(tree: Tree) -> bytes:
    """Return a file that holds these buckets, each in one leaf page or inline."""
    pages: dict[int, bytes] = {}
    root = _add_bucket(pages, tree)
    return build_file(pages, root=root, sequence=tree.sequence)


def _add_bucket(pages: dict[int, bytes], tree: Tree) -> int:
    elements = []
    for key, value in sorted(tree.entries.items()):
        if isinstance(value, bytes):
            elements.append(Leaf(key, value))
        elif value.inline:
            plain = [Leaf(k, v) for k, v in sorted(value.entries.items()) if isinstance(v, bytes)]
            inline = bucket_value(0, value.sequence, inline_page(*plain))
            elements.append(Leaf(key, inline, BUCKET))
        else:
            root = _add_bucket(pages, value)
            elements.append(Leaf(key, bucket_value(root, value.sequence), BUCKET))
    page = max((page + len(content) // PAGE_SIZE for page, content in pages.items()), default=3)
    pages[page] = leaf_page(page, *elements)
    return page
