"""Followers: another process's store, read without its lock."""

from __future__ import annotations

import dataclasses
import errno
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import (
    SMALL,
    HookedFileSystem,
    add,
    balance,
    open_store,
    run_python,
    state_durable,
    tree,
)
from support.ledger import Ledger, Totals, balances, deposit, open_account, total

from eventstore import (
    CompactedError,
    CorruptionError,
    Event,
    EventStore,
    FormatVersionError,
    NotAStoreError,
    ProjectionError,
    ReadOnlyStoreError,
    Retention,
    Verdict,
)
from eventstore.format.blocks import seal_block
from eventstore.format.durable import DURABLE_BYTES, DURABLE_VERSION, pack_durable
from eventstore.format.names import segment_name
from eventstore.format.segment import SEGMENT_HEADER_BYTES, unpack_segment_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NONE = dataclasses.replace(SMALL, retention=Retention.none())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    """A store that is being written, with 10 batches."""
    with open_store(path) as store:
        add(store, 10)
        yield store


@pytest.fixture
def follower(store: EventStore, path: Path) -> Iterator[EventStore]:
    """Follows `store`."""
    with open_store(path, read_only=True) as follower:
        yield follower


def test_follower_tells_which_checkpoint_it_has_loaded(store: EventStore, path: Path) -> None:
    store.checkpoint()
    add(store, 5)
    with open_store(path, read_only=True) as follower:
        assert follower.stats()["checkpoint_revision"] == 10
        assert store.stats()["checkpoint_revision"] == 10


def test_follower_sees_each_commit(store: EventStore, follower: EventStore) -> None:
    assert follower.recovery.verdict is Verdict.CLEAN
    assert follower.store_id == store.store_id
    for count in range(11, 100):
        [receipt] = add(store, 1)
        with follower.transaction() as tx:
            assert tx.revision == count
            assert balances(tx) == {"a": count}
        assert follower.check_receipt(receipt).revision == count
    follower.check()
    assert follower.stats()["revision"] == 99
    assert follower.verify().is_sound
    assert follower.at(50).revision == 50
    assert [batch.revision for batch in follower.batches(90)] == list(range(90, 100))
    assert follower.oldest_revision() == 1


def test_follower_s_reader_keeps_its_revision(store: EventStore, follower: EventStore) -> None:
    reader = follower.transaction()
    for _ in range(3):
        add(store, 30)
        assert balance(follower) > 10
        assert balances(reader) == {"a": 10}


def test_follower_writes_nothing(store: EventStore, path: Path) -> None:
    add(store, 30)
    store.checkpoint()
    store.close()
    (path / "wal" / "left over.tmp").write_bytes(b"x")
    before = tree(path)
    with open_store(path, read_only=True) as follower:
        calls: list[Callable[[], object]] = [
            lambda: follower.transaction(writable=True),
            follower.checkpoint,
            follower.compact,
        ]
        for call in calls:
            with pytest.raises(ReadOnlyStoreError, match="reading only"):
                call()
        assert balance(follower) == 40
        follower.verify()
        list(follower.batches())
        follower.at(5)
    assert tree(path) == before


def test_follower_sees_durable_batches_only(path: Path) -> None:
    hold, in_sync = threading.Event(), threading.Event()
    armed = False

    def hook(call: str, file: str) -> None:
        if armed and call == "sync" and file.endswith(".log"):
            in_sync.set()
            assert hold.wait(5)

    with open_store(path, file_system=HookedFileSystem(hook)) as store:
        add(store, 5)
        armed = True
        thread = threading.Thread(target=add, args=(store,))
        thread.start()
        assert in_sync.wait(5)
        # The bytes of the sixth batch are in the file by now.
        with open_store(path, read_only=True) as late:
            assert balance(late) == 5
        hold.set()
        thread.join()
        with open_store(path, read_only=True) as late:
            assert balance(late) == 6


def test_follower_survives_archiving(store: EventStore, follower: EventStore) -> None:
    seen = []
    for _ in range(6):
        add(store, 40)
        store.compact()
        seen.append(balance(follower))
    assert seen == [50, 90, 130, 170, 210, 250]
    add(store, 200)
    store.compact()
    add(store, 1)
    store.compact()  # what the follower has not read yet is in the archive now
    assert balance(follower) == 451


