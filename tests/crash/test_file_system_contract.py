"""One suite for the real and the simulated file system, so that the simulated one can't drift."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from eventstore.files.content import read_file, write_file
from eventstore.files.local import local_file_system
from eventstore.files.paths import join
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from eventstore.files.interface import FileSystem


class Place:
    """A file system and a directory on it that is there and empty."""

    def __init__(self, file_system: FileSystem, path: str) -> None:
        self.file_system = file_system
        self.path = path

    def __call__(self, *names: str) -> str:
        return join(self.path, *names)


@pytest.fixture(params=["real", "simulated"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "real":
        return Place(local_file_system(), str(tmp_path))
    file_system = SimulatedFileSystem()
    file_system.make_directory("/place")
    return Place(file_system, "/place")


def write(at: Place, name: str, data: bytes) -> str:
    write_file(at.file_system, at(name), data)
    return at(name)


def test_new_file_is_empty_and_can_be_written_and_read(at: Place) -> None:
    file = at.file_system.create(at("a"))
    assert file.path == at("a")
    assert file.size_bytes() == 0
    assert file.read(0, 10) == b""
    file.write(0, b"hello")
    file.write(2, memoryview(b"LL"))
    assert file.read(0, 100) == b"heLLo"
    assert file.read(1, 2) == b"eL"
    assert file.read(5, 1) == b""
    assert file.size_bytes() == at.file_system.size_bytes(at("a")) == 5
    file.close()


def test_write_beyond_the_end_leaves_zeros_between(at: Place) -> None:
    file = at.file_system.create(at("a"))
    file.write(4, b"x")
    assert file.read(0, 10) == b"\0\0\0\0x"
    file.write(2, b"")
    assert file.size_bytes() == 5
    file.close()


def test_truncate_cuts_and_extends_with_zeros(at: Place) -> None:
    file = at.file_system.create(at("a"))
    file.write(0, b"abcdef")
    file.truncate(2)
    file.truncate(4)
    assert file.read(0, 10) == b"ab\0\0"
    file.sync()
    file.close()
    assert read_file(at.file_system, at("a")) == b"ab\0\0"


def test_create_refuses_what_is_there(at: Place) -> None:
    write(at, "a", b"kept")
    at.file_system.make_directory(at("d"))
    for name in ("a", "d"):
        with pytest.raises(FileExistsError):
            at.file_system.create(at(name))
    assert read_file(at.file_system, at("a")) == b"kept"


def test_missing_files_are_not_found(at: Place) -> None:
    calls = (
        lambda: at.file_system.open(at("a")),
        lambda: at.file_system.open(at("a"), writable=True),
        lambda: at.file_system.create(at("none", "a")),
        lambda: at.file_system.size_bytes(at("a")),
        lambda: at.file_system.list_directory(at("a")),
        lambda: at.file_system.make_directory(at("none", "d")),
        lambda: at.file_system.rename(at("a"), at("b")),
        lambda: at.file_system.remove(at("a")),
        lambda: at.file_system.sync_directory(at("a")),
        lambda: at.file_system.share(at("a"), 1, writable=False),
    )
    for call in calls:
        with pytest.raises(FileNotFoundError):
            call()
    assert not at.file_system.exists(at("a"))
    assert not at.file_system.exists(at("none", "a"))
    assert not at.file_system.is_directory(at("a"))


def test_file_in_the_place_of_a_directory_is_refused(at: Place) -> None:
    write(at, "a", b"")
    calls = (
        lambda: at.file_system.list_directory(at("a")),
        lambda: at.file_system.sync_directory(at("a")),
        lambda: at.file_system.create(at("a", "b")),
    )
    for call in calls:
        with pytest.raises(NotADirectoryError):
            call()
    assert not at.file_system.exists(at("a", "b"))


def test_directory_in_the_place_of_a_file_is_refused(at: Place) -> None:
    at.file_system.make_directory(at("d"))
    write(at, "a", b"")
    calls = (
        lambda: at.file_system.open(at("d")),
        lambda: at.file_system.open(at("d"), writable=True),
        lambda: at.file_system.rename(at("a"), at("d")),
        lambda: at.file_system.remove(at("d")),
    )
    for call in calls:
        with pytest.raises(OSError):  # noqa: PT011  (which one, depends on the system)
            call()
    assert at.file_system.list_directory(at.path) == ["a", "d"]


def test_file_opened_for_reading_refuses_changes(at: Place) -> None:
    write(at, "a", b"kept")
    file = at.file_system.open(at("a"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.write(0, b"x")
    with pytest.raises(OSError, match="Invalid argument"):
        file.truncate(0)
    assert file.read(0, 10) == b"kept"
    file.close()


def test_closed_file_refuses_everything_but_closing(at: Place) -> None:
    file = at.file_system.create(at("a"))
    file.close()
    file.close()
    calls = (
        lambda: file.read(0, 1),
        lambda: file.write(0, b"x"),
        lambda: file.truncate(0),
        file.size_bytes,
        file.sync,
    )
    for call in calls:
        with pytest.raises((OSError, ValueError), match="descriptor"):
            call()


def test_directories_list_their_names_in_order(at: Place) -> None:
    at.file_system.make_directory(at("d"))
    for name in ("b", "a", "c"):
        write(at, name, b"")
    assert at.file_system.list_directory(at.path) == ["a", "b", "c", "d"]
    assert at.file_system.list_directory(at("d")) == []
    assert at.file_system.is_directory(at("d"))
    assert at.file_system.exists(at("d"))
    assert not at.file_system.is_directory(at("a"))
    with pytest.raises(FileExistsError):
        at.file_system.make_directory(at("d"))
    at.file_system.sync_directory(at.path)


def test_rename_replaces_and_open_files_go_with_it(at: Place) -> None:
    write(at, "target", b"old")
    source = at.file_system.create(at("source"))
    old = at.file_system.open(at("target"))
    at.file_system.rename(at("source"), at("target"))
    source.write(0, b"new")
    assert at.file_system.list_directory(at.path) == ["target"]
    assert read_file(at.file_system, at("target")) == b"new"
    assert old.read(0, 10) == b"old"
    at.file_system.rename(at("target"), at("target"))
    assert read_file(at.file_system, at("target")) == b"new"
    old.close()
    source.close()


def test_rename_goes_across_directories(at: Place) -> None:
    at.file_system.make_directory(at("d"))
    write(at, "a", b"moved")
    at.file_system.rename(at("a"), at("d", "b"))
    assert at.file_system.list_directory(at.path) == ["d"]
    assert read_file(at.file_system, at("d", "b")) == b"moved"


def test_removed_file_can_still_be_read_by_who_has_it_open(at: Place) -> None:
    write(at, "a", b"kept")
    file = at.file_system.open(at("a"))
    at.file_system.remove(at("a"))
    assert not at.file_system.exists(at("a"))
    assert file.read(0, 10) == b"kept"
    write(at, "a", b"another")
    assert file.read(0, 10) == b"kept"
    file.close()


def test_shared_block_is_seen_by_all_at_once(at: Place) -> None:
    write(at, "a", b"0123456789")
    writer = at.file_system.share(at("a"), 4, writable=True)
    reader = at.file_system.share(at("a"), 4, writable=False)
    assert reader.load() == b"0123"
    writer.store(b"abcd")
    assert reader.load() == writer.load() == b"abcd"
    assert read_file(at.file_system, at("a")) == b"abcd456789"
    file = at.file_system.open(at("a"), writable=True)
    file.write(1, b"--")
    assert reader.load() == b"a--d"
    writer.sync()
    with pytest.raises(TypeError):
        reader.store(b"zzzz")
    with pytest.raises(ValueError, match="8 bytes for a block of 4"):
        writer.store(b"too long")
    for closable in (file, writer, reader, writer, reader):
        closable.close()
    with pytest.raises(ValueError, match="closed"):
        writer.load()


def test_shared_block_can_not_be_longer_than_the_file(at: Place) -> None:
    write(at, "a", b"012")
    with pytest.raises(ValueError, match="mmap length is greater than file size"):
        at.file_system.share(at("a"), 4, writable=True)


def test_lock_is_held_by_one_and_names_its_holder(at: Place) -> None:
    lock = at.file_system.lock(at("LOCK"), lambda: b"first, with a long name")
    assert not isinstance(lock, bytes)
    assert at.file_system.lock(at("LOCK"), lambda: b"second") == b"first, with a long name"
    lock.release()
    lock.release()
    again = at.file_system.lock(at("LOCK"), lambda: b"second")
    assert not isinstance(again, bytes)
    assert read_file(at.file_system, at("LOCK")) == b"second"
    again.release()


def test_lock_is_free_again_when_its_holder_can_not_be_described(at: Place) -> None:
    def fail() -> bytes:
        raise RuntimeError("no name")

    with pytest.raises(RuntimeError, match="no name"):
        at.file_system.lock(at("LOCK"), fail)
    lock = at.file_system.lock(at("LOCK"), lambda: b"second")
    assert not isinstance(lock, bytes)
    lock.release()


def test_threads_may_write_one_file_at_once(at: Place) -> None:
    file = at.file_system.create(at("a"))

    def fill(number: int) -> None:
        for place in range(50):
            file.write(8 * place + number, bytes([number]))

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read(0, 1000) == bytes(range(8)) * 50
    file.close()
