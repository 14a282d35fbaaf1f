"""The decision table of recovery: each row with real bytes in a real directory.

Whatever is refused must be left as it is: `refuses` compares the whole tree before and after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engine import (
    SMALL,
    Failing,
    HookedFileSystem,
    add,
    archived,
    balance,
    checkpoints,
    end_of_records,
    flip,
    open_store,
    overwrite,
    records,
    segments,
    state_durable,
    tree,
)

from eventstore import (
    CorruptionError,
    EventStoreError,
    FormatVersionError,
    NotAStoreError,
    Retention,
    StorageFullError,
    StoreOptions,
    Verdict,
)
from eventstore.event import Event, Metadata
from eventstore.format.blocks import seal_block
from eventstore.format.checkpoint import checkpoint_header_bytes
from eventstore.format.codec import encode_batch, encode_event
from eventstore.format.durable import DURABLE_BYTES, pack_durable, unpack_durable
from eventstore.format.names import checkpoint_name, parse_checkpoint_name, segment_name
from eventstore.format.segment import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_VERSION,
    frame_record,
    unpack_segment_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with 10 batches in one segment."""
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 10)
    return path


@pytest.fixture
def rolled(tmp_path: Path) -> Path:
    """A closed store with 100 batches in several segments and no checkpoint."""
    path = tmp_path / "rolled"
    with open_store(path) as store:
        add(store, 100)
    assert len(segments(path)) > 3
    return path


@pytest.fixture
def compacted(tmp_path: Path) -> Path:
    """A closed store with two checkpoints, and a log that no longer reaches back to the first."""
    path = tmp_path / "compacted"
    options = dataclasses.replace(SMALL, retention=Retention.none())
    with open_store(path, options=options) as store:
        for _ in range(3):
            add(store, 40)
            store.compact()
        assert store.oldest_revision() > 1
    assert len(checkpoints(path)) == 2
    return path


def refuses(
    path: Path, error_type: type[EventStoreError], match: str | None = None
) -> EventStoreError:
    """Check that opening refuses the store, and that not even following changes a byte of it."""
    before = tree(path)
    with contextlib.suppress(error_type):  # a follower may show what comes before the damage
        open_store(path, read_only=True).close()
    assert tree(path) == before
    for _ in range(2):  # the lock is free again after the first
        with pytest.raises(error_type, match=match) as refusal:
            open_store(path)
        assert tree(path) == before
    return refusal.value


def frames(path: Path, count: int, durable: int = 10, payload: bytes | None = None) -> list[bytes]:
    """Return the records that would come next, all written when a revision was durable."""
    segment = segments(path)[-1]
    last = records(segment)[-1]
    header = unpack_segment_header(segment.read_bytes()[:SEGMENT_HEADER_BYTES])
    event = Event("money.deposited", {"account": "a", "amount": 1, "note": "n" * 40})
    payload = payload or encode_batch(Metadata(), [encode_event(event)])
    digest, found = last.digest, []
    for number in range(count):
        frame, digest = frame_record(
            payload,
            revision=last.revision + 1 + number,
            time_ns=last.time_ns,
            durable_revision=durable,
            previous_digest=digest,
            framing=header.framing,
        )
        found.append(frame)
    return found


def damaged(frame: bytes, offset: int = -20) -> bytes:
    data = bytearray(frame)
    data[offset] ^= 0xFF
    return bytes(data)


def test_clean_store_opens_clean(path: Path) -> None:
    before = tree(path)
    with open_store(path) as store:
        assert store.recovery.verdict is Verdict.CLEAN
        assert (store.recovery.revision, store.recovery.replayed_batches) == (10, 10)
        assert store.recovery.torn_tail is None
        assert balance(store) == 10
    assert tree(path) == before


def test_new_store_is_made(tmp_path: Path) -> None:
    with open_store(tmp_path / "a" / "b" / "store") as store:
        assert store.recovery.verdict is Verdict.NEW
        assert store.recovery.revision == 0


