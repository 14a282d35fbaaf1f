"""The decoder of a snapshotter's database: against containerd's own files, and broken ones."""

from __future__ import annotations

import gzip
import json
import random
import re
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bolt_builder import Leaf, Tree, build_file, build_tree, leaf_page

from projections.snapshots.boltfile import BoltFormatError
from projections.snapshots.containerd_db import (
    ContainerdDatabaseError,
    ContainerdSnapshot,
    ContainerdSnapshots,
    read_snapshots,
)
from projections.snapshots.model import Info, Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent.parent / "data"
DAEMON = DATA / "containerd" / "containerd-overlayfs-metadata.db"
GENERATED = DATA / "bolt" / "snapshots.db.gz"

NS = 1_000_000_000
YEAR_ONE = 62_135_596_800


def parsed_ns(text: str) -> int:
    """Parse an RFC 3339 time in UTC with up to nine digits behind the point."""
    match = re.fullmatch(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:\.(\d{1,9}))?Z", text)
    assert match is not None
    seconds = datetime.fromisoformat(match[1]).replace(tzinfo=UTC) - datetime(
        1970, 1, 1, tzinfo=UTC
    )
    return seconds // timedelta(seconds=1) * NS + int((match[2] or "0").ljust(9, "0"))


def expected_snapshots(path: Path) -> list[ContainerdSnapshot]:
    return [
        ContainerdSnapshot(
            int(entry["id"]),
            Info(
                name=entry["name"],
                parent=entry["parent"],
                kind=Kind.parse(entry["kind"]),
                labels=entry["labels"],
                created_ns=parsed_ns(entry["created"]),
                updated_ns=parsed_ns(entry["updated"]),
            ),
            Usage(**entry["usage"]),
        )
        for entry in json.loads(path.read_text())
    ]


def uvarint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number % 128 + 128])
        number //= 128
    return encoded + bytes([number])


def varint(number: int) -> bytes:
    return uvarint(number * 2 if number >= 0 else -number * 2 - 1)


def go_time(since_epoch_ns: int, offset_minutes: int = -1) -> bytes:
    seconds, nanoseconds = divmod(since_epoch_ns, NS)
    return struct.pack(">Bqih", 1, seconds + YEAR_ONE, nanoseconds, offset_minutes)


def snapshot_tree(snapshot: ContainerdSnapshot) -> Tree:
    _, info, usage = snapshot
    kinds: list[Kind] = [Kind.VIEW, Kind.ACTIVE, Kind.COMMITTED]
    entries: dict[bytes, bytes | Tree] = {
        b"id": uvarint(snapshot.id),
        b"kind": bytes([kinds.index(info.kind) + 1]),
        b"createdat": go_time(info.created_ns),
        b"updatedat": go_time(info.updated_ns),
    }
    if info.parent:
        entries[b"parent"] = info.parent.encode()
    if info.kind is Kind.COMMITTED:
        entries |= {b"inodes": varint(usage.inodes), b"size": varint(usage.size)}
    if info.labels:
        labels: dict[bytes, bytes | Tree] = {
            key.encode(): value.encode() for key, value in info.labels.items()
        }
        entries[b"labels"] = Tree(labels, inline=True)
    return Tree(entries, inline=not info.labels)


def database_tree(content: ContainerdSnapshots) -> Tree:
    ids = {snapshot.info.name: snapshot.id for snapshot in content.snapshots}
    snapshots = Tree(sequence=content.last_id)
    parents = Tree()
    for snapshot in content.snapshots:
        name = snapshot.info.name.encode()
        snapshots.entries[name] = snapshot_tree(snapshot)
        if snapshot.info.parent:
            link = uvarint(ids[snapshot.info.parent]) + b"\0" + uvarint(snapshot.id)
            parents.entries[link] = name
    return Tree({b"v1": Tree({b"snapshots": snapshots, b"parents": parents})})


def snapshot(
    number: int, name: str, parent: str = "", kind: Kind = Kind.COMMITTED, **labels: str
) -> ContainerdSnapshot:
    usage = Usage(number * 10, number * 4096) if kind is Kind.COMMITTED else Usage()
    return ContainerdSnapshot(
        number, Info(name, parent, kind, labels, number * NS + 1, number * NS + 2), usage
    )


