"""A real containerd database becomes a store with exactly its content."""

from __future__ import annotations

import fcntl
import gc
import json
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.bolt_builder import Tree, build_tree

from eventstore import StoreOptions
from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    Kind,
    MetaStore,
    importer,
)
from projections.snapshots.importer import import_containerd

DATA = Path(__file__).parent.parent / "data" / "containerd"
DATABASE = DATA / "containerd-overlayfs-metadata.db"
CONTENT = json.loads((DATA / "containerd-overlayfs-metadata.json").read_text())
OPTIONS = StoreOptions(segment_bytes=64 * 1024, background=False)


def to_ns(text: str) -> int:
    """Parse RFC 3339 with up to nine digits of fraction."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0") or "0")


def content_of(store: MetaStore) -> list[dict[str, Any]]:
    found = []
    with store.transaction() as transaction:
        for info in transaction.walk_info():
            snapshot_id, _, usage = transaction.get_info(info.name)
            found.append(
                {
                    "id": snapshot_id,
                    "name": info.name,
                    "parent": info.parent,
                    "kind": str(info.kind),
                    "labels": dict(info.labels),
                    "created": info.created_ns,
                    "updated": info.updated_ns,
                    "usage": {"inodes": usage.inodes, "size": usage.size},
                }
            )
    return found


def expected_content() -> list[dict[str, Any]]:
    snapshots = CONTENT["snapshots"] if isinstance(CONTENT, dict) else CONTENT
    return [
        {**each, "created": to_ns(each["created"]), "updated": to_ns(each["updated"])}
        for each in snapshots
    ]


def test_real_database_imports_with_exactly_its_content(tmp_path: Path) -> None:
    report = import_containerd(DATABASE, tmp_path / "store", options=OPTIONS)
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        assert content_of(store) == expected_content()
        assert report.snapshot_count == len(expected_content())
        store.check()


def test_import_is_one_batch_that_says_where_it_came_from(tmp_path: Path) -> None:
    report = import_containerd(DATABASE, tmp_path / "store", actor="operator", options=OPTIONS)
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        [batch] = store.event_store.batches()
        assert batch.metadata.actor == "operator"
        assert str(DATABASE) in (batch.metadata.reason or "")
        assert report.sha256 in (batch.metadata.reason or "")
        assert store.check_receipt(report.receipt) == batch


def test_ids_go_on_where_the_database_stopped(tmp_path: Path) -> None:
    report = import_containerd(DATABASE, tmp_path / "store", options=OPTIONS)
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        with store.transaction(writable=True) as transaction:
            created = transaction.create_snapshot(Kind.ACTIVE, "next")
        assert int(created.id) == report.last_id + 1
        assert report.last_id >= max(int(each["id"]) for each in expected_content())


def test_database_that_fits_into_no_batch_is_refused_unread_and_makes_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "_BATCH_BYTES_LIMIT", DATABASE.stat().st_size - 1)
    with pytest.raises(InvalidArgumentError, match="does not fit into one batch; no store was"):
        import_containerd(DATABASE, tmp_path / "store", options=OPTIONS)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_import_leaves_the_garbage_collector_as_it_was(tmp_path: Path, *, is_enabled: bool) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"")
    was_enabled, seen = gc.isenabled(), []
    try:
        gc.enable() if is_enabled else gc.disable()
        import_containerd(
            DATABASE,
            tmp_path / "store",
            options=OPTIONS,
            on_snapshot=lambda *_: seen.append(gc.isenabled()),
        )
        assert gc.isenabled() == is_enabled
        with pytest.raises(InvalidArgumentError):
            import_containerd(damaged, tmp_path / "none", options=OPTIONS)
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable() if was_enabled else gc.disable()
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("size", [0, 100, 4096, 16384, 40000])
def test_damaged_database_makes_no_store(tmp_path: Path, size: int) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(DATABASE.read_bytes()[:size])
    with pytest.raises(InvalidArgumentError, match=r"damaged\.db"):
        import_containerd(damaged, tmp_path / "store", options=OPTIONS)
    assert not (tmp_path / "store").exists()


def test_foreign_file_makes_no_store(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("these are not snapshots\n" * 1000)
    with pytest.raises(InvalidArgumentError, match=r"notes\.txt"):
        import_containerd(foreign, tmp_path / "store", options=OPTIONS)
    assert not (tmp_path / "store").exists()


def database_of(*names: bytes) -> bytes:
    """Return a database of committed base snapshots."""
    snapshots: dict[bytes, bytes | Tree] = {
        name: Tree(
            {
                b"id": bytes([number]),
                b"kind": b"\3",
                b"createdat": struct.pack(">Bqih", 1, 62_135_596_800, 0, -1),
                b"updatedat": struct.pack(">Bqih", 1, 62_135_596_800, 0, -1),
                b"inodes": b"\2",
                b"size": b"\2",
            },
            inline=True,
        )
        for number, name in enumerate(sorted(names), 1)
    }
    return build_tree(
        Tree(
            {b"v1": Tree({b"snapshots": Tree(snapshots, sequence=len(names)), b"parents": Tree()})}
        )
    )


@pytest.mark.parametrize("name", [b"a\0b", b"\0", b"a\0"])
def test_a_name_that_no_snapshot_may_be_given_is_refused_and_makes_no_store(
    tmp_path: Path, name: bytes
) -> None:
    database = tmp_path / "metadata.db"
    database.write_bytes(database_of(b"fine", name))
    with pytest.raises(InvalidArgumentError, match=r"metadata\.db: the name .* NUL character"):
        import_containerd(database, tmp_path / "store", options=OPTIONS)
    assert not (tmp_path / "store").exists()


def test_names_next_to_the_separator_of_the_indexes_are_imported_and_name_their_own_children(
    tmp_path: Path,
) -> None:
    names = [b"a", b"a\1", b"a\1b", "\uffff".encode(), "\U0010ffff".encode(), b'a,b"\\\n']
    database = tmp_path / "metadata.db"
    database.write_bytes(database_of(*names))
    import_containerd(database, tmp_path / "store", options=OPTIONS)
    with (
        MetaStore.open(tmp_path / "store", options=OPTIONS) as store,
        store.transaction(writable=True) as tx,
    ):
        for name in names:
            tx.create_snapshot(Kind.VIEW, f"on {name!r}", name.decode())
        for parent in map(bytes.decode, names):
            child = f"on {parent.encode()!r}"
            assert [info.name for info in tx.walk_info(parent=parent)] == [child]
            with pytest.raises(FailedPreconditionError, match="has children") as caught:
                tx.remove(parent)
            assert repr(child) in str(caught.value)
            tx.remove(child)
            tx.remove(parent)
        tx.rollback()


def test_existing_store_is_not_imported_into(tmp_path: Path) -> None:
    import_containerd(DATABASE, tmp_path / "store", options=OPTIONS)
    with pytest.raises(AlreadyExistsError, match="new path"):
        import_containerd(DATABASE, tmp_path / "store", options=OPTIONS)


def test_database_that_a_writer_holds_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "metadata.db"
    database.write_bytes(DATABASE.read_bytes())
    with database.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FailedPreconditionError, match="import a copy"):
            import_containerd(database, tmp_path / "store", options=OPTIONS)
    assert not (tmp_path / "store").exists()


def test_options_that_are_none_make_no_store(tmp_path: Path) -> None:
    wrong: Any = True
    with pytest.raises(TypeError, match="options must be a StoreOptions"):
        import_containerd(DATABASE, tmp_path / "store", options=wrong)
    assert not list(tmp_path.iterdir())
