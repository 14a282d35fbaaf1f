"""What a power cut may leave of a simulated file system, and what not."""

from __future__ import annotations

import errno
from random import Random
from typing import TYPE_CHECKING

import pytest

from eventstore.files.content import read_file, write_file
from eventstore.testing import FailCall, Failure, PowerCutError, SimulatedFileSystem

if TYPE_CHECKING:
    from eventstore.files.interface import File


def left(
    file_system: SimulatedFileSystem, limit: int = 10_000
) -> set[tuple[tuple[str, bytes], ...]]:
    """Return what every image holds: paths and contents."""
    return {
        tuple(sorted(image.medium.files().items()))
        for image in file_system.images(limit, Random(1))
    }


def contents(file_system: SimulatedFileSystem, path: str, limit: int = 10_000) -> set[bytes | None]:
    """Return what a file may hold; None where it is gone."""
    return {dict(files).get(path) for files in left(file_system, limit)}


@pytest.fixture
def fs() -> SimulatedFileSystem:
    return SimulatedFileSystem()


def synced_file(fs: SimulatedFileSystem, data: bytes) -> File:
    write_file(fs, "/a", data)
    fs.sync_directory("/")
    return fs.open("/a", writable=True)


def test_synced_bytes_stay(fs: SimulatedFileSystem) -> None:
    synced_file(fs, b"kept")
    assert contents(fs, "/a") == {b"kept"}


def test_synced_file_is_lost_with_its_name(fs: SimulatedFileSystem) -> None:
    write_file(fs, "/a", b"kept")
    assert contents(fs, "/a") == {b"kept", None}


def test_named_file_may_be_empty_where_only_the_directory_was_synced(
    fs: SimulatedFileSystem,
) -> None:
    fs.create("/a").write(0, b"xy")
    fs.sync_directory("/")
    assert contents(fs, "/a") == {b"", b"x", b"\0y", b"\0\0", b"xy"}


def test_pending_write_may_be_torn_at_every_byte_and_beside_it_nothing_changes(
    fs: SimulatedFileSystem,
) -> None:
    synced_file(fs, b"abcdef").write(1, b"XYZ")
    assert contents(fs, "/a") == {
        b"abcdef",
        b"aXYZef",
        b"aXcdef",
        b"aXYdef",
        b"abYZef",
        b"abcZef",
    }


def test_pending_writes_are_dropped_kept_and_reordered(fs: SimulatedFileSystem) -> None:
    file = synced_file(fs, b"..")
    for data in (b"1", b"2", b"3"):
        file.write(0, data)
    file.write(1, b"!")
    assert contents(fs, "/a") == {
        first + second for first in (b".", b"1", b"2", b"3") for second in (b".", b"!")
    }


def test_sectors_of_a_write_arrive_in_any_combination(fs: SimulatedFileSystem) -> None:
    synced_file(fs, bytes(1536)).write(0, b"a" * 512 + b"b" * 512 + b"c" * 512)
    found = contents(fs, "/a")
    assert {
        (b"a" if first else b"\0") * 512
        + (b"b" if second else b"\0") * 512
        + (b"c" if third else b"\0") * 512
        for first in (0, 1)
        for second in (0, 1)
        for third in (0, 1)
    } <= found


def test_longer_file_may_have_zeros_for_the_bytes_that_did_not_arrive(
    fs: SimulatedFileSystem,
) -> None:
    synced_file(fs, b"ab").write(2, b"cd")
    assert contents(fs, "/a") == {b"ab", b"abcd", b"abc", b"ab\0d", b"ab\0\0"}


def test_pending_length_is_there_or_not(fs: SimulatedFileSystem) -> None:
    synced_file(fs, b"abcd").truncate(2)
    assert contents(fs, "/a") == {b"abcd", b"ab"}


def test_store_into_a_shared_block_may_arrive_without_a_sync(fs: SimulatedFileSystem) -> None:
    synced_file(fs, b"abc")
    block = fs.share("/a", 2, writable=True)
    block.store(b"AB")
    assert contents(fs, "/a") == {b"abc", b"ABc", b"Abc", b"aBc"}
    block.sync()
    assert contents(fs, "/a") == {b"ABc"}


def test_rename_is_there_or_not_and_never_half(fs: SimulatedFileSystem) -> None:
    write_file(fs, "/new", b"new")
    write_file(fs, "/a", b"old")
    fs.sync_directory("/")
    fs.rename("/new", "/a")
    assert left(fs) == {(("/a", b"old"), ("/new", b"new")), (("/a", b"new"),)}


def test_names_are_dropped_one_by_one_unless_the_directory_was_synced(
    fs: SimulatedFileSystem,
) -> None:
    for name in ("/a", "/b"):
        write_file(fs, name, b"")
    fs.sync_directory("/")
    fs.remove("/a")
    fs.remove("/b")
    write_file(fs, "/c", b"")
    names = {tuple(path for path, _ in files) for files in left(fs)}
    assert len(names) == 8
    fs.sync_directory("/")
    assert left(fs) == {(("/c", b""),)}


