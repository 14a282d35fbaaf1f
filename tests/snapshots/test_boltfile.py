"""The bbolt reader: against bbolt's own files, and against damaged and hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import struct
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bolt_builder import (
    BRANCH,
    BUCKET,
    FREELIST,
    LEAF,
    META,
    PAGE_SIZE,
    Branch,
    Leaf,
    Tree,
    branch_page,
    bucket_value,
    build_file,
    build_tree,
    inline_page,
    leaf_page,
    meta_page,
    page_bytes,
    repair_checksums,
)

from projections.snapshots.boltfile import BUCKET_DEPTH_MAX, BoltFile, BoltFormatError, Bucket

DATA = Path(__file__).parent.parent / "data" / "bolt"
FIXTURES = ["empty", "nested", "branches", "overflow", "large-pages"]
LISTED_VALUE_BYTES_MAX = 32


def database(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.db.gz").read_bytes())


def expectation(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return content


def described(bucket: Bucket) -> dict[str, Any]:
    """Describe a bucket as the generator of the fixtures does."""
    entries = [[key.decode("latin-1"), described_entry(value)] for key, value in bucket]
    return {"sequence": bucket.sequence, "entries": entries}


def described_entry(value: bytes | Bucket) -> dict[str, Any]:
    if isinstance(value, Bucket):
        return {"bucket": described(value)}
    if len(value) > LISTED_VALUE_BYTES_MAX:
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    return {"value": value.decode("latin-1")}


def plain(bucket: Bucket) -> Tree:
    return Tree(
        {key: plain(value) if isinstance(value, Bucket) else value for key, value in bucket},
        bucket.sequence,
    )


def content_bytes(bucket: Bucket) -> int:
    """Count the bytes of all keys and values, and check the order of the keys on the way."""
    keys = [key for key, _ in bucket]
    assert all(key < following for key, following in pairwise(keys))
    return sum(
        len(key) + (content_bytes(value) if isinstance(value, Bucket) else len(value))
        for key, value in bucket
    )


def read_or_refuse(data: bytes | bytearray) -> BoltFile | None:
    """Read; whatever is read from bytes, right or wrong, can't be more than the bytes."""
    try:
        file = BoltFile(data)
    except BoltFormatError:
        return None
    assert content_bytes(file.root) <= len(data)
    return file


def small_file() -> bytes:
    """Return six pages that hold every structure: a branch, leaves, buckets, overflow."""
    inline = bucket_value(0, 9, inline_page(Leaf(b"a", b"1"), Leaf(b"b", b"")))
    return build_file(
        {
            3: branch_page(3, Branch(b"a", 4), Branch(b"m", 5)),
            4: leaf_page(4, Leaf(b"abc", inline, BUCKET), Leaf(b"l", b"value")),
            5: leaf_page(5, Leaf(b"m", bucket_value(6, 77), BUCKET), Leaf(b"z", b"v" * 900)),
            7: leaf_page(7),
            6: page_bytes(6, LEAF, [Leaf(b"k", b"")]),
        },
        sequence=5,
    )


SMALL_TREE = Tree(
    {
        b"abc": Tree({b"a": b"1", b"b": b""}, 9),
        b"l": b"value",
        b"m": Tree({b"k": b""}, 77),
        b"z": b"v" * 900,
    },
    5,
)


