"""Redacted records, and the erasures that vouch for them.

A redacted record states the digest of a batch that is gone, so nothing in it says that it was
redacted by the engine. A later erasure, which is in the chain, names the hash of what is left. Of
the batch that holds that erasure something may have been erased too: then it vouches for others
once a later one vouches for it. The last word has a record whose digest is that of its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError
from eventstore.log.redaction import may_erase, payload_hash, redactions_in
from eventstore.recovery.replay import decode_record
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore.log.redaction import Redaction
    from eventstore.recovery.replay import PackedRecord


class _Unvouched(NamedTuple):
    digest: bytes
    payload_hash: bytes
    damage: Damage
    names: Sequence[Redaction]


class RedactedCheck:
    """Takes the records of a history in, in order, and says which nothing vouches for."""

    def __init__(self) -> None:
        self._found: dict[int, _Unvouched] = {}

    def take_in(self, record: PackedRecord) -> None:
        """Take in the next record."""
        names = _named(record) if may_erase(record.payload) else []
        if not record.is_redacted:
            self._vouch(names)
            return
        reason = (
            f"revision {record.revision} states to be redacted, and no erasure says that what "
            "is there is what was left of it"
        )
        damage = Damage(record.path, record.offset_bytes, 0, reason)
        self._found[record.revision] = _Unvouched(
            record.digest, payload_hash(record.payload), damage, names
        )

    def unnamed(self) -> Iterator[Damage]:
        """Yield what nothing vouches for."""
        for each in self._found.values():
            yield each.damage

    def _vouch(self, names: Sequence[Redaction]) -> None:
        open_names = list(names)
        while open_names:
            one = open_names.pop()
            found = self._found.get(one.revision)
            if found is not None and (found.digest, found.payload_hash) == one[1:3]:
                del self._found[one.revision]
                open_names += found.names


def _named(record: PackedRecord) -> list[Redaction]:
    try:
        return list(redactions_in(decode_record(record).events))
    except CorruptionError:  # no batch, which is said elsewhere
        return []
