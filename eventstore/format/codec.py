"""Events, metadata, keys and values to bytes and back: the only importer of msgpack.

Events are packed with *strict* types: exactly None, bool, int, float, str, bytes, list and dict.
So what a transaction applied is what a replay will apply: nothing comes back as another type.
Rows of checkpoints are as strict, with tuples in place of lists. A table whose `TableSpec` has its
own `encode` and `decode` answers for the types itself: what `encode` gives must only be packable,
and unpackable.

Limits: data nests at most `NESTING_LEVELS_MAX` levels, well below what any msgpack packs (511 or
1,024 levels, by its release) and unpacks, so that what was packed can be unpacked; every length
is bounded by the length of the input, and that by the batch cap of the log.
"""

from __future__ import annotations

from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

import msgpack

from eventstore.arguments import excerpt
from eventstore.errors import InvalidEventError
from eventstore.event import Event, Metadata, Plain

if TYPE_CHECKING:
    from collections.abc import Sequence

NESTING_LEVELS_MAX = 256
"""How many lists and dicts may stand inside each other in the data of an event."""


class DecodeError(Exception):
    """Bytes that are not what the codec writes, although their checksum holds."""


KeyShape = type | tuple[type, ...]
"""What the keys of a table have in common: see `key_shape`."""

INT_MIN, INT_MAX = -(2**63), 2**64 - 1
"""The integers that msgpack can keep."""

_SCALARS = frozenset((type(None), bool, int, float, str, bytes))
_KEY_TYPES = frozenset((int, str, bytes))
_CONTAINERS = frozenset((list, dict))
_NO_CONTAINERS = bytes([*range(0x80), *range(0xA0, 0xDC), *range(0xE0, 0x100)])
"""The bytes that start no array and no map."""
_NO_EXTENSIONS = bytes([*range(0xC7), *range(0xCA, 0xD4), *range(0xD9, 0x100)])
"""The bytes that start no value of an extension type."""
_NO_BINARY = bytes([*range(0xC4), *range(0xCA, 0xD4), *range(0xD9, 0x100)])
"""The bytes that start neither bytes nor an extension type."""
_BATCH_LEVELS = 3
"""The batch, its events and an event: they stand around the data of an event."""
_NO_METADATA = Metadata()
_EMPTY_METADATA: bytes = msgpack.packb([None, None, None])
_BATCH_PREFIX: bytes = msgpack.Packer().pack_array_header(2)
_SALTED_PREFIX: bytes = msgpack.Packer().pack_array_header(3)
SALT_BYTES = 16
_SALT_PREFIX = msgpack.packb(bytes(SALT_BYTES))[:-SALT_BYTES]
_EVENTS_OF_ONE: bytes = msgpack.Packer().pack_array_header(1)


def encode_event(event: Event) -> bytes:
    """Pack one event.

    Raises:
        InvalidEventError: it holds a type, a number or a text that msgpack can't keep exactly, or
            is nested too deep.
    """
    try:
        if type(event.type) is not str or type(event.version) is not int:
            raise TypeError("the type must be a str, the version an int")
        packed = _packed_strictly([event.type, event.version, event.data])
        # After packing, which ends at data that holds itself. What the strict packer lets through
        # and this refuses is packed as bytes or as an extension type: so in three of four events,
        # which hold none of the bytes that these start with, there is none of it. Nor is what has
        # few bytes that start a list or a dict nested deep.
        if packed.translate(None, _NO_BINARY) or (
            len(packed) > NESTING_LEVELS_MAX
            and len(packed.translate(None, _NO_CONTAINERS)) > NESTING_LEVELS_MAX
        ):
            _require_plain(event.data, list)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidEventError(
            f"event {excerpt(event.type)} can't be logged: {error}; use None, bool, int (64 bits), "
            "float, str, bytes, list and dict, and nothing derived from them"
        ) from error
    except AttributeError as error:
        raise InvalidEventError(
            f"{excerpt(event)} is no event: emit an Event(type, data)"
        ) from error
    return packed


