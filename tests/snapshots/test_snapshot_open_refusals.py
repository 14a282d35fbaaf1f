"""Opening what is not a store, not this release's, or not free: a clear error, nothing touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import OPTIONS, content, content_of, create_committed, files_of

from eventstore import (
    EventStoreError,
    FormatVersionError,
    NotAStoreError,
    ReadOnlyStoreError,
    StoreLockedError,
)
from eventstore.format.blocks import seal_block
from eventstore.format.checkpoint import CHECKPOINT_VERSION
from eventstore.format.segment import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_VERSION,
    WRITTEN_VERSION,
)
from projections.snapshots import MetaStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.snapshots import OpenStore

HOLDER = """
import sys, time
from projections.snapshots import Kind, MetaStore
with MetaStore.open(sys.argv[1]) as store:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "held")
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open until a line is written to it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def assert_refused(path: Path, error: type[EventStoreError], match: str, **arguments: Any) -> None:
    before = files_of(path.parent)
    with pytest.raises(error, match=match) as caught:
        MetaStore.open(path, **{"options": OPTIONS, **arguments})
    assert type(caught.value) is error
    assert str(path) in str(caught.value), "says where"
    assert files_of(path.parent) == before


@pytest.mark.parametrize("read_only", [False, True])
def test_file_is_no_store(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "file").write_text("a file")
    assert_refused(tmp_path / "file", NotAStoreError, "not a directory", read_only=read_only)


def test_path_below_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    path = tmp_path / "file" / "store"
    assert_refused(path, NotAStoreError, "no store", read_only=True)
    with pytest.raises(NotAStoreError, match=f"^{re.escape(str(path))}: .*not a directory"):
        MetaStore.open(path, options=OPTIONS)


@pytest.mark.parametrize("read_only", [False, True])
def test_directory_of_something_else_is_no_store(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    assert_refused(tmp_path / "home", NotAStoreError, r"letter\.txt", read_only=read_only)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("made", [False, True], ids=["nothing", "empty directory"])
def test_reading_where_there_is_no_store_makes_none(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "store").mkdir()
    assert_refused(tmp_path / "store", NotAStoreError, "no store", read_only=True)
    assert (tmp_path / "store").exists() is made
    assert not made or not any((tmp_path / "store").iterdir())


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("part", "written", "version"),
    [
        ("wal", WRITTEN_VERSION, SEGMENT_VERSION),
        ("checkpoints", CHECKPOINT_VERSION, CHECKPOINT_VERSION),
    ],
)
def test_newer_format_is_refused_untouched(
    open_store: OpenStore, tmp_path: Path, part: str, written: int, version: int, read_only: bool
) -> None:
    with open_store() as store:
        with store.transaction(writable=True) as tx:
            create_committed(tx, "base")
        store.checkpoint()
    [file] = [path for path in (tmp_path / "store" / part).iterdir() if "spare" not in path.name]
    data = file.read_bytes()
    # Magic, version, and in a checkpoint the length of the header.
    assert int.from_bytes(data[8:12], "little") == written
    size = SEGMENT_HEADER_BYTES if part == "wal" else int.from_bytes(data[12:16], "little")
    newer = seal_block(data[:8] + bytes([version + 1]) + data[9 : size - 4], size)
    file.write_bytes(newer + data[size:])
    before = files_of(tmp_path)
    with pytest.raises(
        FormatVersionError, match=rf"version {version + 1} is newer than {version}, .*later one"
    ) as caught:
        MetaStore.open(tmp_path / "store", options=OPTIONS, read_only=read_only)
    assert caught.value.path == str(file)
    assert files_of(tmp_path) == before


def test_held_store_names_the_process_that_holds_it(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert_refused(tmp_path / "store", StoreLockedError, f"process {holder.pid} on .* since 20")


def test_lock_timeout_bounds_the_wait(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    began = time.monotonic()
    assert_refused(tmp_path / "store", StoreLockedError, f"process {holder.pid} ", lock_timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 5


def test_lock_timeout_waits_for_the_holder_to_go(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    with MetaStore.open(tmp_path / "store", lock_timeout=10) as store:
        assert content_of(store)[1] == {"1": "held"}


def test_killed_holder_leaves_nothing_in_the_way(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.kill()
    holder.wait()
    with MetaStore.open(tmp_path / "store") as store:
        assert content_of(store)[1] == {"1": "held"}


def test_held_store_may_be_followed(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "store", read_only=True) as follower:
        assert content_of(follower)[1] == {"1": "held"}


def test_second_handle_of_this_process_is_refused(store: MetaStore, tmp_path: Path) -> None:
    before = content_of(store)
    assert_refused(tmp_path / "store", StoreLockedError, f"process {os.getpid()} on ")
    with store.transaction(writable=True) as tx:
        assert content(tx) == before
        create_committed(tx, "base")


@pytest.mark.parametrize(
    "use",
    [
        lambda follower: follower.transaction(writable=True),
        lambda follower: follower.transaction_context(writable=True).__enter__(),
        lambda follower: follower.checkpoint(),
        lambda follower: follower.compact(),
    ],
    ids=["transaction", "transaction_context", "checkpoint", "compact"],
)
def test_follower_refuses_to_write(
    store: MetaStore, open_store: OpenStore, tmp_path: Path, use: Any
) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base")
    follower = open_store(read_only=True)
    before = files_of(tmp_path)
    with pytest.raises(ReadOnlyStoreError, match=r"store: .* open it without read_only"):
        use(follower)
    assert files_of(tmp_path) == before