SAMPLE = ContainerdSnapshots(
    200,
    (
        snapshot(130, "base"),
        snapshot(7, "top", "base", a="1"),
        snapshot(131, "view", "top", Kind.VIEW),
        snapshot(199, "work", "base", Kind.ACTIVE),
    ),
)


def fields(tree: Tree, name: bytes) -> dict[bytes, bytes | Tree]:
    return part(tree, b"v1", b"snapshots", name).entries


def part(tree: Tree, *path: bytes) -> Tree:
    for name in path:
        found = tree.entries[name]
        assert isinstance(found, Tree)
        tree = found
    return tree


def sample_with(change: Callable[[Tree], Any]) -> bytes:
    tree = database_tree(SAMPLE)
    change(tree)
    return build_tree(tree)


def sample_with_field(name: bytes, field: bytes, value: bytes | Tree | None) -> bytes:
    def change(tree: Tree) -> None:
        entries = fields(tree, name)
        part(tree, b"v1", b"snapshots", name).inline = False
        if value is None:
            del entries[field]
        else:
            entries[field] = value

    return sample_with(change)


def read_value(name: bytes, field: bytes, value: bytes) -> ContainerdSnapshot:
    content = read_snapshots(sample_with_field(name, field, value))
    return next(found for found in content.snapshots if found.info.name == name.decode())


class TestFilesOfContainerd:
    def test_database_of_a_daemon_is_read_exactly(self) -> None:
        content = read_snapshots(DAEMON.read_bytes())
        assert content.snapshots == tuple(expected_snapshots(DAEMON.with_suffix(".json")))
        assert content.last_id == 22

    def test_database_with_labels_views_and_zones_is_read_exactly(self) -> None:
        content = read_snapshots(gzip.decompress(GENERATED.read_bytes()))
        assert content.snapshots == tuple(expected_snapshots(DATA / "bolt" / "snapshots.json"))
        assert content.last_id == 144

    def test_generated_database_has_what_it_is_for(self) -> None:
        snapshots = read_snapshots(gzip.decompress(GENERATED.read_bytes())).snapshots
        assert {found.info.kind for found in snapshots} == set(Kind)
        assert max(found.id for found in snapshots) > 127
        assert any(found.info.labels for found in snapshots)
        assert any(found.info.created_ns < 0 for found in snapshots)
        assert max(found.usage.size for found in snapshots) > 2**60

    def test_database_of_a_snapshotter_never_used_is_empty(self) -> None:
        data = gzip.decompress((DATA / "bolt" / "empty.db.gz").read_bytes())
        assert read_snapshots(data) == ContainerdSnapshots(0, ())