class TestFilesOfBbolt:
    @pytest.mark.parametrize("name", FIXTURES)
    def test_content_is_what_bbolt_reads(self, name: str) -> None:
        expected = expectation(name)
        file = BoltFile(database(name))
        assert file.page_size == expected["page_size"]
        assert file.transaction_id == expected["transaction_id"]
        assert described(file.root) == expected["root"]

    @pytest.mark.parametrize("name", FIXTURES)
    @pytest.mark.parametrize("damaged", [0, 1])
    def test_damaged_meta_page_leaves_the_state_of_the_other(self, name: str, damaged: int) -> None:
        expected = expectation(name)
        data = bytearray(database(name))
        data[damaged * expected["page_size"] + 40] ^= 0x10
        newest_is_damaged = expected["transaction_id"] % 2 == damaged
        file = BoltFile(data)
        assert described(file.root) == expected["previous" if newest_is_damaged else "root"]
        assert file.transaction_id == expected["transaction_id"] - newest_is_damaged

    @pytest.mark.parametrize("name", FIXTURES)
    def test_two_damaged_meta_pages_are_refused(self, name: str) -> None:
        data = bytearray(database(name))
        for page in (0, 1):
            data[page * expectation(name)["page_size"] + 70] ^= 1
        with pytest.raises(BoltFormatError, match=r"both meta pages are damaged.*checksum"):
            BoltFile(data)

    def test_fixtures_have_the_structures_they_are_for(self) -> None:
        def pages(name: str) -> list[tuple[int, int, int]]:
            size = expectation(name)["page_size"]
            data = database(name)
            headers = [struct.unpack_from("<QHHI", data, at) for at in range(0, len(data), size)]
            return [
                (flags, count, overflow)
                for number, (page, flags, count, overflow) in enumerate(headers)
                if page == number
            ]

        assert sum(flags == BRANCH for flags, _, _ in pages("branches")) > 20
        assert max(overflow for flags, _, overflow in pages("overflow") if flags == LEAF) >= 5
        assert max(overflow for flags, _, overflow in pages("overflow") if flags == BRANCH) >= 1
        assert any(flags == BRANCH for flags, _, _ in pages("large-pages"))

    def test_buckets_and_values_are_told_apart(self) -> None:
        root = BoltFile(database("nested")).root
        one = root.bucket(b"one")
        assert one is not None
        assert one.get(b"depth") == b"one"
        assert one.bucket(b"depth") is None
        assert root.get(b"one") is None
        assert root.get(b"absent") is None
        assert root.bucket(b"absent") is None


class TestMetaPages:
    def test_bytes_bytearray_and_memoryview_are_read_and_let_go(self) -> None:
        data = bytearray(small_file())
        files = [BoltFile(bytes(data)), BoltFile(data), BoltFile(memoryview(data))]
        data.clear()  # raises BufferError while something still refers to the bytes
        assert all(plain(file.root) == SMALL_TREE for file in files)

    def test_page_header_of_a_meta_page_does_not_matter(self) -> None:
        data = bytearray(small_file())
        data[:16] = b"\xff" * 16
        assert BoltFile(data).transaction_id == 8

    def test_stray_meta_page_of_another_page_size_is_not_taken(self) -> None:
        data = bytearray(database("nested"))
        data[16] ^= 1
        stray = meta_page(1, 1000, root=3, high_water=9, page_size=8192)
        data[2048 : 2048 + len(stray)] = stray
        assert BoltFile(data).page_size == 4096

    @pytest.mark.parametrize("length", [0, 1, 15, 16, 79])
    def test_file_without_room_for_a_meta_page_is_refused(self, length: int) -> None:
        with pytest.raises(BoltFormatError, match="too short for a meta page"):
            BoltFile(small_file()[:length])

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"version": 3}, "unknown data version 3"),
            ({"page_size": 1000}, "impossible page size 1000"),
            ({"page_size": 0}, "impossible page size 0"),
            ({"page_size": 1 << 25}, "impossible page size"),
            ({"magic": 0xEDDA0CED}, "magic number 0xedda0ced"),
        ],
    )
    def test_meta_page_of_an_unknown_format_is_refused(
        self, fields: dict[str, int], message: str
    ) -> None:
        data = b"".join(
            meta_page(page, page, root=3, high_water=4, **fields).ljust(PAGE_SIZE, b"\0")
            for page in (0, 1)
        )
        with pytest.raises(BoltFormatError, match=message):
            BoltFile(data.ljust(8 * PAGE_SIZE, b"\0"))


def bucket_chain(depth: int) -> bytes:
    """Return a file of buckets nested to a depth, each with a page of its own."""
    pages = {
        3 + level: leaf_page(3 + level, Leaf(b"b", bucket_value(4 + level), BUCKET))
        for level in range(depth)
    }
    pages[3 + depth] = leaf_page(3 + depth)
    return build_file(pages)