def test_directory_is_lost_with_all_that_is_in_it(fs: SimulatedFileSystem) -> None:
    fs.make_directory("/d")
    write_file(fs, "/d/a", b"kept")
    fs.sync_directory("/d")
    assert contents(fs, "/d/a") == {b"kept", None}
    fs.sync_directory("/")
    assert contents(fs, "/d/a") == {b"kept"}


def test_file_without_a_name_is_in_no_image(fs: SimulatedFileSystem) -> None:
    file = synced_file(fs, b"abc")
    fs.remove("/a")
    fs.sync_directory("/")
    file.write(0, b"xyz")
    assert left(fs) == {()}


def test_failed_sync_leaves_its_bytes_in_doubt_for_ever(fs: SimulatedFileSystem) -> None:
    file = synced_file(fs, b"..")
    file.write(0, b"1")
    fs.fault = FailCall(fs.calls + 1, Failure(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.sync()
    assert contents(fs, "/a") == {b"..", b"1."}
    file.write(1, b"2")
    file.sync()
    assert contents(fs, "/a") == {b".2", b"12"}
    assert read_file(fs, "/a") == b"12"
    file.write(0, b"1")
    file.sync()
    assert contents(fs, "/a") == {b"12"}


def test_failed_sync_of_a_directory_may_be_tried_again(fs: SimulatedFileSystem) -> None:
    write_file(fs, "/a", b"")
    fs.fault = FailCall(fs.calls + 1, Failure(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        fs.sync_directory("/")
    assert len(left(fs)) == 2
    fs.sync_directory("/")
    assert len(left(fs)) == 1


def test_failed_write_may_have_taken_a_part_of_its_bytes(fs: SimulatedFileSystem) -> None:
    file = synced_file(fs, b"....")
    fs.fault = FailCall(fs.calls + 1, Failure(errno.ENOSPC, written_fraction=0.5))
    with pytest.raises(OSError, match="No space left"):
        file.write(0, b"abcd")
    assert file.read(0, 4) == b"ab.."


def test_failure_for_good_hits_all_later_calls(fs: SimulatedFileSystem) -> None:
    file = synced_file(fs, b"..")
    for later, fails in ((frozenset({"write"}), True), (None, True), (frozenset(), False)):
        fs.fault = FailCall(fs.calls + 2, Failure(errno.EIO), later)
        file.write(0, b"x")
        with pytest.raises(OSError, match="Input/output error"):
            file.write(0, b"y")
        if fails:
            with pytest.raises(OSError, match="Input/output error"):
                file.write(0, b"y")
        else:
            file.write(0, b"y")


def test_sample_is_the_same_for_the_same_seed_and_has_the_extremes(
    fs: SimulatedFileSystem,
) -> None:
    file = synced_file(fs, bytes(4096))
    for number in range(6):
        file.write(700 * number, bytes([65 + number]) * 600)
    drawn = [[image.medium.files()["/a"] for image in fs.images(40, Random(7))] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 40
    assert bytes(4096) in drawn[0]
    assert file.read(0, 5000) in drawn[0]


def test_killed_process_leaves_what_was_pending_pending(fs: SimulatedFileSystem) -> None:
    synced_file(fs, b"..").write(0, b"1")
    fs.lock("/LOCK", lambda: b"")
    after = fs.after_kill()
    assert read_file(after, "/a") == b"1."
    assert contents(after, "/a") == {b"..", b"1."}
    assert not isinstance(after.lock("/LOCK", lambda: b""), bytes)


def test_power_cut_ends_every_call_and_freezes_the_medium(fs: SimulatedFileSystem) -> None:
    file = synced_file(fs, b"..")
    block = fs.share("/a", 2, writable=True)
    fs.cut_power(after_calls=1)
    file.write(0, b"1")
    for call in (
        lambda: file.write(0, b"2"),
        lambda: block.store(b"33"),
        file.sync,
        lambda: fs.create("/b"),
    ):
        with pytest.raises(PowerCutError):
            call()
    file.close()
    assert contents(fs, "/a") == {b"..", b"1."}
    after = fs.after_power_cut(Random(1))
    assert len(left(after)) == 1


def test_open_files_are_counted(fs: SimulatedFileSystem) -> None:
    file = synced_file(fs, b"..")
    block = fs.share("/a", 2, writable=True)
    assert fs.open_files == 2
    file.close()
    file.close()
    block.close()
    assert fs.open_files == 0


def test_images_say_what_became_of_each_change(fs: SimulatedFileSystem) -> None:
    write_file(fs, "/a", b"")
    fs.open("/a", writable=True).write(0, b"ab")
    texts = [image.describe() for image in fs.images(100, Random(1))]
    assert "'a' made node 1 in directory 0: kept; node 1, 2 bytes at 0: kept" in texts
    assert any("dropped" in text for text in texts)
    assert any("zeros" in text for text in texts)
