"""A watch is woken by a commit of this process or another one, loses nothing, and can be ended."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engine import add, open_store

from eventstore import EventStoreError
from eventstore.files.local import local_file_system

if TYPE_CHECKING:
    from eventstore import EventStore

BLOCK_BYTES = 40
PATIENCE_SECONDS = 20.0
COMMITTER = """
import sys, time
sys.path[:0] = [{tests!r}]
from support.engine import add, open_store
with open_store({path!r}) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range({count}):
        time.sleep(0.02)
        add(store)
    sys.stdin.readline()
"""


def delays_ns(store: EventStore, count: int) -> list[int]:
    """Return how long after its own time each of some batches came; that includes its sync."""
    found = []
    for batch in store.watch(1, timeout=20):
        found.append(time.time_ns() - batch.time_ns)
        if batch.revision == count:
            break
    return found


def test_a_commit_of_another_process_wakes_a_watch_within_milliseconds(tmp_path: Path) -> None:
    path, count = tmp_path / "store", 40
    script = COMMITTER.format(
        tests=str(Path(__file__).parent.parent.parent), path=str(path), count=count
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as committer:
        assert committer.stdin is not None
        assert committer.stdout is not None
        assert committer.stdout.readline() == "ready\n"
        with open_store(path, read_only=True) as follower:
            committer.stdin.write("go\n")
            committer.stdin.flush()
            found = delays_ns(follower, count)
        committer.stdin.write("end\n")
        committer.stdin.flush()
    assert len(found) == count
    # Polling took 100 ms; a busy machine, and the sync, take some of this.
    assert statistics.median(found) < 60_000_000


def test_watchers_of_one_process_are_woken_and_miss_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        seen: list[list[int]] = [[], [], []]

        def watch(into: list[int]) -> None:
            for batch in store.watch(1, timeout=10):
                into.append(batch.revision)
                if batch.revision == 60:
                    return

        threads = [threading.Thread(target=watch, args=(into,)) for into in seen]
        for thread in threads:
            thread.start()
        add(store, 60)
        for thread in threads:
            thread.join()
        assert seen == [list(range(1, 61))] * 3


def test_a_watch_goes_on_where_another_one_ended(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 5)
        watch = store.watch(1, timeout=0)
        assert [next(watch).revision for _ in range(2)] == [1, 2]
        with store.watch(watch.next_revision, timeout=0) as again:
            assert [batch.revision for batch in again] == [3, 4, 5]


def test_closing_a_watch_ends_whoever_waits_for_it(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        watch = store.watch(1)
        ended = threading.Event()

        def wait() -> None:
            assert list(watch) == []
            ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        watch.close()
        assert ended.wait(5)
        thread.join()
        add(store)
        assert list(watch) == []


@pytest.mark.parametrize("read_only", [False, True])
def test_an_event_loop_goes_on_while_it_watches(tmp_path: Path, read_only: bool) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 2)
        watched = open_store(tmp_path / "store", read_only=True) if read_only else store

        async def watch() -> list[int]:
            found = []
            async for batch in watched.watch(1, timeout=10):
                found.append(batch.revision)
                if batch.revision == 6:
                    break
            return found

        async def both() -> list[int]:
            task = asyncio.create_task(watch())
            for _ in range(4):
                await asyncio.sleep(0.02)
                add(store)
            return await task

        assert asyncio.run(both()) == [1, 2, 3, 4, 5, 6]
        watched.close()


def test_a_cancelled_wait_loses_no_batch(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:

        async def watch() -> list[int]:
            watch = store.watch(1)
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(watch), 0.01)
            add(store, 3)
            found = [(await anext(watch)).revision for _ in range(3)]
            watch.close()
            with pytest.raises(StopAsyncIteration):
                await anext(watch)
            return found

        assert asyncio.run(watch()) == [1, 2, 3]


def test_an_asynchronous_watch_ends_after_its_timeout(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store)

        async def watch() -> list[int]:
            return [batch.revision async for batch in store.watch(1, timeout=0.05)]

        assert asyncio.run(watch()) == [1]


def test_an_error_of_a_watch_is_raised_and_the_next_call_tries_again(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store)
        watch = store.watch(1, timeout=0)
        shown = watch._shown_revision

        def fail() -> int:
            raise EventStoreError("not now")

        watch._shown_revision = fail
        with pytest.raises(EventStoreError, match="not now"):
            next(watch)
        watch._shown_revision = shown
        assert next(watch).revision == 1


def test_a_store_into_a_shared_block_wakes_who_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "block"
    path.write_bytes(bytes(BLOCK_BYTES))
    block = local_file_system().share(str(path), BLOCK_BYTES, writable=True)
    known = block.load()
    waits: list[float] = []

    def wait() -> None:
        start = time.monotonic()
        block.wait(known, PATIENCE_SECONDS)
        waits.append(time.monotonic() - start)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)  # it most likely waits by now; where not yet, it finds another word
    block.store(b"\1" * BLOCK_BYTES)
    thread.join()
    block.close()
    assert waits[0] < PATIENCE_SECONDS / 2
