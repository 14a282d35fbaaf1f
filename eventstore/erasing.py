"""Erasure: texts that must be forgotten are made unreadable, and every proof still holds.

What becomes of the files is `eventstore.maintenance.erasing`. Here it is decided whether that may
be: the state is a fold of the log, so the redacted log must fold, to a state that nobody needs the
erased texts for.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from eventstore.arguments import excerpt
from eventstore.backend.file_log import FileLog
from eventstore.engine_events import ERASED
from eventstore.errors import CompactedError, ErasureError, ProjectionError
from eventstore.event import Event, Metadata
from eventstore.files.paths import absolute
from eventstore.format.codec import checked_metadata
from eventstore.handle import history
from eventstore.handle.engine_transaction import EngineTransaction
from eventstore.log.redaction import (
    DATA,
    Redaction,
    is_path,
    payload_hash,
    redacted,
    text_holder,
)
from eventstore.maintenance.erasing import note_erasing, obstacle
from eventstore.options import checked_options
from eventstore.recovery.replay import decode_record, replay_record
from eventstore.store import EventStore
from eventstore.upcasting import upcast

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.handle.receipt import Receipt
    from eventstore.log.reader import Record
    from eventstore.log.redaction import Path
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection


class Erasure(NamedTuple):
    """What was erased.

    Attributes:
        receipt: of the batch that says so.
        revisions: of the batches that were redacted.
    """

    receipt: Receipt
    revisions: tuple[int, ...]


def erase(
    path: str | os.PathLike[str],
    projections: Iterable[Projection],
    fields: Mapping[int, Iterable[Sequence[str]]],
    *,
    actor: str,
    reason: str,
    lock_timeout: float | None = None,
    options: StoreOptions | None = None,
    file_system: FileSystem | None = None,
) -> Erasure:
    """Make texts in batches unreadable, in log, archive and checkpoints; proofs still hold.

    The store must not be open. An event `eventstore.erased` says what was erased, when and by whose
    order; it is as durable as any. Once this returns, the bytes are in no file of the store. A
    crash before leaves an erasure that has not begun, or one that the next open finishes.

    Args:
        path: of the store.
        projections: all that fold its events.
        fields: for each revision what goes: `("actor",)`, `("reason",)`, `("request_id",)`, or, of
            an event's data, such as `("data", "labels", "owner")`, what `Projection.erasable`
            allows.
        actor: by whose order.
        reason: why.
        lock_timeout: seconds to wait for another process to let go; None not at all.
        options: of the store.
        file_system: that the store is on; the local one unless given.

    Raises:
        ErasureError: a text is not there, or is needed; or the state can't be made anew, since the
            batches before were dropped and no checkpoint is old enough.
        CompactedError: a batch is no longer kept.
        Exception: as of `EventStore.open`.
    """
    known = tuple(projections)
    options = dataclasses.replace(
        checked_options(options), background=False, checkpoint_on_close=False
    )

    def opened() -> EventStore:
        return EventStore.open(
            path,
            known,
            create=False,
            lock_timeout=lock_timeout,
            options=options,
            file_system=file_system,
        )

    metadata = checked_metadata(Metadata(actor, reason))
    with opened() as store:
        redactions = _planned(store, known, fields)
        receipt = _commit(store, redactions, metadata)
    # The open finishes the erasure; what it folds becomes the new checkpoint.
    with opened() as store, contextlib.suppress(ProjectionError):
        # Whoever has the projections that were not given writes one of all.
        store.checkpoint()
    return Erasure(receipt, tuple(one.revision for one in redactions))


def _planned(
    store: EventStore,
    projections: Sequence[Projection],
    fields: Mapping[int, Iterable[Sequence[str]]],
) -> list[Redaction]:
    """Return what becomes of each batch, once it is known that the redacted log folds."""
    redactions, payloads = [], {}
    for revision, paths in sorted(fields.items()):
        [record] = store._log.read(revision, revision)
        wanted = tuple(tuple(path) for path in paths)
        for one in wanted:
            _require_erasable(store.path, record, one, projections)
        payload, found = redacted(record.payload, wanted)
        for one in wanted:
            if one not in found:
                raise ErasureError(
                    f"{store.path}: revision {revision} has no text at {_shown(one)}, or it was "
                    "erased already"
                )
        payloads[revision] = payload
        redactions.append(Redaction(revision, record.digest, payload_hash(payload), wanted))
    if not redactions:
        raise ErasureError(f"{store.path}: nothing to erase is named")
    problem = obstacle(_log_in_files(store).file_system, absolute(store.path), payloads)
    if problem is not None:
        raise ErasureError(f"{store.path}: {problem}")
    _require_foldable(store, projections, payloads)
    return redactions


def _require_erasable(
    path: str, record: Record, field: Path, projections: Sequence[Projection]
) -> None:
    if not is_path(field):
        raise ErasureError(f"{path}: {_shown(field)} is neither metadata nor of an event's data")
    if field[0] != DATA:
        return
    for event in decode_record(record).events:
        if text_holder(event.data, field[1:]) and not any(
            each.erasable(upcast(event, each.upcasters), field[1:]) for each in projections
        ):
            raise ErasureError(
                f"{path}: revision {record.revision}: {_shown(field)} of the event "
                f"{excerpt(event.type)} can't be erased: no projection says that it does without"
            )


def _require_foldable(
    store: EventStore, projections: Sequence[Projection], payloads: Mapping[int, bytes]
) -> None:
    first, last = min(payloads), store._log.durable_revision
    try:
        state = history.state_at(store._log, projections, first - 1)
    except CompactedError as error:
        raise ErasureError(
            f"{store.path}: revision {first} can't be erased: the state after it can't be made "
            f"anew, since batches before it were dropped ({error})"
        ) from error
    if store.oldest_revision() > 1:
        _require_all_tables(store, first, last)
    for record in store._log.read(first, last):
        payload = payloads.get(record.revision, record.payload)
        replay_record(state, record._replace(payload=payload))


def _require_all_tables(store: EventStore, first: int, last: int) -> None:
    """Check that no tables are lost that only a checkpoint holds which must go."""
    base, newest = store._log.checkpoint_before(first - 1), store._log.checkpoint_before(last)
    held = {name.table for name, _ in base.tables} if base is not None else set()
    lost = {name.table for name, _ in newest.tables} - held if newest is not None else set()
    if lost:
        raise ErasureError(
            f"{store.path}: revision {first} can't be erased: table {min(lost)!r} can't be made "
            "anew, since batches before it were dropped, and no older checkpoint holds it"
        )


def _shown(field: Path) -> str:
    return ".".join(map(str, field))


def _log_in_files(store: EventStore) -> FileLog:
    log = store._log
    if not isinstance(log, FileLog):
        raise AssertionError("a store that was opened by its path has its log in files")
    return log


def _commit(store: EventStore, redactions: Sequence[Redaction], metadata: Metadata) -> Receipt:
    log = _log_in_files(store)
    event = Event(ERASED, {"batches": [one.plain() for one in redactions]})
    note_erasing(log.file_system, absolute(store.path), log.durable_revision)
    with store.begin_write(EngineTransaction, metadata) as transaction:
        transaction.note(event)
    if transaction.receipt is None:
        raise AssertionError("a batch with an event has a receipt")
    return transaction.receipt
