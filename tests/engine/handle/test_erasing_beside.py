"""A handle that is open erases: readers, writers, followers, and what comes after."""

from __future__ import annotations

import errno
import os
import re
import threading
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL as SMALL_LEDGER
from support.engine import (
    Failing,
    HookedFileSystem,
    ReadHookedFileSystem,
    open_store,
    segments,
)
from support.erasing import FIELDS, OWNER, PROJECTIONS, SECRET, SMALL, everything, fill
from support.ledger import ACCOUNTS, Ledger, Totals, deposit, open_account

from eventstore import (
    BackupError,
    BatchTooLargeError,
    CompactedError,
    ErasureError,
    EventStore,
    EventStoreError,
    ReadOnlyStoreError,
    Retention,
    StorageFullError,
    StoreLockedError,
    WriterBusyError,
    acting_as,
    erase,
    restore_store,
    verify_store,
)
from eventstore.engine_events import ERASED
from eventstore.format.segment import SEGMENT_VERSION
from eventstore.testing.memory_log import MemoryLog
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from pathlib import Path

GONE = "*" * len(SECRET)


def owner_of(store: MetaStore, number: int) -> str:
    with store.transaction() as now:
        return now.get_info(f"key-{number}")[1].labels["owner"]


def commit(store: MetaStore, name: str, **labels: str) -> int:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, name, labels=labels)
    assert tx.receipt is not None
    return tx.receipt.revision


def test_open_handle_erases_and_goes_on_writing_and_nothing_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "store"
    receipts = fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        assert owner_of(store, 5) == SECRET
        # What a handle knows of segments by then: their indexes hold hashes of actors.
        assert [each.revision for each in store.event_store.batches(actor=SECRET)] == [8]
        before = store.transaction()
        done = store.erase(FIELDS, actor="dpo", reason="request 12")
        assert done.revisions == (6, 8, 26, 46)
        assert SECRET.encode() not in everything(path)
        assert owner_of(store, 5) == owner_of(store, 25) == owner_of(store, 45) == GONE
        assert before.get_info("key-5")[1].labels["owner"] == SECRET  # it began before
        redacted = [batch for batch in store.event_store.batches() if batch.is_redacted]
        assert [batch.revision for batch in redacted] == [6, 8, 26, 46]
        assert redacted[1].metadata.actor == GONE
        assert list(store.event_store.batches(actor=SECRET)) == []
        assert [each.revision for each in store.event_store.batches(actor=GONE)] == [8]
        assert [entry.is_redacted for entry in store.history("key-5")] == [True]
        assert [each.labels["owner"] for each in _at(store, 30) if each.name == "key-25"] == [GONE]
        for number in range(60, 130):
            commit(store, f"key-{number}", note="n" * 150)
            if number % 20 == 0:
                store.compact()
        store.check()
        for receipt in (*receipts, done.receipt):
            store.check_receipt(receipt)
        report = store.verify()
        assert report.is_sound, report.problems
        assert SECRET.encode() not in everything(path)
        before.__exit__(None, None, None)
        store.compact()
    assert SECRET.encode() not in everything(path)
    with MetaStore.open(path, options=SMALL) as store:
        assert owner_of(store, 45) == GONE
        with store.event_store.replay() as told, store.transaction() as now:
            assert list(told.items("snapshots")) == list(now.items("snapshots"))
    kept = replace(SMALL, retention=Retention(revisions=20))
    with MetaStore.open(path, options=kept) as store:
        store.compact()
    assert SECRET.encode() not in everything(path)
    assert verify_store(path, PROJECTIONS).is_sound


def _at(store: MetaStore, revision: int) -> list[Any]:
    with store.at(revision) as past:
        return list(past.walk_info())


def test_newest_and_oldest_batch_and_one_that_names_an_erasure_are_erased(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=SMALL) as store:
        for name in ("a", "b"):
            commit(store, name, owner=SECRET)
        first = store.erase({1: [OWNER], 2: [OWNER]}, actor=SECRET, reason=f"for {SECRET}")
        second = store.erase(
            {first.receipt.revision: [("actor",), ("reason",)]}, actor="dpo", reason="who ordered"
        )
        assert store.check_receipt(first.receipt).metadata.actor == GONE
        assert store.verify().is_sound
        store.check_receipt(second.receipt)
    assert SECRET.encode() not in everything(path)
    report = verify_store(path, PROJECTIONS)
    assert (report.is_sound, report.remarks) == (True, ())