def test_follower_left_behind_by_retention_starts_again(path: Path) -> None:
    with open_store(path, options=NONE) as store:
        add(store, 10)
        with open_store(path, read_only=True) as follower:
            reader = follower.transaction()
            watcher = follower.watch(5)
            assert next(watcher).revision == 5
            for _ in range(3):
                add(store, 100)
                store.compact()
            assert balance(follower) == 310
            assert balances(reader) == {"a": 10}
            with pytest.raises(CompactedError):
                list(watcher)
            add(store, 5)
            assert balance(follower) == 315
            follower.check()


def test_follower_watches_without_gaps(store: EventStore, follower: EventStore) -> None:
    seen: list[int] = []

    def watch() -> None:
        seen.extend(batch.revision for batch in follower.watch(1, timeout=0.4))

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(4):
        add(store, 40)
        store.compact()
    thread.join()
    assert seen == list(range(1, 171))


FOLLOW = """
import sys, time
from support.engine import open_store
from support.ledger import balances, total
from pathlib import Path
last, path, rounds, paid = 0, Path(sys.argv[1]), 0, 0
print("ready", flush=True)
while paid < int(sys.argv[2]):
    with open_store(path, read_only=True) as follower:
        for _ in range(30):
            with follower.transaction() as tx:
                assert tx.revision >= last, (tx.revision, last)
                last, paid = tx.revision, total(tx)
                assert sum(balances(tx).values()) == total(tx), (balances(tx), total(tx))
                rounds += 1
            time.sleep(0.0005)
        follower.check()
print(paid, rounds)
"""


@pytest.mark.parametrize("retention", [Retention.none(), Retention.keep_all()], ids=["none", "all"])
def test_follower_in_another_process_races_writer_and_compaction(
    path: Path, retention: Retention
) -> None:
    options = dataclasses.replace(SMALL, retention=retention)
    with open_store(path, options=options) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
            open_account(tx, "b")
        with run_python(FOLLOW, path, 799) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "ready\n"
            for number in range(799):
                with store.transaction(writable=True) as tx:
                    deposit(tx, "ab"[number % 2], 1, note="x" * (number % 200))
                if number % 40 == 0:
                    store.compact()
            output, errors = process.stdout.read(), process.stderr.read()
        assert errors == ""
        assert output.split()[0] == "799"


def restore_in_place(backup: Path, path: Path) -> None:
    """Put a backup back into the files that are there, as rsync --inplace does."""
    for file in backup.rglob("*"):
        if file.is_file():
            target = path / file.relative_to(backup)
            with target.open("r+b") as opened:
                opened.write(file.read_bytes())
                opened.truncate()


@pytest.fixture
def backup(path: Path, tmp_path: Path) -> Path:
    """A copy of the store as it was after 10 of its 20 batches."""
    with open_store(path) as store:
        add(store, 10)
    backup = tmp_path / "backup"
    shutil.copytree(path, backup)
    with open_store(path) as store:
        add(store, 10)
    return backup


def test_log_that_shrank_is_refused(path: Path, backup: Path) -> None:
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 20
        restore_in_place(backup, path)
        for _ in range(2):
            with pytest.raises(CorruptionError):
                follower.transaction()


@pytest.mark.parametrize("has_read", [False, True])
@pytest.mark.parametrize("batches", [11, 60])
def test_log_that_forked_is_refused(path: Path, backup: Path, batches: int, has_read: bool) -> None:
    with open_store(path, read_only=True) as follower:
        if has_read:
            with open_store(path) as store:
                add(store, 1)
            assert balance(follower) == 21
        restore_in_place(backup, path)
        with open_store(path) as store:
            add(store, batches + has_read)
        for _ in range(2):
            with pytest.raises(CorruptionError):
                follower.transaction()


def test_fork_of_the_same_length_is_refused_when_the_durable_file_is_behind(
    path: Path, backup: Path
) -> None:
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 20
        restore_in_place(backup, path)
        with open_store(path) as store:
            while balance(store) < 20:
                add(store)
        state_durable(path, 12)
        with pytest.raises(CorruptionError, match="another history"):
            follower.transaction()


def test_directory_that_was_replaced_is_noticed(path: Path, backup: Path) -> None:
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 20
        shutil.rmtree(path)
        shutil.copytree(backup, path)
        wait_until_refused(follower)


