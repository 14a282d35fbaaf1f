"""Salted batches: what is erased of them can't be tried out; all else is as without."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL as PLAIN
from support.engine import add, balance, open_store, records, segments
from support.erasing import OWNER, PROJECTIONS, SMALL
from support.ledger import Ledger, Totals

from eventstore import DumpError, load_store, repair_store, restore_store, verify_store
from eventstore.copies.framing import PackedBatch, digest_after
from eventstore.event import Event, Metadata
from eventstore.format.codec import (
    SALT_BYTES,
    DecodeError,
    decode_batch,
    encode_batch,
    encode_event,
    pack,
    salt_of,
    unpack,
    with_salt,
)
from eventstore.format.segment import SEGMENT_VERSION, WRITTEN_VERSION, genesis_digest
from eventstore.log.writer import Salts
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from pathlib import Path

SALTED = replace(PLAIN, salted=True)


def versions(path: Path) -> list[int]:
    return [int.from_bytes(each.read_bytes()[8:12], "little") for each in segments(path)]


def payloads(path: Path) -> list[bytes]:
    return [record.payload for each in segments(path) for record in records(each)]


def test_each_batch_has_another_salt_and_is_read_as_without(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path, options=SALTED) as store:
        receipts = add(store, 30)
        assert store.verify().is_sound
    salts = [salt_of(each) for each in payloads(path)]
    assert None not in salts
    assert len(set(salts)) == 30
    assert set(versions(path)) == {SEGMENT_VERSION}
    with open_store(path) as store:
        assert balance(store) == 30
        for receipt in receipts:
            store.check_receipt(receipt)
    assert verify_store(path, [Ledger(), Totals()]).is_sound


def test_store_without_salts_gets_them_from_a_new_segment_on(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 2)
    assert versions(path) == [WRITTEN_VERSION]
    with open_store(path, options=SALTED) as store:
        add(store, 2)
    with open_store(path) as store:
        add(store, 1)
        assert store.verify().is_sound
    assert versions(path) == [WRITTEN_VERSION, SEGMENT_VERSION]
    assert [salt_of(each) is not None for each in payloads(path)] == [0, 0, 1, 1, 0]


def test_salts_are_drawn_by_whoever_is_given_and_never_twice() -> None:
    drawn: list[int] = []

    def draw(size_bytes: int) -> bytes:
        drawn.append(size_bytes)
        return bytes([len(drawn)]) * size_bytes

    salts = Salts(draw)
    taken = [salts.take() for _ in range(65)]
    assert taken == [b"\1" * SALT_BYTES] * 64 + [b"\2" * SALT_BYTES]
    assert len({Salts().take() for _ in range(9)}) == 9


def guesses_that_fit(path: Path, guesses: list[str]) -> list[str]:
    """Try what a reader of the redacted log can: put a guess in, and see whether it fits a hash."""
    with MetaStore.open(path, options=SMALL) as store:
        left, *later = store.event_store._log.read(1, 9)
        known = {left.digest}
        for batch in store.event_store.batches(2, type="eventstore.erased"):
            known |= {each["payload_hash"] for each in batch.events[0].data["batches"]}
        genesis = store.event_store._log.store_id
    fitting = []
    for guess in guesses:
        for salt in (salt_of(left.payload), *(salt_of(each.payload) for each in later)):
            for field in ("owner", "other"):
                metadata, events, *_ = unpack(left.payload)
                events[0][2]["labels"][field] = guess
                if field == "owner":
                    events[0][2]["labels"]["other"] = "x-2"
                packed = pack([metadata, events] if salt is None else [metadata, events, salt])
                tried_batch = PackedBatch(packed, 1, left.time_ns, left.durable_revision, b"")
                tried = {
                    hashlib.sha256(packed).digest(),
                    digest_after(tried_batch, genesis, genesis_digest(genesis)),
                }
                if tried & known:
                    fitting.append(guess)
    return fitting


@pytest.mark.parametrize("salted", [False, True])
def test_guess_of_what_was_erased_fits_a_digest_only_without_a_salt(
    tmp_path: Path, salted: bool
) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=replace(SMALL, salted=salted)) as store:
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "a", labels={"owner": "x-1", "other": "x-2"})
        store.erase({1: [OWNER]}, actor="dpo", reason="1")
    first = guesses_that_fit(path, ["x-1", "x-3"])
    assert set(first) == (set() if salted else {"x-1"})
    with MetaStore.open(path, options=replace(SMALL, salted=salted)) as store:
        store.erase({1: [("data", "labels", "other")]}, actor="dpo", reason="2")
        assert store.verify().is_sound
    again = guesses_that_fit(path, ["x-1", "x-2", "x-3"])
    assert set(again) == (set() if salted else {"x-1", "x-2"})
    assert verify_store(path, PROJECTIONS).is_sound


def test_salts_come_through_backup_restore_dump_load_and_repair(tmp_path: Path) -> None:
    path = tmp_path / "store"
    projections = [Ledger(), Totals()]
    with open_store(path, options=SALTED) as store:
        receipts = add(store, 20)
        store.backup(tmp_path / "copy")
        lines = b"".join(store.dump())
    assert b'"salt":"' in lines
    restore_store(tmp_path / "copy", tmp_path / "restored", projections, options=PLAIN)
    load_store(io.BytesIO(lines), tmp_path / "loaded", projections, options=PLAIN)
    repair_store(path, tmp_path / "repaired", projections)
    for made in ("restored", "loaded", "repaired"):
        assert payloads(tmp_path / made) == payloads(path)
        assert set(versions(tmp_path / made)) == {SEGMENT_VERSION}
        with open_store(tmp_path / made) as store:
            for receipt in receipts:
                store.check_receipt(receipt)
            assert store.verify().is_sound


@pytest.mark.parametrize("salt", ["00", "0" * 33, 7, None])
def test_salt_of_another_form_in_a_dump_is_refused(tmp_path: Path, salt: Any) -> None:
    with open_store(tmp_path / "store", options=SALTED) as store:
        add(store, 1)
        lines = b"".join(store.dump()).splitlines(keepends=True)
    fields = json.loads(lines[1])
    fields["salt"] = salt
    lines[1] = json.dumps(fields).encode() + b"\n"
    with pytest.raises(DumpError, match="'salt'"):
        load_store(
            io.BytesIO(b"".join(lines)), tmp_path / "new", [Ledger(), Totals()], options=PLAIN
        )


def test_third_part_of_a_batch_that_is_no_salt_is_no_batch() -> None:
    plain = encode_batch(Metadata("a"), [encode_event(Event("t", {}))])
    salted = with_salt(plain, bytes(range(16)))
    assert decode_batch(salted) == decode_batch(plain)
    assert (salt_of(plain), salt_of(salted)) == (None, bytes(range(16)))
    metadata, events = unpack(plain)
    for more in ([b"short"], ["x" * 16], [bytes(16), bytes(16)], [None]):
        with pytest.raises(DecodeError):
            decode_batch(pack([metadata, events, *more]))
