"""Erasure: texts that must be forgotten are made unreadable, and every proof still holds.

What becomes of a record is `eventstore.log.redaction`, and of the files of a store
`eventstore.maintenance.erasing`. Here it is decided whether that may be: the state is a fold of the
log, so the redacted log must fold, to a state that nobody needs the erased texts for.

A handle erases beside its readers. The transaction that says what is erased also changes every row
that the redacted log folds to otherwise: so tables, checkpoints and whoever reads from then on have
the state that the next open would fold, and readers that began before go on with what they had.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from eventstore.arguments import checked_int, excerpt
from eventstore.engine_events import ERASED
from eventstore.errors import CompactedError, CorruptionError, ErasureError, StorageFullError
from eventstore.event import FIELDS_TYPE, Event
from eventstore.handle import history
from eventstore.handle.engine_transaction import EngineTransaction
from eventstore.log.interface import Wanted
from eventstore.log.redaction import (
    DATA,
    Redaction,
    is_path,
    payload_hash,
    redacted,
    text_holder,
    texts_in,
)
from eventstore.recovery.replay import decode_record, replay_record
from eventstore.upcasting import upcast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore.backend.file_log import FileLog
    from eventstore.handle.receipt import Receipt
    from eventstore.log.interface import LogReader
    from eventstore.log.reader import Record
    from eventstore.log.redaction import Path
    from eventstore.maintenance.erasures import Erased
    from eventstore.projection import Projection
    from eventstore.tables.state import State


_REMEDY = (
    "restore a backup that holds these batches and erase there, or have retention drop the "
    "revision too"
)


class Erasure(NamedTuple):
    """What was erased.

    Attributes:
        receipt: of the batch that says so.
        revisions: of the batches that were redacted.
    """

    receipt: Receipt
    revisions: tuple[int, ...]


class FoundText(NamedTuple):
    """Where a text stands in the history, by itself or in a longer one.

    Attributes:
        revision: of the batch.
        field: where in it, as `erase` takes it; a place in a list as its number.
        text: all that stands there.
        is_erasable: whether that can be erased.
    """

    revision: int
    field: tuple[str, ...]
    text: str
    is_erasable: bool


class ErasingTransaction(EngineTransaction):
    """Commits what is erased, and the rows that it changes.

    Attributes:
        revisions: that are redacted.
    """

    __slots__ = ("revisions",)

    def erase(
        self,
        path: str,
        projections: Sequence[Projection],
        fields: Mapping[int, Iterable[Sequence[str]]],
    ) -> Receipt:
        """Commit what is erased; `finish` carries it out.

        Raises:
            ErasureError: it can't be; nothing was committed.
            CompactedError: a batch is no longer kept.
            TypeError: what is named are no fields of revisions.
        """
        wanted = checked_fields(fields)
        log = self._log_in_files(path)
        log.wait_until_durable(self.revision)
        # One that an error has cut short: its note must not be written over, nor what it left be
        # folded again.
        finished = log.finish_erasure() or log.finished_erasures
        plan = _Plan(path, log, projections, self.revision, finished)
        redactions = plan.redactions(wanted)
        left = plan.left_state()
        self.revisions = tuple(one.revision for one in redactions)
        try:
            log.begin_erasure(plan.payloads)
            self.note(Event(ERASED, {"batches": [one.plain() for one in redactions]}))
            self._state.become(left)
            receipt = self.commit()
        except BaseException:
            if log.failure is None:
                # The note alone would be taken for an erasure that is under way.
                with contextlib.suppress(OSError, CorruptionError, StorageFullError):
                    log.finish_erasure()
            raise
        if receipt is None:
            raise AssertionError("a batch with an event has a receipt")
        return receipt

    def finish(self) -> None:
        """Take out of the files what was erased."""
        log = self._log_in_files("")
        log.finish_erasure()

    def _log_in_files(self, path: str) -> FileLog:
        from eventstore.backend.file_log import FileLog  # noqa: PLC0415 - a reader does without

        if not isinstance(self._log, FileLog):
            raise ErasureError(f"{path}: only a log in files can be erased in")
        return self._log


def foresee(
    path: str,
    log: LogReader,
    projections: Sequence[Projection],
    fields: Mapping[int, Iterable[Sequence[str]]],
) -> None:
    """Raise what an erasure by the same arguments would raise before it commits; O(as it)."""
    plan = _Plan(path, log, projections, log.durable_revision)
    plan.redactions(checked_fields(fields))
    plan.left_state()


def checked_fields(
    fields: Mapping[int, Iterable[Sequence[str]]],
) -> dict[int, tuple[Path, ...]]:
    """Return what is to be erased, as paths for each revision.

    Raises:
        TypeError: it is no mapping of revisions to paths of names.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields must map revisions to paths, not be {excerpt(fields)}")
    return {
        checked_int(revision, "a revision"): tuple(_checked_paths(revision, paths))
        for revision, paths in fields.items()
    }


