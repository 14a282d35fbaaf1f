"""Opening the embedded log: hold, scan, load, decide, execute; then somebody has a `FileLog`."""

from __future__ import annotations

import dataclasses
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from eventstore.backend.file_log import FileLog
from eventstore.backend.reading import StoreFiles
from eventstore.directory.contents import (
    being_made,
    require_files,
    require_made,
    require_own,
    require_store,
)
from eventstore.directory.hold import hold_fit
from eventstore.maintenance.erasing import finish_erasure_in_spares
from eventstore.recovery.decide import decide
from eventstore.recovery.execute import execute
from eventstore.recovery.loading import load
from eventstore.recovery.scan import scan_store
from eventstore.reports import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventstore.files.guarded import GuardedFileSystem
    from eventstore.files.interface import FileSystem
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection
    from eventstore.recovery.loading import Loaded
    from eventstore.reports import RecoveryReport

_logger = logging.getLogger("eventstore")


def hold_file_log(
    file_system: FileSystem,
    path: str,
    options: StoreOptions,
    *,
    lock_timeout_seconds: float | None,
    may_create: bool,
) -> GuardedFileSystem:
    """Lock the log in a directory, or the place for one, and return the holder's file system.

    Args:
        file_system: that the store is on.
        path: of the store.
        options: of the store.
        lock_timeout_seconds: how long to wait for another process; None not at all.
        may_create: whether there may be nothing yet.

    Raises:
        NotAStoreError: something else is at the path, a store that is half made, or nothing
            although something must be.
        ForeignOwnerError: the store's directories are another user's.
        StoreLockedError: another process, or another handle of this one, holds the store.
        StorageFullError: no space for what the lock needs.
    """
    require = partial(_require_place, path=path, options=options, may_create=may_create)
    guarded = hold_fit(file_system, path, options, lock_timeout_seconds, require)
    try:
        require_made(guarded, path, is_held=True)
        require_files(guarded, path)
    except BaseException:
        guarded.release()
        raise
    return guarded


def open_file_log(
    guarded: GuardedFileSystem,
    path: str,
    projections: Sequence[Projection],
    options: StoreOptions,
    *,
    on_rebuild: Callable[[int, int], object] | None = None,
    may_create: bool = True,
    ends_hold: bool,
) -> tuple[FileLog, Loaded]:
    """Recover the log in a directory, or make one there, for who holds it, and build its state.

    Args:
        guarded: the file system as the holder of the lock sees it.
        path: of the store.
        projections: what the events are folded into.
        options: of the store.
        on_rebuild: called now and then while projections are rebuilt, or batches folded.
        may_create: whether a log is made where there is none.
        ends_hold: whether the log lets go of the lock when it is closed.

    Raises:
        NotAStoreError: there is no log yet, and none is to be made.
        CorruptionError: the store is damaged; it is unchanged, but for LOCK.
        FormatVersionError: the store has a newer format; it is unchanged, but for LOCK.
        ProjectionError: a projection can't be rebuilt, or can't apply an event.
        StorageFullError: no space to make or to recover the store.
    """
    started = time.monotonic()
    finished = finish_erasure_in_spares(guarded, path)
    scan = scan_store(guarded, path)
    files = StoreFiles(guarded, path, scan.store_id or b"")
    loaded = load(
        path,
        projections,
        scan.checkpoint,
        scan,
        files.read,
        on_rebuild,
        last_revision=scan.durable_bound,
    )
    scanned = scan.result()
    decision = decide(scanned.found)
    if decision.verdict is Verdict.NEW and not may_create:
        raise being_made(path)
    segment, end, report = execute(guarded, scanned, decision, options)
    report = dataclasses.replace(report, rebuilt=loaded.rebuilt, seconds=time.monotonic() - started)
    try:
        log = FileLog(
            guarded, path, options, (segment, end, report), projections, ends_hold=ends_hold
        )
        log.finished_erasures = finished
    except BaseException:
        segment.file.close()
        raise
    _warn(path, report)
    if finished:
        _logger.warning(
            "%s: finished an erasure that was cut short, of %d batch%s",
            path,
            len(finished),
            "" if len(finished) == 1 else "es",
        )
    return log, loaded


def _warn(path: str, report: RecoveryReport) -> None:
    torn = report.torn_tail
    if torn is not None:
        _logger.warning(
            "%s: cut a torn tail of %d byte%s (%s); no acknowledged batch was in it; kept in %s",
            path,
            torn.size_bytes,
            "" if torn.size_bytes == 1 else "s",
            torn.reason,
            torn.saved_path,
        )
    for checkpoint in report.damaged_checkpoints:
        _logger.warning("%s: this checkpoint is damaged and was set aside", checkpoint)


def _require_place(
    file_system: FileSystem, path: str, options: StoreOptions, *, may_create: bool
) -> None:
    require_store(file_system, path, may_create=may_create)
    if not options.allow_foreign_owner:
        require_own(file_system, path)
