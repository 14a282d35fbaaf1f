"""Whose the directories of a store are, and whether a swap in them can lead its writer astray."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, HookedFileSystem, add, balance, open_store, tree

from eventstore import (
    CorruptionError,
    EventStore,
    ForeignOwnerError,
    NotAStoreError,
    StoreExistsError,
    StoreOptions,
    repair_store,
    verify_store,
)
from eventstore.files.interface import GuardedPath
from eventstore.files.local import LocalFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANOTHER = 12345
ANY_OWNER = StoreOptions(segment_bytes=4096, background=False, allow_foreign_owner=True)
SUBDIRECTORIES = ("wal", "checkpoints", "archive", "torn", "index", "tree")


class _Foreign(LocalFileSystem):
    """A file system on which one directory belongs to somebody else."""

    def __init__(self, foreign: Path) -> None:
        self._foreign = str(foreign)

    def owns(self, path: str) -> bool:
        return path != self._foreign and super().owns(path)


def _filled(path: Path) -> Path:
    with open_store(path) as store:
        for _ in range(3):
            add(store, 60)
            store.compact()
    return path


@pytest.mark.parametrize("name", ["", *SUBDIRECTORIES])
def test_a_store_of_another_user_is_read_and_not_written_unless_that_is_allowed(
    tmp_path: Path, name: str
) -> None:
    path = _filled(tmp_path / "store")
    file_system = _Foreign(path / name)
    before = tree(path), (path / "LOCK").read_bytes()
    with pytest.raises(ForeignOwnerError, match="allow_foreign_owner=True"):
        open_store(path, file_system=file_system)
    with open_store(path, read_only=True, file_system=file_system) as store:
        assert balance(store) == 180
    assert verify_store(path, [], file_system=file_system).is_sound
    assert (tree(path), (path / "LOCK").read_bytes()) == before
    with open_store(path, file_system=file_system, options=ANY_OWNER) as store:
        add(store, 1)
        assert balance(store) == 181


def test_an_empty_directory_of_another_user_is_no_place_for_a_new_store(tmp_path: Path) -> None:
    source = _filled(tmp_path / "store")
    (tmp_path / "empty").mkdir(0o755)
    file_system = _Foreign(tmp_path / "empty")
    with pytest.raises(ForeignOwnerError):
        open_store(tmp_path / "empty", file_system=file_system)
    with pytest.raises(ForeignOwnerError):
        repair_store(source, tmp_path / "empty", [], file_system=file_system)
    with (
        pytest.raises(ForeignOwnerError),
        EventStore.create(tmp_path / "empty", [], purpose="test", file_system=file_system),
    ):
        pass
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o755
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directories_that_were_given_away_are_noticed(tmp_path: Path) -> None:
    for name in ("", *SUBDIRECTORIES):
        path = _filled(tmp_path / f"store-{name}")
        os.chown(path / name, 12345, 12345)
        with pytest.raises(ForeignOwnerError):
            open_store(path)
        with open_store(path, options=ANY_OWNER) as store:
            add(store, 1)
        assert (path / name).stat().st_uid == 12345


def _as_user(user: int, act: Callable[[], object]) -> None:
    """Do something in a child process that has become another user."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def home_of_another() -> Iterator[Path]:
    """Return a directory of another user, who can reach it, as pytest's own can't be."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        home = Path(name) / "home"
        home.mkdir()
        os.chown(home, ANOTHER, ANOTHER)
        yield home


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_what_root_makes_in_a_store_of_another_user_does_not_lock_its_owner_out(
    home_of_another: Path,
) -> None:
    path = home_of_another / "store"
    _as_user(ANOTHER, lambda: _filled(path))
    # All of these are made anew by an open.
    for name in ("LOCK", "durable"):
        (path / name).unlink()
    (path / "torn").rmdir()
    [*_, last] = sorted((path / "wal").glob("*.log"))
    content = last.read_bytes()
    end = len(content.rstrip(b"\0"))
    end += -end % 8
    last.write_bytes(content[:end] + b"\x01" * 40 + content[end + 40 :])
    before = {each.name for each in path.rglob("*")}
    with open_store(path, options=ANY_OWNER) as store:
        add(store, 60)
        assert store.compact().archived
        assert {each.stat().st_uid for each in path.rglob("*")} == {ANOTHER}
    made = [each for each in path.rglob("*") if each.name not in before]
    assert {each.parent.name for each in made} == {"store", *SUBDIRECTORIES}
    assert {each.stat().st_gid for each in path.rglob("*")} == {ANOTHER}

    def go_on() -> None:
        with open_store(path) as store:
            add(store, 60)
            store.compact()
            assert balance(store) == 300
            assert store.verify().is_sound

    _as_user(ANOTHER, go_on)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_gives_no_file_away_that_was_there(home_of_another: Path) -> None:
    path = home_of_another / "store"
    _as_user(ANOTHER, lambda: _filled(path))
    precious = home_of_another / "of-root"
    precious.write_bytes(b"")
    (path / "LOCK").unlink()
    os.link(precious, path / "LOCK")
    with open_store(path, options=ANY_OWNER):
        pass
    assert precious.stat().st_uid == 0


def test_directories_that_others_may_enter_are_closed_to_them_by_the_writer_only(
    tmp_path: Path,
) -> None:
    path = _filled(tmp_path / "store")
    directories = [path, *(path / name for name in SUBDIRECTORIES)]
    for directory in directories:
        directory.chmod(0o777)
    with open_store(path, read_only=True):
        pass
    assert {stat.S_IMODE(directory.stat().st_mode) for directory in directories} == {0o777}
    with open_store(path):
        assert {stat.S_IMODE(directory.stat().st_mode) for directory in directories} == {0o700}


class _Swap:
    """Before the first change in a directory puts a link into its place."""

    def __init__(self, directory: Path, target: Path) -> None:
        self._directory = directory
        self._target = target

    def __call__(self, call: str, path: str) -> None:
        is_inside = isinstance(path, GuardedPath) and Path(path).parent == self._directory
        is_change = call in ("create", "remove", "rename")
        if is_inside and is_change and not self._directory.is_symlink():
            self._directory.rename(f"{self._directory}-taken")
            self._directory.symlink_to(self._target)


def test_a_directory_that_is_swapped_for_a_link_leads_the_writer_nowhere(tmp_path: Path) -> None:
    """The swap comes just before each call, after whatever was looked at before."""
    for name in SUBDIRECTORIES:
        path, elsewhere = _filled(tmp_path / f"store-{name}"), tmp_path / f"elsewhere-{name}"
        elsewhere.mkdir()
        for precious in ("spare-0.tmp", "x.tmp", f"{1:020}.log", f"{1:020}.ckpt", "a.tmp"):
            (elsewhere / precious).write_text("precious")
        before = tree(elsewhere)
        swap = _Swap(path / name, elsewhere)
        (path / name / "x.tmp").write_bytes(b"left by a crash")
        with (
            contextlib.suppress(OSError, NotAStoreError),
            open_store(path, file_system=HookedFileSystem(swap)) as store,
        ):
            add(store, 60)
            store.compact()
        assert (path / name).is_symlink()
        assert tree(elsewhere) == before


def test_the_store_s_own_directory_swapped_under_the_writer_leads_nowhere(tmp_path: Path) -> None:
    path, elsewhere = _filled(tmp_path / "store"), _filled(tmp_path / "elsewhere")
    (elsewhere / "wal" / "x.tmp").write_bytes(b"precious")
    before = tree(elsewhere)
    is_done: list[GuardedPath] = []

    def swap(call: str, at: str) -> None:
        if isinstance(at, GuardedPath) and call in ("remove", "create", "rename") and not is_done:
            path.rename(tmp_path / "moved")
            elsewhere.rename(path)
            is_done.append(at)

    (path / "wal" / "x.tmp").write_bytes(b"left by a crash")
    with pytest.raises(OSError, match="moved while it was open"):
        open_store(path, file_system=HookedFileSystem(swap))
    assert tree(path) == before
    # The call that was under way has reached the directory that was locked.
    [at] = is_done
    assert not (tmp_path / "moved" / Path(at).relative_to(path)).exists()


def test_errors_name_the_whole_path(tmp_path: Path) -> None:
    path = _filled(tmp_path / "store")
    with open_store(path) as store:
        [name, *_] = sorted((path / "archive").iterdir())
        name.rename(tmp_path / "taken")
        name.mkdir()
        with pytest.raises(CorruptionError, match=str(name)):
            list(store.batches())


@pytest.mark.parametrize("name", ["wal", "checkpoints", "archive", "torn", "index", "."])
def test_a_directory_with_the_name_of_a_temporary_file_is_refused(
    tmp_path: Path, name: str
) -> None:
    path = _filled(tmp_path / "store")
    entry = "durable.tmp" if name == "." else "dir.tmp"
    (path / name / entry).mkdir()
    (path / name / entry / "file").write_text("precious")
    before = tree(path)
    with pytest.raises(NotAStoreError, match=f"{entry}: a directory"):
        open_store(path)
    assert tree(path) == before
    with pytest.raises(NotAStoreError, match=f"{entry}: a directory"):
        open_store(path, read_only=True)
    with (
        pytest.raises(StoreExistsError),
        EventStore.create(path, [], purpose="test", options=SMALL),
    ):
        pass
    assert tree(path) == before
