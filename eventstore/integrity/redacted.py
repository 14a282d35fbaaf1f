"""Redacted records, and the erasures that vouch for them.

A redacted record states the digest of a batch that is gone, so nothing in it says that it was
redacted by the engine. A later erasure, which is in the chain, names the hash of what is left. Of
the batch that holds that erasure something may have been erased too: then it vouches for others
once a later one vouches for it. The last word has a record whose digest is that of its bytes.

The other way round, what an erasure names must be redacted: a file that was copied back from before
it is whole by all digests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError
from eventstore.log.redaction import may_erase, payload_hash, redactions_in
from eventstore.maintenance.erasures import Said
from eventstore.recovery.replay import decode_record
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore.log.redaction import Redaction
    from eventstore.maintenance.erasures import Erased
    from eventstore.recovery.replay import PackedRecord


_UNVOUCHED = "no erasure says that what is there is what was left of it"
_REMEDY = "if it is to be trusted, as after a repair that has lost it, erase the same fields again"


def is_unvouched(problem: Damage) -> bool:
    """Say whether a problem is that nothing vouches for a redacted record."""
    return _UNVOUCHED in problem.reason


class _Unvouched(NamedTuple):
    digest: bytes
    payload_hash: bytes
    damage: Damage
    names: Sequence[Redaction]


class RedactedCheck:
    """Takes the records of a history in, in order, and says which nothing vouches for."""

    def __init__(self) -> None:
        self._found: dict[int, _Unvouched] = {}
        self._left: dict[int, bytes] = {}
        self._said: dict[int, list[Said]] = {}

    def take_in(self, record: PackedRecord) -> None:
        """Take in the next record."""
        names = _named(record) if may_erase(record.payload) else []
        for each in names:
            self._said.setdefault(each.revision, []).append(Said(record.revision, each))
        if not record.is_redacted:
            self._vouch(names)
            return
        reason = f"revision {record.revision} states to be redacted, and {_UNVOUCHED}: {_REMEDY}"
        damage = Damage(record.path, record.offset_bytes, 0, reason)
        left_hash = payload_hash(record.payload)
        self._left[record.revision] = left_hash
        self._found[record.revision] = _Unvouched(record.digest, left_hash, damage, names)

    def unnamed(self) -> Iterator[Damage]:
        """Yield what nothing vouches for."""
        for each in self._found.values():
            yield each.damage

    def undone(self) -> Erased:
        """Return what erasures say of batches that did not look as these leave them, if any."""
        return {
            revision: said
            for revision, said in self._said.items()
            if self._left.get(revision) != said[-1].redaction.payload_hash
        }

    def unnamed_revisions(self) -> tuple[int, ...]:
        """Return the revisions that nothing vouches for."""
        return tuple(sorted(self._found))

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