def test_whole_records_that_were_never_acknowledged_are_kept(path: Path) -> None:
    overwrite(segments(path)[0], end_of_records(segments(path)[0]), b"".join(frames(path, 3)))
    with open_store(path) as store:
        assert store.recovery.verdict is Verdict.CLEAN
        assert balance(store) == 13


def test_whole_record_that_holds_no_batch_is_refused_by_file_and_offset(path: Path) -> None:
    segment = segments(path)[0]
    offset = end_of_records(segment)
    overwrite(segment, offset, frames(path, 1, payload=b"\xc1")[0])
    error = refuses(path, CorruptionError, "revision 11 is no batch")
    assert isinstance(error, CorruptionError)
    assert (error.path, error.offset_bytes) == (str(segment), offset)


TAILS: dict[str, Callable[[list[bytes]], bytes]] = {
    "part of a header": lambda new: new[0][:40],
    "one byte": lambda new: new[0][:1],
    "header without payload": lambda new: new[0][:RECORD_HEADER_BYTES],
    "part of a payload": lambda new: new[0][: RECORD_HEADER_BYTES + 50],
    "damaged payload": lambda new: damaged(new[0]),
    "damaged header": lambda new: damaged(new[0], 9),
    "no record at all": lambda new: b"garbage " * 20,
    "zero hole before a whole record": lambda new: bytes(len(new[0])) + new[1],
    "zeros for the first sector": lambda new: bytes(64) + new[0][64:] + new[1],
    "damaged record before whole ones": lambda new: damaged(new[0]) + new[1] + new[2],
    "whole record before a damaged one": lambda new: new[0] + new[1][:-30],
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
def test_torn_tail_is_cut_and_kept_aside(path: Path, tail: Callable[[list[bytes]], bytes]) -> None:
    [segment] = segments(path)
    overwrite(segment, end_of_records(segment), tail(frames(path, 3)))
    end, revision = end_of_records(segment), len(records(segment))
    torn = segment.read_bytes()[end:].rstrip(b"\0")
    before = tree(path)
    with open_store(path, read_only=True) as follower:
        assert balance(follower) == 10
    assert tree(path) == before
    with open_store(path) as store:
        report = store.recovery
        assert report.verdict is Verdict.TORN_TAIL
        assert report.revision == revision
        assert report.torn_tail is not None
        assert report.torn_tail.revision == revision + 1
        assert (report.torn_tail.offset_bytes, report.torn_tail.size_bytes) == (end, len(torn))
        assert report.torn_tail.reason
        [saved] = (path / "torn").iterdir()
        assert str(saved) == report.torn_tail.saved_path
        assert saved.read_bytes() == torn
        assert not any(segment.read_bytes()[end:])
        assert balance(store) == revision
        add(store, 2)
    with open_store(path) as store:
        assert store.recovery.verdict is Verdict.CLEAN
        assert balance(store) == revision + 2
        assert store.verify().is_sound
    assert saved.read_bytes() == torn


def test_second_torn_tail_at_the_same_place_is_kept_aside_too(path: Path) -> None:
    [segment] = segments(path)
    for count in (1, 2):
        overwrite(segment, end_of_records(segment), b"torn %d" % count)
        open_store(path).close()
        saved = sorted(file.read_bytes() for file in (path / "torn").iterdir())
        assert saved == [b"torn %d" % number for number in range(1, count + 1)]


def test_recovery_that_is_cut_short_is_done_again(path: Path) -> None:
    [segment] = segments(path)
    overwrite(segment, end_of_records(segment), damaged(frames(path, 1)[0]))
    torn = segment.read_bytes()[end_of_records(segment) :].rstrip(b"\0")
    for after in range(100):
        copy = path.with_name(f"cut-{after}")
        shutil.copytree(path, copy)
        failing = Failing(calls="write sync create rename sync_directory", after=after)
        failing.armed = True
        try:
            open_store(copy, file_system=HookedFileSystem(failing)).close()
        except OSError:
            pass
        else:
            break
        with open_store(copy) as store:
            assert balance(store) == 10
            assert store.verify().is_sound
        assert torn in [file.read_bytes() for file in (copy / "torn").iterdir()]
        assert not list(copy.rglob("*.tmp"))
    assert after >= 5


def test_damage_below_the_durable_bound_is_refused(path: Path) -> None:
    [segment] = segments(path)
    last = records(segment)[-1]
    flip(segment, last.offset_bytes + RECORD_HEADER_BYTES + 3)
    error = refuses(path, CorruptionError, "revision 10 had been acknowledged")
    assert isinstance(error, CorruptionError)
    assert (error.path, error.offset_bytes) == (str(segment), last.offset_bytes)


def test_every_flipped_byte_of_an_acknowledged_record_is_refused(path: Path) -> None:
    [segment] = segments(path)
    third = records(segment)[2]
    size = third.end_bytes - third.offset_bytes
    for offset in range(third.offset_bytes, third.offset_bytes + size, 3):
        flip(segment, offset)
        with pytest.raises(CorruptionError) as refusal:
            open_store(path)
        assert refusal.value.offset_bytes == third.offset_bytes
        flip(segment, offset)
    with open_store(path) as store:
        assert balance(store) == 10


def test_acknowledged_batch_that_is_gone_is_refused(path: Path) -> None:
    [segment] = segments(path)
    last = records(segment)[-1]
    overwrite(segment, last.offset_bytes, bytes(last.end_bytes - last.offset_bytes))
    refuses(path, CorruptionError, "the log ends after revision 9, but revision 10")


def test_segment_cut_below_the_durable_bound_is_refused(path: Path) -> None:
    [segment] = segments(path)
    with segment.open("r+b") as file:
        file.truncate(records(segment)[-1].offset_bytes + 10)
    refuses(path, CorruptionError, "revision 10 had been acknowledged")


@pytest.mark.parametrize("loss", ["stale", "lost", "damaged"])
def test_damage_below_a_later_record_s_durable_revision_is_refused(path: Path, loss: str) -> None:
    [segment] = segments(path)
    if loss == "stale":
        state_durable(path, 0)
    elif loss == "lost":
        (path / "durable").unlink()
    else:
        flip(path / "durable", 30)
    eighth = records(segment)[7]
    flip(segment, eighth.offset_bytes + 80)
    refuses(path, CorruptionError, "after revision 7, but revision 9 had been acknowledged")


def test_damage_below_a_checkpoint_is_refused_without_the_durable_file(path: Path) -> None:
    with open_store(path) as store:
        store.checkpoint()
    (path / "durable").unlink()
    [segment] = segments(path)
    flip(segment, records(segment)[-1].offset_bytes + 80)
    refuses(path, CorruptionError, "revision 10 had been acknowledged")


def test_damage_to_the_last_batch_with_nothing_to_prove_it_is_a_torn_tail(path: Path) -> None:
    state_durable(path, 9)
    [segment] = segments(path)
    flip(segment, records(segment)[-1].offset_bytes + 80)
    with open_store(path) as store:
        assert store.recovery.verdict is Verdict.TORN_TAIL
        assert balance(store) == 9


def test_durable_file_of_another_store_says_nothing(path: Path) -> None:
    (path / "durable").write_bytes(pack_durable(bytes(16), 5000))
    with open_store(path) as store:
        assert balance(store) == 10


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(40), bytes(4096)])
def test_lost_durable_file_is_made_again(path: Path, content: bytes | None) -> None:
    (path / "durable").unlink()
    if content is not None:
        (path / "durable").write_bytes(content)
    with open_store(path) as store:
        assert balance(store) == 10
        add(store)
    assert unpack_durable((path / "durable").read_bytes(), None) == 11


