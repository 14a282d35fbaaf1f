"""The values of a table: packed when they are put, decoded when they are read.

Values are packed when they are put, which also shows that they can be, and stay so: a read decodes
what a checkpoint would give back, whether there was one or not. Only None, numbers and texts of
tables without an `encode` are kept as they are. Reading changes no row: what was decoded of late is
kept apart, up to a bound, beside the very bytes that it was made from. Whoever has those bytes, of
whatever version, gets it; where the row has changed, others have other bytes.
"""

from __future__ import annotations

from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from eventstore.arguments import excerpt
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.format.codec import (
    DecodeError,
    pack,
    pack_plain_row,
    pack_row,
    unpack_row,
    unpack_rows,
)
from eventstore.tables.index import FAILURES
from eventstore.tables.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventstore.projection import Decode, TableSpec
    from eventstore.tables.packed import PackedRows

_DECODED_MAX = 2048
"""Decoded values that are kept of a table are twice as many at the most."""
_DECODED_AT_ONCE = 64
"""More would have the garbage collector look at the new values before they are gone again."""
_CONTAINERS = frozenset((tuple, dict))
# What a value raises that `encode` is not made for, or that can't be packed. Nothing else is taken
# for that: it may be what a signal handler raised, or that there is no memory.
_UNFIT = (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError)


class Values(Rows):
    """The rows of one table, with their values as the projection knows them."""

    __slots__ = ("_decode", "_decoded", "_decoded_before", "_encode", "_is_plain")

    def __init__(
        self, spec: TableSpec, packed: PackedRows | None, changed: Iterable[tuple[Any, Any]] = ()
    ) -> None:
        super().__init__(spec, packed, changed)
        self._encode = spec.encode
        self._decode = spec.decode
        self._is_plain = spec.is_plain
        # Key to packed and decoded value, of late, and before: a full first becomes the second.
        self._decoded: dict[Any, tuple[bytes, Any]] = {}
        self._decoded_before: dict[Any, tuple[bytes, Any]] = {}

    def unpacked(self, key: Any, packed: bytes) -> Any:
        """Decode a value that `raw` or an undo map has given, and keep that for some time.

        Thread safe: at worst some are lost.
        """
        kept = self._decoded.get(key)
        if kept is not None and kept[0] is packed:
            return kept[1]
        kept = self._decoded_before.get(key)
        if kept is None or kept[0] is not packed:
            kept = (packed, self.decoded(self._own_key(key), packed))
        if len(self._decoded) >= _DECODED_MAX:
            self._decoded_before, self._decoded = self._decoded, {}
        self._decoded[key] = kept
        return kept[1]

    def packed(self, key: Any, value: Any) -> bytes:
        """Return the value of a key as checkpoints hold it."""
        _ = key
        return value if type(value) is bytes else pack(value)

    def decoded(self, key: Any, value: Any, decode: Decode | None = None) -> Any:
        """Return a value that may be packed, decoded but not kept so: for scans."""
        if type(value) is not bytes:
            return value if decode is None else decode(key, value)
        try:
            decoded = (decode or self._decode)(key, unpack_row(value))
        except RecursionError:  # of whoever called from too deep
            raise
        except (*FAILURES, DecodeError) as error:
            raise self._undecodable(key, value, error) from error
        if type(decoded) is bytes:
            # It would be taken for a packed one.
            raise ProjectionError(f"{self._shown(key)}: TableSpec.decode must not return bytes")
        return decoded

    def decoded_rows(
        self,
        rows: Iterable[tuple[Any, Any]],
        at_once: int = _DECODED_AT_ONCE,
        decode: Decode | None = None,
    ) -> Iterable[tuple[Any, Any]]:
        """Return rows whose values may be packed, decoded but not kept so: for scans.

        At once, which takes half of the time; but where one can't be decoded, one after the other,
        so that those before it come out.

        Args:
            rows: to decode.
            at_once: how many.
            decode: in the place of the table's.
        """
        rest = iter(rows)
        parts = iter(lambda: list(islice(rest, at_once)), [])
        return chain.from_iterable(map(self._decoded_part, parts, repeat(decode)))

    def _decoded_part(
        self, rows: list[tuple[Any, Any]], decode: Decode | None
    ) -> Iterable[tuple[Any, Any]]:
        keys, packed = zip(*rows, strict=True)
        kinds = set(map(type, packed))
        if bytes not in kinds and decode is None:
            return rows
        try:
            if kinds == {bytes}:
                values = list(map(decode or self._decode, keys, unpack_rows(packed)))
                # Fewer: a StopIteration has ended the list.
                if len(values) == len(keys) and bytes not in set(map(type, values)):
                    return zip(keys, values, strict=True)
        except (*FAILURES, DecodeError):
            pass
        return self._decoded_one_by_one(rows, decode)

    def _decoded_one_by_one(
        self, rows: Iterable[tuple[Any, Any]], decode: Decode | None
    ) -> Iterator[tuple[Any, Any]]:
        for key, value in rows:
            yield key, self.decoded(key, value, decode)

    def _plain_value(self, key: Any, value: Any) -> Any:
        """Return what is kept of a value that no `encode` changes.

        Refuse one that does not come back as it is. Lists and dicts take less room when packed.
        """
        try:
            if isinstance(value, bytes):
                raise TypeError("a value can't be bytes: wrap it in a tuple")
            packed = pack_plain_row(value)
            return packed if type(value) in _CONTAINERS else value
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refusal(key, error, "; or give the TableSpec encode and decode") from error

    def _packed_value(self, key: Any, value: Any) -> bytes:
        """Pack a value; refuse one that `encode` makes nothing of that a checkpoint can keep."""
        try:
            if isinstance(value, bytes):
                raise TypeError("a value can't be bytes: wrap it in a tuple")
            return pack_row(self._encode(value))
        except (*_UNFIT, DecodeError) as error:
            raise self._refusal(key, error, "; TableSpec.encode must return plain data") from error

    def _refusal(self, key: Any, error: Exception, advice: str = "") -> TypeError | ValueError:
        kind = ValueError if isinstance(error, (ValueError, OverflowError)) else TypeError
        return kind(f"{self._shown(key)} can't be put: {error}{advice}")

    def _undecodable(
        self, key: Any, value: bytes, error: Exception
    ) -> CorruptionError | ProjectionError:
        packed = self._packed
        what = f"{self._shown(key)} can't be decoded ({type(error).__name__}: {error})"
        cause = "TableSpec.decode does not read what encode has written"
        if packed is None or not (self._has_stored_changes or packed.get(key) == value):
            # It was put by this process.
            return ProjectionError(f"{what}: {cause}")
        return CorruptionError(packed.path, 0, f"{what}: the checkpoint is damaged, or {cause}")

    def _shown(self, key: Any) -> str:
        return f"table {self.name!r}, key {excerpt(key)}"
