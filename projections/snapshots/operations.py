"""All operations on snapshots, as every transaction on them has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from eventstore import ReadOnlyStoreError
from projections.snapshots.reads import SnapshotReads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore import Receipt
    from projections.snapshots.intents import Intent
    from projections.snapshots.model import Info, Kind, Snapshot, Usage


class SnapshotTransaction(SnapshotReads):
    """All operations on snapshots; begun by `MetaStore.transaction`.

    In a read transaction those that change something raise `ReadOnlyStoreError`.
    """

    __slots__ = ()

    receipt: Receipt | None

    def create_snapshot(
        self,
        kind: Kind,
        key: str,
        parent: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        intent: Intent | None = None,
    ) -> Snapshot:
        """Create an active snapshot or a view.

        Its id is one higher than the last one that was committed: if this transaction does not
        commit, the next one gives the same id. So name nothing by it that outlives a rollback, or
        reserve an id by an intent, which is never given twice.

        Args:
            kind: `Kind.ACTIVE` or `Kind.VIEW`.
            key: to refer to it by.
            parent: name of a committed snapshot; "" for a base snapshot.
            labels: those with the value "" are left out.
            intent: begun, that this fulfils, see `fulfil`; the snapshot gets the id that it has
                reserved.

        Raises:
            FailedPreconditionError: the intent is not open, or is a staged one.
            InvalidArgumentError: the kind is another, the parent is not committed, the key or a
                label is not allowed, or the intent is none.
            NotFoundError: there is no such parent.
            AlreadyExistsError: the key is taken.
            ReadOnlyStoreError: the transaction is not writable.
        """
        refuse_write()

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
        refuse_write()

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
        refuse_write()

    def remove(self, key: str) -> tuple[str, Kind]:
        """Remove a snapshot and return its id and kind.

        Raises:
            NotFoundError: no snapshot has this key or name.
            FailedPreconditionError: it has children.
            ReadOnlyStoreError: the transaction is not writable.
        """
        refuse_write()

    def fulfil(self, intent: Intent) -> None:
        """End an intent with this transaction: what it was for is now as the store says.

        Raises:
            FailedPreconditionError: the intent is not open.
            InvalidArgumentError: it is no intent.
            ReadOnlyStoreError: the transaction is not writable.
        """
        refuse_write()


def refuse_write() -> NoReturn:
    """Refuse what a read transaction can't do.

    Raises:
        ReadOnlyStoreError: always.
    """
    raise ReadOnlyStoreError(
        "the transaction is for reading only: begin it with transaction(writable=True)"
    )
