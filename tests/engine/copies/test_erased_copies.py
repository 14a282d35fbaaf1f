"""Backups, restores, dumps and loads of a store in which something was erased."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import segments
from support.erasing import FIELDS, OWNER, PROJECTIONS, SECRET, SMALL, everything, fill

from eventstore import (
    BackupError,
    CorruptionError,
    DamagedBackupError,
    DumpError,
    Event,
    EventStoreError,
    Metadata,
    Retention,
    erase,
    load_store,
    restore_store,
    verify_backup,
    verify_store,
)
from eventstore.copies import backing_up
from eventstore.copies.places import place_of
from eventstore.engine_events import ERASED
from eventstore.format.manifest import MANIFEST_NAME
from eventstore.format.segment import SEGMENT_HEADER_BYTES, unpack_segment_header
from eventstore.handle.engine_transaction import EngineTransaction
from eventstore.integrity.redacted import RedactedCheck
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eventstore import Damage
    from eventstore.log.interface import LogReader

GONE = "*" * len(SECRET)
ERASED_REVISIONS = [6, 8, 26, 46]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files of batches that are full after a dozen."""
    monkeypatch.setattr(backing_up, "PART_BYTES", 4096)


def back_up(path: Path, target: Path) -> backing_up.BackupReport:
    with MetaStore.open(path, options=SMALL) as store:
        return store.backup(target)


def restored(source: Path, path: Path, **arguments: Any) -> None:
    restore_store(source, path, PROJECTIONS, options=SMALL, **arguments)


def require_redacted(path: Path, receipts: list[Any]) -> None:
    """Check that a copy says what the store says, and that what was given out holds in it."""
    with MetaStore.open(path, options=SMALL) as store:
        batches = list(store.event_store.batches())
        redacted = [batch.revision for batch in batches if batch.is_redacted]
        assert redacted == [each for each in ERASED_REVISIONS if each <= len(receipts)]
        for receipt in receipts:
            store.check_receipt(receipt)
            store.event_store.inclusion_proof(receipt)
        report = store.verify()
        assert (report.is_sound, report.remarks) == (True, ()), report.problems
    assert SECRET.encode() not in everything(path)


def test_erased_store_is_backed_up_verified_and_restored_with_its_proofs(tmp_path: Path) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    receipts = fill(path)
    done = erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="r", options=SMALL)
    back_up(path, copy)
    assert verify_backup(copy).is_verified
    restored(copy, tmp_path / "new")
    require_redacted(tmp_path / "new", [*receipts, done.receipt])


def test_older_releases_refuse_a_restored_log_from_the_first_redacted_batch_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    fill(path)
    erase(path, PROJECTIONS, {26: [OWNER]}, actor="dpo", reason="", options=SMALL)
    back_up(path, tmp_path / "backup")
    restored(tmp_path / "backup", tmp_path / "restored")
    found = [
        unpack_segment_header(each.read_bytes()[:SEGMENT_HEADER_BYTES])
        for each in segments(tmp_path / "restored")
    ]
    later = [header.first_revision for header in found if header.may_redact]
    earlier = [header.first_revision for header in found if not header.may_redact]
    assert max(earlier) < later[0] <= 26 < later[1] < later[-1]


def test_backup_that_grows_by_an_erasure_erases_in_its_older_files_and_removes_them(
    tmp_path: Path,
) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    receipts = fill(path)
    back_up(path, copy)
    before = {file.name for file in copy.glob("batches-*")}
    assert SECRET.encode() in everything(copy)
    done = erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="r", options=SMALL)
    report = back_up(path, copy)
    assert report.added_batches == 1
    after = {file.name for file in copy.glob("batches-*")}
    assert 0 < len(before - after) < len(before)
    assert SECRET.encode() not in everything(copy)
    assert verify_backup(copy).revision == done.receipt.revision
    restored(copy, tmp_path / "new")
    require_redacted(tmp_path / "new", [*receipts, done.receipt])
    assert back_up(path, copy).added_bytes == 0