def test_damage_in_a_sealed_segment_is_refused(rolled: Path) -> None:
    segment = segments(rolled)[1]
    record = records(segment)[3]
    flip(segment, record.offset_bytes + 75)
    error = refuses(rolled, CorruptionError, "in a sealed segment")
    assert isinstance(error, CorruptionError)
    assert (error.path, error.offset_bytes) == (str(segment), record.offset_bytes)


def test_torn_end_of_a_sealed_segment_is_refused(rolled: Path) -> None:
    segment = segments(rolled)[-2]
    overwrite(segment, end_of_records(segment), b"torn")
    state_durable(rolled, 0)
    refuses(rolled, CorruptionError, "in a sealed segment")


def test_missing_end_of_a_sealed_segment_is_refused(rolled: Path) -> None:
    segment = segments(rolled)[-2]
    last = records(segment)[-1]
    overwrite(segment, last.offset_bytes, bytes(last.end_bytes - last.offset_bytes))
    state_durable(rolled, 0)
    refuses(rolled, CorruptionError, "the one before it ends at")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_missing_segment_is_refused(rolled: Path, number: int) -> None:
    segments(rolled)[number].unlink()
    refuses(rolled, CorruptionError, "starts at revision")


def test_missing_active_segment_is_refused(rolled: Path) -> None:
    segments(rolled)[-1].unlink()
    refuses(rolled, CorruptionError, "revision 100 had been acknowledged")


