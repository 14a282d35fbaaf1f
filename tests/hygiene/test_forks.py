"""Forks at bad moments, and children that end as children do: nothing of the parent's is harmed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, balance, open_store, run_python, tree
from support.ledger import deposit

from eventstore import (
    Event,
    EventStore,
    Projection,
    StoreClosedError,
    StoreLockedError,
    TableSpec,
    WritableTables,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CHILD_SECONDS = 20


def _run_in_child(work: Callable[[], None]) -> None:
    """Fork, run something in the child, and demand that it ends in time and without an error."""
    child = os.fork()
    if not child:
        signal.alarm(_CHILD_SECONDS)  # a child that hangs is killed
        code = 1
        try:
            work()
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def _require_refused(call: Callable[[], object]) -> None:
    try:
        call()
    except StoreClosedError:
        return
    raise AssertionError("the child could use the store")


def test_a_fork_amid_another_thread_s_transaction_neither_hangs_nor_writes(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 3)
        begun, may_end = threading.Event(), threading.Event()

        def work() -> None:
            with store.transaction(writable=True) as tx:
                deposit(tx, "a", 10)
                begun.set()
                may_end.wait()

        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        before = tree(path)

        def in_child() -> None:
            _require_refused(store.transaction)
            _require_refused(lambda: store.transaction(writable=True))
            _require_refused(store.checkpoint)
            store.close()

        _run_in_child(in_child)
        assert tree(path) == before
        may_end.set()
        thread.join()
        assert balance(store) == 13
    with open_store(path) as store:
        assert balance(store) == 13


def test_a_transaction_ends_in_the_child_though_other_threads_held_every_table(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        locked, may_end = threading.Event(), threading.Event()

        def hold_tables() -> None:
            # As a checkpoint's walk, or a commit, does for an instant.
            tables = store._state.tables.values()
            for table in tables:
                table._order._lock.acquire()
            locked.set()
            may_end.wait()
            for table in tables:
                table._order._lock.release()

        for end in ("commit", "rollback"):
            tx = store.transaction(writable=True)
            deposit(tx, "a", 10)
            thread = threading.Thread(target=hold_tables)
            thread.start()
            locked.wait()

            def in_child(tx=tx, end=end) -> None:  # type: ignore[no-untyped-def]
                if end == "commit":
                    _require_refused(tx.commit)
                tx.rollback()

            try:
                _run_in_child(in_child)
            finally:
                may_end.set()
                thread.join()
                locked.clear()
                may_end.clear()
            tx.rollback()
        assert balance(store) == 3


class Indexed(Projection):
    """Keeps rows with an index that gives all of them for None."""

    name = "indexed"
    version = 1
    tables = (TableSpec("rows", indexes={"all": lambda key, value: (None,)}),)

    def apply(self, event: Event, tables: WritableTables) -> None:
        tables["rows"].put(event.data, 1)


def test_a_reader_asks_an_index_in_the_child_though_another_thread_was_at_it(
    tmp_path: Path,
) -> None:
    with EventStore.open(tmp_path / "store", [Indexed()], options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", 5))
        reader = store.transaction()
        indexes = store._state.tables["rows"]._indexes
        assert indexes is not None
        locked, may_end = threading.Event(), threading.Event()

        def hold_index() -> None:
            with indexes._lock:
                locked.set()
                may_end.wait()

        def in_child() -> None:
            assert list(reader.by_index("rows", "all", None)) == [(5, 1)]

        thread = threading.Thread(target=hold_index)
        thread.start()
        locked.wait()
        try:
            _run_in_child(in_child)
        finally:
            may_end.set()
            thread.join()


def test_a_follower_can_not_be_used_in_the_child_either(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        with open_store(tmp_path / "store", read_only=True) as follower:
            _run_in_child(lambda: _require_refused(follower.transaction))
            add(store, 1)
            assert balance(follower) == 4


def test_a_store_that_was_closed_is_not_kept_for_later_forks(tmp_path: Path) -> None:
    for read_only in (False, True):
        store = open_store(tmp_path / "store", read_only=read_only)
        store.close()
        kept = weakref.ref(store)
        del store
        gc.collect()
        assert kept() is None


def test_with_blocks_that_are_left_in_the_child_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 3)
        before = tree(path)
        try:
            with store.transaction(writable=True) as tx:
                deposit(tx, "a", 10)
                child = os.fork()
                if child:
                    assert os.waitpid(child, 0)[1] == 0
                else:
                    signal.alarm(_CHILD_SECONDS)
        except StoreClosedError:
            # The child must not believe that its transaction was committed.
            os._exit(0 if child == 0 and tree(path) == before else 1)
        if child == 0:
            os._exit(2)
        assert balance(store) == 13
        add(store, 1)
    with open_store(path) as store:
        assert balance(store) == 14
        assert store.verify().is_sound


_FORK_AND_EXIT = """
import os, sys, threading, warnings
# Python 3.12 and later warn of every fork of a process with threads.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from pathlib import Path
from support.engine import add, balance, open_store, run_python
path = Path(sys.argv[1])
with open_store(path) as store:
    add(store, 100)
    reader = store.transaction()
    batches = store.batches()
    next(batches)
    child = os.fork()
    if child:
        # The child goes all the way out: with block, atexit, collection of everything it has.
        assert os.waitpid(child, 0)[1] == 0
        try:
            run_python("from support.engine import *; open_store(Path(sys.argv[1]))", path).wait()
        finally:
            add(store, 100)
