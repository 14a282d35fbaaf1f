"""Erasures that were cut short, or whose files were damaged, replaced or copied back since."""

from __future__ import annotations

import gzip
import shutil
import zlib
from typing import TYPE_CHECKING

import pytest
from support.erasing import (
    OWNER,
    PROJECTIONS,
    SECRET,
    SMALL,
    cut_short,
    everything,
    fill,
)

from eventstore import (
    CorruptionError,
    ErasureError,
    FormatVersionError,
    Verdict,
    erase,
    repair_store,
    verify_store,
)
from eventstore.files.local import local_file_system
from eventstore.integrity.repair import preview_repair
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.redaction import Redaction, redacted_segment
from eventstore.log.segments import MemoryFile
from eventstore.maintenance.erasing_note import note_erasing, noted_revision
from projections.snapshots import MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST: dict[int, list[tuple[str, ...]]] = {6: [OWNER]}
"""Fields of a batch in the oldest file of the archive."""


def content(path: Path) -> dict[str, bytes]:
    """Return every file of a store but the one that says who has it."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "LOCK"
    }


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def later_archived(path: Path) -> Path:
    """Return the newest file of the archive that the newest state does not need."""
    return sorted((path / "archive").iterdir())[1]


@pytest.mark.parametrize("damage", [flip, lambda file: file.unlink()])
def test_open_that_can_not_finish_an_erasure_changes_nothing_and_a_repair_makes_what_was_said(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "store"
    fill(path)
    cut_short(path, FIRST)
    damage(later_archived(path))
    before = content(path)
    report = verify_store(path, PROJECTIONS)
    assert report.verdict is Verdict.CORRUPT
    assert sum("erasure of revision 6" in problem.reason for problem in report.problems) == 1
    assert len({problem.path for problem in report.problems}) == len(report.problems)
    [remark] = [each for each in report.remarks if "an erasure is unfinished" in each]
    assert "nothing can finish it" in remark
    for _ in range(2):
        with pytest.raises(CorruptionError, match=r"erasure of revision 6.* a repair makes"):
            MetaStore.open(path, options=SMALL)
    assert content(path) == before
    foreseen = preview_repair(path)
    repaired = repair_store(path, tmp_path / "new", PROJECTIONS)
    assert repaired.revision == foreseen.revision == report.revision
    assert repaired.lost == foreseen.lost
    assert repaired.unerased == foreseen.unerased == (6,)
    with MetaStore.open(tmp_path / "new", options=SMALL) as store, store.transaction() as now:
        assert now.get_info("key-59")


def without_erasure(path: Path) -> None:
    """Lose the segment that says what was erased, and every later one."""
    for file in (path / "checkpoints").iterdir():
        file.unlink()
    newest = max((path / "wal").glob("0*.log"))
    newest.write_bytes(b"")


def without_its_past(path: Path) -> None:
    flip(later_archived(path))
    for file in (path / "checkpoints").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "keep_history"),
    [
        (lambda path: flip(later_archived(path)), True),
        (without_its_past, False),
        (without_erasure, False),
    ],
)
def test_repair_that_loses_the_erasure_keeps_what_it_left_and_says_that_nothing_vouches_for_it(
    damage: Callable[[Path], None], keep_history: bool, tmp_path: Path
) -> None:
    path, new = tmp_path / "store", tmp_path / "new"
    fill(path)
    erase(path, PROJECTIONS, FIRST, actor="dpo", reason="", options=SMALL)
    damage(path)
    foreseen = preview_repair(path, keep_history=keep_history)
    repaired = repair_store(path, new, PROJECTIONS, keep_history=keep_history)
    assert repaired.revision == foreseen.revision > 6
    assert repaired.unvouched == foreseen.unvouched == (6,)
    assert repaired.unerased == ()
    report = verify_store(new, PROJECTIONS)
    assert [problem.reason.split(" states")[0] for problem in report.problems] == ["revision 6"]
    assert all("erase the same fields again" in problem.reason for problem in report.problems)
    assert owner(new) == "*" * len(SECRET)


def owner(path: Path) -> str:
    """Return the label that `FIRST` is about."""
    with MetaStore.open(path, options=SMALL) as store, store.transaction() as now:
        return now.get_info("key-5")[1].labels["owner"]


@pytest.mark.parametrize("is_committed", [False, True])
def test_repair_says_that_an_erasure_which_was_cut_short_may_be_lost(
    is_committed: bool, tmp_path: Path
) -> None:
    path, new = tmp_path / "store", tmp_path / "new"
    fill(path)
    if is_committed:
        cut_short(path, FIRST)
    else:
        note_erasing(local_file_system(), str(path), 60)  # the last revision that was committed
    flip(sorted((path / "checkpoints").iterdir())[-1])
    assert preview_repair(path).erasure_lost is False  # it can be read, or nothing is missing
    without_erasure(path)
    foreseen, repaired = preview_repair(path), repair_store(path, new, PROJECTIONS)
    assert foreseen.erasure_lost is repaired.erasure_lost is is_committed
    assert (repaired.unerased, repaired.unvouched) == ((), ())
    assert owner(new) == SECRET
    (path / "ERASING").unlink()
    assert preview_repair(path).erasure_lost is False


def test_repair_takes_no_erasure_for_lost_that_has_no_place_but_can_be_read(
    tmp_path: Path,
) -> None:
    path, new = tmp_path / "store", tmp_path / "new"
    fill(path)
    cut_short(path, FIRST)
    without_its_past(path)
    assert preview_repair(path).erasure_lost is False
    repaired = repair_store(path, new, PROJECTIONS)
    assert (repaired.unvouched, repaired.erasure_lost) == ((6,), False)
    assert owner(new) == "*" * len(SECRET)


@pytest.mark.parametrize("is_live", [False, True])
def test_erasing_the_same_again_vouches_for_what_a_lost_erasure_has_left(
    is_live: bool, tmp_path: Path
) -> None:
    path, new = tmp_path / "store", tmp_path / "new"
    fill(path)
    erase(path, PROJECTIONS, FIRST, actor="dpo", reason="", options=SMALL)
    without_erasure(path)
    repair_store(path, new, PROJECTIONS)
    assert not verify_store(new, PROJECTIONS).is_sound
    with pytest.raises(ErasureError, match="no erasure says that what is there"):
        # It would vouch for the rest of the batch, whoever has changed that.
        erase(new, PROJECTIONS, {6: [OWNER, ("actor",)]}, actor="dpo", reason="")
    assert not verify_store(new, PROJECTIONS).is_sound
    if is_live:
        with MetaStore.open(new, options=SMALL) as store:
            erased = store.erase(FIRST, actor="dpo", reason="lost in the repair")
    else:
        erased = erase(new, PROJECTIONS, FIRST, actor="dpo", reason="lost in the repair")
    assert erased.revisions == (6,)
    assert verify_store(new, PROJECTIONS).is_sound
    with MetaStore.open(new, options=SMALL) as store:
        [batch] = store.event_store.batches(erased.receipt.revision)
        assert (batch.metadata.actor, batch.metadata.reason) == ("dpo", "lost in the repair")
        assert len(list(store.event_store.dump())) > 60
        with pytest.raises(ErasureError, match=r"has no text at .* or it was erased already"):
            store.erase(FIRST, actor="dpo", reason="once more")
        with pytest.raises(ErasureError, match="has no text at"):
            store.erase({6: [("reason",), ("request_id",)]}, actor="dpo", reason="none is there")
        assert store.erase({6: [("actor",)]}, actor="dpo", reason="").revisions == (6,)


def test_repair_without_the_erasure_carries_it_out_where_that_can_still_be_read(
    tmp_path: Path,
) -> None:
    path, new = tmp_path / "store", tmp_path / "new"
    fill(path)
    cut_short(path, FIRST)
    flip(later_archived(path))
    repaired = repair_store(path, new, PROJECTIONS, keep_history=True)
    assert repaired.unvouched == (6,)
    with MetaStore.open(new, options=SMALL) as store:
        [batch] = store.event_store.batches(6, 6)
        assert batch.is_redacted
        assert SECRET not in str(batch.events)


@pytest.mark.parametrize("is_whole", [False, True])
def test_record_that_holds_again_what_was_erased_is_listed_until_it_is_erased_again(
    is_whole: bool, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    fill(path)
    oldest = sorted((path / "archive").iterdir())[0]
    before = oldest.read_bytes()
    erase(path, PROJECTIONS, FIRST, actor="dpo", reason="", options=SMALL)
    if is_whole:
        erase(path, PROJECTIONS, {8: [("actor",)]}, actor="dpo", reason="", options=SMALL)
    oldest.write_bytes(before)
    said = [problem.reason for problem in verify_store(path, PROJECTIONS).problems]
    assert [reason for reason in said if "erase it again" in reason] == [
        f"revision {revision} still holds what the erasure in revision {by} names: erase it again"
        for revision, by in ([(6, 61), (8, 62)] if is_whole else [(6, 61)])
    ]
    again: dict[int, list[tuple[str, ...]]] = {**FIRST, 8: [("actor",)]}
    erase(path, PROJECTIONS, again, actor="dpo", reason="", options=SMALL)
    assert verify_store(path, PROJECTIONS).is_sound
    with MetaStore.open(path, options=SMALL) as store:
        assert [batch.is_redacted for batch in store.event_store.batches(6, 8)] == [1, 0, 1]


def notes() -> list[bytes]:
    whole = b"2 60 "  # and a checksum
    return [b"", b"y0\n", b"60", whole, b"2 6\xff 00000000\n"]


@pytest.mark.parametrize("note", notes())
def test_erasure_is_finished_whatever_its_note_says(note: bytes, tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    cut_short(path)
    (path / "ERASING").write_bytes(note)
    MetaStore.open(path, options=SMALL).close()
    assert not (path / "ERASING").exists()
    assert SECRET.encode() not in everything(path)
    assert verify_store(path, PROJECTIONS).is_sound


def test_each_changed_bit_of_the_note_is_found(tmp_path: Path) -> None:
    disk = local_file_system()
    note_erasing(disk, str(tmp_path), 4711)
    whole = (tmp_path / "ERASING").read_bytes()
    assert noted_revision(disk, str(tmp_path)) == 4711
    for place in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        (tmp_path / "ERASING").write_bytes(changed)
        assert noted_revision(disk, str(tmp_path)) is None
    (tmp_path / "ERASING").write_bytes(b"4711\n")  # of version 1
    assert noted_revision(disk, str(tmp_path)) == 4711


def test_note_of_a_newer_release_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    cut_short(path)
    note = b"3 60 %08x\n" % zlib.crc32(b"3 60")
    (path / "ERASING").write_bytes(note)
    with pytest.raises(FormatVersionError, match="format version 3 is newer than 2"):
        MetaStore.open(path, options=SMALL)
    with pytest.raises(FormatVersionError):
        verify_store(path, PROJECTIONS)
    assert (path / "ERASING").read_bytes() == note


def test_retry_of_an_erasure_that_the_open_has_finished_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    cut_short(path, FIRST)
    with pytest.raises(ErasureError, match="erasure in revision 61 was cut short, and has"):
        erase(path, PROJECTIONS, FIRST, actor="dpo", reason="", options=SMALL)
    assert SECRET not in str(find(path, 6))
    with pytest.raises(ErasureError, match="or it was erased already"):
        erase(path, PROJECTIONS, FIRST, actor="dpo", reason="", options=SMALL)


def find(path: Path, revision: int) -> object:
    with MetaStore.open(path, options=SMALL) as store:
        [batch] = store.event_store.batches(revision, revision)
        return batch.events


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("is_foreign", [False, True])
def test_oldest_file_that_holds_another_segment_has_lost_what_was_in_it(
    at: int, is_foreign: bool, tmp_path: Path
) -> None:
    path, other = tmp_path / "store", tmp_path / "other"
    fill(path)
    with MetaStore.open(other, options=SMALL):
        pass
    files = sorted((path / "archive").iterdir())
    taken = files[at]
    following = int(files[1].name.split(".")[0])
    if is_foreign:
        content = gzip.compress(next((other / "wal").glob("0*.log")).read_bytes())
        files[0].write_bytes(content)
    else:
        shutil.copy(taken, files[0])
    foreseen = preview_repair(path)
    repaired = repair_store(path, tmp_path / "new", PROJECTIONS)
    [lost] = repaired.lost
    assert (lost.first, lost.last) == (1, following - 1)
    assert foreseen.lost == repaired.lost
    assert not repaired.is_complete


def test_what_must_go_behind_damage_is_not_taken_for_gone(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    newest = max((tmp_path / "store" / "wal").glob("0*.log"))
    whole = bytearray(newest.read_bytes())
    file = MemoryFile("segment", bytes(whole))
    header = read_segment_header(file)
    found = list(SegmentScanner(file, header, start_of(header)))
    said = Redaction(found[-1].revision, b"", b"", (("actor",),))
    whole[found[0].offset_bytes + 90] ^= 1
    with pytest.raises(CorruptionError, match="checksum"):
        redacted_segment("segment", bytes(whole), {said.revision: [said]})


def test_torn_note_stops_no_open_for_damage_in_what_was_erased_long_ago(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    erase(path, PROJECTIONS, FIRST, actor="dpo", reason="", options=SMALL)
    flip(min((path / "archive").iterdir()))
    (path / "ERASING").write_bytes(b"")
    assert verify_store(path, PROJECTIONS).verdict is Verdict.CLEAN
    MetaStore.open(path, options=SMALL).close()
    assert not (path / "ERASING").exists()