def inline_bucket(page: bytes) -> bytes:
    return build_file({3: leaf_page(3, Leaf(b"b", bucket_value(0, 0, page), BUCKET))})


def patched(page: bytes, offset: int, fields: str, *values: int) -> bytes:
    data = bytearray(page)
    struct.pack_into("<" + fields, data, offset, *values)
    return bytes(data)


TWO_LEAVES = (Leaf(b"a", b"1"), Leaf(b"b", b"2"))
LEAF_3 = leaf_page(3, *TWO_LEAVES)

VIOLATIONS = {
    "root is a meta page": (build_file({3: LEAF_3}, root=1), r"^page 1: referred to"),
    "root is page 0": (build_file({3: LEAF_3}, root=0), r"^page 0: referred to"),
    "page above the high-water mark": (
        build_file({3: LEAF_3, 4: leaf_page(4)}, root=4, high_water=4),
        r"^page 4: referred to.*below 4",
    ),
    "page behind the end of the file": (
        build_file({3: LEAF_3}, root=2**63, high_water=2**64 - 1),
        r"^page 9223372036854775808: referred to",
    ),
    "wrong page id": (build_file({3: leaf_page(4)}), r"^page 3, offset 3072: .*it is page 4"),
    "free list as root": (
        build_file({3: LEAF_3}, root=2),
        r"^page 2, offset 2048: neither branch nor leaf: 0x10",
    ),
    "meta flags": (build_file({3: page_bytes(3, META, [])}), "neither branch nor leaf: 0x4"),
    "two flags": (build_file({3: page_bytes(3, BRANCH | LEAF, [])}), "neither branch nor leaf"),
    "no flags": (build_file({3: page_bytes(3, 0, [])}), "neither branch nor leaf"),
    "free list flag set too": (
        build_file({3: page_bytes(3, LEAF | FREELIST, [])}),
        "neither branch nor leaf",
    ),
    "too many elements": (
        build_file({3: page_bytes(3, LEAF, TWO_LEAVES, count=64)}),
        "^page 3, offset 3072: no room for 64 elements",
    ),
    "overflow behind the end of the file": (
        build_file({3: page_bytes(3, LEAF, TWO_LEAVES, overflow=2**32 - 1)}),
        "4294967295 overflow pages reach past the last page",
    ),
    "overflow into another page": (
        build_file({3: page_bytes(3, BRANCH, [Branch(b"a", 4)], overflow=1), 4: leaf_page(4)}),
        "^page 4, offset 4096: reached twice",
    ),
    "data behind the page": (
        build_file({3: patched(LEAF_3, 16 + 16 + 12, "I", 990)}),
        "^page 3, offset 3104: element with data at",
    ),
    "data far behind the page": (
        build_file({3: patched(LEAF_3, 16 + 4, "III", *[2**32 - 1] * 3)}),
        "element with data at",
    ),
    "data within the table of elements": (
        build_file({3: patched(LEAF_3, 16 + 4, "I", 16)}),
        "^page 3, offset 3088: element with data at",
    ),
    "data of two elements overlaps": (
        build_file({3: patched(LEAF_3, 16 + 16 + 4, "I", 17)}),
        "^page 3, offset 3104: element with data at",
    ),
    "branch key outside the page": (
        build_file({3: patched(branch_page(3, Branch(b"a", 4)), 20, "I", 2000), 4: leaf_page(4)}),
        "element with data at",
    ),
    "empty key": (build_file({3: leaf_page(3, Leaf(b"", b"1"))}), "offset 3088: empty key"),
    "equal keys": (
        build_file({3: leaf_page(3, Leaf(b"a", b"1"), Leaf(b"a", b"2"))}),
        r"offset 3104: key b'a' is not greater than b'a'",
    ),
    "falling keys": (
        build_file({3: leaf_page(3, Leaf(b"a", b""), Leaf(b"c" * 99, b""), Leaf(b"b", b""))}),
        r"offset 3120: key b'b' is not greater than b'c{64}'\.\.\.",
    ),
    "falling branch keys": (
        build_file({3: branch_page(3, Branch(b"b", 4), Branch(b"a", 5))}),
        "key b'a' is not greater than b'b'",
    ),
    "key less than that of the branch": (
        build_file({3: branch_page(3, Branch(b"b", 4)), 4: leaf_page(4, Leaf(b"a", b""))}),
        "^page 4, .*outside the limits",
    ),
    "key not less than the next of the branch": (
        build_file(
            {
                3: branch_page(3, Branch(b"a", 4), Branch(b"c", 5)),
                4: leaf_page(4, Leaf(b"a", b""), Leaf(b"c", b"")),
                5: leaf_page(5),
            }
        ),
        "^page 4, .*outside the limits",
    ),
    "key beyond the limit of a branch two levels up": (
        build_file(
            {
                3: branch_page(3, Branch(b"a", 4), Branch(b"c", 6)),
                4: branch_page(4, Branch(b"a", 5)),
                5: leaf_page(5, Leaf(b"d", b"")),
                6: leaf_page(6),
            }
        ),
        "^page 5, .*outside the limits",
    ),
    "branch page without elements": (build_file({3: branch_page(3)}), "without elements"),
    "branch page that leads to itself": (
        build_file({3: branch_page(3, Branch(b"a", 3))}),
        "^page 3, offset 3072: reached twice",
    ),
    "branch page that leads to one page twice": (
        build_file({3: branch_page(3, Branch(b"a", 4), Branch(b"b", 4)), 4: leaf_page(4)}),
        "^page 4, offset 4096: reached twice",
    ),
    "bucket that contains itself": (
        build_file({3: leaf_page(3, Leaf(b"a", bucket_value(3), BUCKET))}),
        "^page 3, offset 3072: reached twice",
    ),
    "two buckets with one page": (
        build_file(
            {
                3: leaf_page(3, *(Leaf(name, bucket_value(4), BUCKET) for name in (b"a", b"b"))),
                4: leaf_page(4),
            }
        ),
        "^page 4, offset 4096: reached twice",
    ),
    "bucket without a header": (
        build_file({3: leaf_page(3, Leaf(b"a", b"\0" * 15, BUCKET))}),
        "bucket with too short a header",
    ),
    "bucket with a page and inline data": (
        build_file({3: leaf_page(3, Leaf(b"a", bucket_value(4, 0, inline_page()), BUCKET))}),
        "root page 4 and inline data",
    ),
    "unknown element flags": (
        build_file({3: leaf_page(3, Leaf(b"a", b"", 2))}),
        "unknown flags 0x2",
    ),
    "inline bucket without a page": (inline_bucket(b""), "too short for a page header"),
    "inline bucket with half a page header": (inline_bucket(b"\0" * 15), "too short"),
    "inline branch page": (
        inline_bucket(page_bytes(0, BRANCH, [])[:16]),
        "inline page with id 0, flags 0x1",
    ),
    "inline page with an id": (inline_bucket(leaf_page(3)[:16]), "inline page with id 3"),
    "inline page with overflow": (
        inline_bucket(page_bytes(0, LEAF, [], overflow=1)[:16]),
        "inline page with id 0, flags 0x2, overflow 1",
    ),
    "inline page with too many elements": (
        inline_bucket(page_bytes(0, LEAF, [], count=1)[:16]),
        "^page 3, .*no room for 1 elements",
    ),
    "gap in the data": (
        build_file({3: patched(LEAF_3, 16 + 16 + 4, "I", 19)}),
        "^page 3, offset 3104: element with data at",
    ),
    "too few elements": (
        build_file({3: page_bytes(3, LEAF, TWO_LEAVES, count=1)}),
        "^page 3, offset 3088: element with data at",
    ),
    "too few elements in an inline bucket": (
        inline_bucket(patched(inline_page(Leaf(b"a", b"123")), 10, "H", 0)),
        "^page 3, .*inline bucket goes on",
    ),
    "inline data behind the value": (
        inline_bucket(inline_page(Leaf(b"a", b"123"))[:-1]),
        "element with data at",
    ),
    "bucket in an inline bucket": (
        inline_bucket(inline_page(Leaf(b"a", bucket_value(0, 0, inline_page()), BUCKET))),
        "bucket inside an inline bucket",
    ),
    "unknown element flags in an inline bucket": (
        inline_bucket(inline_page(Leaf(b"a", b"", 4))),
        "unknown flags 0x4",
    ),
    "buckets nested too deep": (bucket_chain(BUCKET_DEPTH_MAX + 1), "nested more than 64 deep"),
}


