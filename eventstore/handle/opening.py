"""What an open decides: who reads and who writes, by which log, and what a handle is made of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from eventstore.arguments import checked_flag, checked_text
from eventstore.backend.follower import FollowerLog
from eventstore.directory.contents import full_disk_is_told
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute
from eventstore.locks import checked_timeout
from eventstore.options import checked_options
from eventstore.projection import checked_projections
from eventstore.recovery.loading import load_log

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.log.interface import Log, LogReader
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection
    from eventstore.recovery.loading import Loaded
    from eventstore.tables.state import State


class Written(NamedTuple):
    """What only a handle that writes has.

    Attributes:
        log: that it writes to.
        loaded: what the open has built of it.
    """

    log: Log
    loaded: Loaded


class Opened(NamedTuple):
    """What a handle is made of.

    Attributes:
        path: of the store.
        log: to read.
        state: of the log.
        projections: that the state is of.
        options: of the store.
        file_system: where `verify` reads; None where the log was given, which has no files that
            anybody here knows.
        written: the same log where it is written to; None for a follower.
        refresh: brings the state of a follower up to date, and returns it; None for a writer.
    """

    path: str
    log: LogReader
    state: State
    projections: Sequence[Projection]
    options: StoreOptions
    file_system: FileSystem | None
    written: Written | None = None
    refresh: Callable[[], State] | None = None


def opened(
    path: str | os.PathLike[str],
    projections: Iterable[Projection],
    *,
    read_only: bool,
    create: bool,
    lock_timeout: float | None,
    options: StoreOptions | None,
    file_system: FileSystem | None,
    on_rebuild: Callable[[int, int], object] | None,
    log: Log | None,
) -> Opened:
    """Do what `EventStore.open` says, with its arguments."""
    known = checked_projections(projections)
    directory = absolute(path)
    file_system = file_system or local_file_system()
    checked_flag(read_only, "read_only")
    checked_flag(create, "create")
    options = checked_options(options)
    if log is not None:
        if read_only:
            raise ValueError("a log that is given is written to: read_only can't be with it")
        given = load_log(directory, known, log, on_rebuild)
        return _for_writing(directory, log, given, known, options, file_system=None)
    if read_only:
        follower = FollowerLog(file_system, directory, known)
        return Opened(
            directory,
            follower,
            follower.state,
            known,
            options,
            file_system,
            refresh=follower.refresh,
        )
    # Imported here: who only reads does without all that writes, a tenth of the import.
    from eventstore.backend.opening import hold_file_log, open_file_log  # noqa: PLC0415

    timeout = checked_timeout(lock_timeout, "lock_timeout")
    with full_disk_is_told(directory, "free some space and open the store again"):
        held = hold_file_log(
            file_system, directory, options, lock_timeout_seconds=timeout, may_create=create
        )
        try:
            files, loaded = open_file_log(
                held,
                directory,
                known,
                options,
                on_rebuild=on_rebuild,
                may_create=create,
                ends_hold=True,
            )
        except BaseException:
            held.release()
            raise
    return _for_writing(directory, files, loaded, known, options, file_system=files.file_system)


@contextmanager
def made(
    path: str | os.PathLike[str],
    projections: Iterable[Projection],
    *,
    purpose: str,
    lock_timeout: float | None,
    options: StoreOptions | None,
    file_system: FileSystem | None,
) -> Iterator[Opened]:
    """Do what `EventStore.create` says, with its arguments; whoever enters closes the log."""
    from eventstore.backend.opening import open_file_log  # noqa: PLC0415 - as above
    from eventstore.directory.making import making  # noqa: PLC0415

    known = checked_projections(projections)
    directory = absolute(path)
    file_system = file_system or local_file_system()
    options = checked_options(options)
    checked_text(purpose, "purpose")
    with making(
        file_system,
        directory,
        purpose,
        options,
        lock_timeout_seconds=checked_timeout(lock_timeout, "lock_timeout"),
    ) as held:
        log, loaded = open_file_log(held, directory, known, options, ends_hold=False)
        yield _for_writing(directory, log, loaded, known, options, file_system=log.file_system)


def _for_writing(
    directory: str,
    log: Log,
    loaded: Loaded,
    projections: Sequence[Projection],
    options: StoreOptions,
    *,
    file_system: FileSystem | None,
) -> Opened:
    written = Written(log, loaded)
    return Opened(directory, log, loaded.state, projections, options, file_system, written)