def test_other_store_in_the_same_place_is_noticed(path: Path, backup: Path) -> None:
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 20
        shutil.rmtree(path)
        with open_store(path) as store:
            add(store, 20)
        assert backup.exists()
        wait_until_refused(follower)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_waiting_watch_of_a_removed_store_ends_with_an_error(
    store: EventStore, follower: EventStore, path: Path, is_replaced: bool
) -> None:
    batches = follower.watch(1, timeout=20)
    assert [next(batches).revision for _ in range(10)] == [*range(1, 11)]
    shutil.rmtree(path)
    if is_replaced:
        open_store(path).close()
    started = time.monotonic()
    with pytest.raises(CorruptionError if is_replaced else NotAStoreError):
        next(batches)
    assert time.monotonic() - started < 5
    with pytest.raises(CorruptionError if is_replaced else NotAStoreError):
        follower.transaction()
    assert store.stats()["revision"] == 10


@pytest.mark.parametrize("is_directory_left", [False, True])
def test_follower_of_a_removed_store_says_so(
    path: Path, backup: Path, is_directory_left: bool
) -> None:
    assert backup.exists()
    with open_store(path, read_only=True) as follower:
        shutil.rmtree(path)
        if is_directory_left:
            (path / "wal").mkdir(parents=True)
        expected = CorruptionError if is_directory_left else NotAStoreError
        # Before it notices that the mapped `durable` is gone.
        with pytest.raises(expected):
            list(follower.batches())
        with pytest.raises(NotAStoreError, match="being made" if is_directory_left else "no store"):
            follower.verify()
        wait_until_refused(follower, expected)
        calls: list[Callable[[], object]] = [
            follower.transaction,
            follower.oldest_revision,
            follower.stats,
            lambda: follower.at(3),
            lambda: list(follower.batches()),
            lambda: list(follower.watch(1, timeout=0)),
        ]
        for call in calls:
            with pytest.raises(expected):
                call()


def test_durable_file_of_another_store_says_nothing(path: Path, backup: Path) -> None:
    """An open ignores it, and so does who follows."""
    assert backup.exists()
    (path / "durable").write_bytes(pack_durable(bytes(16), 500))
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 19  # nothing proves that the last one was acknowledged
    with open_store(path) as store:
        assert balance(store) == 20


def wait_until_refused(follower: EventStore, expected: type[Exception] = CorruptionError) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            follower.transaction()
        except expected:
            return
        time.sleep(0.05)
    pytest.fail("the follower goes on although its store is gone")


def test_stale_durable_file_after_a_power_loss_is_no_fork(path: Path, backup: Path) -> None:
    assert backup.exists()
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 20
        with (path / "durable").open("r+b") as file:
            header = unpack_segment_header(
                (path / "wal" / segment_name(1)).read_bytes()[:SEGMENT_HEADER_BYTES]
            )
            file.write(pack_durable(header.store_id, 12))
        assert balance(follower) == 20
        with open_store(path) as store:
            add(store, 2)
            assert balance(follower) == 22


def test_follower_without_a_durable_file_shows_what_the_log_proves(
    path: Path, backup: Path
) -> None:
    assert backup.exists()
    (path / "durable").unlink()
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 19  # nothing proves that the last one was acknowledged
        with open_store(path) as store:
            add(store, 2)
            deadline = time.monotonic() + 5
            while balance(follower) != 22:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_follower_with_a_stale_durable_file_shows_no_more(path: Path, backup: Path) -> None:
    assert backup.exists()
    state_durable(path, 15)
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 15


def test_newer_durable_file_stops_a_follower(store: EventStore, follower: EventStore) -> None:
    assert balance(follower) == 10
    path = Path(store.path) / "durable"
    fields = bytearray(path.read_bytes()[:-4])
    fields[8:12] = (DURABLE_VERSION + 1).to_bytes(4, "little")
    with path.open("r+b") as file:
        file.write(seal_block(bytes(fields), DURABLE_BYTES))
    with pytest.raises(FormatVersionError):
        follower.transaction()