def test_two_erasures_of_a_batch_reach_a_backup_that_has_seen_neither_or_one(
    tmp_path: Path,
) -> None:
    path, none, one = tmp_path / "store", tmp_path / "none", tmp_path / "one"
    receipts = fill(path)
    back_up(path, none)
    back_up(path, one)
    erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="1", options=SMALL)
    back_up(path, one)
    more: dict[int, list[tuple[str, ...]]] = {6: [("reason",)], 46: [("actor",), ("reason",)]}
    with MetaStore.open(path, options=SMALL) as store:
        receipts.append(store.erase(more, actor="dpo", reason="2").receipt)
    for copy in (none, one):
        back_up(path, copy)
        assert b"pull 45" not in everything(copy)
        assert verify_backup(copy).is_verified
        restored(copy, copy.with_name(f"{copy.name}-new"))
        require_redacted(copy.with_name(f"{copy.name}-new"), receipts[:60])


def test_state_of_a_backup_that_holds_what_was_erased_is_replaced(tmp_path: Path) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    cut = replace(SMALL, retention=Retention(revisions=12))
    with MetaStore.open(path, options=cut) as store:
        for number in range(90):
            with store.transaction(writable=True) as tx:
                labels = {"owner": SECRET if number % 3 == 0 else "x", "note": "n" * 150}
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels=labels)
            if number % 10 == 9:
                store.checkpoint()
            if number == 50:
                store.compact()
        assert store.event_store.oldest_revision() > 1
        store.backup(copy)
        assert list(copy.glob("state-*"))
        wanted: dict[int, list[tuple[str, ...]]] = {}
        refused = 0
        for found in store.find_text(SECRET):
            wanted[found.revision] = [found.field]
        for revision, fields in wanted.items():
            try:
                store.erase({revision: fields}, actor="dpo", reason="r")
            except EventStoreError:
                refused += 1  # the state before it is no longer kept
        assert refused < len(wanted)
        store.backup(copy)
        owners = [each.field for each in store.find_text(SECRET)]
        assert len(owners) == refused
    assert verify_backup(copy).is_verified
    restored(copy, tmp_path / "new")
    with MetaStore.open(tmp_path / "new", options=SMALL) as store:
        with store.transaction() as now:
            gone = [info.name for info in now.walk_info() if info.labels["owner"] == GONE]
        assert len(gone) == len(wanted) - refused
        assert store.verify().is_sound


def test_restore_to_before_an_erasure_states_it_again_and_stays_sound(tmp_path: Path) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    receipts = fill(path)
    erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="request 12", options=SMALL)
    back_up(path, copy)
    restored(copy, tmp_path / "new", revision=30)
    require_redacted(tmp_path / "new", receipts[:30])
    with MetaStore.open(tmp_path / "new", options=SMALL) as store:
        [said] = store.event_store.batches(type=ERASED)
        [_, event] = said.events
        assert [each["revision"] for each in event.data["batches"]] == [6, 8, 26]
        restated = event.data["restated"]
        assert (restated["actor"], restated["reason"]) == ("dpo", "request 12")
        assert restated["revision"] == 61
        store.backup(tmp_path / "copy-of-new")
    restored(copy, tmp_path / "early", revision=5)  # nothing was erased of these
    with MetaStore.open(tmp_path / "early", options=SMALL) as store:
        assert list(store.event_store.batches(type=ERASED)) == []
        assert store.verify().is_sound


def test_backup_of_a_store_that_has_dropped_the_erased_batch_erases_it_all_the_same(
    tmp_path: Path,
) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    fill(path)
    back_up(path, copy)
    erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="r", options=SMALL)
    with MetaStore.open(path, options=replace(SMALL, retention=Retention(revisions=25))) as store:
        for number in range(60, 90):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels={"note": "n" * 150})
            if number == 70:
                store.checkpoint()
        store.checkpoint()
        store.compact()
        assert 8 < store.event_store.oldest_revision() <= 61
        store.backup(copy)
    assert SECRET.encode() not in everything(copy)
    assert verify_backup(copy).is_verified