def _checked_paths(revision: int, paths: Iterable[Sequence[str]]) -> Iterator[Path]:
    if isinstance(paths, str | bytes) or not isinstance(paths, Iterable):
        raise TypeError(
            f"the fields of revision {excerpt(revision)} must be paths such as ('actor',), not "
            f"{excerpt(paths)}"
        )
    for path in paths:
        is_path_of_names = isinstance(path, list | tuple) and all(
            isinstance(name, str) for name in path
        )
        if not is_path_of_names:
            raise TypeError(
                "a field must be a tuple of names such as ('data', 'labels', 'owner'), not "
                f"{excerpt(path)}"
            )
        yield tuple(path)


class _Plan:
    """What becomes of each batch, and of the state."""

    def __init__(
        self,
        path: str,
        log: LogReader,
        projections: Sequence[Projection],
        last_revision: int,
        finished: Erased = MappingProxyType({}),
    ) -> None:
        self.payloads: dict[int, bytes] = {}
        self._path = path
        self._log = log
        self._projections = projections
        self._last_revision = last_revision
        self._finished = finished

    def redactions(self, fields: Mapping[int, tuple[Path, ...]]) -> list[Redaction]:
        """Return what becomes of each batch that is named."""
        named = [
            (self._record(revision), wanted)
            for revision, wanted in sorted(fields.items())
            if wanted
        ]
        if not named:
            raise ErasureError(f"{self._path}: nothing to erase is named")
        unvouched = self._unvouched_of([record for record, _ in named if record.is_redacted])
        return [
            self._redaction(record, wanted, is_unvouched=record.revision in unvouched)
            for record, wanted in named
        ]

    def left_state(self) -> State:
        """Return the state that the redacted log folds to.

        Raises:
            ErasureError: it does not, or it can't be read from its beginning.
            ProjectionError: a projection can't fold it.
        """
        first = min(self.payloads)
        try:
            state = history.state_at(self._log, self._projections, first - 1)
        except CompactedError as error:
            raise ErasureError(
                f"{self._path}: nothing of revision {first} can be erased: the state after it "
                f"can't be made anew, since batches before it were dropped ({error}), and no "
                f"checkpoint from before it is left; {_REMEDY}"
            ) from error
        if self._log.oldest_revision() > 1:
            self._require_all_tables(first)
        for record in self._log.read(first, self._last_revision):
            payload = self.payloads.get(record.revision, record.payload)
            replay_record(state, record._replace(payload=payload))
        return state

    def _record(self, revision: int) -> Record:
        if not 1 <= revision <= self._last_revision:
            raise ErasureError(
                f"{self._path}: there is no revision {excerpt(revision)}: the newest is "
                f"{self._last_revision}"
            )
        [record] = self._log.read(revision, revision)
        return record

    def _redaction(
        self, record: Record, wanted: tuple[Path, ...], *, is_unvouched: bool
    ) -> Redaction:
        events = decode_record(record).events
        for path in wanted:
            self._require_erasable(record.revision, events, path)
        try:
            # What a lost erasure has left can be erased again, so that something vouches for it.
            payload, found = redacted(record.payload, wanted, counts_gone=is_unvouched)
        except ValueError as error:
            raise ErasureError(f"{self._path}: revision {record.revision}: {error}") from error
        if is_unvouched and payload != record.payload:
            raise self._unvouched(record.revision)
        for path in wanted:
            if path not in found:
                raise self._not_there(record.revision, path)
        self.payloads[record.revision] = payload
        return Redaction(record.revision, record.digest, payload_hash(payload), wanted)

    def _unvouched_of(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the revisions of redacted records that no erasure names as they are now.

        One reading of the erasures behind the first of them.
        """
        if not records:
            return frozenset()
        from eventstore.integrity.redacted import RedactedCheck  # noqa: PLC0415 - rarely asked

        check = RedactedCheck()
        for record in records:
            check.take_in(record)
        first, last = records[0].revision + 1, self._last_revision
        for later in self._log.select(first, last, Wanted(event_type=ERASED)):
            check.take_in(later)
        return frozenset(check.unnamed_revisions())

    def _unvouched(self, revision: int) -> ErasureError:
        """Return why no more may be erased of a record that may have been forged.

        The erasure would vouch for all that is there, unseen.
        """
        return ErasureError(
            f"{self._path}: revision {revision} states to be redacted, and no erasure says that "
            "what is there is what was left of it: `snapledger check` tells more. If it is to be "
            "trusted, erase again the fields that are asterisks there, and after that others"
        )

    def _not_there(self, revision: int, path: Path) -> ErasureError:
        for said in self._finished.get(revision, ()):
            if path in said.redaction.paths:
                return ErasureError(
                    f"{self._path}: {_shown(path)} of revision {revision} is erased: the erasure "
                    f"in revision {said.said_at} was cut short, and has been finished since"
                )
        return ErasureError(
            f"{self._path}: revision {revision} has no text at {_shown(path)}, or it was erased "
            "already"
        )

    def _require_erasable(self, revision: int, events: Sequence[Event], path: Path) -> None:
        if not is_path(path):
            raise ErasureError(
                f"{self._path}: {_shown(path)} is neither metadata nor of an event's data"
            )
        if path[0] != DATA:
            return
        for event in events:
            if text_holder(event.data, path[1:]) and not may_go(event, path, self._projections):
                raise ErasureError(
                    f"{self._path}: revision {revision}: {_shown(path)} of the event "
                    f"{excerpt(event.type)} can't be erased: no projection says that it does "
                    "without"
                )

    def _require_all_tables(self, first: int) -> None:
        """Check that no tables are lost that only a checkpoint holds which must go."""
        base = self._log.checkpoint_before(first - 1)
        newest = self._log.checkpoint_before(self._last_revision)
        held = {name.table for name, _ in base.tables} if base is not None else set()
        lost = {name.table for name, _ in newest.tables} - held if newest is not None else set()
        if lost:
            raise ErasureError(
                f"{self._path}: nothing of revision {first} can be erased: table {min(lost)!r} "
                "can't be made anew, since batches before it were dropped, and no older checkpoint "
                f"holds it; {_REMEDY}"
            )


def may_go(event: Event, path: Path, projections: Sequence[Projection]) -> bool:
    """Say whether a text of an event's data may be erased."""
    if event.type == FIELDS_TYPE:  # what `acting_as` has added to the metadata
        return True
    return any(each.erasable(upcast(event, each.upcasters), path[1:]) for each in projections)


def found_texts(
    records: Iterable[Record], projections: Sequence[Projection], text: str
) -> Iterator[FoundText]:
    """Yield where a text stands, in metadata and in the data of events."""
    packed = text.encode()
    for record in records:
        if packed not in record.payload:
            continue
        batch = decode_record(record)
        found: dict[tuple[Path, str], bool] = {}
        for name, value in batch.metadata._asdict().items():
            if value is not None and text in value:
                found[(name,), value] = True
        for event in batch.events:
            for keys, value, is_value in texts_in(event.data, text):
                path = (DATA, *keys)
                may = is_value and text_holder(event.data, keys) is not None
                may = may and may_go(event, path, projections)
                # What goes from one event of a batch goes from all that have such a field.
                found[path, value] = found.get((path, value), True) and may
        for (path, value), may in found.items():
            yield FoundText(record.revision, path, value, may)


def _shown(path: Path) -> str:
    return ".".join(map(str, path))
