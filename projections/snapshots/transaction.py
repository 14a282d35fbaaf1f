"""The operations on snapshots, in a transaction.

An operation checks everything before it emits its event, so one that fails changes nothing, and
the transaction goes on. The order of the checks is containerd's: it decides which error a caller
sees when several things are wrong.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

from eventstore import ReadOnlyStoreError, ReadTransaction, WriteTransaction
from projections.snapshots import events
from projections.snapshots.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from projections.snapshots.filters import equalities
from projections.snapshots.model import Info, Kind, Snapshot, Usage
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
from projections.snapshots.walk import walk

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from eventstore import Receipt

_CREATED_KINDS = (Kind.ACTIVE, Kind.VIEW)
_LABELS_PATH = "labels"
_LABEL_PATH_PREFIX = "labels."


class SnapshotTransaction:
    """All operations on snapshots; begun by `MetaStore.transaction`.

    The reads are here. In a read transaction the writes raise `ReadOnlyStoreError`.
    """

    __slots__ = ()

    receipt: Receipt | None

    def get_info(self, key: str) -> tuple[str, Info, Usage]:
        """Return id, info and usage of a snapshot; the usage is zero until it is committed. O(1).

        Raises:
            NotFoundError: no snapshot has this key or name.
            InvalidArgumentError: the key is no text.
        """
        row: Row | None = self.get(SNAPSHOTS, key) if isinstance(key, str) else None
        if row is None:
            raise NotFoundError(
                f"snapshot {shown(checked_text(key, 'key'))} does not exist: walk_info() gives "
                "those that do"
            )
        return row

    def get_snapshot(self, key: str) -> Snapshot:
        """Return an active snapshot or view with the ids of all its ancestors. O(ancestors).

        Raises:
            NotFoundError: no snapshot has this key.
            FailedPreconditionError: the snapshot is committed.
        """
        snapshot_id, info, _ = self.get_info(key)
        if info.kind is Kind.COMMITTED:
            raise FailedPreconditionError(
                f"snapshot {shown(key)} is committed: only an active snapshot or a view can be "
                "mounted"
            )
        return Snapshot(info.kind, snapshot_id, self._ancestor_ids(info.parent))

    def walk_info(
        self,
        *filters: str,
        name: str | None = None,
        parent: str | None = None,
        kind: Kind | str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Info]:
        """Yield the infos of all snapshots that match any filter, in byte order of their names.

        Without filters, all snapshots match. Of those that match, only the ones come that have all
        that the keywords ask for. Keywords are not parsed, so they take any key or name as it is;
        for a filter, `quote_filter` quotes one.

        A filter that asks for equality on name, parent, kind or a label, as keywords do, visits
        only the snapshots that an index gives for it.

        Args:
            filters: in containerd's language; see `projections.snapshots.filters`.
            name: exactly this name or key.
            parent: exactly this parent; "" for base snapshots.
            kind: this kind.
            labels: all of these labels, with these values.

        Raises:
            InvalidArgumentError: at the call, not at the first step: a filter can't be parsed, or
                a keyword asks for what can't be: no text, or no kind.
        """
        required = equalities(name=name, parent=parent, kind=kind, labels=labels)
        return walk(self, filters, required)

    def id_map(self) -> dict[str, str]:
        """Return the key or name of every snapshot by its id. O(n)."""
        return {snapshot_id: name for name, (snapshot_id, _, _) in self.items(SNAPSHOTS)}

    def create_snapshot(
        self, kind: Kind, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> Snapshot:
        """Create an active snapshot or a view.

        Args:
            kind: `Kind.ACTIVE` or `Kind.VIEW`.
            key: to refer to it by.
            parent: name of a committed snapshot; "" for a base snapshot.
            labels: those with the value "" are left out.

        Raises:
            InvalidArgumentError: the kind is another, the parent is not committed, or the key or
                a label is not allowed.
            NotFoundError: there is no such parent.
            AlreadyExistsError: the key is taken.
            ReadOnlyStoreError: the transaction is not writable.
        """
        _refuse_write()

    def commit_active(
        self,
        key: str,
        name: str,
        usage: Usage,
        labels: Mapping[str, str] | None = None,
        parent: str = "",
    ) -> str:
        """Commit an active snapshot under a name; its key is free then.

        Args:
            key: of the active snapshot.
            name: that it gets.
            usage: what it takes.
            labels: that it has from now on; without them it has none.
            parent: may be given if the snapshot has none yet; then it gets this one.

        Returns:
            the id, which does not change.

        Raises:
            AlreadyExistsError: the name is taken.
            NotFoundError: no snapshot has the key, or there is no such parent.
            FailedPreconditionError: the snapshot is not active, or the parent not committed.
            InvalidArgumentError: the snapshot has another parent or would be its own; or the
                name, the usage or a label is not allowed.
            ReadOnlyStoreError: the transaction is not writable.
        """
        _refuse_write()

    def update_info(self, name: str, labels: Mapping[str, str] | None, *fieldpaths: str) -> Info:
        """Change the labels of a snapshot.

        Args:
            name: its name or key.
            labels: the new labels; one with the value "" is removed.
            fieldpaths: what to change: "labels" (all, the default), "labels.KEY" (one).

        Raises:
            NotFoundError: no snapshot has the name.
            InvalidArgumentError: a field path is another, or a label is not allowed.
            ReadOnlyStoreError: the transaction is not writable.
        """
        _refuse_write()

    def remove(self, key: str) -> tuple[str, Kind]:
        """Remove a snapshot and return its id and kind.

        Raises:
            NotFoundError: no snapshot has this key or name.
            FailedPreconditionError: it has children.
            ReadOnlyStoreError: the transaction is not writable.
        """
        _refuse_write()

    def _ancestor_ids(self, parent: str) -> tuple[str, ...]:
        ids = []
        while parent:
            row: Row = self.get(SNAPSHOTS, parent)
            ids.append(row[0])
            parent = row[1].parent
        return tuple(ids)

    # What the transactions of the engine, which the subclasses also are, provide.

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        """Return the value of a key in a table, or the default."""
        raise NotImplementedError

    def items(self, table: str, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of a table in key order, from `start` on and before `stop`."""
        raise NotImplementedError

    def by_index(self, table: str, index: str, entry: Hashable) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that have an entry in an index, in key order."""
        raise NotImplementedError

    @property
    def revision(self) -> int:
        """The revision whose state the transaction sees or builds on."""
        raise NotImplementedError

    def commit(self) -> Receipt | None:
        """Make the batch durable; see `eventstore.WriteTransaction.commit`."""
        raise NotImplementedError

    def rollback(self) -> None:
        """Take everything back, or end a read transaction."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        raise NotImplementedError


class SnapshotReadTransaction(ReadTransaction, SnapshotTransaction):
    """A read transaction on snapshots."""

    __slots__ = ()

    receipt = None


class SnapshotWriteTransaction(WriteTransaction, SnapshotTransaction):
    """A write transaction on snapshots."""

    __slots__ = ()

    def create_snapshot(
        self, kind: Kind, key: str, parent: str = "", labels: Mapping[str, str] | None = None
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
            row = self._require_parent(parent, InvalidArgumentError)
            parent_ids = (row[0], *self._ancestor_ids(row[1].parent))
        self._require_free(key)
        check_key(key, "key")
        kept, kind = checked_labels(labels), Kind(kind)
        id_number = self.get(COUNTERS, LAST_ID, 0) + 1
        self.emit(
            events.created(
                id_number=id_number,
                kind=kind,
                key=key,
                parent=parent,
                labels=kept,
                time_ns=time.time_ns(),
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


def _now_ns(last_change_ns: int) -> int:
    """Return the time of a change, which a clock that was set back doesn't make earlier."""
    return max(time.time_ns(), last_change_ns)


def _refuse_write() -> NoReturn:
    raise ReadOnlyStoreError(
        "the transaction is for reading only: begin it with transaction(writable=True)"
    )