class CutLog:
    """A log that ends before the erasure."""

    durable_revision = 60

    def __init__(self, log: LogReader) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Careless(RedactedCheck):
    """As if another program had made the backup."""

    def unnamed(self) -> Iterator[Damage]:
        return iter(())


def back_up_cut(path: Path, copy: Path) -> None:
    """Back a store up as if it had been cut before the erasure: then nothing vouches for it."""
    with MetaStore.open(path, options=SMALL) as store:
        log: Any = CutLog(store.event_store._log)
        source = backing_up.Source(store.path, log, store.event_store._tree, last_revision=60)
        place = place_of(copy, store.event_store._process())
        backing_up.back_up(source, place, verify=False, on_batch=lambda revision: None)


def test_backup_of_an_erasure_which_nothing_names_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    erase(tmp_path / "store", PROJECTIONS, FIELDS, actor="dpo", reason="r", options=SMALL)
    with pytest.raises(CorruptionError, match="revision 6 states to be redacted"):
        back_up_cut(tmp_path / "store", tmp_path / "copy")


def test_backup_with_an_erasure_which_nothing_names_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "store")
    erase(tmp_path / "store", PROJECTIONS, FIELDS, actor="dpo", reason="r", options=SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(backing_up, "RedactedCheck", Careless)
        back_up_cut(tmp_path / "store", tmp_path / "copy")
    with pytest.raises(DamagedBackupError, match="revision 6 states to be redacted"):
        verify_backup(tmp_path / "copy")


def dumped(path: Path) -> bytes:
    with MetaStore.open(path, options=SMALL) as store:
        return b"".join(store.dump())


def test_dump_shows_what_is_redacted_and_loads_to_an_equal_history(tmp_path: Path) -> None:
    path = tmp_path / "store"
    receipts = fill(path)
    done = erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="r", options=SMALL)
    lines = dumped(path)
    assert SECRET.encode() not in lines
    parsed = [json.loads(line) for line in lines.splitlines()[1:]]
    assert [each["revision"] for each in parsed if "redacted" in each] == ERASED_REVISIONS
    assert parsed[5]["redacted"] is True
    assert parsed[5]["digest"] == receipts[5].digest.hex()
    assert parsed[5]["events"][0]["data"]["labels"]["owner"] == GONE
    load_store(io.BytesIO(lines), tmp_path / "new", PROJECTIONS, options=SMALL)
    require_redacted(tmp_path / "new", [*receipts, done.receipt])
    assert dumped(tmp_path / "new") == lines


def _changed(lines: list[bytes]) -> None:
    lines[6] = lines[6].replace(b"key-5", b"key-x")


def _claimed(lines: list[bytes]) -> None:
    assert b"redacted" not in lines[10]
    lines[10] = (
        lines[10].replace(b'"actor"', b'"redacted":true,"actor"').replace(b"nobody", b"forged")
    )


def _not_true(lines: list[bytes]) -> None:
    lines[6] = lines[6].replace(b'"redacted":true', b'"redacted":false')


def _without(lines: list[bytes]) -> None:
    lines[6] = lines[6].replace(b'"redacted":true,', b"")


def _cut_off(lines: list[bytes]) -> None:
    lines[0] = lines[0].replace(b'"revision":61', b'"revision":60')
    del lines[61:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_changed, "no erasure says"),
        (_claimed, "no erasure says"),
        (_not_true, "'redacted' is not true"),
        (_without, "the digest is not that of the batch"),
        (_cut_off, "no erasure says"),
    ],
)
def test_dump_that_claims_what_no_erasure_says_is_not_loaded(
    tmp_path: Path, change: Callable[[list[bytes]], None], said: str
) -> None:
    path = tmp_path / "store"
    fill(path)
    erase(path, PROJECTIONS, FIELDS, actor="dpo", reason="r", options=SMALL)
    lines = dumped(path).splitlines(keepends=True)
    before = list(lines)
    change(lines)
    assert lines != before
    with pytest.raises(DumpError, match=said):
        load_store(io.BytesIO(b"".join(lines)), tmp_path / "new", PROJECTIONS, options=SMALL)
    assert not (tmp_path / "new").exists()


