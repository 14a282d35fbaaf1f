"""Erasure: what goes is gone from every file and every view, and every proof still holds."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import zlib
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.archives import unpack
from support.engine import archived, overwrite, records, segments
from support.erasing import (
    FIELDS,
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
    EventStore,
    EventStoreError,
    Receipt,
    Retention,
    Verdict,
    erase,
    repair_store,
    verify_store,
)
from eventstore.engine_events import ERASED
from eventstore.erasing import foresee_erasure
from eventstore.format.segment import frame_redacted, pack_segment_header
from eventstore.integrity.repair import preview_repair
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.segments import MemoryFile
from eventstore.testing import STORE_PATH, FailCall, Failure, SimulatedFileSystem, crash_images
from projections.snapshots import Kind, MetaStore

DATA = Path(__file__).parents[2] / "data" / "erasure"


def test_what_is_erased_is_in_no_file_and_no_view_and_proofs_hold(tmp_path: Path) -> None:
    path = tmp_path / "store"
    receipts = fill(path)
    assert archived(path)
    (path / "torn").mkdir(mode=0o700, exist_ok=True)
    (path / "torn" / "00000000000000000042-6112.torn").write_text(SECRET)
    (path / "checkpoints" / "00000000000000000042.ckpt.damaged").write_text(SECRET)
    with MetaStore.open(path, options=SMALL) as store:
        head = store.event_store.tree_head()
        before = {batch.revision: batch for batch in store.event_store.batches()}
    assert SECRET.encode() in everything(path)

    done = erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="request 12", options=SMALL)

    assert done.revisions == (6, 8, 26, 46)
    assert SECRET.encode() not in everything(path)
    with MetaStore.open(path, options=SMALL) as store:
        engine = store.event_store
        store.check()
        with store.transaction() as now:
            _, info, _ = now.get_info("key-5")
            assert info.labels == {"owner": "*" * len(SECRET), "note": "n" * 150}
        with store.at(6) as past:
            assert past.get_info("key-5")[1].labels["owner"] == "*" * len(SECRET)
        with store.at(5) as past:
            assert [info.name for info in past.walk_info()] == [f"key-{n}" for n in range(5)]
        after = {batch.revision: batch for batch in engine.batches()}
        assert {r for r, batch in after.items() if batch.is_redacted} == {6, 8, 26, 46}
        for revision, batch in before.items():
            assert after[revision].digest == batch.digest
            if revision not in done.revisions:
                assert after[revision] == batch
        assert after[8].metadata.actor == "*" * len(SECRET)
        assert after[8].events == before[8].events
        assert list(engine.batches(actor=SECRET)) == []
        assert len(list(engine.batches(actor="puller"))) == 59
        for receipt in receipts:
            store.check_receipt(receipt)
            engine.inclusion_proof(receipt)
        store.check_receipt(done.receipt)
        engine.consistency_proof(head).check(head)
        [said] = engine.batches(type=ERASED)
        assert said.metadata[:2] == ("dpo", "request 12")
        assert [each["revision"] for each in said.events[0].data["batches"]] == [6, 8, 26, 46]
        assert said.events[0].data["batches"][0]["fields"] == [list(OWNER)]
        [entry] = store.history("key-5")
        assert entry.revision == 6
        report = store.verify()
        assert report.is_sound, report.problems
        assert report.remarks == ()
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "later")
        store.compact()
    assert verify_store(path, PROJECTIONS).is_sound
    with MetaStore.open(path, read_only=True) as follower, follower.transaction() as now:
        assert now.get_info("key-25")[1].labels["owner"] == "*" * len(SECRET)


def test_a_second_erasure_in_the_same_batch_is_vouched_for(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    erase(path, PROJECTIONS, {6: [OWNER]}, actor="dpo", reason="1", options=SMALL)
    erase(path, PROJECTIONS, {6: [("actor",), ("reason",)]}, actor="dpo", reason="2", options=SMALL)
    with MetaStore.open(path, options=SMALL) as store:
        [batch] = store.event_store.batches(6, 6)
        assert batch.metadata == ("******", "******", None)
        assert batch.events[0].data["labels"]["owner"] == "*" * len(SECRET)
        assert store.verify().is_sound


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({6: [("data", "key")]}, r"data\.key of the event .* can't be erased"),
        ({6: [("data", "labels", "none")]}, "has no text at data.labels.none"),
        ({6: [("request_id",)]}, "has no text at request_id"),
        ({6: [("payload",)]}, "neither metadata nor"),
        ({6: [("data",)]}, "neither metadata nor"),
        ({}, "nothing to erase"),
    ],
)
def test_what_is_needed_or_is_not_there_is_refused(fields: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    with pytest.raises(ErasureError, match=said):
        erase(path, PROJECTIONS, fields, actor="dpo", reason="", options=SMALL)
    with MetaStore.open(path, options=SMALL) as store:
        assert list(store.event_store.batches(type=ERASED)) == []
    assert not (path / "ERASING").exists()


def test_batch_whose_state_can_not_be_made_anew_is_not_erased(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path, Retention.none())
    with MetaStore.open(path, options=SMALL) as store:
        oldest = store.event_store.oldest_revision()
    assert oldest > 1
    with pytest.raises(ErasureError, match="can't be made anew"):
        erase(path, PROJECTIONS, {oldest: [("reason",)]}, actor="", reason="", options=SMALL)


def test_changed_record_that_claims_to_be_redacted_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    segment = segments(path)[-1]
    header = read_segment_header(MemoryFile("", segment.read_bytes()))
    record = records(segment)[0]
    forging = header._replace(may_redact=True)
    forged = frame_redacted(
        record.payload.replace(b"nobody", b"forged"),
        revision=record.revision,
        time_ns=record.time_ns,
        durable_revision=record.durable_revision,
        digest=record.digest,
        framing=forging.framing,
    )
    overwrite(segment, record.offset_bytes, forged)
    with pytest.raises(CorruptionError):  # a segment that states no such thing has no such record
        MetaStore.open(path, options=SMALL)
    overwrite(segment, 0, pack_segment_header(forging))
    report = verify_store(path, [])
    [problem] = [each for each in report.problems if "redacted" in each.reason]
    assert f"revision {record.revision} states to be redacted" in problem.reason


def test_repair_keeps_what_was_erased_erased_and_proved(tmp_path: Path) -> None:
    path = tmp_path / "store"
    receipts = fill(path)
    erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="", options=SMALL)
    report = repair_store(path, tmp_path / "new", PROJECTIONS)
    assert report.lost == ()
    with MetaStore.open(tmp_path / "new", options=SMALL) as store:
        for receipt in receipts:
            store.check_receipt(receipt)
        assert store.verify().is_sound
    assert SECRET.encode() not in everything(tmp_path / "new")


def small_disk() -> SimulatedFileSystem:
    """Return a disk with a store that has the secret in archive, log and active segment."""
    disk = SimulatedFileSystem(keep_steps=True)
    with EventStore.open(STORE_PATH, PROJECTIONS, options=SMALL, file_system=disk) as engine:
        store = MetaStore(engine)
        for number in range(40):
            with store.transaction(writable=True) as tx:
                owner = SECRET if number in (5, 25, 38) else "nobody"
                labels = {"owner": owner, "note": "n" * 150}
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels=labels)
            if number in (15, 30):
                store.compact()
    return disk


def require_all_or_nothing(disk: SimulatedFileSystem, when: str) -> int:
    """Open a store after something came between; return how many erasures it has."""
    with EventStore.open(STORE_PATH, PROJECTIONS, options=SMALL, file_system=disk) as engine:
        said = len(list(engine.batches(type=ERASED)))
        with MetaStore(engine).transaction() as now:
            owners = {now.get_info(f"key-{n}")[1].labels["owner"] for n in (5, 25, 38)}
        assert owners == ({"*" * len(SECRET)} if said else {SECRET}), when
        redacted = [batch.revision for batch in engine.batches() if batch.is_redacted]
        assert redacted == ([6, 26, 39] if said else [])
        report = engine.verify()
        assert report.is_sound, (when, report.problems)
        assert report.remarks == ()
    assert not disk.exists(f"{STORE_PATH}/ERASING")
    return said


def erase_on(disk: SimulatedFileSystem) -> None:
    fields: dict[int, list[tuple[str, ...]]] = {6: [OWNER], 26: [OWNER], 39: [OWNER]}
    erase(STORE_PATH, PROJECTIONS, fields, actor="dpo", reason="", options=SMALL, file_system=disk)


def test_erasure_that_a_crash_cuts_has_not_begun_or_is_finished_by_the_next_open() -> None:
    disk = small_disk()
    started = len(disk.steps)
    erase_on(disk)
    random = Random(1)
    outcomes = {
        require_all_or_nothing(SimulatedFileSystem(image.medium), step.name)
        for step in disk.steps[started:]
        for image in crash_images(step.medium, 2, random)
    }
    assert outcomes == {0, 1}


def test_erasure_that_a_failing_call_ends_has_not_begun_or_is_finished_by_the_next_open() -> None:
    medium = small_disk().medium
    whole = SimulatedFileSystem(medium.copy())
    before = whole.calls
    erase_on(whole)
    outcomes, failed = set(), 0
    for number in range(before, whole.calls, max(1, (whole.calls - before) // 60)):
        disk = SimulatedFileSystem(medium.copy())
        disk.fault = FailCall(number, Failure(errno.EIO))
        try:
            erase_on(disk)
        except (OSError, EventStoreError):
            failed += 1
        disk.fault = None
        outcomes.add(require_all_or_nothing(disk, f"call {number}"))
    assert outcomes == {0, 1}
    assert failed > 10


def test_unfinished_erasure_is_remarked_on_and_a_torn_note_of_it_is_no_obstacle(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    fill(path)
    erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="", options=SMALL)
    (path / "ERASING").write_bytes(b"")
    [remark] = verify_store(path, PROJECTIONS).remarks
    assert "an erasure is unfinished" in remark
    with MetaStore.open(path, options=SMALL) as store:
        assert store.verify().remarks == ()
    assert not (path / "ERASING").exists()


@pytest.mark.parametrize("note", [b"", b"1"])
def test_torn_note_takes_no_checkpoint_that_a_log_without_its_start_needs(
    note: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    fill(path)
    erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="", options=SMALL)
    dropping = dataclasses.replace(SMALL, retention=Retention(archive=False))
    with MetaStore.open(path, options=dropping) as store:
        for number in range(100, 140):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels={"note": "n" * 150})
            if number % 10 == 0:
                store.compact()
        assert store.event_store.oldest_revision() > max(FIELDS)
    (path / "ERASING").write_bytes(note)
    with MetaStore.open(path, options=SMALL) as store, store.transaction() as now:
        assert now.get_info("key-139")[1].labels == {"note": "n" * 150}
    assert not (path / "ERASING").exists()


def test_repair_finishes_an_erasure_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "store"
    receipts = fill(path)
    cut_short(path)
    assert SECRET.encode() in everything(path)
    assert repair_store(path, tmp_path / "new", PROJECTIONS).lost == ()
    assert SECRET.encode() not in everything(tmp_path / "new")
    assert not (tmp_path / "new" / "ERASING").exists()
    with MetaStore.open(tmp_path / "new", options=SMALL) as store:
        for receipt in receipts:
            store.check_receipt(receipt)
        assert [batch.is_redacted for batch in store.event_store.batches(6, 8)] == [1, 0, 1]
        assert store.verify().is_sound


def test_repair_that_could_not_finish_an_erasure_says_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    cut_short(path)
    # The start of the log is lost: the state begins with a checkpoint.
    for file in [*archived(path), *segments(path)[:1]]:
        file.unlink()
    foreseen = preview_repair(path)
    repaired = repair_store(path, tmp_path / "new", PROJECTIONS)
    assert foreseen.unerased == repaired.unerased
    assert 6 in repaired.unerased
    with MetaStore.open(tmp_path / "new", options=SMALL) as store, store.transaction() as now:
        assert now.get_info("key-5")[1].labels["owner"] == SECRET


def test_golden_store_with_redacted_records_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    unpack(DATA / "redacted.tar.gz", path)
    with MetaStore.open(path, options=SMALL) as store:
        assert store.recovery.verdict is Verdict.CLEAN
        redacted = [batch for batch in store.event_store.batches() if batch.is_redacted]
        assert [batch.revision for batch in redacted] == [2, 4]
        assert redacted[0].metadata.actor == "******"
        with store.transaction() as now:
            assert now.get_info("key-3")[1].labels == {"owner": "*" * len(SECRET)}
        store.check_receipt(Receipt.parse((DATA / "receipt.txt").read_text().strip()))
        report = store.verify()
        assert (report.is_sound, report.remarks) == (True, ())


def test_segment_of_version_1_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    golden = json.loads((DATA.parent / "format" / "version-1.json").read_text())
    path = tmp_path / "store"
    for name, content in golden["files"].items():
        (path / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (path / name).write_bytes(zlib.decompress(base64.b64decode(content)))
    with EventStore.open(path, [], options=SMALL) as store:
        revision = next(batch.revision for batch in store.batches() if batch.metadata.actor)
    with pytest.raises(ErasureError, match="format version 1"):
        erase(path, [], {revision: [("actor",)]}, actor="dpo", reason="", options=SMALL)


def test_every_changed_byte_of_a_redacted_record_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    erase(path, PROJECTIONS, {46: [OWNER]}, actor="dpo", reason="", options=SMALL)
    segment, record = next(
        (segment, record)
        for segment in segments(path)
        for record in records(segment)
        if record.revision == 46
    )
    content = segment.read_bytes()
    header = read_segment_header(MemoryFile("", content))
    for place in range(record.offset_bytes, record.end_bytes):
        changed = bytearray(content)
        changed[place] ^= 0x10
        file = MemoryFile(str(segment), bytes(changed))
        found = [each.revision for each in SegmentScanner(file, header, start_of(header))]
        assert found[-1] == 45, place


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        (None, TypeError, "fields must map revisions to paths, not be None"),
        ([1], TypeError, "fields must map revisions to paths"),
        ({"1": [("actor",)]}, TypeError, "a revision must be an int, not '1'"),
        ({True: [("actor",)]}, TypeError, "a revision must be an int, not True"),
        ({1: None}, TypeError, "the fields of revision 1 must be paths"),
        ({1: "actor"}, TypeError, "the fields of revision 1 must be paths"),
        ({1: ["actor"]}, TypeError, "a field must be a tuple of names"),
        ({1: [("data", 1)]}, TypeError, "a field must be a tuple of names"),
        ({1: [3]}, TypeError, "a field must be a tuple of names"),
        ({}, ErasureError, "nothing to erase is named"),
        ({1: []}, ErasureError, "nothing to erase is named"),
    ],
)
def test_what_names_no_fields_is_refused_in_words_and_nothing_is_committed(
    tmp_path: Path, fields: Any, error: type[Exception], says: str
) -> None:
    path = tmp_path / "store"
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        before = store.event_store.stats()["revision"]
        with pytest.raises(error, match=says):
            store.erase(fields, actor="dpo", reason="")
        with pytest.raises(error, match=says):
            foresee_erasure(path, PROJECTIONS, fields)
        assert store.event_store.stats()["revision"] == before
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "later")


def test_an_erasure_is_foreseen_beside_the_writer_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        before = everything(path)
        foresee_erasure(path, PROJECTIONS, FIELDS)
        with pytest.raises(ErasureError, match="there is no revision 999"):
            foresee_erasure(path, PROJECTIONS, {999: [("actor",)]})
        assert everything(path) == before
        assert store.erase(FIELDS, actor="dpo", reason="").revisions
