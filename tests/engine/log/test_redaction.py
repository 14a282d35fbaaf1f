"""What is left of a batch, and what vouches for that."""

from __future__ import annotations

import hashlib

import pytest

from eventstore import CorruptionError, Event, Metadata
from eventstore.copies.forgetting import Erasures
from eventstore.copies.framing import PackedBatch
from eventstore.engine_events import ERASED
from eventstore.format.codec import encode_batch, encode_event
from eventstore.integrity.redacted import RedactedCheck
from eventstore.log.reader import Record
from eventstore.log.redaction import Redaction, left_of, payload_hash, redacted

WHOLE = encode_batch(Metadata("Jane", "unpack"), [encode_event(Event("made", {"by": "Jane"}))])
ACTOR, BY = ("actor",), ("data", "by")
DIGEST = hashlib.sha256(b"whole").digest()


def record(payload: bytes) -> Record:
    return Record(0, 4, 1, 3, DIGEST, payload, "segment", 100)


def redaction(payload: bytes, *paths: tuple[str, ...], digest: bytes = DIGEST) -> Redaction:
    return Redaction(4, digest, payload_hash(payload), paths)


def test_two_erasures_leave_the_same_whichever_was_carried_out_before() -> None:
    once, _ = redacted(WHOLE, [ACTOR])
    twice, _ = redacted(once, [BY])
    assert b"Jane" not in twice
    both = [redaction(once, ACTOR), redaction(twice, BY)]
    for payload in (WHOLE, once, twice):
        assert left_of(record(payload), both) == twice
        assert left_of(record(payload), ()) == payload


def test_batch_that_an_erasure_is_not_about_is_damage_and_not_redacted() -> None:
    left, _ = redacted(WHOLE, [ACTOR])
    for other in (
        redaction(left, ACTOR, digest=bytes(32)),
        redaction(WHOLE[:-1], ACTOR),
        redaction(left, BY),
    ):
        with pytest.raises(CorruptionError, match="not what its erasure is about"):
            left_of(record(WHOLE), [other])


def said(revision: int, *named: Redaction, is_redacted: bool = False) -> PackedBatch:
    event = Event(ERASED, {"batches": [each.plain() for each in named]})
    payload = encode_batch(Metadata("dpo"), [encode_event(event)])
    digest = hashlib.sha256(payload).digest()
    return PackedBatch(payload, revision, 1, 0, digest, is_redacted=is_redacted)


def named(batch: PackedBatch) -> Redaction:
    return Redaction(batch.revision, batch.digest, payload_hash(batch.payload), (ACTOR,))


def unvouched(*batches: PackedBatch) -> list[int]:
    check = RedactedCheck()
    for batch in batches:
        check.take_in(batch)
    return [int(damage.reason.split()[1]) for damage in check.unnamed()]


def test_what_is_redacted_itself_vouches_for_others_once_it_is_vouched_for() -> None:
    batch = PackedBatch(WHOLE, 4, 1, 0, DIGEST, is_redacted=True)
    order = said(5, named(batch), is_redacted=True)
    assert unvouched(batch) == [4]
    assert unvouched(batch, order) == [4, 5]
    assert unvouched(batch, order, said(6, named(order))) == []
    assert unvouched(batch, said(6, named(batch)._replace(digest=bytes(32)))) == [4]


def test_what_is_there_in_the_place_of_what_an_erasure_has_left_is_not_vouched_for() -> None:
    batch = PackedBatch(WHOLE, 4, 1, 0, DIGEST, is_redacted=True)
    other = redaction(redacted(WHOLE, [ACTOR])[0], ACTOR)
    assert (other.revision, other.digest) == (batch.revision, batch.digest)
    assert unvouched(batch, said(6, other)) == [4]


def test_erasure_is_due_once_the_batch_that_says_so_is_copied() -> None:
    erasures = Erasures()
    one = redaction(WHOLE, ACTOR)
    erasures.take_in(said(5, one))
    erasures.take_in(said(8, one, one._replace(revision=6)))
    assert erasures.due(4) == {}
    assert erasures.due(7) == {4: [one]}
    assert set(erasures.due(8)) == {4, 6}
    assert erasures.due(99) == {}
