"""A store is exported to a metadata.db, which holds exactly its content."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.snapshots import AlreadyExistsError, Info, Kind, MetaStore, Usage
from projections.snapshots.boltfile import BoltFile, Bucket
from projections.snapshots.boltwriter import NewBucket, bolt_file
from projections.snapshots.containerd_db import (
    ContainerdSnapshot,
    ContainerdSnapshots,
    read_snapshots,
)
from projections.snapshots.containerd_writer import write_snapshots
from projections.snapshots.exporter import export_containerd
from projections.snapshots.importer import import_containerd

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = Path(__file__).parent.parent / "data/containerd/containerd-overlayfs-metadata.db"

_LONG_KEYS = st.builds(
    lambda start, length: start + bytes(length),
    st.binary(min_size=1, max_size=4),
    st.sampled_from([3_000, 5_000, 32_000]),
)
_KEYS = st.binary(min_size=1, max_size=40) | _LONG_KEYS
_VALUES = st.binary(max_size=60) | st.integers(0, 12_000).map(bytes)
_BUCKETS: st.SearchStrategy[NewBucket] = st.recursive(
    st.builds(NewBucket, st.dictionaries(_KEYS, _VALUES, max_size=40), st.integers(0, 2**64 - 1)),
    lambda inner: st.builds(
        NewBucket, st.dictionaries(_KEYS, _VALUES | inner, max_size=8), st.integers(0, 9)
    ),
    max_leaves=8,
)


def plain(bucket: Bucket) -> object:
    return bucket.sequence, {
        key: plain(value) if isinstance(value, Bucket) else value for key, value in bucket
    }


def wanted(bucket: NewBucket) -> object:
    return bucket.sequence, {
        key: wanted(value) if isinstance(value, NewBucket) else value
        for key, value in bucket.entries.items()
    }


@given(_BUCKETS)
def test_written_buckets_are_read_back(bucket: NewBucket) -> None:
    assert plain(BoltFile(bolt_file(bucket)).root) == wanted(bucket)


def test_a_bucket_of_many_pages_has_branches_of_branches() -> None:
    entries: Mapping[bytes, bytes] = {b"%07d" % n + bytes(200): bytes(100) for n in range(9000)}
    bucket = NewBucket(entries, 3)
    assert plain(BoltFile(bolt_file(bucket)).root) == wanted(bucket)


@pytest.mark.parametrize(
    "lengths", [(1, 30_000), (3500, 3500), (30_000,) * 40, (3,) * 200 + (9000,)]
)
def test_long_keys_that_no_page_holds_two_of_are_written_and_read(lengths: tuple[int, ...]) -> None:
    keys = [b"%03d" % place + b"k" * length for place, length in enumerate(lengths)]
    bucket = NewBucket(dict.fromkeys(keys, b"value"), 1)
    assert plain(BoltFile(bolt_file(bucket)).root) == wanted(bucket)


def test_an_exported_store_is_imported_again_as_it_was(tmp_path: Path) -> None:
    import_containerd(DATABASE, tmp_path / "store")
    with MetaStore.open(tmp_path / "store") as store:
        with store.transaction(writable=True) as transaction:
            transaction.create_snapshot(Kind.ACTIVE, "new/1/ü", labels={"a": "b" * 3000})
        with store.transaction() as now:
            report = export_containerd(now, tmp_path / "metadata.db")
            expected = list(now.items("snapshots"))
    import_containerd(tmp_path / "metadata.db", tmp_path / "again")
    with MetaStore.open(tmp_path / "again") as again, again.transaction() as now:
        assert list(now.items("snapshots")) == expected
    assert report.snapshot_count == len(expected)
    original = read_snapshots(DATABASE.read_bytes())
    assert report.last_id == original.last_id + 1


def test_a_real_database_is_written_as_it_was_read() -> None:
    content = read_snapshots(DATABASE.read_bytes())
    assert read_snapshots(write_snapshots(content)) == content


@pytest.mark.parametrize("nanoseconds", [-(2**63), -1, 0, 2**63 - 1])
@pytest.mark.parametrize("usage", [Usage(0, 0), Usage(-1, -(2**63)), Usage(2**63 - 1, 1)])
def test_extreme_numbers_survive(nanoseconds: int, usage: Usage) -> None:
    info = Info("a", "", Kind.COMMITTED, MappingProxyType({}), nanoseconds, nanoseconds)
    content = ContainerdSnapshots(2**64 - 1, (ContainerdSnapshot(2**64 - 1, info, usage),))
    assert read_snapshots(write_snapshots(content)) == content


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"mine")
    with (
        MetaStore.open(tmp_path / "store") as store,
        store.transaction() as now,
        pytest.raises(AlreadyExistsError, match="nothing was made"),
    ):
        export_containerd(now, tmp_path / "metadata.db")
    assert (tmp_path / "metadata.db").read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {"metadata.db", "store"}
