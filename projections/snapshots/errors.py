"""The errors of the snapshot domain, one for each class that containerd tells apart.

They say that a request does not fit the snapshots that are there; nothing was changed.
Errors of the store itself (damage, locks, a full disk) are `eventstore.EventStoreError`.
"""


class SnapshotError(Exception):
    """Base of every error of the snapshot domain."""


class NotFoundError(SnapshotError):
    """No snapshot has this key or name."""


class AlreadyExistsError(SnapshotError):
    """The key or name is taken."""


class InvalidArgumentError(SnapshotError):
    """The argument can't be right, whatever the store holds."""


class FailedPreconditionError(SnapshotError):
    """The snapshot is in the wrong state for this operation."""


class NoTransactionError(SnapshotError):
    """An operation was called outside a transaction."""
