"""A backup holds what the store held, and grows by what is new, never from another history."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engine import (
    SMALL,
    Failing,
    HookedFileSystem,
    add,
    balance,
    flip,
    open_store,
    run_python,
    tree,
)
from support.ledger import Ledger, Totals

from eventstore import (
    BackupError,
    CorruptionError,
    DamagedBackupError,
    EventStore,
    EventStoreError,
    FormatVersionError,
    ReceiptError,
    Retention,
    StorageFullError,
    StoreExistsError,
    StoreLockedError,
    restore_store,
    verify_backup,
)
from eventstore.copies import backing_up, framing
from eventstore.copies.framing import ChainPosition, PackedBatch, digest_after, framed_segments
from eventstore.files.remote import RemoteFiles
from eventstore.format import manifest as manifests
from eventstore.testing.memory_log import MemoryLog

if TYPE_CHECKING:
    from eventstore import RestoreReport

LEDGER = (Ledger(), Totals())
MANIFEST = manifests.MANIFEST_NAME


def restored(source: Path | str, path: Path, **arguments: object) -> RestoreReport:
    return restore_store(source, path, LEDGER, options=SMALL, **arguments)  # type: ignore[arg-type]


def balance_at(path: Path) -> int:
    with open_store(path) as store:
        assert store.verify().is_sound
        return balance(store)


def names(backup: Path) -> list[str]:
    return sorted(each.name for each in backup.iterdir())


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files of batches that are full after a dozen."""
    monkeypatch.setattr(backing_up, "PART_BYTES", 4096)


def test_restored_store_holds_what_was_backed_up(tmp_path: Path, small_parts: None) -> None:
    with open_store(tmp_path / "store") as store:
        receipts = add(store, 60)
        store.compact()
        receipts += add(store, 60)
        store.compact()
        receipts += add(store, 7)
        head = store.tree_head(100)
        report = store.backup(tmp_path / "backup", verify=True)
        assert (report.revision, report.first_revision, report.oldest_state) == (127, 1, 0)
        assert report.digest == receipts[-1].digest
        assert report.file_count > 3
    made = restored(tmp_path / "backup", tmp_path / "restored")
    assert (made.restored_revision, made.revision, made.fork_id) == (127, 127, None)
    with open_store(tmp_path / "restored") as store:
        assert store.store_id == report.store_id
        assert store.recovery.checkpoint_revision == 127
        assert balance(store) == 127
        assert [store.check_receipt(each).revision for each in receipts] == [*range(1, 128)]
        assert store.consistency_proof(head).head.size == 127
        assert add(store, 1)[0].revision == 128
        assert store.verify().is_sound


