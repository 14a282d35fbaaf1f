"""Locks, forks, kills, closing: who may use a store, and what is left when it ends."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engine import (
    SMALL,
    HookedFileSystem,
    add,
    balance,
    checkpoints,
    open_store,
    run_python,
    segments,
    tree,
)
from support.ledger import balances, deposit, open_account

from eventstore import (
    CorruptionError,
    EventStore,
    NotAStoreError,
    StoreClosedError,
    StoreFailedError,
    StoreLockedError,
    StoreOptions,
    WriterBusyError,
)
from eventstore.files.local import LocalFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable


def test_second_open_in_one_process_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store"):
        with pytest.raises(StoreLockedError, match=f"process {os.getpid()} on"):
            open_store(tmp_path / "store")
        start = time.monotonic()
        with pytest.raises(StoreLockedError):
            open_store(tmp_path / "store", lock_timeout=0.1)
        assert 0.1 <= time.monotonic() - start < 2
    open_store(tmp_path / "store").close()


HOLD = """
import sys
from support.engine import add, open_store
from pathlib import Path
store = open_store(Path(sys.argv[1]))
add(store, 3)
print("holding", flush=True)
sys.stdin.read() if len(sys.argv) < 3 else __import__("time").sleep(float(sys.argv[2]))
"""


def test_store_of_another_process_is_refused_and_its_process_named(tmp_path: Path) -> None:
    before_and_after = []
    with run_python(HOLD, tmp_path / "store", 30) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        before_and_after.append(tree(tmp_path / "store"))
        with pytest.raises(StoreLockedError, match=f"process {process.pid} on"):
            open_store(tmp_path / "store")
        before_and_after.append(tree(tmp_path / "store"))
        with open_store(tmp_path / "store", read_only=True) as follower:
            assert balance(follower) == 3
        process.kill()
    assert before_and_after[0] == before_and_after[1]
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 3


def test_lock_timeout_waits_for_the_other_process(tmp_path: Path) -> None:
    with run_python(HOLD, tmp_path / "store", 0.3) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        with open_store(tmp_path / "store", lock_timeout=30) as store:
            assert balance(store) == 3


def test_lock_without_a_readable_holder_is_still_a_lock(tmp_path: Path) -> None:
    with open_store(tmp_path / "store"):
        for content in (b"", b"not json", b'{"pid": 1}', b"[]"):
            (tmp_path / "store" / "LOCK").write_bytes(content)
            with pytest.raises(StoreLockedError):
                open_store(tmp_path / "store")


def in_child(run: Callable[[], object]) -> str:
    """Return what a function prints or raises in the child of a fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        text = "nothing"
        try:
            text = repr(run())
        except BaseException as error:
            text = type(error).__name__
        finally:
            os.write(writing, text.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    return result


def test_forked_child_can_not_use_the_store(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        before = tree(tmp_path / "store")
        calls: list[Callable[[], object]] = [
            store.transaction,
            lambda: store.transaction(writable=True),
            store.checkpoint,
            store.compact,
            store.stats,
            lambda: list(store.batches()),
        ]
        for call in calls:
            assert in_child(call) == "StoreClosedError"
        assert in_child(store.close) == "None"
        assert tree(tmp_path / "store") == before
        add(store, 1)
        assert balance(store) == 4


def test_forked_child_can_not_commit_its_parent_s_transaction(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        tx = store.transaction(writable=True)
        deposit(tx, "a", 10)
        before = tree(tmp_path / "store")
        assert in_child(tx.commit) == "StoreClosedError"
        assert in_child(tx.rollback) == "None"
        assert tree(tmp_path / "store") == before
        tx.commit()
        assert balance(store) == 13
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 13
        assert store.verify().is_sound


def test_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        store.close()
        open_store(tmp_path / "store").close()
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


def test_read_transaction_goes_on_in_a_forked_child(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        tx = store.transaction()
        assert in_child(lambda: balances(tx)) == "{'a': 3}"


DESCRIPTORS = """
import os, stat, sys
from support.engine import add, open_store
from pathlib import Path
for number in (0, 1, 2):
    os.close(number)
path = Path(sys.argv[1])
store = open_store(path)
add(store, 200)
store.checkpoint()
with open_store(path, read_only=True) as follower:
    low = []
    for number in range(100):
        try:
            os.fstat(number)
        except OSError:
            continue
        target = os.readlink(f"/proc/self/fd/{number}")
        if str(path) in target and (number < 3 or os.get_inheritable(number)):
            low.append((number, target))
(path.parent / "result").write_text(repr(low))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_files_never_take_the_standard_descriptors_and_are_closed_on_exec(tmp_path: Path) -> None:
    with run_python(DESCRIPTORS, tmp_path / "store"):
        pass
    assert (tmp_path / "result").read_text() == "[]"


@pytest.mark.parametrize("mask", [0, 0o777, 0o022])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "above" / "store"
    old = os.umask(mask)
    try:
        with open_store(path) as store:
            for _ in range(3):
                add(store, 30)
                store.compact()
        os.truncate(path / "durable", 7)
        open_store(path).close()
    finally:
        os.umask(old)
    assert list((path / "archive").iterdir())
    for entry in [path.parent, path, *path.rglob("*")]:
        mode = stat.S_IMODE(entry.lstat().st_mode)
        assert mode == (0o700 if entry.is_dir() else 0o600), entry


def test_file_at_the_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for read_only in (False, True):
        with pytest.raises(NotAStoreError, match="not a directory"):
            open_store(tmp_path / "file", read_only=read_only)
    assert (tmp_path / "file").read_text() == "mine"


def test_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    before = tree(tmp_path)
    for read_only in (False, True):
        with pytest.raises(NotAStoreError, match=r"photo\.jpg"):
            open_store(tmp_path, read_only=read_only)
    assert tree(tmp_path) == before


def test_following_nothing_is_refused_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match="there is no store"):
        open_store(tmp_path / "store", read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAStoreError, match="holds no store"):
        open_store(tmp_path / "empty", read_only=True)
    assert list((tmp_path / "empty").iterdir()) == []


def test_empty_directory_becomes_a_store(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        add(store, 1)
    with open_store(tmp_path) as store:
        assert balance(store) == 1
        assert store.verify().is_sound


def test_link_to_a_store_is_not_followed(tmp_path: Path) -> None:
    open_store(tmp_path / "store").close()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    with pytest.raises(NotAStoreError, match="a link is not followed"):
        open_store(tmp_path / "link")


@pytest.mark.parametrize("name", ["wal", "checkpoints", "archive", "torn"])
def test_directory_of_the_store_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 1)
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    for read_only in (False, True):
        with pytest.raises(NotAStoreError, match="link"):
            open_store(path, read_only=read_only)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["LOCK", "durable", "segment", "checkpoint"])
def test_file_of_the_store_that_is_a_link_is_not_followed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 3)
        store.checkpoint()
    target = {
        "segment": path / "wal" / f"{1:020}.log",
        "checkpoint": path / "checkpoints" / f"{3:020}.ckpt",
    }.get(kind, path / kind)
    target.rename(tmp_path / "elsewhere")
    target.symlink_to(tmp_path / "elsewhere")
    content = (tmp_path / "elsewhere").read_bytes()
    before = tree(tmp_path)
    with pytest.raises(NotAStoreError, match="symbolic link"):
        open_store(path)
    assert tree(tmp_path) == before
    assert (tmp_path / "elsewhere").read_bytes() == content


def test_pipe_in_the_place_of_a_segment_does_not_block(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 1)
    segment = tmp_path / "store" / "wal" / f"{1:020}.log"
    segment.unlink()
    os.mkfifo(segment)
    with pytest.raises(CorruptionError, match="not a regular file"):
        open_store(tmp_path / "store")


def test_store_moves_with_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with EventStore.open("store", [], options=SMALL) as store:
        monkeypatch.chdir("/")
        store.checkpoint()
    assert (tmp_path / "store" / "wal").is_dir()
    shutil.move(tmp_path / "store", tmp_path / "moved")
    EventStore.open(str(tmp_path / "moved").encode(), []).close()  # type: ignore[arg-type]


def store_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "eventstore" in thread.name]


def test_close_joins_background_threads(tmp_path: Path) -> None:
    options = StoreOptions(segment_bytes=4096)
    store = open_store(tmp_path / "store", options=options)
    add(store, 100)
    assert sorted(store_threads()) == ["eventstore-maintenance", "eventstore-prepare"]
    store.close()
    assert store_threads() == []


def test_store_that_only_reads_has_no_threads(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", options=StoreOptions()) as store:
        assert balance(store) == 0
        assert store_threads() == []
        with open_store(tmp_path / "store", read_only=True) as follower:
            assert balance(follower) == 0
            assert store_threads() == []


def test_closed_and_forgotten_store_leaves_no_open_files(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("/proc is Linux's")

    def open_files() -> list[str]:
        links = []
        for link in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(link.readlink()))
            except FileNotFoundError:
                continue
        return [link for link in links if str(tmp_path) in link]

    with open_store(tmp_path / "store") as store:
        add(store, 100)
        store.compact()
        with open_store(tmp_path / "store", read_only=True) as follower:
            add(store, 100)
            assert balance(follower) == 200
            list(follower.batches())
            assert follower.at(50).revision == 50
    gc.collect()
    assert open_files() == []


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> StoreOptions:
    """Options under which background maintenance has something to do all the time."""
    monkeypatch.setattr("eventstore.maintenance.background._LOOK_SECONDS", 0.01)
    return StoreOptions(segment_bytes=4096, checkpoint_after_batches=5)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_background_checkpoints_and_compacts(tmp_path: Path, eager: StoreOptions) -> None:
    path = tmp_path / "store"
    with open_store(path, options=eager) as store:
        for _ in range(10):
            add(store, 30)
            wait_for(
                lambda: store.stats()["checkpoint_revision"] > store.transaction().revision - 5
            )
        wait_for(lambda: store.stats()["archive_count"] > 5)
        assert len(checkpoints(path)) <= 3
        assert store.stats()["background_error"] is None
    with open_store(path, options=eager) as store:
        assert balance(store) == 300
        assert store.recovery.replayed_batches < 35
        assert len(list(store.batches())) == 300


def test_sizes_are_told_although_a_compaction_moves_files_meanwhile(tmp_path: Path) -> None:
    moved = set()

    class MovingFileSystem(LocalFileSystem):
        def size_bytes(self, path: str) -> int:
            if path in moved:
                raise FileNotFoundError(2, "no such file", path)
            return super().size_bytes(path)

    path = tmp_path / "store"
    with open_store(path, file_system=MovingFileSystem()) as store:
        add(store, 100)
        before = store.stats()
        first, *rest = segments(path)
        moved.add(str(first))
        after = store.stats()
        assert after["segment_count"] == before["segment_count"] - 1 == len(rest)
        assert after["segment_bytes"] == sum(file.stat().st_size for file in rest)


def test_background_error_is_shown_and_raised_once(tmp_path: Path, eager: StoreOptions) -> None:
    broken = True

    def hook(call: str, path: str) -> None:
        if broken and call == "create" and ".ckpt" in path:
            raise PermissionError(1, "not permitted", path)

    with open_store(tmp_path / "store", options=eager, file_system=HookedFileSystem(hook)) as store:
        add(store, 10)
        wait_for(lambda: store.stats()["background_error"])
        assert "not permitted" in store.stats()["background_error"]
        with pytest.raises(PermissionError):
            store.compact()
        add(store, 10)
        broken = False
        wait_for(lambda: store.stats()["checkpoint_revision"] > 10)
        wait_for(lambda: store.stats()["background_error"] is None)
        assert store.checkpoint() == 20


def test_background_error_is_logged_once_while_it_is_the_same(
    tmp_path: Path, eager: StoreOptions, caplog: pytest.LogCaptureFixture
) -> None:
    reasons = iter(["not permitted"] * 3 + ["not permitted either"] * 3)
    met = []

    def hook(call: str, path: str) -> None:
        if call == "create" and ".ckpt" in path and (reason := next(reasons, None)):
            met.append(reason)
            raise PermissionError(1, reason, path)

    with open_store(tmp_path / "store", options=eager, file_system=HookedFileSystem(hook)) as store:
        add(store, 10)
        wait_for(lambda: store.stats()["checkpoint_revision"] == 10)
    logged = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert len(met) == 6
    assert ["either" in text for text in logged] == [False, True]


def test_close_ends_background_work_in_the_middle(tmp_path: Path, eager: StoreOptions) -> None:
    path = tmp_path / "store"
    store = open_store(path, options=eager)
    rounds = 0
    while rounds < 20 or not list((path / "checkpoints").glob("*.tmp")):
        assert rounds < 2000, "no checkpoint is ever seen while it is written"
        with store.transaction(writable=True) as tx:
            for row in range(300 if rounds < 20 else 1):
                open_account(tx, f"{rounds}-{row}")
        rounds += 1
    store.close()
    assert not list((path / "checkpoints").glob("*.tmp"))
    with open_store(path) as store:
        assert len(balances(store.transaction())) == 6000 + rounds - 20


def test_close_waits_for_commits_on_their_way(tmp_path: Path) -> None:
    def hook(call: str, path: str) -> None:
        if call == "sync" and path.endswith(".log"):
            time.sleep(0.003)

    for round_number in range(10):
        path = tmp_path / f"store-{round_number}"
        store = open_store(path, file_system=HookedFileSystem(hook))
        add(store, 1)
        acknowledged: list[int] = []
        errors: list[BaseException] = []
        used: EventStore = store

        def run(
            store: EventStore = used,
            acknowledged: list[int] = acknowledged,
            errors: list[BaseException] = errors,
        ) -> None:
            try:
                while True:
                    acknowledged += [receipt.revision for receipt in add(store, 1)]
            except StoreClosedError:
                pass
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.01)
        store.close()
        for thread in threads:
            thread.join()
        assert errors == []
        with open_store(path) as store:
            assert balance(store) == len(acknowledged) + 1


@pytest.mark.parametrize("work", ["checkpoint", "compact"])
def test_close_waits_for_maintenance_that_another_thread_asked_for(
    tmp_path: Path, work: str
) -> None:
    path = tmp_path / "store"
    started, go_on = threading.Event(), threading.Event()

    def hook(call: str, file: str) -> None:
        if call == "create" and ".ckpt" in file:
            started.set()
            assert go_on.wait(10)

    store = open_store(path, file_system=HookedFileSystem(hook))
    add(store, 5)
    errors: list[BaseException] = []

    def maintain() -> None:
        try:
            getattr(store, work)()
        except BaseException as error:
            errors.append(error)

    working = threading.Thread(target=maintain)
    working.start()
    assert started.wait(10)
    closing = threading.Thread(target=store.close)
    closing.start()
    time.sleep(0.05)
    # The lock must not be free while files are still being written.
    with pytest.raises(StoreLockedError):
        open_store(path)
    go_on.set()
    working.join()
    closing.join()
    assert errors == []
    with open_store(path) as store:
        assert store.recovery.checkpoint_revision == 5


def test_leaving_with_an_error_does_not_hide_it_behind_an_open_transaction(tmp_path: Path) -> None:
    store, other = open_store(tmp_path / "store"), open_store(tmp_path / "other")
    left = []

    def fail() -> None:
        with store:
            left.append(store.transaction(writable=True))
            open_account(left[-1], "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    def leave_open() -> None:
        with other:
            left.append(other.transaction(writable=True))
            left[-1].begin()

    with pytest.raises(WriterBusyError):
        leave_open()
    for tx in left:
        tx.rollback()
    for each in (store, other):
        each.close()


WRITE = """
import sys, threading
from support.engine import open_store
from support.ledger import deposit, open_account
from pathlib import Path
store = open_store(Path(sys.argv[1]))
lock = threading.Lock()
with store.transaction(writable=True) as tx:
    if tx.get("accounts", "a") is None:
        open_account(tx, "a")
        deposit(tx, "a", 0)
def run():
    while True:
        with store.transaction(writable=True) as tx:
            deposit(tx, "a", 1, "x" * 100)
        with lock:
            print(tx.receipt, flush=True)
threads = [threading.Thread(target=run) for _ in range(3)]
for thread in threads:
    thread.start()
while True:
    store.compact()
"""


def test_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for round_number in range(4):
        with run_python(WRITE, path) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(40 + 35 * round_number)]
            process.kill()
            whole = "".join(lines) + process.stdout.read()
        acknowledged = whole[: whole.rfind("\n")].splitlines()
        with open_store(path) as store:
            revision = store.transaction().revision
            digests = {batch.revision: batch.digest for batch in store.batches()}
            assert sorted(digests) == list(range(1, revision + 1))
            for line in acknowledged:
                _, number, digest = line.split(":")
                assert digests[int(number)].hex() == digest
            batches = store.batches()
            deposits = sum(event.data.get("amount", 0) for b in batches for event in b.events)
            assert balance(store) == deposits
            store.check()
            assert store.verify().is_sound


def test_failed_handle_is_told_from_a_closed_one(tmp_path: Path) -> None:
    def hook(call: str, path: str) -> None:
        if fail and call == "sync":
            raise OSError(5, "Input/output error")

    fail = False
    store = open_store(tmp_path / "store", file_system=HookedFileSystem(hook))
    fail = True
    with pytest.raises(StoreFailedError), store.transaction(writable=True) as tx:
        open_account(tx, "a")
    fail = False
    store.close()
    with pytest.raises(StoreClosedError):
        store.transaction(writable=True)
