"""What is half made is no store, for anybody; only who makes it, or makes it again, removes it."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, HookedFileSystem, add, balance, open_store, run_python, tree
from support.ledger import Ledger, Totals, deposit

from eventstore import (
    EventStore,
    NotAStoreError,
    StorageFullError,
    StoreClosedError,
    StoreExistsError,
    StoreFailedError,
    StoreLockedError,
    StoreOptions,
    repair_store,
    verify_store,
)
from eventstore.directory.making import making
from eventstore.files.local import local_file_system
from eventstore.testing import SimulatedFileSystem
from eventstore.testing.faults import FailCall, Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from eventstore import FileSystem

PATH = "/place/store"


def create(
    path: Path | str, file_system: FileSystem | None = None
) -> AbstractContextManager[EventStore]:
    return EventStore.create(
        path,
        [Ledger(), Totals()],
        purpose="import of a file",
        options=SMALL,
        file_system=file_system,
    )


def open_at(file_system: SimulatedFileSystem, *, read_only: bool = False) -> EventStore:
    projections = [Ledger(), Totals()]
    return EventStore.open(
        PATH, projections, read_only=read_only, options=SMALL, file_system=file_system
    )


def fill(path: Path | str, file_system: FileSystem | None = None) -> None:
    with create(path, file_system) as store:
        add(store, 30)
        store.checkpoint()
        add(store, 30)
        store.compact()
        add(store, 1)


def new_disk() -> SimulatedFileSystem:
    file_system = SimulatedFileSystem()
    file_system.make_directory("/place")
    file_system.sync_directory("/")
    return file_system


def test_what_a_block_has_made_is_a_store_once_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "above" / "store"
    with create(path) as store:
        add(store, 5)
        assert balance(store) == 5
        assert store.verify().is_sound
        with pytest.raises(NotAStoreError, match="import of a file is under way here"):
            open_store(path, read_only=True)
        with pytest.raises(NotAStoreError, match="import of a file is under way here"):
            verify_store(path, [])
        with pytest.raises(NotAStoreError, match="import of a file is under way here"):
            repair_store(path, tmp_path / "repaired", [])
        with pytest.raises(StoreLockedError):
            open_store(path)
        with pytest.raises(StoreLockedError), create(path):
            pass
    with pytest.raises(StoreClosedError):
        store.transaction()
    with open_store(path) as store:
        assert balance(store) == 5
        assert store.recovery.revision == 5


def test_an_error_in_the_block_leaves_the_place_as_it_was(tmp_path: Path) -> None:
    for is_there in (False, True):
        if is_there:
            (tmp_path / "store").mkdir(0o700)
        before = tree(tmp_path)
        with pytest.raises(ZeroDivisionError):
            _fail_late(tmp_path / "store")
        left = tree(tmp_path)
        left.pop("store/LOCK", None)
        assert left == before
    fill(tmp_path / "store")


def test_a_transaction_left_open_in_a_failed_block_changes_nothing_afterwards(
    tmp_path: Path,
) -> None:
    left = []

    def fail() -> None:
        with create(tmp_path / "store") as store:
            add(store, 1)
            tx = store.transaction(writable=True)
            deposit(tx, "a", 1)
            left.append((store, tx))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    [(store, tx)] = left
    tx.rollback()
    with pytest.raises(OSError, match="no longer held"):
        store.checkpoint()
    assert not (tmp_path / "store").exists()
    store.close()


@pytest.mark.parametrize("name", ["notes.txt", "wal/notes.txt", "checkpoints/dir.tmp/"])
def test_what_is_not_a_store_s_is_neither_built_upon_nor_removed(tmp_path: Path, name: str) -> None:
    for has_mark in (False, True):
        path = tmp_path / str(has_mark)
        (path / name).parent.mkdir(parents=True)
        if name.endswith("/"):
            (path / name).mkdir()
        else:
            (path / name).write_text("precious")
        if has_mark:
            (path / "MAKING").write_text("import of another file")
            (path / "wal").mkdir(exist_ok=True)
            (path / "wal" / f"{1:020}.log").write_text("half a segment")
        before = tree(path)
        with pytest.raises(StoreExistsError, match=name.rstrip("/")), create(path):
            pass
        assert tree(path) == before


def test_a_store_is_not_built_upon_and_not_touched(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        add(store, 3)
        with pytest.raises(StoreExistsError, match="a store is there"), create(tmp_path):
            pass
    before = tree(tmp_path), (tmp_path / "LOCK").read_bytes()
    with pytest.raises(StoreExistsError, match="a store is there"), create(tmp_path):
        pass
    assert (tree(tmp_path), (tmp_path / "LOCK").read_bytes()) == before


def test_a_store_that_is_made_just_before_the_lock_is_taken_stays(tmp_path: Path) -> None:
    path = tmp_path / "store"
    made: list[str] = []

    def hook(call: str, _: str) -> None:
        if call == "lock" and not made:
            made.append(call)
            with open_store(path) as store:
                add(store, 3)

    with pytest.raises(StoreExistsError), create(path, HookedFileSystem(hook)):
        pass
    with open_store(path) as store:
        assert balance(store) == 3


def test_a_link_to_an_empty_directory_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(StoreExistsError, match="link"), create(tmp_path / "link"):
        pass
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0" * 100, b"[" * 100_000, b"a\nb\x1b[31m"])
def test_a_mark_is_a_mark_whatever_is_in_it(tmp_path: Path, content: bytes) -> None:
    with open_store(tmp_path) as store:
        add(store, 3)
    (tmp_path / "MAKING").write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(NotAStoreError, match="cut short") as refusal:
            open_store(tmp_path, read_only=read_only)
        assert len(str(refusal.value)) < 1000
        assert str(refusal.value).isprintable()


def test_a_forked_child_can_neither_finish_nor_undo_what_its_parent_makes(tmp_path: Path) -> None:
    path = tmp_path / "store"

    def leave(error: BaseException | None) -> None:
        """Fork in the block, and leave the block in the child, with an error or without."""
        with create(path) as store:
            add(store, 5)
            child = os.fork()
            if not child:
                if error is not None:
                    raise error
                return
            assert os.waitpid(child, 0)[1] == 0
            add(store, 1)

    parent = os.getpid()
    for error in (None, ZeroDivisionError()):
        try:
            leave(error)
        except (OSError, ZeroDivisionError):
            if os.getpid() != parent:
                os._exit(0)
            raise
        if os.getpid() != parent:
            os._exit(1)  # the child must not believe that it has made the store
        with open_store(path) as store:
            assert balance(store) == 6
        path = tmp_path / "another"


def test_a_forked_child_without_a_handle_can_neither_finish_nor_undo_a_making(
    tmp_path: Path,
) -> None:
    """As a repair, which opens no store, is forked by what it calls to tell of its progress."""
    path = str(tmp_path / "store")
    parent = os.getpid()
    for error in (None, ZeroDivisionError()):
        try:
            with making(local_file_system(), path, "a test", StoreOptions()) as held:
                held.create(f"{path}/durable").close()
                child = os.fork()
                if not child:
                    if error is not None:
                        raise error
                elif os.waitpid(child, 0)[1]:
                    pytest.fail("the child believes that it has ended the making")
                else:
                    assert {"MAKING", "durable"} < set(os.listdir(path))
                    raise LookupError
        except (OSError, ZeroDivisionError):
            if os.getpid() == parent:
                raise
            os._exit(0)
        except LookupError:
            assert not os.path.exists(path)
        if os.getpid() != parent:
            os._exit(1)


def test_a_power_cut_leaves_nothing_or_what_says_it_is_unfinished_or_all(
    deep: bool, record_proof: Callable[..., None]
) -> None:
    file_system = new_disk()
    fill(PATH, file_system)
    draw = random.Random(0)
    counts = {"images": 0, "nothing": 0, "unfinished": 0, "whole": 0}
    places = range(1, len(file_system.steps))
    for place in places if deep else [*places[:4], *draw.sample(places, 25), *places[-3:]]:
        at_step = SimulatedFileSystem(file_system.steps[place].medium.copy())
        for image in at_step.images(40 if deep else 3, draw):
            counts["images"] += 1
            after = SimulatedFileSystem(image.medium.copy())
            try:
                with open_at(after, read_only=True) as store:
                    assert balance(store) == 61
            except NotAStoreError as error:
                kind = "unfinished" if "cut short" in str(error) else "nothing"
                counts[kind] += 1
                if kind == "unfinished":
                    with pytest.raises(NotAStoreError, match="cut short here; do that again"):
                        open_at(after)
                # Made again it is whole, whatever the first attempt has left.
                fill(PATH, after)
            else:
                counts["whole"] += 1
            with open_at(after.after_power_cut(draw)) as store:
                assert balance(store) == 61
                assert store.verify().is_sound
    assert min(counts.values()) > 0
    record_proof("making a store, power cut", **counts, half_made_opened=0)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failing_call_ends_the_making_and_it_can_be_done_again(
    code: int, deep: bool, record_proof: Callable[..., None]
) -> None:
    whole = new_disk()
    fill(PATH, whole)
    draw = random.Random(code)
    calls = range(1, whole.calls)
    inputs = 0
    for number in calls if deep else draw.sample(calls, 30):
        for later in (frozenset[str](), None):
            file_system = new_disk()
            file_system.fault = FailCall(number + 2, Failure(code), later)
            with contextlib.suppress(OSError, StorageFullError, StoreFailedError):
                fill(PATH, file_system)
            file_system.fault = None
            inputs += 1
            # All of it may be there in spite of the call that failed.
            with contextlib.suppress(StoreExistsError):
                fill(PATH, file_system)
            with open_at(file_system) as store:
                assert balance(store) == 61
    record_proof("making a store, failing calls", inputs=inputs, half_made_opened=0)


def test_a_power_cut_amid_the_clearing_away_never_uncovers_a_part(deep: bool) -> None:
    """The block fails, and then the power, while the place is being cleared."""
    whole = new_disk()
    with pytest.raises(ZeroDivisionError):
        _fail_late(PATH, whole)
    draw = random.Random(0)
    places = range(1, len(whole.steps))
    for place in places if deep else [*draw.sample(places, 15), *places[-25:]]:
        at_step = SimulatedFileSystem(whole.steps[place].medium.copy())
        # Near the end the names go, and each may be there still.
        for image in at_step.images(40 if deep or place in places[-8:] else 2, draw):
            after = SimulatedFileSystem(image.medium.copy())
            with pytest.raises(NotAStoreError):
                open_at(after, read_only=True)
            fill(PATH, after)


def _fail_late(path: Path | str, file_system: FileSystem | None = None) -> None:
    with create(path, file_system) as store:
        add(store, 30)
        store.checkpoint()
        add(store, 30)
        store.compact()
        raise ZeroDivisionError


_WAIT = """
import sys
from pathlib import Path
from support.engine import balance, open_store
print("waiting", flush=True)
with open_store(Path(sys.argv[1]), lock_timeout=20) as store:
    print(balance(store))
"""


@pytest.mark.parametrize("fails", [False, True])
def test_an_open_that_waits_for_a_maker_gets_the_whole_store_or_a_new_one(
    tmp_path: Path, fails: bool
) -> None:
    path, waiting = tmp_path / "store", []

    def make() -> None:
        with create(path) as store:
            add(store, 3)
            waiting.append(run_python(_WAIT, path))
            assert waiting[0].stdout is not None
            assert waiting[0].stdout.readline() == "waiting\n"
            add(store, 3)
            if fails:
                raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        make()
    output, complaints = waiting[0].communicate()
    assert (output, complaints) == ("0\n" if fails else "6\n", "")