def test_segment_under_a_wrong_name_is_refused(rolled: Path) -> None:
    last = segments(rolled)[-1]
    last.rename(last.with_name(segment_name(101)))
    refuses(rolled, CorruptionError, "the header states first revision")


@pytest.mark.parametrize("number", [0, 1, -1])
@pytest.mark.parametrize("offset", [0, 9, 20, 40, 60, 300, 511])
def test_damaged_segment_header_is_refused(rolled: Path, number: int, offset: int) -> None:
    flip(segments(rolled)[number], offset)
    refuses(rolled, CorruptionError)


@pytest.mark.parametrize("size", [0, 1, 511])
def test_segment_shorter_than_its_header_is_refused(rolled: Path, size: int) -> None:
    last = segments(rolled)[-1]
    last.write_bytes(last.read_bytes()[:size])
    refuses(rolled, CorruptionError, "cut short")


def fork(path: Path) -> Path:
    """Return a copy of a store with as many other batches after those of both."""
    copy = path.with_name("fork")
    shutil.copytree(path, copy)
    with open_store(path) as store:
        add(store, 60)
    with open_store(copy) as store:
        add(store, 60)
    assert [file.name for file in segments(path)] == [file.name for file in segments(copy)]
    return copy


def test_segment_with_a_foreign_predecessor_is_refused(path: Path) -> None:
    other = fork(path)
    shutil.copy(segments(other)[-1], segments(path)[-1])
    refuses(path, CorruptionError, "does not continue the digest chain")


