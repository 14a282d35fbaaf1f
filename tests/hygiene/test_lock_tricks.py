"""The lock holds against whatever is done to the lock file while a store is open."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import re
import shutil
import socket
import stat
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, balance, open_store, run_python, tree
from support.ledger import Ledger

from eventstore import (
    EventStore,
    NotAStoreError,
    Retention,
    StoreExistsError,
    StoreFailedError,
    StoreLockedError,
    StoreOptions,
)
from eventstore.files.forwarding import ForwardingFileSystem
from eventstore.files.local import LocalFileSystem
from eventstore.maintenance import background

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OPEN = """
import sys
from pathlib import Path
from support.engine import open_store
try:
    open_store(Path(sys.argv[1]))
except BaseException as error:
    print(type(error).__name__, error)
else:
    print("opened")
"""


def _open_elsewhere(path: Path) -> str:
    """Return what another process meets when it opens the store."""
    output, complaints = run_python(_OPEN, path).communicate()
    assert not complaints
    return output


def _move_away(path: Path) -> None:
    path.rename(path.parent / "moved")


def _remove_content(path: Path) -> None:
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _works_on_files(store: EventStore) -> list[Callable[[], object]]:
    return [
        store.checkpoint,
        store.compact,
        store.verify,
        store.oldest_revision,
        store.tree_head,
        lambda: store.at(1),
        lambda: [*store.batches()],
        lambda: [*store.watch(1, timeout=0)],
    ]


def _delete(lock: Path) -> None:
    lock.unlink()


def _rename(lock: Path) -> None:
    lock.rename(lock.parent.parent / "LOCK.old")


def _replace_by_a_copy(lock: Path) -> None:
    copy = lock.parent.parent / "LOCK.copy"
    shutil.copy(lock, copy)
    copy.rename(lock)


def _empty(lock: Path) -> None:
    lock.write_bytes(b"")


@pytest.mark.parametrize("trick", [_delete, _rename, _replace_by_a_copy, _empty])
def test_no_second_writer_gets_in_whatever_becomes_of_the_lock_file(
    tmp_path: Path, trick: Callable[[Path], None]
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 3)
        trick(path / "LOCK")
        with pytest.raises(StoreLockedError):
            open_store(path)
        # The first try may have made a new lock file; a second one changes nothing.
        assert _open_elsewhere(path).startswith("StoreLockedError")
        add(store, 1)
    assert _open_elsewhere(path) == "opened\n"
    with open_store(path) as store:
        assert balance(store) == 4


def test_the_lock_goes_with_a_store_that_is_renamed_while_it_is_open(tmp_path: Path) -> None:
    path, moved = tmp_path / "store", tmp_path / "moved"
    with open_store(path) as store:
        path.rename(moved)
        assert _open_elsewhere(moved).startswith("StoreLockedError")
        moved.rename(path)
        add(store, 1)
    assert _open_elsewhere(path) == "opened\n"


def test_a_new_store_in_the_place_of_one_that_is_open_is_another_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 1)
        path.rename(tmp_path / "moved")
        with open_store(path) as other:
            assert other.store_id != store.store_id
            assert balance(other) == 0


@pytest.mark.parametrize("retention", [Retention.keep_all(), Retention.none()])
def test_a_store_that_is_moved_while_open_touches_nothing_at_its_old_path(
    tmp_path: Path, retention: Retention
) -> None:
    path, moved = tmp_path / "store", tmp_path / "moved"
    options = dataclasses.replace(SMALL, retention=retention)
    store = open_store(path, options=options)
    receipts = add(store, 80)

    def commit_until_it_fails() -> None:
        while True:
            receipts.extend(add(store, 1))

    path.rename(moved)
    with open_store(path, options=options) as other:
        for _ in range(3):
            add(other, 80)
            other.checkpoint()
        before = tree(path)
        with pytest.raises(StoreFailedError, match="moved while it was open"):
            commit_until_it_fails()
        for work in _works_on_files(store):
            with pytest.raises(StoreFailedError, match="moved while it was open"):
                work()
        store.close()
        assert tree(path) == before
    with open_store(path) as other:
        assert balance(other) == 240
        assert other.verify().is_sound
    with open_store(moved) as store:
        assert balance(store) >= len(receipts) > 80
        assert store.verify().is_sound


_GONE = pytest.mark.parametrize(
    ("go", "words"),
    [
        (shutil.rmtree, "removed while it was open, and all that was acknowledged with it"),
        (_move_away, "moved while it was open, to .*/moved, and what was acknowledged is there"),
        (_remove_content, "removed while it was open, and all that was acknowledged with it"),
    ],
    ids=["removed", "moved", "emptied"],
)


@_GONE
def test_a_handle_whose_store_has_gone_soon_acknowledges_nothing_more_and_says_so(
    tmp_path: Path,
    go: Callable[[Path], object],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.02)
    path = tmp_path / "store"
    store = open_store(path, options=StoreOptions())
    add(store, 1)
    stop_at = time.monotonic() + 20

    def commit_until_it_fails() -> None:
        while time.monotonic() < stop_at:
            add(store, 1)

    go(path)
    with pytest.raises(StoreFailedError, match=words):
        commit_until_it_fails()
    acknowledged = balance(store)
    stats = store.stats()
    assert re.search(words, stats["failed"])
    assert stats["durable_revision"] == store.transaction().revision
    assert stats["segment_bytes"] is None
    assert stats["background_error"] is None
    with pytest.raises(StoreFailedError, match=f"{re.escape(str(path))}: .*{words}"):
        add(store, 1)
    assert balance(store) == acknowledged
    store.close()
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [re.search(words, record.getMessage()) is not None for record in told] == [True]


@pytest.mark.parametrize(
    ("go", "words"),
    [(shutil.rmtree, "removed while it was open"), (_move_away, "moved while it was open, to")],
    ids=["removed", "moved"],
)
@pytest.mark.parametrize("number", range(8))
def test_whatever_finds_that_the_store_has_gone_fails_the_handle(
    tmp_path: Path, go: Callable[[Path], object], words: str, number: int
) -> None:
    path = tmp_path / "store"
    store = open_store(path)
    add(store, 3)
    work = _works_on_files(store)[number]
    go(path)
    with pytest.raises(StoreFailedError, match=words):
        work()
    with pytest.raises(StoreFailedError, match=words):
        add(store, 1)
    assert balance(store) == 3
    store.close()


def test_the_thread_that_prepares_segments_fails_the_handle_of_a_store_that_has_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    segment_bytes = 1 << 20
    store = open_store(path, options=dataclasses.replace(SMALL, segment_bytes=segment_bytes))

    def commit_until_it_fails() -> None:
        while True:
            add(store, 1, note="n" * 8192)
            time.sleep(0.005)

    shutil.rmtree(path)
    with pytest.raises(StoreFailedError, match="removed while it was open"):
        commit_until_it_fails()
    # In the last quarter a commit looks itself whether there are spares.
    assert segment_bytes / 2 < store.stats()["appended_bytes"] < segment_bytes * 0.7
    store.close()


def test_a_copy_of_an_open_store_is_not_held(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        shutil.copytree(tmp_path / "store", tmp_path / "copy")
        with open_store(tmp_path / "copy") as copy:
            assert balance(copy) == 3


def test_the_refusal_names_the_holder(tmp_path: Path) -> None:
    with open_store(tmp_path / "store"):
        holder = json.loads((tmp_path / "store" / "LOCK").read_text())
        assert holder["pid"] == os.getpid()
        with pytest.raises(StoreLockedError, match=f"process {os.getpid()} on"):
            open_store(tmp_path / "store")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 1_000_000,
        b'{"pid": ' + b"[" * 3000,
        b'{"pid": 1, "host": ["a"], "since": "now"}',
        b'{"pid": true, "host": "a", "since": "now"}',
        b'{"pid": -5, "host": "a", "since": "now"}',
        b'{"pid": 1e999, "host": "a", "since": "now"}',
        b'{"pid": 1, "host": "' + b"a" * 300 + b'", "since": "now"}',
        b'{"pid": 1, "host": "a\\u001b[31m", "since": "now"}',
        b'{"pid": ' + b"9" * 4000,
        b"\xff\xfe",
        b"",
    ],
    ids=range(11),
)
def test_a_lock_file_with_anything_in_it_names_nobody(tmp_path: Path, content: bytes) -> None:
    with open_store(tmp_path):
        (tmp_path / "LOCK").write_bytes(content)
        with pytest.raises(StoreLockedError, match="another process, whose name is not"):
            open_store(tmp_path)


def test_of_a_lock_file_of_any_size_only_the_start_is_read(tmp_path: Path) -> None:
    with open_store(tmp_path):
        os.truncate(tmp_path / "LOCK", 4 << 30)
        tracemalloc.start()
        try:
            with pytest.raises(StoreLockedError, match="another process, whose name is not"):
                open_store(tmp_path)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 1 << 20


def test_a_lock_file_that_is_no_file_names_nobody(tmp_path: Path) -> None:
    for make in (os.mkdir, os.mkfifo):
        path = tmp_path / make.__name__
        with open_store(path):
            (path / "LOCK").unlink()
            make(path / "LOCK")
            with pytest.raises(StoreLockedError, match="another process, whose name is not"):
                open_store(path)


def test_an_open_that_is_interrupted_at_its_end_lets_go_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    open_store(tmp_path / "store").close()
    with monkeypatch.context() as patch:
        patch.setattr(ForwardingFileSystem, "call_in_forked_child", interrupted)
        with pytest.raises(KeyboardInterrupt) as kept:
            open_store(tmp_path / "store")
    open_store(tmp_path / "store").close()
    assert kept.tb is not None  # which holds all that the open has made


def test_a_handle_that_nobody_has_lets_go_of_the_store(tmp_path: Path) -> None:
    with pytest.warns(ResourceWarning, match="dropped without a close"):
        open_store(tmp_path / "store")
    gc.collect()
    open_store(tmp_path / "store").close()


def _bind(path: Path) -> None:
    above = os.getcwd()
    os.chdir(path.parent)  # a socket's path has no more than 107 bytes
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(path.name)
    os.chdir(above)


def _make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 250))
    except PermissionError:
        pytest.skip("needs root")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, _bind, _make_device])
def test_what_is_no_lock_file_is_named_and_left(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 1)
    (path / "LOCK").unlink()
    make(path / "LOCK")
    for read_only in (False, True):
        with pytest.raises(
            NotAStoreError, match=r"LOCK: a store's lock must be a regular file.*move it elsewhere"
        ):
            open_store(path, read_only=read_only)
    place = tmp_path / "place"
    place.mkdir()
    make(place / "LOCK")
    with (
        pytest.raises(StoreExistsError, match="'LOCK'"),
        EventStore.create(place, [Ledger()], purpose="a test"),
    ):
        pass
    assert not (path / "LOCK").is_file()
    (path / "LOCK").rmdir() if (path / "LOCK").is_dir() else (path / "LOCK").unlink()
    with open_store(path) as store:
        assert balance(store) == 1


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, _bind, _make_device])
def test_no_holder_describes_itself_to_what_takes_the_place_of_a_lock_file_amid_an_open(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "LOCK")
    described: list[bytes] = []

    def describe() -> bytes:
        described.append(b"the holder")
        return described[-1]

    files = LocalFileSystem()
    with pytest.raises(OSError, match="the lock file is no regular file"):
        files.lock(str(tmp_path / "LOCK"), describe)
    assert described == []
    (tmp_path / "LOCK").rmdir() if (tmp_path / "LOCK").is_dir() else (tmp_path / "LOCK").unlink()
    lock = files.lock(str(tmp_path / "LOCK"), describe)
    assert not isinstance(lock, bytes)
    lock.release()


def test_a_second_handle_is_told_that_the_first_one_is_of_its_own_process(tmp_path: Path) -> None:
    with (
        open_store(tmp_path),
        pytest.raises(
            StoreLockedError, match=rf"another handle of this process \(process {os.getpid()} on"
        ),
    ):
        open_store(tmp_path)
    with open_store(tmp_path):
        told = _open_elsewhere(tmp_path)
    assert f"held by process {os.getpid()} on" in told
