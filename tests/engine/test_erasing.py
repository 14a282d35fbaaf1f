"""Erasure: what goes is gone from every file and every view, and every proof still holds."""

from __future__ import annotations

import gzip
import zlib
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import archived, overwrite, records, segments

from eventstore import (
    CorruptionError,
    ErasureError,
    EventStore,
    Retention,
    StoreOptions,
    erase,
    repair_store,
    verify_store,
)
from eventstore.engine_events import ERASED
from eventstore.format.segment import frame_redacted, pack_segment_header
from eventstore.log.reader import read_segment_header
from eventstore.log.segments import MemoryFile
from eventstore.testing import STORE_PATH, SimulatedFileSystem, crash_images
from projections.snapshots import Kind, MetaStore, SnapshotsProjection

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "Jane Q. Public"
SMALL = StoreOptions(segment_bytes=4096, background=False)
OWNER = ("data", "labels", "owner")
PROJECTIONS = [SnapshotsProjection()]


def fill(path: Path, retention: Retention | None = None) -> list[Any]:
    """Make a store with the secret in archive, log and active segment; return the receipts."""
    receipts = []
    options = SMALL
    if retention is not None:
        options = StoreOptions(segment_bytes=4096, background=False, retention=retention)
    with MetaStore.open(path, options=options) as store:
        for number in range(60):
            actor = SECRET if number == 7 else "puller"
            with store.transaction(writable=True, actor=actor, reason=f"pull {number}") as tx:
                owner = SECRET if number % 20 == 5 else "nobody"
                labels = {"owner": owner, "note": "n" * 150}
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels=labels)
            receipts.append(tx.receipt)
            if number in (15, 30, 45):
                store.compact()
    return receipts


FIELDS: dict[int, list[tuple[str, ...]]] = {6: [OWNER], 26: [OWNER], 46: [OWNER], 8: [("actor",)]}


def everything(path: Path) -> bytes:
    """Return all bytes of a store, unpacked where they are packed."""
    found = []
    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            found.append(gzip.decompress(content) if file.name.endswith(".gz") else content)
            for place in range(len(content)):
                if content[place : place + 1] == b"\x78":
                    unpacker = zlib.decompressobj()
                    try:
                        found.append(unpacker.decompress(content[place:]))
                    except zlib.error:
                        continue
    return b"\n".join(found)


def test_what_is_erased_is_in_no_file_and_no_view_and_proofs_hold(tmp_path: Path) -> None:
    path = tmp_path / "store"
    receipts = fill(path)
    assert archived(path)
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


def test_erasure_that_a_crash_cuts_has_not_begun_or_is_finished_by_the_next_open() -> None:
    disk = SimulatedFileSystem(keep_steps=True)
    with EventStore.open(STORE_PATH, PROJECTIONS, options=SMALL, file_system=disk) as engine:
        store = MetaStore(engine)
        for number in range(40):
            with store.transaction(writable=True) as tx:
                owner = SECRET if number in (5, 25, 38) else "nobody"
                tx.create_snapshot(
                    Kind.ACTIVE, f"key-{number}", labels={"owner": owner, "note": "n" * 150}
                )
            if number in (15, 30):
                store.compact()
    started = len(disk.steps)
    fields: dict[int, list[tuple[str, ...]]] = {6: [OWNER], 26: [OWNER], 39: [OWNER]}
    erase(STORE_PATH, PROJECTIONS, fields, actor="dpo", reason="", options=SMALL, file_system=disk)
    outcomes = set()
    random = Random(1)
    steps = disk.steps[started:]
    for step in steps:
        for image in crash_images(step.medium, 2, random):
            found = SimulatedFileSystem(image.medium)
            with EventStore.open(
                STORE_PATH, PROJECTIONS, options=SMALL, file_system=found
            ) as engine:
                store = MetaStore(engine)
                said = len(list(engine.batches(type=ERASED)))
                owners = {
                    now.get_info(f"key-{number}")[1].labels["owner"]
                    for number in (5, 25, 38)
                    for now in [store.transaction()]
                }
                assert owners == ({"*" * len(SECRET)} if said else {SECRET}), step.name
                outcomes.add(said)
                redacted = [batch.revision for batch in engine.batches() if batch.is_redacted]
                assert redacted == ([6, 26, 39] if said else [])
                report = engine.verify()
                assert report.is_sound, (step.name, report.problems)
                assert report.remarks == ()
            assert not found.exists(f"{STORE_PATH}/ERASING")
    assert outcomes == {0, 1}