class TestValues:
    def test_sample_is_read_back(self) -> None:
        assert read_snapshots(build_tree(database_tree(SAMPLE))) == SAMPLE

    def test_labels_are_read_only(self) -> None:
        labels = read_snapshots(build_tree(database_tree(SAMPLE))).snapshots[1].info.labels
        assert labels == {"a": "1"}
        with pytest.raises(TypeError):
            labels["b"] = "2"  # type: ignore[index]

    @pytest.mark.parametrize(
        ("encoded", "expected"),
        [
            (b"\x00", 0),
            (b"\x01", -1),
            (b"\x02", 1),
            (b"\x7f", -64),
            (b"\x80\x01", 64),
            (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 2**63 - 1),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", -(2**63)),
        ],
    )
    def test_sizes_are_zigzag_varints(self, encoded: bytes, expected: int) -> None:
        assert read_value(b"base", b"size", encoded).usage.size == expected

    @pytest.mark.parametrize(
        ("offset_minutes", "offset_seconds"),
        [(-1, None), (0, None), (330, None), (-480, None), (19, 32), (-296, -2), (0, -30)],
    )
    def test_zone_does_not_change_the_time(
        self, offset_minutes: int, offset_seconds: int | None
    ) -> None:
        at = datetime(2024, 2, 29, 23, 59, 58, tzinfo=timezone(timedelta(hours=1)))
        seconds = int(at.timestamp()) + YEAR_ONE
        encoded = struct.pack(">Bqih", 1, seconds, 987_654_321, offset_minutes)
        if offset_seconds is not None:
            encoded = b"\x02" + encoded[1:] + struct.pack(">b", offset_seconds)
        info = read_value(b"base", b"createdat", encoded).info
        assert info.created_ns == int(at.timestamp()) * NS + 987_654_321
        assert info.created == at.replace(microsecond=987_654)

    @pytest.mark.parametrize("since_epoch_ns", [-(2**63), -1, 0, 2**63 - 1])
    def test_every_64_bit_time_is_kept(self, since_epoch_ns: int) -> None:
        encoded = go_time(since_epoch_ns)
        assert read_value(b"base", b"updatedat", encoded).info.updated_ns == since_epoch_ns

    @given(st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_any_consistent_content_is_read_back(self, data: st.DataObject) -> None:
        text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
        names = data.draw(st.lists(text, unique=True, max_size=8))
        last_id = data.draw(st.integers(max(len(names), 1), 2**64 - 1))
        ids = st.integers(1, last_id)
        numbers = data.draw(st.lists(ids, unique=True, min_size=len(names), max_size=len(names)))
        times = st.integers(-(2**63), 2**63 - 1)
        sizes = st.integers(-(2**63), 2**63 - 1)
        snapshots = []
        committed = [""]
        for name, number in zip(names, numbers, strict=True):
            kind = data.draw(st.sampled_from(Kind))
            labels = data.draw(st.dictionaries(text, text, max_size=2))
            parent = data.draw(st.sampled_from(committed))
            info = Info(name, parent, kind, labels, data.draw(times), data.draw(times))
            usage = Usage()
            if kind is Kind.COMMITTED:
                usage = Usage(data.draw(sizes), data.draw(sizes))
                committed.append(name)
            snapshots.append(ContainerdSnapshot(number, info, usage))
        in_order = sorted(snapshots, key=lambda found: found.info.name.encode())
        content = ContainerdSnapshots(last_id, tuple(in_order))
        assert read_snapshots(build_tree(database_tree(content))) == content


class TestOtherDatabases:
    def test_database_that_lost_its_buckets_is_refused(self) -> None:
        with pytest.raises(ContainerdDatabaseError, match="without the bucket 'v1'"):
            read_snapshots(build_tree(Tree()))

    def test_database_of_another_program_is_refused(self) -> None:
        data = gzip.decompress((DATA / "bolt" / "nested.db.gz").read_bytes())
        with pytest.raises(ContainerdDatabaseError, match=r"not a snapshotter's.*without.*'v1'"):
            read_snapshots(data)

    def test_metadata_of_the_daemon_itself_is_refused(self) -> None:
        tree = Tree({b"v1": Tree({b"version": b"\x04", b"default": Tree({b"images": Tree()})})})
        with pytest.raises(ContainerdDatabaseError, match=r"no bucket 'snapshots'.*meta\.db"):
            read_snapshots(build_tree(tree))

    def test_plain_value_in_place_of_a_bucket_is_refused(self) -> None:
        with pytest.raises(ContainerdDatabaseError, match="without the bucket 'v1'"):
            read_snapshots(build_file({3: leaf_page(3, Leaf(b"v1", b"value"))}))

    @pytest.mark.parametrize("data", [b"", b"SQLite format 3\0" * 1024, b"\0" * 65536])
    def test_other_files_are_refused(self, data: bytes) -> None:
        with pytest.raises(BoltFormatError, match="not a bbolt database"):
            read_snapshots(data)


BROKEN_FIELDS = {
    "no id": (b"top", b"id", None, "snapshot 'top', field b'id': missing"),
    "no kind": (b"top", b"kind", None, "field b'kind': missing"),
    "no time": (b"top", b"createdat", None, "field b'createdat': missing"),
    "no usage": (b"top", b"size", None, "field b'size': missing"),
    "usage of an active one": (
        b"work",
        b"inodes",
        b"\x02",
        "field b'inodes': unknown for a snapshot that is active",
    ),
    "unknown field": (b"top", b"labelr", b"", "field b'labelr': unknown"),
    "bucket for a value": (b"view", b"parent", Tree(), "field b'parent': a bucket where"),
    "value for a bucket": (b"top", b"labels", b"", "field b'labels': a bucket where"),
    "kind 0": (b"view", b"kind", b"\x00", r"unknown kind b'\\x00'"),
    "kind of a later version": (b"view", b"kind", b"\x04", r"unknown kind b'\\x04'"),
    "kind of two bytes": (b"view", b"kind", b"\x01\x01", "unknown kind"),
    "empty varint": (b"top", b"id", b"", "not a 64-bit varint"),
    "unfinished varint": (b"top", b"id", b"\x80", "not a 64-bit varint"),
    "varint with a byte too many": (b"top", b"id", b"\x07\x00", "not a 64-bit varint"),
    "varint longer than need be": (b"top", b"id", b"\x87\x00", "not a 64-bit varint"),
    "varint of 65 bits": (b"top", b"size", b"\xff" * 9 + b"\x02", "not a 64-bit varint"),
    "endless varint": (b"top", b"size", b"\xff" * 900, "not a 64-bit varint"),
    "empty time": (b"top", b"updatedat", b"", "not a time of version 1 or 2"),
    "time of version 3": (b"top", b"updatedat", b"\x03" + go_time(0)[1:], "not a time of"),
    "short time": (b"top", b"updatedat", go_time(0)[:-1], "not a time of version"),
    "long time": (b"top", b"updatedat", go_time(0) + b"\0", "not a time of version"),
    "time of version 2 without seconds": (
        b"top",
        b"updatedat",
        b"\x02" + go_time(0)[1:],
        "not a time of version",
    ),
    "nanoseconds of a whole second": (
        b"top",
        b"updatedat",
        struct.pack(">Bqih", 1, YEAR_ONE, NS, -1),
        "time with 1000000000 nanoseconds",
    ),
    "negative nanoseconds": (
        b"top",
        b"updatedat",
        struct.pack(">Bqih", 1, YEAR_ONE, -1, -1),
        "time with -1 nanoseconds",
    ),
    "time zero of Go": (b"top", b"updatedat", go_time(-YEAR_ONE * NS), "not within 1677 to 2262"),
    "time past 64 bits": (b"top", b"updatedat", go_time(2**63), "not within 1677 to 2262"),
    "parent not in UTF-8": (b"view", b"parent", b"\xff", "field b'parent': 'utf-8' codec"),
    "label not in UTF-8": (
        b"top",
        b"labels",
        Tree({b"a": b"\xff"}),
        "field b'labels': label b'a': 'utf-8' codec",
    ),
    "label that is a bucket": (b"top", b"labels", Tree({b"a": Tree()}), "label b'a' is a bucket"),
    "id above the counter": (b"top", b"id", uvarint(201), "'top' has id 201.* 1 to 200"),
    "id 0": (b"top", b"id", b"\x00", "has id 0"),
    "id twice": (b"base", b"id", b"\x07", "snapshots 'base' and 'top' both have id 7"),
    "parent missing": (b"top", b"parent", b"gone", "parent 'gone' of snapshot 'top' does not"),
    "parent active": (b"top", b"parent", b"work", "parent 'work' of snapshot 'top' is active"),
    "parent a view": (b"work", b"parent", b"view", "parent 'view' of snapshot 'work' is view"),
    "parent is itself": (b"base", b"parent", b"base", "'base' is its own ancestor"),
    "parents in a cycle": (b"base", b"parent", b"top", "'base' is its own ancestor"),
    "parent without a link": (b"view", b"parent", b"base", "'view'.* from 130 to 131, is missing"),
    "link without a parent": (b"work", b"parent", None, "belongs to no snapshot"),
}


def links(tree: Tree) -> dict[bytes, bytes | Tree]:
    return part(tree, b"v1", b"parents").entries


def snapshots_bucket(tree: Tree) -> dict[bytes, bytes | Tree]:
    return part(tree, b"v1", b"snapshots").entries


LINK = uvarint(130) + b"\0" + uvarint(199)

BROKEN_BUCKETS: dict[str, tuple[Callable[[Tree], Any], str]] = {
    "no parents bucket": (
        lambda tree: part(tree, b"v1").entries.pop(b"parents"),
        "from 130 to 7, is missing",
    ),
    "link missing": (lambda tree: links(tree).pop(LINK), "from 130 to 199, is missing"),
    "link to another name": (
        lambda tree: links(tree).update({LINK: b"top"}),
        "'work'.*from 130 to 199, is to something else",
    ),
    "link that is a bucket": (
        lambda tree: links(tree).update({LINK: Tree()}),
        "is to something else",
    ),
    "link of a removed snapshot": (
        lambda tree: links(tree).update({b"\x01\x00\x02": b"gone"}),
        r"link b'\\x01\\x00\\x02' in the bucket 'parents' belongs to no snapshot",
    ),
    "snapshot that is a value": (
        lambda tree: snapshots_bucket(tree).update({b"x" * 200: b""}),
        r"snapshot 'x{120}'\.\.\. is a plain value",
    ),
    "name not in UTF-8": (
        lambda tree: snapshots_bucket(tree).update({b"\xff": Tree()}),
        r"snapshot name b'\\xff': 'utf-8' codec",
    ),
    "counter below the ids": (
        lambda tree: setattr(part(tree, b"v1", b"snapshots"), "sequence", 198),
        "'work' has id 199, but the counter gave out 1 to 198",
    ),
}


class TestInconsistencies:
    @pytest.mark.parametrize(
        ("name", "field", "value", "message"), BROKEN_FIELDS.values(), ids=BROKEN_FIELDS
    )
    def test_broken_field_is_refused(
        self, name: bytes, field: bytes, value: bytes | Tree | None, message: str
    ) -> None:
        with pytest.raises(ContainerdDatabaseError, match=message):
            read_snapshots(sample_with_field(name, field, value))

    @pytest.mark.parametrize(("change", "message"), BROKEN_BUCKETS.values(), ids=BROKEN_BUCKETS)
    def test_broken_bucket_is_refused(self, change: Callable[[Tree], Any], message: str) -> None:
        with pytest.raises(ContainerdDatabaseError, match=message):
            read_snapshots(sample_with(change))

    def test_longest_chain_of_parents_is_followed(self) -> None:
        chain = [snapshot(1, "0000")]
        chain += [snapshot(i, f"{i - 1:04}", f"{i - 2:04}") for i in range(2, 3001)]
        content = ContainerdSnapshots(3000, tuple(chain))
        assert read_snapshots(build_tree(database_tree(content))) == content


def shape(content: ContainerdSnapshots) -> list[tuple[int, str, str, Kind]]:
    return [(number, info[0], info[1], info[2]) for number, info, _ in content.snapshots]


def read_or_refuse(data: bytes | bytearray) -> ContainerdSnapshots | None:
    try:
        return read_snapshots(data)
    except BoltFormatError:
        return None


class TestDamage:
    def test_cut_database_is_refused_or_read_exactly(self) -> None:
        data = DAEMON.read_bytes()
        whole = read_snapshots(data)
        for length in range(0, len(data), 512):
            assert read_or_refuse(data[:length]) in (None, whole)

    def test_flipped_bits_never_lose_a_snapshot_silently(self) -> None:
        data = bytearray(DAEMON.read_bytes())
        choose = random.Random(5)
        for _ in range(1500):
            offset, mask = choose.randrange(len(data)), 1 << choose.randrange(8)
            data[offset] ^= mask
            content = read_or_refuse(data)
            assert content is None or len(content.snapshots) == 20
            data[offset] ^= mask

    @pytest.mark.parametrize("mask", [0x01, 0x80])
    def test_flipped_byte_never_changes_ids_names_parents_or_kinds_silently(
        self, mask: int
    ) -> None:
        data = bytearray(build_tree(database_tree(SAMPLE)))
        for offset in range(len(data)):
            data[offset] ^= mask
            content = read_or_refuse(data)
            assert content is None or shape(content) == shape(SAMPLE)
            data[offset] ^= mask