def checked_metadata(metadata: Metadata) -> Metadata:
    """Return metadata of plain texts, as the log keeps it.

    Raises:
        InvalidEventError: a part of it is not a text.
    """
    if type(metadata) is Metadata:
        # Almost always, in a fifth of the time that the rest takes.
        for text in metadata:
            if text is not None and not (type(text) is str and text.isascii()):
                break
        else:
            return metadata
    for name, text in zip(Metadata._fields, metadata, strict=True):
        if text is not None and not _is_text(text):
            raise InvalidEventError(
                f"the {name} of a transaction must be a text or None, not {excerpt(text)}"
            )
    return Metadata(*(None if text is None else str.__str__(text) for text in metadata))


def encode_batch(metadata: Metadata, events: list[bytes]) -> bytes:
    """Pack a batch of events that `encode_event` has packed.

    Raises:
        InvalidEventError: a part of the metadata is not a text.
    """
    try:
        packed = _EMPTY_METADATA if metadata == _NO_METADATA else _packed_strictly(list(metadata))
    except (TypeError, ValueError) as error:
        raise InvalidEventError(f"metadata {metadata} can't be logged: {error}") from error
    if len(events) == 1:
        return b"".join((_BATCH_PREFIX, packed, _EVENTS_OF_ONE, events[0]))
    header: bytes = msgpack.Packer().pack_array_header(len(events))
    return b"".join((_BATCH_PREFIX, packed, header, *events))


def with_salt(payload: bytes, salt: bytes) -> bytes:
    """Return a batch that `encode_batch` has packed, with 16 random bytes as its last part.

    They are in the digest of the batch, and go with whatever is erased of it: so nobody can try out
    what that was (FORMAT.md, "Erasure").
    """
    return b"".join((_SALTED_PREFIX, payload[len(_BATCH_PREFIX) :], _SALT_PREFIX, salt))


def salt_of(payload: bytes) -> bytes | None:
    """Return the salt of a batch that `decode_batch` takes; None if it has none."""
    return payload[-SALT_BYTES:] if payload.startswith(_SALTED_PREFIX) else None


def _packed_strictly(value: Plain) -> bytes:
    # A packer for each call shares nothing with other threads, nor with what interrupts this one;
    # `packb`, which makes one too, takes 0.3 µs more to pass its arguments on, and one that is
    # used again 0.1 µs less.
    packed: bytes = msgpack.Packer(strict_types=True).pack(value)
    return packed


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:  # a lone surrogate
        return False


def text_bytes(text: str) -> bytes:
    """Return the bytes that stand, one after the other, wherever a text is packed.

    Raises:
        UnicodeEncodeError: it can't be packed, since it holds a lone surrogate.
    """
    return text.encode()


def pack_plain_row(value: Plain) -> bytes:
    """Pack a value of a row; refuse one that `unpack_row` would not give back as it is.

    Raises:
        TypeError, ValueError, OverflowError: it would not.
    """
    packed = pack(value)
    if type(value) is not tuple or not _SCALARS.issuperset(map(type, value)):
        _require_plain(value, tuple)
    return packed


def key_shape(key: Any) -> KeyShape:
    """Return what all keys of a table have in common, which can be told from any of them.

    That is the type of a number, a text or bytes. For a tuple it is the type that all its elements
    have, as a tuple of one, or the type of each: keys of one shape sort among each other, and can't
    be equal without being the same. The empty tuple is of no shape, so it can't be a key.

    Raises:
        TypeError, ValueError, OverflowError: it can't be a key, since `unpack_row` would not give
            it back as it is, or it does not sort.
    """
    kind = type(key)
    if kind is tuple:
        kinds = tuple(map(type, key))
        if not kinds or not _KEY_TYPES.issuperset(kinds):
            raise TypeError("a tuple can be a key if it holds int, str and bytes, one at least")
        shape: KeyShape = kinds[:1] if len(set(kinds)) == 1 else kinds
    elif kind in _KEY_TYPES:
        shape = kind
    else:
        raise TypeError(
            f"a {kind.__name__} can't be a key: use int, str, bytes or a tuple of these"
        )
    pack(key)
    return shape