def test_follower_of_a_store_in_the_making_is_told(tmp_path: Path) -> None:
    problems: list[object] = []

    def follow() -> None:
        while not done.is_set():
            for path in tmp_path.iterdir():
                try:
                    open_store(path, read_only=True).close()
                except Exception as error:
                    if type(error).__name__ not in ("NotAStoreError", "FileNotFoundError"):
                        problems.append(error)

    done = threading.Event()
    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(20):
        open_store(tmp_path / f"{number}").close()
    done.set()
    thread.join()
    assert problems == []


def test_follower_needs_the_projections_of_the_checkpoint(store: EventStore, path: Path) -> None:
    store.checkpoint()

    class Newer(Totals):
        version = 2

    with pytest.raises(ReadOnlyStoreError, match="open the store for writing"):
        EventStore.open(path, [Ledger(), Newer()], read_only=True)
    with EventStore.open(path, [Ledger()], read_only=True) as follower:
        assert balance(follower) == 10


def test_follower_does_not_skip_a_batch_that_it_can_not_apply(path: Path) -> None:
    class Picky(Totals):
        def apply(self, event: Event, tables: Any) -> None:
            if event.type == "money.deposited" and event.data["amount"] == 13:
                raise ArithmeticError("thirteen")
            super().apply(event, tables)

    with open_store(path) as store:
        add(store, 3)
        with EventStore.open(path, [Ledger(), Picky()], read_only=True) as follower:
            with store.transaction(writable=True) as tx:
                deposit(tx, "a", 1)
                deposit(tx, "a", 13)
            add(store, 2)
            for _ in range(3):
                with pytest.raises(ProjectionError, match="revision 4 can't be replayed"):
                    follower.transaction()


def test_follower_that_is_interrupted_goes_on_where_it_was(path: Path) -> None:
    interrupt = True

    class Interrupted(Totals):
        def apply(self, event: Event, tables: Any) -> None:
            super().apply(event, tables)
            if interrupt and event.type == "money.deposited" and event.data["amount"] == 13:
                raise KeyboardInterrupt

    with open_store(path) as store:
        add(store, 3)
        with EventStore.open(path, [Ledger(), Interrupted()], read_only=True) as follower:
            with store.transaction(writable=True) as tx:
                deposit(tx, "a", 1)
                deposit(tx, "a", 13)
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    follower.transaction()
            interrupt = False
            with follower.transaction() as reader:
                assert (reader.revision, balances(reader), total(reader)) == (4, {"a": 17}, 17)


def test_follower_is_read_by_several_threads(store: EventStore, follower: EventStore) -> None:
    problems: list[object] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                with follower.transaction() as tx:
                    if sum(balances(tx).values()) != total(tx) or total(tx) != tx.revision:
                        problems.append((tx.revision, balances(tx), total(tx)))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        add(store, 40)
        store.compact()
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_follower_closes_under_those_who_use_it(store: EventStore, path: Path) -> None:
    problems: list[object] = []
    for _ in range(15):
        follower = open_store(path, read_only=True)
        threads = [
            threading.Thread(target=use_until_closed, args=(follower, how, problems))
            for how in ("watch", "read")
        ]
        for thread in threads:
            thread.start()
        add(store, 5)
        follower.close()
        for thread in threads:
            thread.join()
    assert problems == []


def use_until_closed(follower: EventStore, how: str, problems: list[object]) -> None:
    """Use a follower until it says that it is closed; keep what else it says."""
    try:
        if how == "watch":
            for _ in follower.watch(1):
                pass
        else:
            while True:
                balance(follower)
    except Exception as error:
        if type(error).__name__ != "StoreClosedError":
            problems.append(error)


def test_figures_of_a_follower_are_of_one_moment(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 1)
        with open_store(tmp_path / "store", read_only=True) as follower:
            add(store, 5)
            stats = follower.stats()
            assert stats["revision"] == stats["durable_revision"] == store.stats()["revision"]


def test_a_medium_that_fails_under_a_follower_is_not_called_damage(path: Path) -> None:
    failing = False

    def fail(call: str, name: str) -> None:
        if failing and call == "open" and name.endswith(".log"):
            raise OSError(errno.EIO, "Input/output error", name)

    with open_store(path) as writer:
        add(writer, 3)
        with open_store(path, read_only=True, file_system=HookedFileSystem(fail)) as follower:
            (path / "durable").write_bytes(bytes(40))
            failing = True
            with pytest.raises(OSError, match="Input/output error"):
                balance(follower)
            failing = False
