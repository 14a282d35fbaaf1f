"""A store whose checkpoints are of an older version of the projection, and whose log is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.archives import unpack

from eventstore import Retention, StoreOptions, verify_store
from projections.snapshots import FailedPreconditionError, MetaStore, SnapshotsProjection
from projections.snapshots.projection import BY_KIND, BY_LABEL, BY_PARENT, SNAPSHOTS

DATA = Path(__file__).parent.parent / "data" / "snapshots"
OPTIONS = StoreOptions(segment_bytes=16384, retention=Retention.none(), background=False)
VERSIONS = ("1", "2")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def expected(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"projection-{version}.json").read_text())
    return found


@pytest.fixture
def path(tmp_path: Path, version: str) -> Path:
    """A store that a version has written: checkpoints of revisions 41 and 43, of 45 batches."""
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    unpack(DATA / f"projection-{version}.tar.gz", path)
    return path


def content(transaction: Any) -> dict[str, list[Any]]:
    return {
        info.name: [
            transaction.get_info(info.name)[0],
            info.parent,
            info.kind.value,
            dict(info.labels),
            info.created_ns,
            info.updated_ns,
            *transaction.get_info(info.name)[2],
        ]
        for info in transaction.walk_info()
    }


def require_expected(store: MetaStore, expected: dict[str, Any]) -> None:
    store.check()
    with store.transaction() as tx:
        assert tx.revision == expected["revision"]
        assert content(tx) == expected["snapshots"]
        assert [name for name, _ in tx.by_index(SNAPSHOTS, BY_KIND, "view")] == ["last"]
        for index, entry, place in ((BY_PARENT, "layer 1", 1), (BY_LABEL, ("parity", "1"), 3)):
            found = [name for name, _ in tx.by_index(SNAPSHOTS, index, entry)]
            assert found
            assert found == [
                name
                for name, row in sorted(expected["snapshots"].items())
                if row[place] == entry or (place == 3 and entry in row[place].items())
            ]


def test_nothing_is_lost_where_the_log_is_dropped(path: Path, expected: dict[str, Any]) -> None:
    with MetaStore.open(path, options=OPTIONS) as store:
        assert store.recovery.rebuilt == ()
        require_expected(store, expected)
        with (
            store.transaction(writable=True) as tx,
            pytest.raises(FailedPreconditionError, match="has children"),
        ):
            tx.remove("layer 1")
        with store.transaction(writable=True) as tx:
            tx.remove("last")
            tx.remove("second")


def test_a_checkpoint_of_this_version_follows_and_is_compared(
    path: Path, expected: dict[str, Any]
) -> None:
    with MetaStore.open(path, options=OPTIONS) as store:
        store.checkpoint()
    with MetaStore.open(path, options=OPTIONS) as store:
        assert store.recovery.replayed_batches == 0
        require_expected(store, expected)
        store.compact()
    report = verify_store(path, [SnapshotsProjection()])
    assert (report.problems, report.unknown_projections) == ((), ())
    assert report.replayed_checkpoints == 1


def test_a_follower_and_the_past_carry_it_over_too(path: Path, expected: dict[str, Any]) -> None:
    MetaStore.open(path, options=OPTIONS).close()
    with MetaStore.open(path, read_only=True) as follower:
        require_expected(follower, expected)
        with follower.at(revision=41) as past:
            names = set(content(past))
            assert "layer 38" in names
            assert "second" not in names


def test_a_verification_compares_both_checkpoints_of_the_older_version(path: Path) -> None:
    report = verify_store(path, [SnapshotsProjection()])
    assert (report.problems, report.unknown_projections) == ((), ())
    assert (report.checkpoint_count, report.replayed_checkpoints) == (2, 1)


def test_a_verification_finds_a_row_of_the_older_version_that_the_log_contradicts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = SnapshotsProjection.upgrade

    def wrong(self: SnapshotsProjection, version: int, tables: Any) -> bool:
        done = upgrade(self, version, tables)
        if "second" in tables[SNAPSHOTS]:
            tables["snapshot_children"].put("layer 1", 9)
        return done

    monkeypatch.setattr(SnapshotsProjection, "upgrade", wrong)
    report = verify_store(path, [SnapshotsProjection()])
    assert [problem.reason for problem in report.problems] == [
        "table 'snapshot_children' differs from the replayed log in 1 row, 'layer 1' for one"
    ]
