"""One snapshot by its key; of one that is not there what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from projections.snapshots import NotFoundError
from projections.snapshots.events import COMMITTED
from snapledger import output
from snapledger.text import printable

if TYPE_CHECKING:
    from projections.snapshots import HistoryEntry, Info, MetaStore, SnapshotTransaction, Usage


def snapshot_of(
    store: MetaStore, transaction: SnapshotTransaction, key: str
) -> tuple[str, Info, Usage]:
    """Return id, info and usage of a snapshot.

    Raises:
        ClickException: it was removed, or committed under a name.
        NotFoundError: there was never such a one.
    """
    try:
        return transaction.get_info(key)
    except NotFoundError:
        raise _absence(store, key, transaction.revision) from None


def _absence(store: MetaStore, key: str, revision: int) -> Exception:
    """Return why there is no snapshot of that name at a revision; a commit is mentioned apart."""
    from snapledger.diff import entry_line  # noqa: PLC0415 - only where there is none

    removed = store.who_removed(key, at=revision)
    committed = _committed(store, key, revision)
    if committed is not None and (removed is None or removed.id == committed.id):
        name = printable(committed.event.data["name"])
        text = f"the snapshot with key {key!r} was committed as {name}: {entry_line(committed)}"
        if removed is None:
            return click.ClickException(text)
        output.note(text)
    if removed is None:
        return NotFoundError(f"no snapshot has the key or name {key!r}")
    return click.ClickException(
        f"no snapshot has the key or name {key!r} any more: {entry_line(removed)}"
    )


def _committed(store: MetaStore, key: str, revision: int) -> HistoryEntry | None:
    """Return the last commit of a key under a name, as far as that is kept."""
    entries = store.history(key, to_revision=revision, reverse=True)
    return next(
        (
            entry
            for entry in entries
            if entry.event.type == COMMITTED and entry.event.data.get("key") == key
        ),
        None,
    )
