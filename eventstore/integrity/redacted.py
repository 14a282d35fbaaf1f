"""Redacted records, and the erasures that vouch for them.

A redacted record states the digest of a batch that is gone, so nothing in it says that it was
redacted by the engine. A later erasure, which is in the chain, names the hash of what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.errors import CorruptionError
from eventstore.maintenance.redaction import payload_hash, redactions_in
from eventstore.recovery.replay import decode_record
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.log.reader import Record


class RedactedCheck:
    """Takes the records of a store in, in order, and says which nothing vouches for."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[bytes, bytes, Damage]] = {}

    def take_in(self, record: Record) -> None:
        """Take in the next record."""
        if record.is_redacted:
            reason = (
                f"revision {record.revision} states to be redacted, and no erasure says that what "
                "is there is what was left of it"
            )
            damage = Damage(record.path, record.offset_bytes, 0, reason)
            self._found[record.revision] = payload_hash(record), record.digest, damage
            return
        try:
            redactions = list(redactions_in(decode_record(record).events))
        except (CorruptionError, LookupError, TypeError):  # no batch, which is said elsewhere
            return
        for one in redactions:
            if self._found.get(one.revision, ())[:2] == (one.payload_hash, one.digest):
                del self._found[one.revision]

    def unnamed(self) -> Iterator[Damage]:
        """Yield what nothing vouches for."""
        for _, _, damage in self._found.values():
            yield damage