def key_of_shape(key: Any, shape: KeyShape) -> Any:
    """Return the key of a shape that equals a given one: 1 for True, a plain text for a StrEnum."""
    if not isinstance(shape, tuple):
        return str.__str__(key) if shape is str else shape(key)
    shapes = shape if len(shape) > 1 else shape * len(key)
    return tuple(map(key_of_shape, key, shapes))


def _require_plain(data: Plain, array: type) -> None:
    """Refuse what packing lets through, although it comes back changed or not at all.

    These are bytearray and memoryview, which come back as bytes, msgpack's extension types, and
    where packing is not strict, arrays of another type and what is derived from a plain type.
    """
    level, levels = [data], 0
    while level:
        inner: list[Plain] = []
        for value in level:
            kind = type(value)
            if kind in _SCALARS:
                continue
            if kind is dict:
                inner.extend(value)
                inner.extend(value.values())
            elif kind is array:
                inner.extend(value)
            else:
                raise TypeError(f"a {kind.__name__} does not come back as one")
            if levels == NESTING_LEVELS_MAX:
                raise ValueError(f"the data is nested deeper than {NESTING_LEVELS_MAX} levels")
        level, levels = inner, levels + 1


def decode_batch(payload: bytes | memoryview) -> tuple[Metadata, tuple[Event, ...]]:
    """Unpack a batch.

    Raises:
        DecodeError: the payload is not a batch.
    """
    batch = unpack(payload)
    try:
        metadata, packed_events, *salt = batch
        events = tuple(
            [Event(event_type, data, version) for event_type, version, data in packed_events]
        )
        decoded = Metadata(*metadata)
    except (ValueError, TypeError) as error:
        raise DecodeError(f"the payload is not a batch of events: {error}") from error
    for event_type, _, version in events:
        if type(event_type) is not str or type(version) is not int:
            raise DecodeError("the payload holds an event without a type or a version")
    if salt and not (len(salt) == 1 and type(salt[0]) is bytes and len(salt[0]) == SALT_BYTES):
        raise DecodeError("the payload holds more than events and a salt")
    _require_shallow(payload, batch)
    return decoded, events


def pack(value: Plain) -> bytes:
    """Pack a key, a value or a list of them; tuples are kept as tuples by `unpack_rows`."""
    packed: bytes = msgpack.Packer().pack(value)  # in two thirds of the time of `packb`
    return packed


def pack_row(value: Plain) -> bytes:
    """Pack a value of a row; refuse one with an extension type inside, as `unpack_row` does.

    Raises:
        DecodeError: it has one.
        TypeError, ValueError, OverflowError: it does not pack.
    """
    packed: bytes = msgpack.Packer().pack(value)  # as `pack`, without a call
    # A text or a number may hold these bytes as well; most hold none, which costs 0.3 µs to see.
    if packed.translate(None, _NO_EXTENSIONS):
        unpack_row(packed)
    return packed


def unpack(packed: bytes | memoryview) -> Plain:
    """Unpack a value with arrays as lists.

    Raises:
        DecodeError: the bytes are not one value.
    """
    return _unpack(packed, use_list=True)


def unpack_row(packed: bytes | memoryview) -> Plain:
    """Unpack a key or a value of a row, with arrays as tuples.

    Raises:
        DecodeError: the bytes are not one value.
    """
    return _unpack(packed, use_list=False)


def unpack_rows(packed: Sequence[bytes]) -> list[Plain]:
    """Unpack many values as `unpack_row` does one, in half of the time.

    Raises:
        DecodeError: some of them are not one value.
    """
    joined = b"".join(packed)
    size = len(joined)
    unpacker = msgpack.Unpacker(
        use_list=False,
        strict_map_key=False,
        max_buffer_size=size or 1,
        max_ext_len=0,
        ext_hook=_no_extension,
    )
    unpacker.feed(joined)
    unpack_one, end_of_one = unpacker.unpack, unpacker.tell
    plains = []
    try:
        for end in accumulate(map(len, packed)):
            plains.append(unpack_one())
            # Each must end where it ends by itself, or it was taken from its neighbour.
            if end_of_one() != end:
                raise DecodeError("not one value in each of these bytes")
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise DecodeError(f"not valid msgpack: {error}") from error
    return plains


