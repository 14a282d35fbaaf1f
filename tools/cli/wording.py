"""Wording that verbs share."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: in the plural, with an s unless given, but for 1."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def start_of_history(first_revision: int) -> str:
    """Return what is said of a store whose first batches are not there.

    The files that are left look the same whoever has removed the others, so it names them all.
    """
    return (
        f"history begins at revision {first_revision}: the batches before were dropped by "
        "retention, left out by an earlier repair or removed by hand; the store can't tell which"
    )
