"""What erasures mean for a repair: what the new store must forget, and what it can't tell of that.

An erasure that can be read anywhere in the damaged store is carried out in the new one, also where
its own batch has no place there. Then nothing in the new store vouches for what is redacted, which
`check` finds fault with, and the report says. A state that begins with a checkpoint from between a
batch and its erasure holds what was erased: that is said too. Of an erasure that was cut short and
whose batch is lost, nothing says what else it was to take: only that it was begun is known.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from eventstore.integrity.redacted import RedactedCheck
from eventstore.log.redaction import redactions_in
from eventstore.maintenance.erasing import carry_out
from eventstore.maintenance.erasures import Said
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.files.interface import FileSystem
    from eventstore.integrity.chains import Chain
    from eventstore.integrity.rebuild import Choice
    from eventstore.integrity.salvage import Findings
    from eventstore.log.reader import Record


class ErasedInRepair(NamedTuple):
    """What a new store says of erasures.

    Attributes:
        unerased: revisions of which its state holds what was erased.
        unvouched: revisions that are redacted, and that no erasure in it names.
        erasure_lost: whether an erasure that was cut short may be among what is lost.
    """

    unerased: tuple[int, ...]
    unvouched: tuple[int, ...]
    erasure_lost: bool


def foresee_erased(found: Findings, choice: Choice) -> ErasedInRepair:
    """Say what the new store will hold of erasures."""
    base, chain = choice.bases[0].revision, choice.chain
    wanted = _wanted(found)
    unerased = [each for each in wanted if each <= base < wanted[each][-1].said_at]
    kept = sorted(_kept(found, chain), key=lambda record: record.revision)
    check = RedactedCheck()
    for record in kept:
        check.take_in(record)
    named = {one.revision for record in kept for one in redactions_in(decode_record(record).events)}
    lost = {each for each in wanted if chain.first_revision <= each <= chain.last_revision} - named
    return ErasedInRepair(
        tuple(unerased),
        tuple(sorted({*check.unnamed_revisions(), *lost})),
        _is_erasure_lost(found, chain),
    )


def forget_erased(file_system: FileSystem, path: str, found: Findings, choice: Choice) -> None:
    """Carry out in a new store what erasures say that were found in the damaged one."""
    chain, wanted = choice.chain, _wanted(found)
    here = {each for each in wanted if chain.first_revision <= each <= chain.last_revision}
    if here:
        carry_out(
            file_system,
            path,
            {each: wanted[each] for each in sorted(here)},
            # What its state begins with is all that it has.
            base_revision=choice.bases[0].revision,
        )


def _wanted(found: Findings) -> dict[int, list[Said]]:
    wanted: dict[int, list[Said]] = defaultdict(list)
    for record in sorted(found.erasing, key=lambda record: record.revision):
        for one in redactions_in(decode_record(record).events):
            said = Said(record.revision, one)
            if said not in wanted[one.revision]:  # an archived segment may still be in the log
                wanted[one.revision].append(said)
    return dict(sorted(wanted.items()))


def _is_erasure_lost(found: Findings, chain: Chain) -> bool:
    since = found.unfinished_since
    if since is None or any(
        redactions_in(decode_record(record).events)
        for record in found.erasing
        if record.revision > since
    ):
        return False
    first_lost = chain.first_revision > since + 1
    return first_lost or found.newest_revision > max(since, chain.last_revision)


def _kept(found: Findings, chain: Chain) -> Iterator[Record]:
    """Yield the records that have to do with erasures and are in a chain."""
    for record in found.erasing:
        for piece in chain.pieces:
            start, end = piece.entry.offset_bytes, piece.stretch.end.offset_bytes
            if record.path == piece.stretch.source.path and start <= record.offset_bytes < end:
                yield record
