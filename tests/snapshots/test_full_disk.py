"""A full disk stops creates, and not what frees space: removals, however they are made."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from support.engine import Failing, HookedFileSystem

from eventstore import StorageFullError, StoreOptions
from projections.snapshots import Intent, Kind, MetaStore, SnapshotWriteTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPTIONS = StoreOptions(segment_bytes=16384, background=False)


def nothing(intent: Intent) -> None:
    """Find nothing left to do."""


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[MetaStore, list[str]]]:
    """A store whose creates are refused for want of space, and the keys of what is in it."""
    failing = Failing(errno.ENOSPC, "create", "spare")
    files = HookedFileSystem(failing)
    handlers = {"prepare": nothing}
    with MetaStore.open(
        tmp_path / "store", options=OPTIONS, file_system=files, handlers=handlers
    ) as store:
        failing.armed = True
        keys: list[str] = []
        with pytest.raises(StorageFullError):  # noqa: PT012
            while True:
                with store.transaction(writable=True) as tx:
                    tx.create_snapshot(Kind.ACTIVE, f"key-{len(keys)}", labels={"l": "x" * 60})
                keys.append(f"key-{len(keys)}")
        yield store, keys


def remove(store: MetaStore, key: str) -> None:
    with store.transaction(writable=True) as tx:
        tx.remove(key)


def remove_once(store: MetaStore, key: str) -> None:
    store.once(f"remove {key}", [key], lambda tx: tx.remove(key)[0])


def remove_with_stage(store: MetaStore, key: str) -> None:
    def work(tx: SnapshotWriteTransaction) -> str:
        snapshot_id, _ = tx.remove(key)
        store.stage(tx, "prepare", key, {"stage": f"rm-{snapshot_id}"})
        return snapshot_id

    store.once(f"remove {key}", [key], work)


@pytest.mark.parametrize("way", [remove, remove_once, remove_with_stage])
def test_a_snapshot_is_removed_in_whatever_way_a_driver_does(
    way: Callable[[MetaStore, str], None], full: tuple[MetaStore, list[str]]
) -> None:
    store, keys = full
    for key in keys[:8]:
        way(store, key)
    with store.transaction() as now:
        assert [info.name for info in now.walk_info()] == sorted(keys[8:])
    with pytest.raises(StorageFullError), store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "one more")


def test_litter_is_sorted_out_and_its_id_kept_from_being_given(
    full: tuple[MetaStore, list[str]],
) -> None:
    store, keys = full
    for number in range(len(keys) + 1, len(keys) + 20):
        assert store.reconcile([str(number)]).unknown == (str(number),)
        assert store.reconcile([str(number)], dry_run=True).removed == {str(number): None}


def test_what_was_begun_is_ended(full: tuple[MetaStore, list[str]]) -> None:
    store, keys = full
    with store.transaction(writable=True) as tx:
        tx.remove(keys[0])
        left = store.stage(tx, "prepare", keys[0])
    store.abort(left)
    assert store.intents() == ()