def test_segment_of_another_store_is_refused(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        add(store, 60)
    with open_store(tmp_path / "other") as store:
        add(store, 70)
    assert segments(tmp_path / "other")[1].name == segments(path)[1].name
    shutil.copy(segments(tmp_path / "other")[1], segments(path)[1])
    refuses(path, CorruptionError, "belongs to another store")


def test_record_of_another_store_is_no_record_of_this_one(path: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "other") as store:
        add(store, 11)
    [foreign] = segments(tmp_path / "other")
    last = records(foreign)[-1]
    data = foreign.read_bytes()[last.offset_bytes : end_of_records(foreign)]
    [segment] = segments(path)
    overwrite(segment, end_of_records(segment), data)
    with open_store(path) as store:
        assert store.recovery.verdict is Verdict.TORN_TAIL
        assert balance(store) == 10


def test_newest_checkpoint_invalid_falls_back_to_the_one_before_it(compacted: Path) -> None:
    older, newest = checkpoints(compacted)
    flip(newest, 200)
    with open_store(compacted, read_only=True) as follower:
        assert balance(follower) == 120
    with open_store(compacted) as store:
        assert store.recovery.verdict is Verdict.CLEAN
        assert store.recovery.damaged_checkpoints == (str(newest),)
        assert store.recovery.checkpoint_revision == parse_checkpoint_name(older.name)
        # The last two compactions have said what they drop.
        assert store.recovery.replayed_batches == 42
        assert balance(store) == 120
        store.check()
    assert not newest.exists()
    assert newest.with_name(newest.name + ".damaged").exists()
    with open_store(compacted) as store:
        assert store.recovery.damaged_checkpoints == ()
        assert balance(store) == 120


@pytest.mark.parametrize("size", [0, 1, 83, 84, 200])
def test_newest_checkpoint_cut_short_falls_back(compacted: Path, size: int) -> None:
    newest = checkpoints(compacted)[-1]
    newest.write_bytes(newest.read_bytes()[:size])
    with open_store(compacted) as store:
        assert store.recovery.damaged_checkpoints == (str(newest),)
        assert balance(store) == 120


def test_checkpoint_under_a_wrong_name_is_not_used(compacted: Path) -> None:
    newest = checkpoints(compacted)[-1]
    wrong = newest.with_name(checkpoint_name(119))
    newest.rename(wrong)
    with open_store(compacted) as store:
        assert store.recovery.damaged_checkpoints == (str(wrong),)
        assert store.recovery.checkpoint_revision == 80
        assert balance(store) == 120


def test_checkpoint_of_another_store_is_not_used(path: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "other") as store:
        add(store, 10, note="other")
        store.checkpoint()
    [foreign] = checkpoints(tmp_path / "other")
    shutil.copy(foreign, path / "checkpoints")
    with open_store(path) as store:
        assert store.recovery.damaged_checkpoints == (str(path / "checkpoints" / foreign.name),)
        assert balance(store) == 10


def test_checkpoint_of_another_history_is_refused(path: Path) -> None:
    other = fork(path)
    with open_store(other) as store:
        store.checkpoint()
    shutil.copy(checkpoints(other)[0], path / "checkpoints")
    refuses(path, CorruptionError, "another history")


def test_no_valid_checkpoint_and_a_whole_log_is_replayed(rolled: Path) -> None:
    with open_store(rolled) as store:
        store.compact()
        add(store, 20)
        store.compact()
    for checkpoint in checkpoints(rolled):
        flip(checkpoint, 20)
    assert archived(rolled)
    with open_store(rolled) as store:
        assert store.recovery.checkpoint_revision == 0
        assert store.recovery.replayed_batches == 120
        assert balance(store) == 120


def test_no_valid_checkpoint_and_a_cut_log_is_refused(compacted: Path) -> None:
    for checkpoint in checkpoints(compacted):
        flip(checkpoint, 200)
    refuses(compacted, CorruptionError, "no valid checkpoint holds the state before it")


def test_no_checkpoint_at_all_and_a_cut_log_is_refused(compacted: Path) -> None:
    for checkpoint in checkpoints(compacted):
        checkpoint.unlink()
    refuses(compacted, CorruptionError, "no valid checkpoint holds the state before it")


def test_damage_before_the_checkpoint_is_left_to_verify(rolled: Path) -> None:
    with open_store(rolled) as store:
        store.checkpoint()
    flip(segments(rolled)[0], 700)
    with open_store(rolled) as store:
        assert balance(store) == 100
        report = store.verify()
    assert [problem.path for problem in report.problems] == [str(segments(rolled)[0])]


@pytest.mark.parametrize("kept", ["durable", "checkpoints", "archive"])
def test_lost_log_is_refused(rolled: Path, kept: str) -> None:
    with open_store(rolled) as store:
        for _ in range(2):
            store.compact()
            add(store)
    assert archived(rolled)
    for name in ("wal", "checkpoints", "archive"):
        if name != kept:
            for file in (rolled / name).iterdir():
                file.unlink()
    if kept != "durable":
        (rolled / "durable").unlink()
    (rolled / "torn" / "left over.tmp").write_bytes(b"")
    refuses(rolled, CorruptionError)


def newer(path: Path, size: int, known_version: int | None = None) -> None:
    """Give a file's first block the version after the newest known, under a good checksum."""
    fields = bytearray(path.read_bytes()[: size - 4])
    version = known_version or int.from_bytes(fields[8:12], "little")
    fields[8:12] = (version + 1).to_bytes(4, "little")
    overwrite(path, 0, seal_block(bytes(fields), size))


@pytest.mark.parametrize("number", [0, 1, -1])
def test_newer_segment_is_refused_and_nothing_touched(rolled: Path, number: int) -> None:
    newer(segments(rolled)[number], SEGMENT_HEADER_BYTES, SEGMENT_VERSION)
    (rolled / "wal" / "spare-9.tmp").write_bytes(b"left over")
    error = refuses(rolled, FormatVersionError, "format version 4 is newer than 3")
    assert isinstance(error, FormatVersionError)
    assert error.path == str(segments(rolled)[number])


def test_newer_checkpoint_is_refused_and_nothing_touched(compacted: Path) -> None:
    newest = checkpoints(compacted)[-1]
    newer(newest, checkpoint_header_bytes(newest.read_bytes()[:100]))
    refuses(compacted, FormatVersionError, newest.name)


def test_newer_durable_file_is_refused_and_nothing_touched(path: Path) -> None:
    newer(path / "durable", DURABLE_BYTES)
    refuses(path, FormatVersionError, "durable")


def test_temporary_files_are_removed_and_reported(path: Path) -> None:
    leftovers = [
        path / "durable.tmp",
        path / "wal" / "spare-3.tmp",
        path / "checkpoints" / "00000000000000000012.ckpt.tmp",
        path / "archive" / "00000000000000000001.log.gz.tmp",
        path / "torn" / "00000000000000000003-512.torn.tmp",
    ]
    for leftover in leftovers:
        leftover.write_bytes(b"half written")
    with open_store(path) as store:
        assert sorted(store.recovery.removed_files) == sorted(map(str, leftovers))
        assert balance(store) == 10
    assert not list(path.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["archive", "checkpoints", "torn"])
def test_missing_directory_is_made(path: Path, name: str) -> None:
    shutil.rmtree(path / name)
    with open_store(path) as store:
        assert balance(store) == 10
        store.checkpoint()
        store.compact()
    assert (path / name).is_dir()


def test_missing_log_directory_is_refused(path: Path) -> None:
    shutil.rmtree(path / "wal")
    refuses(path, CorruptionError)


CHANGES = "create write sync rename make_directory sync_directory"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_store_whose_making_was_cut_short_is_finished(tmp_path: Path, number: int) -> None:
    for after in range(100):
        path = tmp_path / f"store-{after}"
        failing = Failing(number, CHANGES, after=after)
        failing.armed = True
        try:
            open_store(path, file_system=HookedFileSystem(failing)).close()
        except StorageFullError:
            assert number == errno.ENOSPC
        except OSError:
            assert number == errno.EIO
        else:
            break
        with open_store(path) as store:
            add(store, 2)
        with open_store(path) as store:
            assert balance(store) == 2
        assert not list(path.rglob("*.tmp"))
    assert after > 10


def test_directory_that_another_process_makes_at_the_same_time_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "above" / "store"

    def make_first(call: str, file: str) -> None:
        if call == "make_directory" and file in (str(path.parent), str(path)):
            Path(file).mkdir()

    file_system = HookedFileSystem(make_first)
    with open_store(path, file_system=file_system) as store:
        add(store)
        assert balance(store) == 1


def test_half_made_directory_can_not_be_followed_yet(tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()
    with pytest.raises(NotAStoreError):
        open_store(tmp_path, read_only=True)


def test_log_is_synced_before_what_was_read_is_served(path: Path) -> None:
    calls: list[tuple[str, str]] = []
    file_system = HookedFileSystem(lambda call, file: calls.append((call, file)))
    with open_store(path, file_system=file_system):
        [segment] = segments(path)
        assert ("sync", str(segment)) in calls
        assert ("sync_directory", str(segment.parent)) in calls


def test_segment_preallocated_in_another_size_goes_on_being_used(path: Path) -> None:
    [segment] = segments(path)
    with segment.open("r+b") as file:
        file.truncate(end_of_records(segment))
    with open_store(path, options=StoreOptions(segment_bytes=8192, background=False)) as store:
        assert store.recovery.verdict is Verdict.CLEAN
        add(store, 5)
        assert store.verify().is_sound
    assert [file.stat().st_size for file in segments(path)][1:] == [8192]
    with open_store(path) as store:
        assert balance(store) == 15