def erase_once(store: MetaStore, at: int) -> Callable[[int], None]:
    """Return what erases when a copy has come to a revision."""
    left = [at]

    def erase_there(revision: int) -> None:
        if left and revision == left[0]:
            left.clear()
            store.erase(FIELDS, actor="dpo", reason="asked")

    return erase_there


@pytest.mark.parametrize("at", [1, 10, 25, 44, 50, 60])
def test_backup_amid_which_an_erasure_comes_is_whole_and_restores_to_a_sound_store(
    at: int, tmp_path: Path
) -> None:
    fill(tmp_path / "store")
    with MetaStore.open(tmp_path / "store", options=SMALL) as store:
        report = store.backup(tmp_path / "copy", on_batch=erase_once(store, at))
        assert verify_backup(tmp_path / "copy").revision == report.revision
        restored(tmp_path / "copy", tmp_path / "new")
        assert verify_store(tmp_path / "new", PROJECTIONS).is_sound
        store.backup(tmp_path / "copy")  # by which it has reached the erasure
    assert SECRET.encode() not in everything(tmp_path / "copy")


@pytest.mark.parametrize("at", [1, 10, 25])
def test_dump_amid_which_an_erasure_comes_says_so_at_its_end(at: int, tmp_path: Path) -> None:
    fill(tmp_path / "store")
    with MetaStore.open(tmp_path / "store", options=SMALL) as store:
        erase_there, lines = erase_once(store, at), iter(store.dump())
        for number in range(61):
            next(lines)
            erase_there(number)
        with pytest.raises(BackupError, match="an erasure was carried out while"):
            next(lines)
        whole = b"".join(store.dump())
    load_store(io.BytesIO(whole), tmp_path / "new", PROJECTIONS, options=SMALL)


def test_backup_begun_of_an_empty_store_grows_although_its_first_batch_was_erased(
    tmp_path: Path,
) -> None:
    with MetaStore.open(tmp_path / "store", options=SMALL) as store:
        assert store.backup(tmp_path / "copy").revision == 0
        with store.transaction(writable=True, actor=SECRET) as tx:
            tx.create_snapshot(Kind.ACTIVE, "key")
        store.erase({1: [("actor",)]}, actor="dpo", reason="asked")
        assert store.backup(tmp_path / "copy").revision == 2
    verify_backup(tmp_path / "copy")


def test_event_that_only_looks_like_an_erasure_is_none(tmp_path: Path) -> None:
    """A dump written by hand may hold one; nothing is erased by it, nothing falls over it."""
    path = tmp_path / "store"
    fill(path)
    odd = [
        None,
        {"batches": 7},
        {"batches": [7]},
        {"batches": [{"revision": "6", "digest": b"", "payload_hash": b"", "fields": []}]},
        {"batches": [{"revision": 6, "digest": b"", "payload_hash": b"", "fields": [["data", 7]]}]},
    ]
    with MetaStore.open(path, options=SMALL) as store:
        for data in odd:
            with store.event_store.begin_write(EngineTransaction, Metadata()) as tx:
                tx.note(Event(ERASED, data))
        assert store.verify().is_sound
        store.backup(tmp_path / "copy")
        lines = b"".join(store.dump())
    load_store(io.BytesIO(lines), tmp_path / "new", PROJECTIONS, options=SMALL)
    (path / "ERASING").write_bytes(b"0\n")
    with MetaStore.open(path, options=SMALL) as store:
        assert not any(batch.is_redacted for batch in store.event_store.batches())
    assert (tmp_path / "copy" / MANIFEST_NAME).exists()


def test_second_erasure_of_what_only_the_owner_field_names_needs_no_more(tmp_path: Path) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        store.backup(copy)
        store.erase({6: [OWNER]}, actor="dpo", reason="1")
        store.backup(copy)
        store.erase({26: [OWNER]}, actor="dpo", reason="2")
        store.backup(copy)
        assert verify_backup(copy).is_verified
        held = [each.revision for each in store.find_text(SECRET)]
    assert held == [8, 46]