def test_what_was_erased_once_is_not_erased_again_and_nothing_is_said(tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store", options=SMALL) as store:
        revision = commit(store, "a", owner=SECRET)
        store.erase({revision: [OWNER]}, actor="dpo", reason="1")
        with pytest.raises(ErasureError, match="or it was erased already"):
            store.erase({revision: [OWNER]}, actor="dpo", reason="2")
        assert len(list(store.event_store.batches(type=ERASED))) == 1
        assert not (tmp_path / "store" / "ERASING").exists()
        commit(store, "b")  # the writer lock is free


@pytest.mark.parametrize("revision", [0, 99, True])
def test_revision_that_is_not_there_is_refused(tmp_path: Path, revision: Any) -> None:
    with MetaStore.open(tmp_path / "store", options=SMALL) as store:
        commit(store, "a", owner=SECRET)
        with pytest.raises((ErasureError, TypeError)):
            store.erase({revision: [("actor",)]}, actor="dpo", reason="1")
        commit(store, "b")


def test_batch_beyond_retention_is_refused_as_one_that_is_no_longer_kept(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path, Retention.none())
    with (
        MetaStore.open(path, options=SMALL) as store,
        pytest.raises((CompactedError, ErasureError)),
    ):
        store.erase({1: [OWNER]}, actor="dpo", reason="1")


def test_text_of_any_script_keeps_its_length_in_bytes_and_equal_keys_stay(tmp_path: Path) -> None:
    path = tmp_path / "store"
    name = "J\u00e5ne \u6f22\u5b57 \U0001f600"
    with MetaStore.open(path, options=SMALL) as store:
        labels = {name: name, "owner": name, "other": f"of {name}"}
        with store.transaction(writable=True, actor=name) as tx:
            tx.create_snapshot(Kind.ACTIVE, name, labels=labels)
        found = {each.field: (each.text, each.is_erasable) for each in store.find_text(name)}
        assert found == {
            ("actor",): (name, True),
            ("data", "key"): (name, False),
            ("data", "labels", name): (name, False),
            OWNER: (name, True),
            ("data", "labels", "other"): (f"of {name}", True),
        }
        store.erase({1: [("actor",), ("data", "labels", name), OWNER]}, actor="d", reason="r")
        with store.transaction() as now:
            _, info, _ = now.get_info(name)
        gone = "*" * len(name.encode())
        assert info.labels == {name: gone, "owner": gone, "other": f"of {name}"}
        # What is left is what others refer to, what is part of more, and which label it was of.
        assert {(each.revision, each.field) for each in store.find_text(name)} == {
            (1, ("data", "key")),
            (1, ("data", "labels", name)),
            (1, ("data", "labels", "other")),
            (2, ("data", "batches", "0", "fields", "1", "2")),
        }
        assert store.verify().is_sound
    with MetaStore.open(path, options=SMALL) as store, store.transaction() as now:
        assert list(now.walk_info(f'labels."owner"=={gone}'))


def test_copy_of_the_metadata_in_an_intent_and_further_fields_are_erased_too(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=SMALL) as store:
        with acting_as(actor=SECRET, subject=SECRET), store.intent("unpack", "a"):
            pass
        found: dict[int, list[tuple[str, ...]]] = {}
        for each in store.find_text(SECRET):
            assert each.is_erasable, each
            found.setdefault(each.revision, []).append(each.field)
        assert {("actor",), ("data", "actor"), ("data", "subject")} <= set(found[1])
        store.erase(found, actor="dpo", reason="r")
        assert list(store.find_text(SECRET)) == []
        assert next(iter(store.event_store.batches(1, 1))).fields["subject"] == GONE
    assert SECRET.encode() not in everything(path)


def test_writers_wait_for_an_erasure_and_readers_do_not(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    stop, errors = threading.Event(), []

    def work(store: MetaStore, task: Any) -> None:
        try:
            for number in count():
                if stop.is_set():
                    return
                task(store, number)
        except BaseException as error:
            errors.append(error)

    def write(store: MetaStore, number: int) -> None:
        commit(store, f"more-{number}", owner="someone")

    def read(store: MetaStore, number: int) -> None:
        assert owner_of(store, 5) in (SECRET, GONE)
        assert len(list(store.event_store.batches(1, 40))) == 40

    with MetaStore.open(path, options=replace(SMALL, background=True)) as store:
        threads = [threading.Thread(target=work, args=(store, task)) for task in (write, read)]
        for thread in threads:
            thread.start()
        for revision, fields in FIELDS.items():
            store.erase({revision: fields}, actor="dpo", reason="r")
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert store.verify().is_sound
    assert SECRET.encode() not in everything(path)


def test_a_commit_between_two_reads_of_an_erasure_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    numbers = count()
    eraser = threading.get_ident()
    opened: list[MetaStore] = []
    receipts = []
    options = replace(SMALL, segment_bytes=256 * 1024)  # all of these commits go into one

    def commit_one() -> None:
        receipts.append(commit(opened[0], f"more-{next(numbers)}"))

    def commit_after_read(call: str, name: str) -> None:
        is_of_log = call == "read" and name.endswith(".log") and (path / "ERASING").exists()
        if opened and is_of_log and threading.get_ident() == eraser:
            thread = threading.Thread(target=commit_one)
            thread.start()
            thread.join(0.5)  # it waits where the erasure is not committed yet

    with MetaStore.open(
        path, options=options, file_system=ReadHookedFileSystem(commit_after_read)
    ) as store:
        opened.append(store)
        store.erase({46: [OWNER]}, actor="dpo", reason="r")
        assert receipts
        assert owner_of(store, 45) == GONE
        assert store.verify().is_sound


def test_erase_inside_a_write_transaction_or_while_one_is_open_is_refused(tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store", options=SMALL) as store:
        revision = commit(store, "a", owner=SECRET)
        with store.transaction(writable=True), pytest.raises(WriterBusyError):
            store.erase({revision: [OWNER]}, actor="dpo", reason="r", timeout=0.01)
        assert store.erase({revision: [OWNER]}, actor="dpo", reason="r").revisions == (revision,)


def test_store_that_another_handle_has_is_refused_and_a_follower_erases_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=SMALL) as store:
        revision = commit(store, "a", owner=SECRET)
        with pytest.raises(StoreLockedError):
            erase(path, PROJECTIONS, {revision: [OWNER]}, actor="dpo", reason="r", options=SMALL)
        with MetaStore.open(path, read_only=True) as follower, pytest.raises(ReadOnlyStoreError):
            follower.erase({revision: [OWNER]}, actor="dpo", reason="r")


def test_log_of_another_kind_is_not_erased_in() -> None:
    with (
        EventStore.open("memory", [], log=MemoryLog()) as store,
        pytest.raises(ErasureError, match="only a log in files"),
    ):
        store.erase({1: [("actor",)]}, actor="dpo", reason="r")


def test_follower_begins_anew_once_the_erasure_is_carried_out(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    with (
        MetaStore.open(path, options=SMALL) as store,
        MetaStore.open(path, read_only=True) as follower,
    ):
        assert owner_of(follower, 5) == SECRET
        assert any(batch.metadata.actor == SECRET for batch in follower.event_store.batches())
        store.erase(FIELDS, actor="dpo", reason="r")
        assert owner_of(follower, 5) == GONE
        assert all(batch.metadata.actor != SECRET for batch in follower.event_store.batches())
        commit(store, "later", owner="x")
        with follower.transaction() as now:
            assert now.get_info("later")[1].labels == {"owner": "x"}


def test_follower_waits_for_an_erasure_that_is_under_way_and_copies_nothing_of_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        store.erase(FIELDS, actor="dpo", reason="r")
        (path / "ERASING").write_bytes(b"0\n")  # as long as it is under way
        with MetaStore.open(path, read_only=True) as follower:
            for copy in (lambda: follower.backup(tmp_path / "copy"), lambda: list(follower.dump())):
                with pytest.raises(BackupError, match="an erasure is under way"):
                    copy()
            state = follower.event_store._log.state  # type: ignore[attr-defined]
            follower.transaction()
            assert follower.event_store._log.state is state  # type: ignore[attr-defined]
            (path / "ERASING").unlink()
            follower.transaction()
            assert follower.event_store._log.state is not state  # type: ignore[attr-defined]
            assert list(follower.dump())


def test_erasure_that_a_full_disk_cuts_is_finished_before_the_next_one_begins(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    fill(path)
    full = [False]

    def hook(operation: str, name: str) -> None:
        if full[0] and operation == "create" and name.endswith(".tmp") and "wal/0" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    with EventStore.open(
        path, PROJECTIONS, options=SMALL, file_system=HookedFileSystem(hook)
    ) as engine:
        store = MetaStore(engine)
        full[0] = True
        with pytest.raises(StorageFullError, match="open the store again"):
            store.erase({46: [OWNER]}, actor="dpo", reason="1")
        assert (path / "ERASING").exists()
        assert owner_of(store, 45) == GONE
        commit(store, "later")
        with pytest.raises(StorageFullError):
            store.erase({6: [OWNER]}, actor="dpo", reason="2")
        full[0] = False
        store.erase({6: [OWNER], 26: [OWNER], 8: [("actor",)]}, actor="dpo", reason="3")
        assert store.verify().is_sound
        assert not (path / "ERASING").exists()
    assert SECRET.encode() not in everything(path)


class SmallDisk:
    """A hook for a disk that has no space to write a segment anew until a spare has gone."""

    def __init__(self) -> None:
        self.refused = 0
        self.has_space = False

    def __call__(self, operation: str, name: str) -> None:
        if operation == "remove" and "spare-" in name:
            self.has_space = True
        elif operation == "create" and name.endswith(".log.tmp") and not self.has_space:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def test_erasure_on_a_full_disk_is_carried_out_in_the_space_of_a_spare(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    disk = SmallDisk()
    with MetaStore.open(path, options=SMALL, file_system=HookedFileSystem(disk)) as store:
        disk.has_space = False  # the open has removed what spares there were
        store.erase({46: [OWNER]}, actor="dpo", reason="1")
        assert disk.refused
        assert not (path / "ERASING").exists()
        assert store.verify().is_sound


@pytest.mark.parametrize("spare_count", [0, 1])
def test_erasure_without_space_to_carry_it_out_is_refused_before_it_is_committed(
    tmp_path: Path, spare_count: int
) -> None:
    path = tmp_path / "store"
    fill(path)
    failing = Failing(errno.ENOSPC, "create", "spare-", after=spare_count)
    touched = []

    def touch(call: str, name: str) -> None:
        touched.append(name)
        failing(call, name)

    with MetaStore.open(path, options=SMALL, file_system=HookedFileSystem(touch)) as store:
        failing.armed = True
        before = store.stats()["revision"]
        with pytest.raises(StorageFullError, match=r"free at least \d{4,} bytes and try again"):
            store.erase({46: [OWNER]}, actor="dpo", reason="1")
        assert store.stats()["revision"] == before
        assert not [name for name in touched if "ERASING" in name], "nothing was noted"
        assert owner_of(store, 45) == SECRET
        failing.armed = False
        store.erase({46: [OWNER]}, actor="dpo", reason="1")
        assert owner_of(store, 45) == GONE


@pytest.mark.parametrize("call", ["write", "sync", "rename"])
def test_erasure_whose_note_finds_no_space_changes_nothing(tmp_path: Path, call: str) -> None:
    path = tmp_path / "store"
    fill(path)
    failing = Failing(errno.ENOSPC, call, "ERASING")
    with MetaStore.open(path, options=SMALL, file_system=HookedFileSystem(failing)) as store:
        failing.armed = True
        with pytest.raises(StorageFullError, match=r"free at least \d+ bytes, and erase again"):
            store.erase({46: [OWNER]}, actor="dpo", reason="1")
        assert failing.failures == 1
        assert [name for name in os.listdir(path) if "ERASING" in name] == []
        assert owner_of(store, 45) == SECRET
        failing.armed = False
        store.erase({46: [OWNER]}, actor="dpo", reason="1")
        assert owner_of(store, 45) == GONE


def test_erasure_that_a_full_disk_has_cut_keeps_nobody_from_opening_the_store(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    fill(path)
    failing = Failing(errno.ENOSPC, "create", ".log.tmp")
    full = HookedFileSystem(failing)
    fields: dict[int, list[tuple[str, ...]]] = {
        6: [OWNER],
        26: [OWNER],
        46: [OWNER],
        8: [("actor",)],
    }
    with MetaStore.open(path, options=SMALL, file_system=full) as store:
        failing.armed = True
        with pytest.raises(StorageFullError, match="the erasure is committed") as told:
            store.erase(fields, actor="dpo", reason="1")
        assert re.search(r"free at least \d{4,} bytes, and open", str(told.value))
        assert (path / "ERASING").exists()
    with pytest.raises(StorageFullError, match="6, 8, 26, 46: the erasure is committed"):
        MetaStore.open(path, options=SMALL, file_system=full)
    (path / "wal" / "spare-0.tmp").write_bytes(bytes(16))
    disk = SmallDisk()
    with MetaStore.open(path, options=SMALL, file_system=HookedFileSystem(disk)) as store:
        assert disk.refused
        assert not (path / "ERASING").exists()
        assert store.verify().is_sound
    assert SECRET.encode() not in everything(path)


def test_erasure_that_can_not_be_committed_says_why_whatever_becomes_of_its_note(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    failing = Failing(errno.ENOSPC, "remove", "ERASING")
    options = replace(SMALL, batch_bytes_max=2000)
    with MetaStore.open(path, options=options, file_system=HookedFileSystem(failing)) as store:
        for number in range(40):
            commit(store, f"k{number}", owner=SECRET)
        failing.armed = True
        with pytest.raises(BatchTooLargeError):
            store.erase({n: [OWNER] for n in range(1, 41)}, actor="d", reason="r")
        assert failing.failures
        with pytest.raises(StorageFullError, match="no space to remove ERASING"):
            store.erase({1: [OWNER]}, actor="d", reason="r")
        failing.armed = False
        store.erase({1: [OWNER]}, actor="d", reason="r")
        assert owner_of_name(store, "k0") == GONE
        assert owner_of_name(store, "k1") == SECRET


def test_erasure_without_room_for_its_event_leaves_no_note(tmp_path: Path) -> None:
    path = tmp_path / "store"
    options = replace(SMALL, batch_bytes_max=2000)
    with MetaStore.open(path, options=options) as store:
        for number in range(40):
            commit(store, f"k{number}", owner=SECRET)
        with pytest.raises(EventStoreError, match="bytes"):
            store.erase({n: [OWNER] for n in range(1, 41)}, actor="d", reason="r")
        assert not (path / "ERASING").exists()
        assert owner_of_name(store, "k0") == SECRET
        store.erase({1: [OWNER]}, actor="d", reason="r")
        assert store.verify().is_sound


def owner_of_name(store: MetaStore, name: str) -> str:
    with store.transaction() as now:
        return now.get_info(name)[1].labels["owner"]


def test_tables_of_projections_that_were_left_out_do_not_bring_it_back(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path, options=SMALL_LEDGER) as store:
        for _ in range(30):
            with store.transaction(writable=True, actor=SECRET) as tx:
                if tx.get(ACCOUNTS, "a") is None:
                    open_account(tx, "a")
                deposit(tx, "a", 1)
        store.checkpoint()
    with EventStore.open(path, [Ledger()], options=SMALL_LEDGER) as store:
        store.erase({7: [("actor",)]}, actor="dpo", reason="r")
        with pytest.raises(EventStoreError, match="would lose the tables"):
            store.checkpoint()
    with EventStore.open(path, [Ledger(), Totals()], options=SMALL_LEDGER) as store:
        store.check()
        store.checkpoint()
        assert store.verify().is_sound


def test_segments_from_an_erasure_on_are_of_a_version_that_older_releases_refuse(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        store.erase(FIELDS, actor="dpo", reason="r")
        for number in range(60, 100):
            commit(store, f"key-{number}", note="n" * 150)
        store.compact()
        store.backup(tmp_path / "copy")
    restore_store(tmp_path / "copy", tmp_path / "new", PROJECTIONS, options=SMALL)
    for made in (path, tmp_path / "new"):
        newest = segments(made)[-1].read_bytes()
        assert int.from_bytes(newest[8:12], "little") == SEGMENT_VERSION == 3


def test_checkpoint_after_an_erasure_continues_none_that_it_has_removed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            for number in range(1100):  # enough for deltas
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels={"owner": "x"})
        for name in ("a", "b"):
            revision = commit(store, name, owner=SECRET)
            store.checkpoint()
        done = store.erase({revision: [OWNER]}, actor="dpo", reason="r")
        assert store.stats()["checkpoint_revision"] == done.receipt.revision
        assert store.verify().is_sound


def test_search_by_what_is_left_finds_it_on_the_same_handle_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        engine = store.event_store
        assert len(list(engine.batches(actor="puller"))) == 59  # now all indexes are at hand
        store.erase({n: [("actor",)] for n in (12, 47, 58)}, actor="dpo", reason="r")
        assert [each.revision for each in engine.batches(actor="******")] == [12, 47, 58]
        assert len(list(engine.batches(actor="puller"))) == 56
