"""Below the seam: short transfers and interrupts of the operating system's calls.

The engine is promised that a read or a write is whole or raises, so `LocalFile` has to finish
what the system has cut short.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.crash import LEDGER, pay
from support.ledger import balances, open_account

from eventstore import EventStore, StoreFailedError
from eventstore.files import handles
from eventstore.files.local import local_file_system
from eventstore.testing import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REAL_PWRITE, REAL_PREAD = os.pwrite, os.pread


class System:
    """The `os` module as `local` sees it, with transfers of a few bytes each."""

    def __init__(self, write_bytes: int, read_bytes: int) -> None:
        self.write_bytes = write_bytes
        self.read_bytes = read_bytes
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        self.calls += 1
        return REAL_PWRITE(descriptor, memoryview(data)[: self.write_bytes], offset)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self.calls += 1
        return REAL_PREAD(descriptor, min(size, self.read_bytes), offset)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    system = System(7, 11)
    monkeypatch.setattr(handles, "os", system)
    return system


def test_short_writes_and_reads_are_continued(system: System, tmp_path: Path) -> None:
    data = bytes(range(256)) * 3
    file = local_file_system().create(str(tmp_path / "a"))
    file.write(5, data)
    assert file.read(5, len(data)) == data
    assert file.read(5, len(data) + 100) == data
    assert system.calls > len(data) // 7
    file.close()


def test_whole_store_works_over_short_transfers(system: System, tmp_path: Path) -> None:
    options = SMALL
    for round_number in range(2):
        with EventStore.open(tmp_path / "store", LEDGER, options=options) as store:
            if not round_number:
                with store.transaction(writable=True) as tx:
                    open_account(tx, "a")
            for _ in range(3):
                pay(store, "a", 1, 1500)
            store.compact()
            assert store.verify().is_sound
            with store.transaction() as tx:
                assert balances(tx) == {"a": 3 * (round_number + 1)}
    assert system.calls > 1000


def test_file_that_takes_no_more_bytes_is_an_error_and_not_an_endless_loop(
    system: System, tmp_path: Path
) -> None:
    file = local_file_system().create(str(tmp_path / "a"))
    system.write_bytes = 0
    with pytest.raises(OSError, match="takes no more bytes") as caught:
        file.write(0, b"abc")
    assert caught.value.errno == errno.EIO
    file.close()


def test_file_that_ends_inside_a_read_gives_what_there_is(system: System, tmp_path: Path) -> None:
    file = local_file_system().create(str(tmp_path / "a"))
    file.write(0, b"x" * 30)
    assert file.read(20, 100) == b"x" * 10
    assert file.read(30, 100) == b""
    file.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EINTR])
def test_write_that_fails_after_a_short_one_fails_the_handle_and_loses_nothing(
    code: int, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventStore.open(tmp_path / "store", LEDGER, options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        pay(store, "a", 1)
        written = []

        def fail_at_the_third(descriptor: int, data: Any, offset: int) -> int:
            written.append(offset)
            if len(written) == 3:
                raise OSError(code, os.strerror(code))
            return REAL_PWRITE(descriptor, memoryview(data)[:20], offset)

        monkeypatch.setattr(system, "pwrite", fail_at_the_third, raising=False)
        with pytest.raises(StoreFailedError):
            pay(store, "a", 10, 500)
        monkeypatch.undo()
        with pytest.raises(StoreFailedError):
            pay(store, "a", 10)
    with EventStore.open(tmp_path / "store", LEDGER, options=SMALL) as store:
        assert store.recovery.torn_tail is not None
        with store.transaction() as reader:
            assert balances(reader) == {"a": 1}


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """Have signals arrive all the time, with a handler that returns."""
    seen: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    yield seen
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_signals_do_not_disturb_a_store(signals: list[int], tmp_path: Path) -> None:
    with EventStore.open(tmp_path / "store", LEDGER, options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        for _ in range(40):
            pay(store, "a", 1, 900)
        store.compact()
        assert store.verify().is_sound
    assert len(signals) > 3