def test_second_backup_writes_what_is_new_and_nothing_else(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with open_store(tmp_path / "store") as store:
        add(store, 200)
        first = store.backup(backup)
        before = tree(backup)
        again = store.backup(backup)
        assert (again.added_batches, again.added_bytes) == (0, 0)
        add(store, 10)
        store.compact()
        second = store.backup(backup)
    assert second.added_batches == 10
    assert second.added_bytes < first.added_bytes / 5
    after = tree(backup)
    kept = {name: entry for name, entry in before.items() if name != MANIFEST}
    assert kept.items() <= after.items()
    assert len(after) == len(before) + 1
    restored(backup, tmp_path / "restored")
    assert balance_at(tmp_path / "restored") == 210


def test_backup_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_store(tmp_path / "store") as store:
            add(store, 3)
            store.backup(tmp_path / "backup")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    for each in (tmp_path / "backup").iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_backup_of_a_store_without_a_batch_can_be_restored_and_grow(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        assert store.backup(tmp_path / "backup").revision == 0
        restored(tmp_path / "backup", tmp_path / "empty")
        assert balance_at(tmp_path / "empty") == 0
        add(store, 2)
        assert store.backup(tmp_path / "backup").added_batches == 2
    restored(tmp_path / "backup", tmp_path / "restored")
    assert balance_at(tmp_path / "restored") == 2


def test_follower_backs_up_beside_the_writer_of_another_process(tmp_path: Path) -> None:
    writer = run_python(
        "import sys\n"
        "from pathlib import Path\n"
        "from support.engine import add, open_store\n"
        "with open_store(Path(sys.argv[1])) as store:\n"
        "    for number in range(300):\n"
        "        add(store, 1)\n"
        "        if number % 40 == 39:\n"
        "            store.compact()\n"
        "        print(number, flush=True)\n",
        tmp_path / "store",
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    revisions: list[int] = []
    while not revisions or revisions[-1] < 300:
        with open_store(tmp_path / "store", read_only=True) as store:
            revisions.append(store.backup(tmp_path / "backup", verify=True).revision)
    assert len(revisions) > 1
    assert writer.communicate()[1] == ""
    restored(tmp_path / "backup", tmp_path / "restored")
    assert balance_at(tmp_path / "restored") == 300


def test_log_of_another_kind_is_backed_up_too(tmp_path: Path) -> None:
    with EventStore.open("anywhere", LEDGER, log=MemoryLog()) as store:
        add(store, 9)
        store.backup(tmp_path / "backup")
    restored(tmp_path / "backup", tmp_path / "restored")
    assert balance_at(tmp_path / "restored") == 9


def test_url_of_fsspec_holds_a_backup_as_a_directory_does(
    tmp_path: Path, small_parts: None
) -> None:
    url = f"memory://{tmp_path}/backup"
    with open_store(tmp_path / "store") as store:
        add(store, 60)
        with pytest.raises(BackupError, match="there is no backup"):
            verify_backup(url)
        store.backup(url)
        add(store, 5)
        assert store.backup(url, verify=True).added_batches == 5
    assert verify_backup(url).revision == 65
    restored(url, tmp_path / "restored", revision=62)
    assert balance_at(tmp_path / "restored") == 62


def test_url_that_nothing_knows_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store, pytest.raises(BackupError, match="nothing-such"):
        store.backup("nothing-such://bucket")


def test_url_without_fsspec_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with (
        open_store(tmp_path / "store") as store,
        pytest.raises(BackupError, match=r"install snapledger\[backup\]"),
    ):
        store.backup("memory://anywhere")


def test_file_url_is_a_directory(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 1)
        store.backup(f"file://{tmp_path}/backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert verify_backup(tmp_path / "backup").revision == 1


# Restoring to a point of the past


def test_every_revision_can_be_restored_and_receipts_up_to_it_hold(
    tmp_path: Path, small_parts: None
) -> None:
    with open_store(tmp_path / "store") as store:
        receipts = add(store, 40)
        store.backup(tmp_path / "backup")
        for revision in (0, 1, 11, 12, 13, 25, 39):
            path = tmp_path / str(revision)
            made = restored(tmp_path / "backup", path, revision=revision)
            assert (made.restored_revision, made.revision) == (revision, revision + 1)
            assert made.fork_id is not None
            with open_store(path) as past:
                assert balance(past) == revision
                assert past.verify().is_sound
                for receipt in receipts[:revision]:
                    past.check_receipt(receipt)
                for receipt in receipts[revision:]:
                    with pytest.raises(ReceiptError):
                        past.check_receipt(receipt)


def test_store_that_parts_says_so_and_receipts_of_each_fail_in_the_other(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        receipts = add(store, 9)
        store.backup(tmp_path / "backup")
        made = restored(tmp_path / "backup", tmp_path / "fork", revision=5)
        assert made.fork_id is not None
        with open_store(tmp_path / "fork") as fork:
            [batch] = fork.batches(6)
            [event] = batch.events
            assert (batch.metadata.actor, event.type) == ("restore", "eventstore.restored")
            assert event.data == {
                "revision": 5,
                "digest": receipts[4].digest.hex(),
                "backup_revision": 9,
                "backup_digest": receipts[8].digest.hex(),
                "fork_id": made.fork_id.hex(),
            }
            for receipt in add(fork, 3):
                with pytest.raises(ReceiptError, match="another digest"):
                    store.check_receipt(receipt)
            with pytest.raises(ReceiptError, match="another digest"):
                fork.check_receipt(receipts[8])
            with pytest.raises(EventStoreError, match=r"another|does not"):
                fork.consistency_proof(store.tree_head(8))
            assert fork.consistency_proof(store.tree_head(5)).head.size == 9


def test_restore_as_new_parts_although_nothing_is_left_out(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 4)
        store.backup(tmp_path / "backup")
    forks = [restored(tmp_path / "backup", tmp_path / name, as_new=True) for name in "ab"]
    assert forks[0].fork_id != forks[1].fork_id
    assert forks[0].digest != forks[1].digest
    assert balance_at(tmp_path / "a") == 4


def test_restore_to_a_time_takes_the_last_batch_that_is_not_later(
    tmp_path: Path, small_parts: None
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 30)
        store.backup(tmp_path / "backup")
        times = {batch.revision: batch.time_ns for batch in store.batches()}
    for revision in (1, 12, 13, 30):
        path = tmp_path / str(revision)
        last = max(each for each, time_ns in times.items() if time_ns <= times[revision])
        made = restored(tmp_path / "backup", path, time=times[revision])
        assert made.restored_revision == last
    assert restored(tmp_path / "backup", tmp_path / "none", time=1).restored_revision == 0
    assert restored(tmp_path / "backup", tmp_path / "all", time=2**62).fork_id is None


def test_revision_that_a_backup_does_not_hold_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 4)
        store.backup(tmp_path / "backup")
    for revision in (-1, 5):
        with pytest.raises(BackupError, match="from 0 to 4, not to"):
            restored(tmp_path / "backup", tmp_path / "restored", revision=revision)
    with pytest.raises(ValueError, match="not both"):
        restored(tmp_path / "backup", tmp_path / "restored", revision=1, time=1)
    assert not (tmp_path / "restored").exists()


def test_restore_never_goes_over_something(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 4)
        store.backup(tmp_path / "backup")
    before = tree(tmp_path)
    with pytest.raises(StoreExistsError, match="a store is there already"):
        restored(tmp_path / "backup", tmp_path / "store")
    with pytest.raises(StoreExistsError):
        restored(tmp_path / "backup", tmp_path / "backup")
    after = tree(tmp_path)
    assert after == before


# Stores that retention has cut


def test_backup_of_a_cut_store_keeps_its_history_its_state_and_its_proofs(tmp_path: Path) -> None:
    options = replace(SMALL, retention=Retention.none())
    with open_store(tmp_path / "store", options=options) as store:
        heads, said = [], []  # where a compaction has said what it drops
        for _ in range(4):
            add(store, 40)
            heads.append(store.tree_head())
            if store.compact().dropped:
                said.append(store.stats()["revision"])
        oldest = store.oldest_revision()
        assert oldest > 41
        report = store.backup(tmp_path / "backup")
        assert report.first_revision == oldest
        receipts = add(store, 40)
        store.compact()
        said.append(store.stats()["revision"])
        assert store.oldest_revision() > oldest
        report = store.backup(tmp_path / "backup", verify=True)
        assert report.first_revision == oldest
    for revision in (report.oldest_state, 170, 200):
        path = tmp_path / str(revision)
        made = restored(tmp_path / "backup", path, revision=revision)
        assert made.first_revision == oldest
        with open_store(path) as past:
            assert past.verify().is_sound
            assert balance(past) == revision - sum(each <= revision for each in said)
            assert past.oldest_revision() == oldest
            for head in heads:
                if head.size <= revision:
                    past.consistency_proof(head)
            for receipt in receipts:
                if receipt.revision <= revision:
                    past.check_receipt(receipt)
    with pytest.raises(BackupError, match=f"from {report.oldest_state} to {said[-1]}"):
        restored(tmp_path / "backup", tmp_path / "no", revision=report.oldest_state - 1)


def test_cut_store_without_a_tree_is_backed_up_from_its_oldest_state(tmp_path: Path) -> None:
    options = replace(SMALL, retention=Retention.none())
    with open_store(tmp_path / "store", options=options) as store:
        for _ in range(4):
            add(store, 40)
            store.compact()
    for file in (tmp_path / "store" / "tree").iterdir():
        file.unlink()
    with open_store(tmp_path / "store", options=options) as store:
        report = store.backup(tmp_path / "backup", verify=True)
        assert report.first_revision == report.oldest_state + 1 > store.oldest_revision()
    restored(tmp_path / "backup", tmp_path / "restored")
    assert balance_at(tmp_path / "restored") == 160


def test_backup_that_lacks_dropped_batches_says_to_begin_a_new_one(tmp_path: Path) -> None:
    options = replace(SMALL, retention=Retention.none())
    with open_store(tmp_path / "store", options=options) as store:
        add(store, 3)
        store.backup(tmp_path / "backup")
        for _ in range(4):
            add(store, 40)
            store.compact()
        with pytest.raises(BackupError, match=r"ends at revision 3.*begin a new backup"):
            store.backup(tmp_path / "backup")
        store.backup(tmp_path / "new")
    restored(tmp_path / "new", tmp_path / "restored")
    assert balance_at(tmp_path / "restored") == 163


# What is refused


def test_backup_of_another_store_an_older_copy_or_a_fork_is_refused_and_unchanged(
    tmp_path: Path,
) -> None:
    backup = tmp_path / "backup"
    with open_store(tmp_path / "store") as store:
        add(store, 5)
    shutil.copytree(tmp_path / "store", tmp_path / "older")
    shutil.copytree(tmp_path / "store", tmp_path / "fork")
    with open_store(tmp_path / "store") as store:
        add(store, 5, "of the original")
        store.backup(backup)
    with open_store(tmp_path / "fork") as store:
        add(store, 9, "of the fork")
    with open_store(tmp_path / "another") as store:
        add(store, 20)
    before = tree(backup)
    for name, reason in (
        ("older", "holds revision 10, and .* is at 5: it is an older copy"),
        ("fork", "after revision 10 .* their histories have parted"),
        ("another", "the backup is of another store"),
    ):
        with open_store(tmp_path / name) as store, pytest.raises(BackupError, match=reason):
            store.backup(backup)
    assert tree(backup) == before


@pytest.mark.parametrize("name", ["notes.txt", "batches-1.log.gz", "wal", "MANIFEST.old"])
def test_place_of_something_else_is_refused_and_unchanged(tmp_path: Path, name: str) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / name).write_text("precious")
    before = tree(tmp_path / "place")
    with open_store(tmp_path / "store") as store:
        for target in (str(tmp_path / "place"), f"file://{tmp_path}/place"):
            with pytest.raises(BackupError, match=f"not the place of a backup: it holds '{name}'"):
                store.backup(target)
    assert tree(tmp_path / "place") == before


def test_file_in_the_place_of_a_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with open_store(tmp_path / "store") as store:
        with pytest.raises(BackupError, match="not a directory"):
            store.backup(tmp_path / "file")
        with pytest.raises(BackupError, match="there is no backup"):
            verify_backup(tmp_path / "file")
        with pytest.raises(BackupError, match="not the place of a backup"):
            store.backup(tmp_path / "store")
    with pytest.raises(BackupError, match="there is no backup"):
        restored(tmp_path / "nothing", tmp_path / "restored")


def test_two_backups_to_one_directory_at_a_time_are_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        inner = []

        def back_up_again(revision: int) -> None:
            with pytest.raises(StoreLockedError, match="another backup is being written there"):
                store.backup(tmp_path / "backup")
            inner.append(revision)

        store.backup(tmp_path / "backup", on_batch=back_up_again)
        assert inner == [1, 2, 3]
        store.backup(tmp_path / "backup")


def test_manifest_of_a_newer_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 1)
        with monkeypatch.context() as later:
            later.setattr(manifests, "MANIFEST_VERSION", 2)
            store.backup(tmp_path / "backup")
        with pytest.raises(FormatVersionError, match="format version 2 is newer than 1"):
            store.backup(tmp_path / "backup")
    with pytest.raises(FormatVersionError):
        restored(tmp_path / "backup", tmp_path / "restored")


def test_restore_that_a_projection_can_not_fold_leaves_nothing(tmp_path: Path) -> None:
    class Refusing(Ledger):
        def apply(self, event: object, tables: object) -> None:
            raise ArithmeticError("no such event")

    with open_store(tmp_path / "store") as store:
        add(store, 1)
        store.backup(tmp_path / "backup")
    with pytest.raises(EventStoreError, match="no such event"):
        restore_store(tmp_path / "backup", tmp_path / "restored", [Refusing(), Totals()])
    assert not (tmp_path / "restored").exists()


def test_closed_store_is_not_backed_up(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    store.close()
    with pytest.raises(EventStoreError, match="closed"):
        store.backup(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


# Cut short


KILLED = """
import os, signal, sys
from pathlib import Path
from support.engine import open_store
from eventstore.copies import backing_up, framing
from eventstore.copies.framing import PackedBatch, ChainPosition, digest_after, framed_segments
from eventstore.files.remote import RemoteFiles
backing_up.PART_BYTES = 4096
def stop(revision):
    if revision == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
with open_store(Path(sys.argv[1]), read_only=True) as store:
    store.backup(sys.argv[2], on_batch=stop)
"""


def test_killed_backup_holds_a_prefix_and_the_next_one_goes_on(
    tmp_path: Path, small_parts: None
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 60)
        for revision in (2, 30, 59):
            process = run_python(KILLED, tmp_path / "store", tmp_path / "backup", revision)
            process.communicate()
            assert process.returncode == -9
            if revision == 2:
                with pytest.raises(BackupError, match="or its first one was cut short"):
                    verify_backup(tmp_path / "backup")
                continue
            prefix = verify_backup(tmp_path / "backup").revision
            assert revision - 20 < prefix < revision
            restored(tmp_path / "backup", tmp_path / f"restored-{revision}")
            assert balance_at(tmp_path / f"restored-{revision}") == prefix
        report = store.backup(tmp_path / "backup")
        assert (report.revision, report.added_batches) == (60, 60 - prefix)
    restored(tmp_path / "backup", tmp_path / "restored")
    assert balance_at(tmp_path / "restored") == 60


def test_what_a_cut_backup_has_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        store.backup(backup)
        [batches] = [each for each in names(backup) if each.startswith("batches-")]
        stray = batches.replace("00001-", "00002-")
        (backup / stray).write_bytes(b"half")
        (backup / f"{stray}.tmp").write_bytes(b"half")
        (backup / f"{MANIFEST}.tmp").write_bytes(b"half")
        store.backup(backup)
    assert names(backup) == ["LOCK", MANIFEST, batches]


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename", "sync_directory", "open"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_failing_call_leaves_a_backup_that_holds_what_it_held(
    tmp_path: Path, call: str, code: int, small_parts: None
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 20)
        store.backup(tmp_path / "backup")
        add(store, 30)
    for after in range(8):
        failing = Failing(code, call, "backup", after)
        files = HookedFileSystem(failing)
        with open_store(tmp_path / "store", read_only=True, file_system=files) as store:
            failing.armed = True
            try:
                store.backup(tmp_path / "backup")
            except (OSError, StorageFullError):
                assert failing.failures
            failing.armed = False
            assert 20 <= verify_backup(tmp_path / "backup").revision <= 50
    with open_store(tmp_path / "store") as store:
        assert store.backup(tmp_path / "backup", verify=True).revision == 50


class BadMedium(HookedFileSystem):
    """A medium that gives back other bytes than those written to files of batches."""

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        if "batches-" in target:
            flip(Path(target), 100)


def test_file_that_comes_back_changed_is_in_no_manifest(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 5)
        store.backup(tmp_path / "backup")
        add(store, 5)
    with (
        open_store(tmp_path / "store", read_only=True, file_system=BadMedium()) as store,
        pytest.raises(DamagedBackupError, match="not what the manifest says"),
    ):
        store.backup(tmp_path / "backup")
    assert verify_backup(tmp_path / "backup").revision == 5


def test_what_no_manifest_names_stays_where_nobody_has_a_lock(tmp_path: Path) -> None:
    url = f"memory://{tmp_path}/backup"
    files = RemoteFiles(url)
    stray = f"batches-{1:020}-{2:020}-{'0' * 16}.log.gz"
    with open_store(tmp_path / "store") as store:
        add(store, 2)
        store.backup(url)
        files.write(stray, b"of another backup that is being written")
        store.backup(url)
    assert stray in files.sizes_bytes()


def batch_after(
    place: ChainPosition,
    payload: bytes,
    *,
    revision: int | None = None,
    time_ns: int | None = None,
    durable_revision: int = 0,
) -> PackedBatch:
    revision = place.revision + 1 if revision is None else revision
    time_ns = place.time_ns if time_ns is None else time_ns
    batch = PackedBatch(payload, revision, time_ns, durable_revision, b"")
    return batch._replace(digest=digest_after(batch, bytes(16), place.digest))


def test_record_that_does_not_continue_the_chain_is_never_framed() -> None:
    start = ChainPosition(3, b"d" * 32, 50, 0)
    good = batch_after(start, b"p")
    [segment] = framed_segments([good], bytes(16), start, 4096)
    assert segment.end[:3] == (4, good.digest, 50)
    for bad in (
        good._replace(digest=b"x" * 32),
        good._replace(payload=b"q"),
        batch_after(start, b"p", revision=5),
        batch_after(start, b"p", time_ns=49),
        batch_after(start, b"p", durable_revision=4),
        batch_after(start._replace(digest=b"e" * 32), b"p"),
    ):
        with pytest.raises(CorruptionError):
            list(framed_segments([bad], bytes(16), start, 4096))


def test_payload_that_holds_the_mark_goes_into_the_next_segment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marks = iter([b"markmark", b"anothers"])
    monkeypatch.setattr(framing, "draw_mark", lambda payload: next(marks))
    start = ChainPosition(0, b"d" * 32, 0, 0)
    first = batch_after(start, b"p")
    second = batch_after(ChainPosition(1, first.digest, 0, 0), b"the markmark")
    segments_made = list(framed_segments([first, second], bytes(16), start, 4096))
    assert [each.first_revision for each in segments_made] == [1, 2]


def test_backup_goes_on_where_the_store_begins_now_but_not_with_a_fork(tmp_path: Path) -> None:
    """The last batch of the backup has been dropped; the next one is the oldest that is left."""
    options = replace(SMALL, retention=Retention.none())
    with open_store(tmp_path / "store", options=options) as store:
        add(store, 20)
    shutil.copytree(tmp_path / "store", tmp_path / "fork")
    with open_store(tmp_path / "fork", options=options) as fork:
        for _ in range(6):
            add(fork, 20, "that")
            fork.compact()
        end = fork.oldest_revision() - 1
        assert end > 20
        with open_store(tmp_path / "store", options=options) as store:
            for number in range(1, 121):
                [receipt] = add(store, 1, "this")
                if receipt.revision == end:
                    store.backup(tmp_path / "backup")
                if number % 20 == 0:
                    store.compact()
            assert store.oldest_revision() == end + 1
            assert verify_backup(tmp_path / "backup").revision == end
            with pytest.raises(BackupError, match="their histories have parted"):
                fork.backup(tmp_path / "backup")
            newest = store.stats()["revision"]
            assert newest > 140  # the compactions have said what they drop
            assert store.backup(tmp_path / "backup", verify=True).revision == newest


def test_backup_in_the_store_and_a_store_in_the_backup_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        add(store, 1)
        for target in (tmp_path / "store" / "backup", tmp_path / "link" / "a" / "b"):
            with pytest.raises(BackupError, match="can't be in the store"):
                store.backup(target)
        store.backup(tmp_path / "backup")
    with pytest.raises(BackupError, match="can't be in the backup"):
        restored(tmp_path / "backup", tmp_path / "backup" / "restored")
    assert MANIFEST in names(tmp_path / "backup")
    assert "restored" not in names(tmp_path / "backup")
    open_store(tmp_path / "store").close()