def unpack_keys(packed: bytes | memoryview) -> list[Any]:
    """Unpack the keys of a chunk of rows.

    Raises:
        DecodeError: the bytes are not an array of ascending keys.
    """
    keys = _unpack(packed, use_list=False)
    if type(keys) is not tuple:
        raise DecodeError("the keys of a chunk are not an array")
    return require_keys(list(keys))


def require_keys(keys: list[Any]) -> list[Any]:
    """Return the keys if they are of one kind, as `key_shape` lets them in, and none descends.

    Called at the first touch of each chunk, so it goes through them in C only. That none stands
    twice, which harms no reader, is for `PackedRows.check`.

    Raises:
        DecodeError: they do not.
    """
    # A text sorts among texts alone, so where the first one is a text sorting shows that all are.
    if not keys or type(keys[0]) is not str:
        _require_key_types(keys)
    try:
        # Sorting what is sorted takes a third of the time of comparing neighbours.
        ascend = keys == sorted(keys)
    except TypeError as error:
        raise DecodeError(f"the keys of a table do not sort: {error}") from error
    if not ascend:
        raise DecodeError("the keys of a table do not ascend")
    return keys


def _require_key_types(keys: list[Any]) -> None:
    kinds = set(map(type, keys))
    if kinds == {tuple}:
        kinds = set(map(type, chain.from_iterable(keys)))
    elif len(kinds) > 1:
        raise DecodeError("the keys of a table are of several types")
    if not _KEY_TYPES.issuperset(kinds):
        raise DecodeError("a key is of a type that no key can have")


def text_places(keys: Sequence[Any], packed: bytes) -> tuple[int, int, int]:
    """Return where the keys that `unpack_keys` gave stand in these bytes, without their headers.

    The place of the first one, how far they are apart, and how long each is; three zeros unless
    they are texts of one length, each with a header like that of the first.
    """
    if type(keys[0]) is not str:
        return 0, 0, 0
    packer, count = msgpack.Packer(), len(keys)
    first = packer.pack(keys[0])
    step = len(first)
    start = len(packed) - step * count
    if start < 0 or packed[:start] != packer.pack_array_header(count):
        return 0, 0, 0
    # One after the other: where a key has that header, the next one stands this far behind it.
    text_bytes = len(keys[0].encode())
    for place in range(step - text_bytes):
        if packed[start + place :: step] != first[place : place + 1] * count:
            return 0, 0, 0
    return start + step - text_bytes, step, text_bytes


def _require_shallow(payload: bytes | memoryview, batch: Plain) -> None:
    """Refuse a batch whose data is nested deeper than `encode_event` lets through.

    Most of them can't be, by their length, or by the number of bytes that may start a list or dict.
    """
    levels_max = _BATCH_LEVELS + NESTING_LEVELS_MAX
    if len(payload) <= levels_max:
        return
    if len(bytes(payload).translate(None, _NO_CONTAINERS)) <= levels_max:
        return
    level, levels = [batch], 0
    while level:
        if levels == levels_max:
            raise DecodeError(f"the data is nested deeper than {NESTING_LEVELS_MAX} levels")
        inner: list[Plain] = []
        for each in level:
            inner.extend(each.values() if type(each) is dict else each)
        level, levels = [each for each in inner if type(each) in _CONTAINERS], levels + 1


def _no_extension(code: int, data: bytes) -> Plain:
    raise ValueError(f"an extension of type {code}, {len(data)} bytes")


def _unpack(packed: bytes | memoryview, *, use_list: bool) -> Plain:
    # Nothing inside may be longer than these bytes: so does `unpackb` of its own accord.
    try:
        return msgpack.unpackb(
            packed,
            use_list=use_list,
            strict_map_key=False,
            max_ext_len=0,
            ext_hook=_no_extension,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise DecodeError(f"not valid msgpack: {error}") from error
