"""Events come back as they were emitted, or are refused when they are emitted."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import open_store

from eventstore import Event, EventStoreError, InvalidEventError, Metadata
from eventstore.format.codec import (
    NESTING_LEVELS_MAX,
    DecodeError,
    checked_metadata,
    decode_batch,
    encode_batch,
    encode_event,
    pack,
    unpack,
    unpack_keys,
    unpack_row,
)

if TYPE_CHECKING:
    from pathlib import Path

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary()
)
keys = st.none() | st.integers(-(2**63), 2**64 - 1) | texts | st.binary()
plain = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20
)


class Color(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal in type too, at every level, and dicts in order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if isinstance(left, float):
        return bool(left.hex() == right.hex())
    return bool(left == right)


@given(texts, plain, st.integers(0, 2**63))
def test_event_comes_back_unchanged(event_type: str, data: Any, version: int) -> None:
    event = Event(event_type, data, version)
    _, [decoded] = decode_batch(encode_batch(Metadata(), [encode_event(event)]))
    assert (decoded.type, decoded.version) == (event_type, version)
    assert same(decoded.data, data)


def test_nan_comes_back_as_nan() -> None:
    payload = encode_batch(Metadata(), [encode_event(Event("x", float("nan")))])
    assert decode_batch(payload)[1][0].data.hex() == "nan"


@given(st.none() | texts, st.none() | texts, st.none() | texts)
def test_metadata_comes_back_unchanged(
    actor: str | None, reason: str | None, request_id: str | None
) -> None:
    metadata = Metadata(actor, reason, request_id)
    assert decode_batch(encode_batch(metadata, [])) == (metadata, ())


@given(st.lists(plain, max_size=3))
def test_batch_keeps_the_order_of_events(values: list[Any]) -> None:
    events = [Event("x", value) for value in values]
    payload = encode_batch(Metadata(), [encode_event(event) for event in events])
    assert same([event.data for event in decode_batch(payload)[1]], values)


REFUSED = {
    "int over 64 bits": 2**64,
    "int under 64 bits": -(2**63) - 1,
    "lone surrogate": "\ud800",
    "tuple": (1, 2),
    "set": {1},
    "frozenset": frozenset({1}),
    "object": object(),
    "complex": 1j,
    "enumeration": Color.RED,
    "subclass of str": Text("a"),
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "extension type": msgpack.ExtType(5, b"abc"),
    "empty extension type": msgpack.ExtType(5, b""),
    "timestamp": msgpack.Timestamp(1, 2),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("place", ["data", "in a list", "in a dict", "deeper"])
def test_event_that_can_not_come_back_unchanged_is_refused(value: Any, place: str) -> None:
    data = {"data": value, "in a list": [1, value], "in a dict": {"a": value}}.get(
        place, {"a": [{"b": [value]}]}
    )
    with pytest.raises(InvalidEventError, match="event 'x' can't be logged"):
        encode_event(Event("x", data))


@pytest.mark.parametrize("key", [(1,), 2**64, "\ud800", Color.RED, memoryview(b"a")])
def test_key_that_can_not_come_back_unchanged_is_refused(key: Any) -> None:
    with pytest.raises(InvalidEventError):
        encode_event(Event("x", {key: 1}))


@pytest.mark.parametrize(
    "event",
    [
        Event(None, {}),  # type: ignore[arg-type]
        Event(b"x", {}),  # type: ignore[arg-type]
        Event(5, {}),  # type: ignore[arg-type]
        Event("\ud800", {}),
        Event("x", {}, None),  # type: ignore[arg-type]
        Event("x", {}, "1"),  # type: ignore[arg-type]
        Event("x", {}, True),
        Event("x", {}, 1.0),  # type: ignore[arg-type]
        Event("x", {}, 2**64),
    ],
)
def test_event_without_a_proper_type_or_version_is_refused(event: Event) -> None:
    with pytest.raises(InvalidEventError):
        encode_event(event)


@pytest.mark.parametrize("value", [5, 0, b"x", False, ["x"], 2**70, "\ud800"])
@pytest.mark.parametrize("part", Metadata._fields)
def test_metadata_that_is_no_text_is_refused(part: str, value: Any) -> None:
    with pytest.raises(InvalidEventError, match=part):
        checked_metadata(Metadata(**{part: value}))


def test_deepest_event_that_is_accepted_can_be_read() -> None:
    deepest = nested(NESTING_LEVELS_MAX)
    _, [event] = decode_batch(encode_batch(Metadata(), [encode_event(Event("x", deepest))]))
    assert same(event.data, deepest)


@pytest.mark.parametrize("levels", [NESTING_LEVELS_MAX + 1, 1022, 1023, 1024, 100_000])
def test_event_that_is_nested_too_deep_to_be_read_is_refused(levels: int) -> None:
    with pytest.raises(InvalidEventError):
        encode_event(Event("x", nested(levels)))


def test_event_that_holds_itself_is_refused() -> None:
    data: list[Any] = []
    data.append(data)
    with pytest.raises(InvalidEventError):
        encode_event(Event("x", data))


def test_refused_event_changes_nothing_and_the_transaction_goes_on(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("account.opened", {"account": "a", "owner": "x"}))
            for value in REFUSED.values():
                with pytest.raises(InvalidEventError):
                    tx.emit(Event("account.opened", {"account": "b", "owner": value}))
        assert [event.type for [batch] in [store.batches()] for event in batch.events] == [
            "account.opened"
        ]
    with open_store(tmp_path / "store") as store, store.transaction() as tx:
        assert [name for name, _ in tx.items("accounts")] == ["a"]


def test_refused_metadata_leaves_the_writer_lock_free(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        with pytest.raises(InvalidEventError, match="actor"):
            store.transaction(writable=True, actor=5)  # type: ignore[call-overload]
        with store.transaction(writable=True, actor="me", reason="", timeout=0) as tx:
            tx.emit(Event("account.opened", {"account": "b", "owner": "x"}))
        [batch] = store.batches()
        assert batch.metadata == Metadata("me", "", None)


@given(st.binary(max_size=60))
def test_any_payload_is_a_batch_or_no_batch(payload: bytes) -> None:
    try:
        metadata, events = decode_batch(payload)
    except DecodeError:
        return
    assert isinstance(metadata, Metadata)
    assert all(type(event.type) is str and type(event.version) is int for event in events)


def test_every_prefix_of_a_payload_is_no_batch() -> None:
    events = [encode_event(Event("x", {"a": [1, None, "text", b"bytes", 2.5]}))]
    payload = encode_batch(Metadata("actor"), events)
    for size in range(len(payload)):
        with pytest.raises(DecodeError):
            decode_batch(payload[:size])
    with pytest.raises(DecodeError):
        decode_batch(payload + b"\0")


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 4 Gi items
        b"\xdf\xff\xff\xff\xff",  # a map of 4 Gi items
        b"\xdb\xff\xff\xff\xff",  # a text of 4 GiB
        b"\xc6\xff\xff\xff\xff",  # 4 GiB of bytes
        b"\x91" * 5000,  # an array in an array in an array
        b"\x81\x00" * 5000,
        b"\xc7\x0c\xff" + bytes(12),  # a timestamp
        b"\xc1",  # never used
    ],
)
def test_oversized_and_too_deep_payloads_are_no_batches(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_batch(payload)


rows = st.recursive(
    scalars,
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=10,
)


@given(rows)
def test_row_comes_back_with_tuples(value: Any) -> None:
    assert unpack_row(pack(value)) == value


@given(st.sets(st.tuples(texts, st.integers(-(2**63), 2**64 - 1), st.binary())))
def test_keys_come_back_with_tuples(values: set[Any]) -> None:
    assert unpack_keys(pack(sorted(values))) == sorted(values)


def test_every_engine_error_is_an_event_store_error() -> None:
    assert issubclass(InvalidEventError, EventStoreError)
    assert issubclass(InvalidEventError, ValueError)


@pytest.mark.parametrize("packed", [b"\xc7\x00\x05", b"\x91\xc7\x00\xff", b"\xd4\x05\x00"])
def test_an_extension_type_is_no_value_even_if_it_holds_nothing(packed: bytes) -> None:
    for read in (unpack, unpack_row):
        with pytest.raises(DecodeError):
            read(packed)