class TestStructure:
    def test_built_file_is_read(self) -> None:
        assert plain(BoltFile(small_file()).root) == SMALL_TREE

    @pytest.mark.parametrize(("data", "message"), VIOLATIONS.values(), ids=VIOLATIONS)
    def test_violation_is_refused_with_its_place(self, data: bytes, message: str) -> None:
        with pytest.raises(BoltFormatError, match=message):
            BoltFile(data)

    def test_error_gives_page_and_offset(self) -> None:
        with pytest.raises(BoltFormatError) as caught:
            BoltFile(VIOLATIONS["equal keys"][0])
        assert caught.value.page == 3
        assert caught.value.offset_bytes == 3 * PAGE_SIZE + 32
        assert str(caught.value) == f"page 3, offset 3104: {caught.value.reason}"

    def test_deepest_nesting_is_read(self) -> None:
        bucket: Bucket | None = BoltFile(bucket_chain(BUCKET_DEPTH_MAX)).root
        depth = -1
        while bucket is not None:
            depth += 1
            bucket = bucket.bucket(b"b")
        assert depth == BUCKET_DEPTH_MAX

    def test_tree_of_any_height_is_read(self) -> None:
        height = 5000
        pages = {3 + i: branch_page(3 + i, Branch(b"a", 4 + i)) for i in range(height)}
        pages[3 + height] = leaf_page(3 + height, Leaf(b"a", b"bottom"))
        assert BoltFile(build_file(pages)).root.get(b"a") == b"bottom"

    def test_empty_leaf_pages_are_passed_over(self) -> None:
        pages = {
            3: branch_page(3, Branch(b"a", 4), Branch(b"b", 5), Branch(b"c", 6)),
            4: leaf_page(4, Leaf(b"a", b"1")),
            5: leaf_page(5),
            6: leaf_page(6, Leaf(b"c", b"2")),
        }
        assert plain(BoltFile(build_file(pages)).root) == Tree({b"a": b"1", b"c": b"2"})

    @given(
        st.recursive(
            st.builds(
                Tree,
                st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=99)),
                st.integers(0, 2**64 - 1),
                st.just(True),
            ),
            lambda inner: st.builds(
                Tree,
                st.dictionaries(
                    st.binary(min_size=1, max_size=9), inner | st.binary(max_size=3000), max_size=6
                ),
                st.integers(0, 2**64 - 1),
            ),
            max_leaves=8,
        )
    )
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_any_tree_is_read_back(self, tree: Tree) -> None:
        def without_form(tree: Tree) -> Tree:
            entries = {
                key: without_form(value) if isinstance(value, Tree) else value
                for key, value in tree.entries.items()
            }
            return Tree(entries, tree.sequence)

        root = BoltFile(build_tree(tree)).root
        assert plain(root) == without_form(tree)


