"""Wording that verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: in the plural, with an s unless given, but for 1."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def not_compared(projections: Iterable[str]) -> str:
    """Return what is said of projections whose tables a command could not compare.

    Args:
        projections: their names, printable.
    """
    return (
        f"not compared with the log: the tables of {', '.join(projections)} in the checkpoints. "
        "This command knows snapshots only; the driver, which knows all of its store, can verify "
        "them"
    )


def start_of_history(first_revision: int, said_by: str | None = None) -> str:
    """Return what is said of a store whose first batches are not there.

    The files that are left look the same whoever has removed the others, so it names them all,
    unless the log says who.

    Args:
        first_revision: of the oldest batch.
        said_by: the batch that says that retention dropped those before, if one does.
    """
    if said_by is not None:
        return (
            f"history begins at revision {first_revision}: the batches before were dropped by "
            f"retention, as {said_by} says"
        )
    return (
        f"history begins at revision {first_revision}: the batches before were dropped by "
        "retention, left out by an earlier repair or removed by hand; the store can't tell which"
    )
