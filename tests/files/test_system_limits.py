"""Where a process may open no more files, or write no longer ones, the engine's error says so."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, balance, open_store
from support.ledger import Ledger, Totals

from eventstore import StoreFailedError, SystemLimitError, verify_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eventstore import EventStore

NO_MORE_FILES = "as many files open as it may: close some, or raise the limit"


@contextlib.contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    highest = max(map(int, os.listdir("/proc/self/fd")))
    taken: list[int] = []
    with contextlib.ExitStack() as given_back, limited(resource.RLIMIT_NOFILE, highest + 1):
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
                given_back.callback(os.close, taken[-1])
        yield


CALLS: dict[str, Callable[[EventStore], object]] = {
    "open": lambda store: open_store(store.path),  # type: ignore[arg-type]
    "follow": lambda store: open_store(store.path, read_only=True),  # type: ignore[arg-type]
    "stats": lambda store: store.stats(),
    "verify": lambda store: store.verify(),
    "verify_store": lambda store: verify_store(store.path, [Ledger(), Totals()]),
    "batches": lambda store: list(store.batches()),
    "at": lambda store: store.at(3),
    "checkpoint": lambda store: store.checkpoint(),
    "compact": lambda store: store.compact(),
}


@pytest.mark.parametrize("call", CALLS)
def test_call_without_a_descriptor_left_says_that_and_loses_nothing(
    tmp_path: Path, call: str
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 5)
        with no_descriptors(), pytest.raises(SystemLimitError, match=NO_MORE_FILES):
            CALLS[call](store)
        add(store, 1)
        if call not in ("open", "follow"):
            CALLS[call](store)
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 6


def test_store_is_made_once_there_are_descriptors_again(tmp_path: Path) -> None:
    with no_descriptors(), pytest.raises(SystemLimitError, match=NO_MORE_FILES):
        open_store(tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        add(store)


@pytest.mark.parametrize("limit", ["descriptors", "file size"])
def test_handle_whose_next_segment_meets_a_limit_has_failed_and_a_reopen_goes_on(
    tmp_path: Path, limit: str
) -> None:
    segment_bytes = SMALL.segment_bytes
    limits = (
        no_descriptors()
        if limit == "descriptors"
        else limited(resource.RLIMIT_FSIZE, segment_bytes // 2)
    )
    with open_store(tmp_path / "store") as store:
        add(store)
        with limits, pytest.raises(StoreFailedError, match="raise the limit"):
            add(store, 200)
        with pytest.raises(StoreFailedError, match="raise the limit"):
            add(store)
        durable = store.stats()["durable_revision"]
        assert balance(store) == durable
    with open_store(tmp_path / "store") as store:
        assert balance(store) >= durable
        add(store)


def test_checkpoint_longer_than_a_file_may_be_says_that_and_is_written_later(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 5)
        with limited(resource.RLIMIT_FSIZE, 100), pytest.raises(SystemLimitError, match="longer"):
            store.checkpoint()
        assert store.checkpoint() == 5
        add(store)


def test_lock_file_longer_than_a_file_may_be_says_that_and_the_store_is_as_it_was(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 5)
    with limited(resource.RLIMIT_FSIZE, 0), pytest.raises(SystemLimitError, match="LOCK: the"):
        open_store(tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 5