class TestDamage:
    @pytest.mark.parametrize("name", FIXTURES)
    def test_cut_file_gives_a_committed_state_or_is_refused(self, name: str) -> None:
        expected = expectation(name)
        states = (expected["root"], expected["previous"])
        data = database(name)
        for length in range(0, len(data), expected["page_size"] // 4):
            file = read_or_refuse(data[:length])
            assert file is None or described(file.root) in states

    def test_every_cut_of_a_small_file_gives_its_state_or_is_refused(self) -> None:
        data = small_file()
        for length in range(len(data)):
            file = read_or_refuse(data[:length])
            assert file is None or plain(file.root) == SMALL_TREE

    @pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
    def test_every_flipped_byte_of_a_small_file_is_survived(self, mask: int) -> None:
        data = bytearray(small_file())
        for offset in range(len(data)):
            data[offset] ^= mask
            read_or_refuse(data)
            data[offset] ^= mask

    @pytest.mark.parametrize("name", FIXTURES)
    def test_flipped_bytes_are_survived(self, name: str) -> None:
        data = bytearray(database(name))
        page_size = expectation(name)["page_size"]
        choose = random.Random(name)
        for _ in range(400):
            # Half of the flips hit the first bytes of a page, where its structure is.
            offset = choose.randrange(len(data))
            if choose.random() < 0.5:
                offset -= offset % page_size - choose.randrange(64)
            mask = 1 << choose.randrange(8)
            data[offset] ^= mask
            read_or_refuse(data)
            data[offset] ^= mask

    def test_byte_of_a_free_page_does_not_matter(self) -> None:
        pages = {3: LEAF_3, 4: leaf_page(4, Leaf(b"old", b""))}
        data = bytearray(build_file(pages))
        data[4 * PAGE_SIZE :] = b"\xff" * (len(data) - 4 * PAGE_SIZE)
        assert plain(BoltFile(data).root) == Tree({b"a": b"1", b"b": b"2"})

    @given(
        st.lists(
            st.tuples(
                st.integers(0, len(small_file()) - 8),
                st.one_of(
                    st.binary(min_size=1, max_size=4),
                    st.sampled_from([0, 1, 2, 3, 4, 6, 2**16 - 1, 2**32 - 1]).map(
                        lambda number: number.to_bytes(4, "little")
                    ),
                ),
            ),
            min_size=1,
            max_size=8,
        )
    )
    @settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_mutated_bytes_with_right_checksums_are_survived(
        self, edits: list[tuple[int, bytes]]
    ) -> None:
        data = bytearray(small_file())
        for offset, content in edits:
            data[offset : offset + len(content)] = content
        repair_checksums(data)
        read_or_refuse(data)

    @given(st.binary(max_size=4 * PAGE_SIZE))
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_arbitrary_pages_are_survived(self, content: bytes) -> None:
        pages = build_file({3: leaf_page(3), 8: leaf_page(8)})
        data = bytearray(pages)
        data[3 * PAGE_SIZE + 8 : 3 * PAGE_SIZE + 8 + len(content)] = content
        read_or_refuse(data)
        read_or_refuse(content)


class TestBoundedCost:
    @pytest.mark.parametrize("case", VIOLATIONS)
    def test_refusal_allocates_no_more_than_the_file(self, case: str) -> None:
        data, _ = VIOLATIONS[case]
        tracemalloc.start()
        try:
            with pytest.raises(BoltFormatError):
                BoltFile(data)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 2 * len(data) + 200_000

    def test_elements_that_share_one_large_value_are_refused(self) -> None:
        """Without the rule against overlap, 1 MB would unfold into 60 GB here."""
        count = 60_000
        table_bytes = 16 * count
        keys = b"".join(struct.pack(">I", index) for index in range(count))
        table = b"".join(
            struct.pack("<IIII", 0, table_bytes - 16 * i + 4 * i, 4, len(keys) - 4 * i - 4)
            for i in range(count)
        )
        used = 16 + len(table) + len(keys)
        overflow = -(-used // PAGE_SIZE) - 1
        page = struct.pack("<QHHI", 3, LEAF, count, overflow) + table + keys
        with pytest.raises(BoltFormatError, match="element with data at"):
            BoltFile(build_file({3: page.ljust((overflow + 1) * PAGE_SIZE, b"\0")}))

    def test_page_reached_from_many_places_is_refused_at_the_second(self) -> None:
        """Without the rule, each of the ten levels would multiply the work by thirty."""
        pages = {13: leaf_page(13)}
        for level in range(10):
            keys = [b"\0" * level + bytes([index]) for index in range(30)]
            pages[3 + level] = branch_page(3 + level, *(Branch(key, 4 + level) for key in keys))
        with pytest.raises(BoltFormatError, match="page 13, offset 13312: reached twice"):
            BoltFile(build_file(pages))