if child:
    with open_store(path) as store:
        print(balance(store), store.recovery.verdict.value, store.verify().is_sound)
"""


def test_a_child_that_exits_in_the_usual_way_damages_nothing(tmp_path: Path) -> None:
    output, complaints = run_python(_FORK_AND_EXIT, tmp_path / "store").communicate()
    assert complaints == ""
    assert output == "200 clean True\n"


def _use_in_process(store: EventStore, results: multiprocessing.SimpleQueue[str]) -> None:
    for call in (store.transaction, store.stats, store.checkpoint):
        try:
            call()
        except StoreClosedError as error:
            results.put(type(error).__name__)
    with store:
        results.put("entered")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_multiprocessing_is_refused_and_its_exit_keeps_the_parent_s_lock(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    context = multiprocessing.get_context("fork")
    with open_store(path) as store:
        add(store, 3)
        results = context.SimpleQueue()
        process = context.Process(target=_use_in_process, args=(store, results))
        process.start()
        process.join(_CHILD_SECONDS)
        assert process.exitcode == 0
        assert [results.get() for _ in range(4)] == [*["StoreClosedError"] * 3, "entered"]
        with pytest.raises(StoreLockedError):
            open_store(path)
        output, _ = run_python(
            "import sys; from pathlib import Path; from support.engine import open_store\n"
            "try: open_store(Path(sys.argv[1]))\n"
            "except Exception as error: print(type(error).__name__)",
            path,
        ).communicate()
        assert output == "StoreLockedError\n"
        add(store, 1)
        assert balance(store) == 4
        results.close()


def test_a_fork_during_commits_of_many_threads_harms_none(tmp_path: Path) -> None:
    path = tmp_path / "store"
    stop = threading.Event()
    with open_store(path) as store:
        add(store, 1)

        def commit() -> None:
            while not stop.is_set():
                add(store, 1)

        def compact() -> None:
            while not stop.is_set():
                store.compact()

        threads = [threading.Thread(target=work) for work in (commit, commit, commit, compact)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                _run_in_child(lambda: _require_refused(store.transaction))
                time.sleep(0.005)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        committed = balance(store)
        assert committed == store.stats()["durable_revision"]
    with open_store(path) as store:
        assert balance(store) == committed
        assert store.verify().is_sound


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_program_that_is_executed_inherits_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 200)
        store.compact()
        with open_store(path, read_only=True) as follower:
            assert balance(follower) == 200
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                os.dup2(writing, 1)
                os.execv("/bin/ls", ["ls", "-l", "/proc/self/fd/"])
            os.close(writing)
            assert os.waitpid(child, 0)[1] == 0
            with os.fdopen(reading) as pipe:
                listing = pipe.read()
    assert "/proc/" in listing
    assert str(path) not in listing
