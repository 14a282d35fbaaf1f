"""Opening a store for a look at it: beside its writer, and now or in the past."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from eventstore import EventStoreError
from eventstore.files.local import local_file_system
from eventstore.recovery.scan import read_durable_bound
from projections.snapshots import MetaStore
from snapledger import output
from snapledger.text import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore import Batch
    from projections.snapshots import SnapshotTransaction
    from snapledger.arguments import Moment


@contextmanager
def access_told(path: str) -> Iterator[None]:
    """Say of a store that this user can't read just that, whichever file was asked for first."""
    try:
        yield
    except PermissionError as error:
        refused = os.path.join(os.path.abspath(os.fspath(error.filename or "")), "")
        if not refused.startswith(os.path.join(os.path.abspath(path), "")):
            raise
        raise click.ClickException(
            f"{path}: {_user(os.geteuid())} can't read the store's directory, or what is in it; "
            f"run this as its owner{_owner(path)}"
        ) from error


def batch_count_about(path: str) -> int | None:
    """Return about how many batches a store has, without opening it; None if that is not told."""
    try:
        return read_durable_bound(local_file_system(), os.path.abspath(path), None) or None
    except (EventStoreError, OSError):
        return None


@contextmanager
def open_for_reading(path: str) -> Iterator[MetaStore]:
    """Open a store read-only, and mention what is unusual about it."""
    with access_told(path), MetaStore.open(path, read_only=True) as store:
        for checkpoint in store.recovery.damaged_checkpoints:
            output.note(f"{checkpoint}: this checkpoint is damaged and was not used; run check")
        yield store


@contextmanager
def snapshots_at(path: str, moment: Moment | None) -> Iterator[SnapshotTransaction]:
    """Open a store read-only and begin a read transaction, on the past if a moment is given."""
    with open_for_reading(path) as store, begin(store, moment) as transaction:
        yield transaction


def _owner(path: str) -> str:
    try:
        return f", {_user(os.stat(path).st_uid)}"
    except OSError:  # a directory above it can't be read either
        return ""


def _user(user_id: int) -> str:
    try:
        return f"user {pwd.getpwuid(user_id).pw_name}"
    except KeyError:
        return f"user {user_id}"


def begin(store: MetaStore, moment: Moment | None) -> SnapshotTransaction:
    """Begin a read transaction, on the past if a moment is given.

    Raises:
        ClickException: the store has no such moment.
    """
    if moment is None:
        return store.transaction()
    try:
        transaction = store.at(moment.revision, time=moment.time_ns)
    except ValueError as error:
        raise click.ClickException(f"{store.path}: {error}; `snapledger log` lists them") from error
    mention_before_history(store, moment, transaction.revision)
    return transaction


def mention_dropped(store: MetaStore) -> None:
    """Mention that the oldest batches are gone, to who asks for all, if they are."""
    oldest = store.event_store.oldest_revision()
    if oldest > 1:
        output.note(f"{store.path}: batches before revision {oldest} are no longer kept")


def mention_before_history(store: MetaStore, moment: Moment, revision: int) -> None:
    """Mention that a time comes before all that was ever committed, if its revision is 0.

    Where the first batches were dropped, nobody knows that: what is said then is `mention_dropped`.
    """
    if moment.time_ns is None or revision > 0 or store.event_store.oldest_revision() > 1:
        return
    first = next(store.event_store.batches(1, 1), None)
    begin = "and nothing has been yet" if first is None else f"the first batch is of {_time(first)}"
    try:
        time = format_time(moment.time_ns)
    except (ValueError, OverflowError):
        time = "that time"  # which no calendar of Python's has
    output.note(f"{store.path}: nothing had been committed at {time}; {begin}")


def require_reached(store: MetaStore, revision: int, newest: int) -> int:
    """Return a revision that is there.

    Raises:
        ClickException: it is yet to come.
    """
    if revision > newest:
        raise click.ClickException(
            f"{store.path}: there is no revision {revision} yet: the store is at {newest}; "
            "`snapledger log` lists what is there"
        )
    return revision


def _time(batch: Batch) -> str:
    return format_time(batch.time_ns)
