"""The transactions on snapshots: one that reads, and one that checks, then emits.

An operation checks everything before it emits its event, so one that fails changes nothing, and
the transaction goes on. The order of the checks is containerd's: it decides which error a caller
sees when several things are wrong.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from eventstore import ReadTransaction, WriteTransaction
from projections.snapshots import events, intents
from projections.snapshots.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from projections.snapshots.model import Info, Kind, Snapshot, Usage
from projections.snapshots.operations import SnapshotTransaction
from projections.snapshots.projection import (
    BY_PARENT,
    CHILDREN,
    COUNTERS,
    LAST_ID,
    SNAPSHOTS,
    Row,
)
from projections.snapshots.validation import (
    check_key,
    checked_labels,
    checked_mapping,
    checked_text,
    checked_usage,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from projections.snapshots.intents import Intent

_CREATED_KINDS = (Kind.ACTIVE, Kind.VIEW)
_LABELS_PATH = "labels"
_LABEL_PATH_PREFIX = "labels."


class SnapshotReadTransaction(ReadTransaction, SnapshotTransaction):
    """A read transaction on snapshots."""

    __slots__ = ()

    receipt = None


class SnapshotWriteTransaction(WriteTransaction, SnapshotTransaction):
    """A write transaction on snapshots."""

    __slots__ = ()

    def create_snapshot(
        self,
        kind: Kind,
        key: str,
        parent: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        intent: Intent | None = None,
    ) -> Snapshot:
        """See `SnapshotTransaction.create_snapshot`."""
        key, parent = checked_text(key, "key"), checked_text(parent, "parent")
        if kind not in _CREATED_KINDS:
            raise InvalidArgumentError(
                f"a snapshot of kind {kind!s} can't be created: only active ones and views can; "
                "commit an active one to get a committed one"
            )
        parent_ids: tuple[str, ...] = ()
        if parent:
            parent_id, parent_info, _ = self._require_parent(parent, InvalidArgumentError)
            parent_ids = (parent_id,)
            if parent_info.parent:
                parent_ids += self._ancestor_ids(parent_info.parent)
        self._require_free(key)
        check_key(key, "key")
        kept = checked_labels(labels)
        if type(kind) is not Kind:  # a text that equals one
            kind = Kind(kind)
        reserved = None if intent is None else _reserved_by(intent)
        if intent is not None:
            self.fulfil(intent)  # first: so that no snapshot can have the id of an open intent
        id_number = self.get(COUNTERS, LAST_ID, 0) + 1 if reserved is None else int(reserved)
        self.emit(
            events.created(
                id_number=id_number,
                kind=kind,
                key=key,
                parent=parent,
                labels=kept,
                time_ns=time.time_ns(),
                is_reserved=reserved is not None,
            )
        )
        return Snapshot(kind, str(id_number), parent_ids)

    def commit_active(
        self,
        key: str,
        name: str,
        usage: Usage,
        labels: Mapping[str, str] | None = None,
        parent: str = "",
    ) -> str:
        """See `SnapshotTransaction.commit_active`."""
        name, parent = checked_text(name, "name"), checked_text(parent, "parent")
        self._require_free(name)
        snapshot_id, info, _ = self.get_info(key)
        if info.kind is not Kind.ACTIVE:
            raise FailedPreconditionError(
                f"snapshot {shown(key)} is {info.kind}: only an active snapshot can be committed"
            )
        if parent and info.parent and parent != info.parent:
            raise InvalidArgumentError(
                f"snapshot {shown(key)} has parent {shown(info.parent)}: it can't be given "
                f"{shown(parent)}"
            )
        if parent == name and name:
            raise InvalidArgumentError(f"snapshot {shown(name)} can't be its own parent")
        if parent == key:
            # The commit frees the key, so containerd, too, finds no such parent.
            raise NotFoundError(
                f"parent snapshot {shown(parent)} does not exist: it is the one being committed"
            )
        if parent and not info.parent:
            self._require_parent(parent, FailedPreconditionError)
        check_key(name, "name")
        kept, checked = checked_labels(labels), checked_usage(usage)
        self.emit(
            events.committed(
                id_number=int(snapshot_id),
                key=info.name,
                name=name,
                parent=info.parent or parent,
                labels=kept,
                usage=checked,
                time_ns=_now_ns(info.updated_ns),
            )
        )
        return snapshot_id

    def update_info(self, name: str, labels: Mapping[str, str] | None, *fieldpaths: str) -> Info:
        """See `SnapshotTransaction.update_info`."""
        snapshot_id, info, _ = self.get_info(name)
        given = checked_mapping(labels)
        # Labels that are kept are not checked again: an import may have brought longer ones.
        wanted = dict(info.labels) if fieldpaths else checked_labels(given)
        for path in fieldpaths:
            if path == _LABELS_PATH:
                wanted = checked_labels(given)
            elif isinstance(path, str) and path.startswith(_LABEL_PATH_PREFIX):
                label = path[len(_LABEL_PATH_PREFIX) :]
                wanted.pop(label, None)
                wanted |= checked_labels({label: given.get(label, "")})
            else:
                raise InvalidArgumentError(
                    f"field path {shown(path)} of snapshot {shown(name)} can't be changed: only "
                    "'labels' and 'labels.KEY' can"
                )
        self.emit(
            events.updated(
                id_number=int(snapshot_id),
                name=info.name,
                labels=wanted,
                time_ns=_now_ns(info.updated_ns),
            )
        )
        return self.get_info(name)[1]

    def remove(self, key: str) -> tuple[str, Kind]:
        """See `SnapshotTransaction.remove`."""
        snapshot_id, info, _ = self.get_info(key)
        if self.get(CHILDREN, info.name):
            child, _ = next(self.by_index(SNAPSHOTS, BY_PARENT, info.name))
            raise FailedPreconditionError(
                f"snapshot {shown(key)} has children, {shown(child)} for one: remove those first"
            )
        self.emit(events.removed(id_number=int(snapshot_id), key=info.name))
        return snapshot_id, info.kind

    def fulfil(self, intent: Intent) -> None:
        """See `SnapshotTransaction.fulfil`."""
        self.end_intent(intent, intents.DONE)

    def end_intent(self, intent: Intent, outcome: str) -> None:
        """End an intent in one of the ways that `projections.snapshots.intents` names.

        Raises:
            FailedPreconditionError: the intent is not open.
            InvalidArgumentError: it is no intent.
        """
        found = self.get(intents.INTENTS.name, intents.checked_intent(intent).number)
        if found != intent:
            state = "open: it has ended before" if found is None else "the one that is open"
            raise FailedPreconditionError(
                f"intent {intent.number}, {intent.kind} of {shown(intent.key)}, is not {state}"
            )
        self.emit(intents.ended(intent, outcome))

    def _frees_space(self) -> bool:
        """Say so of what removes a snapshot, too, whatever it records of the request for that."""
        return super()._frees_space() or self._state.rows_added((SNAPSHOTS,)) < 0

    def _require_free(self, key: str) -> None:
        if self.get(SNAPSHOTS, key) is not None:
            raise AlreadyExistsError(
                f"snapshot {shown(key)} exists already: use another key or name"
            )

    def _require_parent(
        self,
        parent: str,
        wrong_kind: type[InvalidArgumentError] | type[FailedPreconditionError],
    ) -> Row:
        row: Row | None = self.get(SNAPSHOTS, parent)
        if row is None:
            raise NotFoundError(f"parent snapshot {shown(parent)} does not exist: commit it first")
        if row[1].kind is not Kind.COMMITTED:
            raise wrong_kind(
                f"parent snapshot {shown(parent)} is {row[1].kind}: only a committed one can be "
                "a parent"
            )
        return row


def _reserved_by(intent: Intent) -> str | None:
    """Return the id that an intent has reserved, if it has."""
    if intents.checked_intent(intent).is_staged:
        raise FailedPreconditionError(
            f"intent {intent.number}, {intent.kind} of {shown(intent.key)}, is a staged one: its "
            "snapshot is made already, and only fulfil ends it"
        )
    return intent.id


def _now_ns(last_change_ns: int) -> int:
    """Return the time of a change, which a clock that was set back doesn't make earlier."""
    return max(time.time_ns(), last_change_ns)
