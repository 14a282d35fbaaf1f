"""`snapledger check`: read everything and say what is damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventstore import EventStoreError, Verdict, verify_backup, verify_store
from eventstore.engine_events import DROPPED
from eventstore.format.manifest import MANIFEST_NAME
from eventstore.format.names import WAL_NAME
from eventstore.integrity.comparison import DIFFERS
from eventstore.integrity.repair import preview_repairs
from projections.snapshots import MetaStore, SnapshotsProjection
from snapledger import output
from snapledger.arguments import checked_path, json_option
from snapledger.backup import backup_record
from snapledger.failures import DAMAGED
from snapledger.reading import access_told, batch_count_about
from snapledger.text import format_size, format_time, one_line, quoted
from snapledger.wording import counted, not_compared, start_of_history

if TYPE_CHECKING:
    from eventstore import RepairPreview, VerifyReport

_EXAMPLE = """\b
Example: after a crash of the machine:
  snapledger check STORE"""
_DERIVED = {"index", "tree"}
"""Directories of files that are made of the log."""
_PREVIEWED_BYTES = 1 << 30
"""What a repair would keep is found at about 100 MiB a second."""


@click.command("check", epilog=_EXAMPLE)
@click.argument("store", metavar="STORE", callback=checked_path)
@click.option(
    "--quick",
    is_flag=True,
    help="Read only what an open reads, and headers and lengths of earlier segments in the log: "
    "damage in their records, and in the archive, is not found: it stops views of the past, and in "
    "the log compaction too.",
)
@json_option
@click.pass_context
def command(context: click.Context, store: str, quick: bool, as_json: bool) -> None:
    """Verify STORE: every record, the chain of digests, the checkpoints against the log.

    Changes nothing and needs no lock. Exits with 3 if something is damaged. A torn tail is no
    damage: a crash left it, no acknowledged batch is in it, and the next open cuts it. A store
    that is still being made is none yet: that exits with 10, as it does for every verb. A long log
    is replayed by two processes, where there are two cores.

    STORE may also be a backup, a directory or a URL: then each of its files is read, and the chain
    of digests up to its last batch, as a restore would.

    Where the history begins later than revision 1, that is said, and is no damage: the batches were
    dropped by retention, which the log says as long as it keeps that batch, left out by a repair or
    removed by hand.

    This command knows snapshots only: tables of a driver's own projections in the checkpoints are
    not compared with the log, and that is said.

    JSON: is_sound, is_full, verdict (what an open would find: clean, torn tail or corrupt),
    problems [path, offset_bytes, reason], more_problems (how many are not listed), remarks,
    segment_count, unread_segments (how many --quick left out), batch_count, checkpoint_count,
    replayed_checkpoints (how many were compared with a replay of the log), unknown_projections
    (names of those in the checkpoints that this command could not compare), first_revision,
    revision. Of a backup: that of `backup`.
    """
    if is_backup(store):
        _check_backup(store, quick=quick, as_json=as_json)
        return
    total = batch_count_about(store)
    with access_told(store), output.progress("checking batch", total) as show_count:
        report = verify_store(
            store,
            [SnapshotsProjection()],
            quick=quick,
            on_batch=show_count,
            processes=_cores(),
        )
    if as_json:
        output.write_json(_record(report))
    else:
        _write(store, report)
    if not report.is_sound:
        context.exit(DAMAGED)


def _cores() -> int:
    """Return how many cores this process may use, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_backup(path: str) -> bool:
    """Say whether a path is that of a backup, or a URL, where nothing else can be."""
    return "://" in path or (
        os.path.lexists(os.path.join(path, MANIFEST_NAME))
        and not os.path.lexists(os.path.join(path, WAL_NAME))
    )


def _check_backup(path: str, *, quick: bool, as_json: bool) -> None:
    if quick:
        raise click.UsageError("a backup is read whole: not with --quick")
    with output.progress("checking batch") as show_count:
        report = verify_backup(path, on_batch=show_count)
    if as_json:
        output.write_json(backup_record(report))
        return
    oldest = report.oldest_state if report.oldest_state else 1
    files = f"{counted(report.file_count, 'file')}, {format_size(report.size_bytes)}"
    output.write_line(f"read all of a backup: {files}")
    output.write_line(
        f"batches {report.first_revision} to {report.revision} of store {report.store_id.hex()}; "
        f"can restore revisions {oldest} to {report.revision}"
    )
    output.write_line("sound")


def _said_by(path: str, first_revision: int) -> str | None:
    """Return which batch says that retention dropped what came before a revision."""
    try:
        with MetaStore.open(path, read_only=True) as store:
            found = store.event_store.batches(first_revision, type=DROPPED, reverse=True)
            for batch in found:
                for event in batch.events:
                    data = event.data if event.type == DROPPED else None
                    if isinstance(data, dict) and data.get("last_revision") == first_revision - 1:
                        return f"revision {batch.revision} of {format_time(batch.time_ns)}"
    except (EventStoreError, OSError):
        pass  # a damaged store: that is told
    return None


def _record(report: VerifyReport) -> dict[str, Any]:
    return {
        "is_sound": report.is_sound,
        "is_full": report.is_full,
        "verdict": report.verdict.value,
        "problems": [
            {
                "path": problem.path,
                "offset_bytes": problem.offset_bytes,
                "reason": problem.reason,
            }
            for problem in report.problems
        ],
        "more_problems": report.more_problems,
        "remarks": list(report.remarks),
        "segment_count": report.segment_count,
        "unread_segments": report.unread_segments,
        "batch_count": report.batch_count,
        "checkpoint_count": report.checkpoint_count,
        "replayed_checkpoints": report.replayed_checkpoints,
        "unknown_projections": list(report.unknown_projections),
        "first_revision": report.first_revision,
        "revision": report.revision,
    }


def _write(store: str, report: VerifyReport) -> None:
    for problem in report.problems:
        place = f"{problem.path}: at byte {problem.offset_bytes}"
        output.write_line(one_line(f"damaged: {place}: {problem.reason}"))
    if report.more_problems:
        more = counted(report.more_problems, "more problem")
        output.write_line(f"damaged: {more}, not listed")
    for text in report.remarks:
        output.write_line(one_line(f"note: {text}"))
    extent = "all of" if report.is_full else "what an open reads:"
    output.write_line(
        f"read {extent} {counted(report.segment_count, 'segment')}, "
        f"{counted(report.batch_count, 'batch', 'batches')} up to revision {report.revision}, "
        f"{counted(report.checkpoint_count, 'checkpoint')} "
        f"({report.replayed_checkpoints} compared with a replay)"
    )
    if report.first_revision > 1:
        said_by = _said_by(store, report.first_revision)
        output.write_line(start_of_history(report.first_revision, said_by))
    if report.unread_segments:
        segments = counted(report.unread_segments, "earlier segment")
        output.write_line(
            f"not read: the records of {segments}, which compaction and views of the past need; "
            "check without --quick reads them"
        )
    if report.unknown_projections:
        output.write_line(not_compared(map(quoted, report.unknown_projections)))
    if report.is_sound:
        is_whole = report.is_full and not report.unknown_projections
        output.write_line("sound" if is_whole else "sound as far as it was read")
    else:
        problems = counted(len(report.problems) + report.more_problems, "problem")
        output.write_line(f"DAMAGED: {problems}; {_advice(store, report)}")


def _advice(store: str, report: VerifyReport) -> str:
    """Return what an open would do, and what is to be done."""
    is_refused = report.verdict is Verdict.CORRUPT
    opens = f"an open would {'refuse the store' if is_refused else 'do without what is damaged'}"
    kinds = {Path(problem.path).parent.name for problem in report.problems}
    if not is_refused and kinds <= _DERIVED and not report.more_problems:
        first = "remove the damaged files of `index`, then " if "index" in kinds else ""
        return (
            f"{opens}; nothing was changed: {first}start the driver, or run `snapledger compact`: "
            "the log is whole, and what is missing is made anew of it"
        )
    differs = any(DIFFERS in problem.reason for problem in report.problems)
    if differs and not is_refused and report.first_revision == 1:
        return (
            "nothing was changed: keep a copy of the store before anything else; then remove those "
            "files of `checkpoints` and `ladder` that are listed, before anything opens the store: "
            "by their checksums they are whole, so that an open would believe them, and what they "
            "hold is not what the log says; check again after that"
        )
    if not is_refused and kinds == {"checkpoints"} and not report.more_problems:
        return (
            f"{opens}; nothing was changed: start the driver, or run `snapledger compact`: the log "
            "is whole, so that sets aside what is damaged, and a new checkpoint is written"
        )
    return (
        f"{opens}; nothing was changed: keep a copy of the store before anything else; then "
        f"`snapledger repair` makes a new one of what can be read{_kept(store)}"
    )


def _kept(store: str) -> str:
    """Return what a repair would keep; nothing where to find out would take minutes."""
    try:
        if sum(path.stat().st_size for path in Path(store).rglob("*")) > _PREVIEWED_BYTES:
            return ""
        newest, oldest = preview_repairs(store)
    except (EventStoreError, OSError):
        return ""
    texts = [f": {_extent(newest)}"]
    if oldest != newest:
        texts.append(f", or with --keep-history {_extent(oldest)}")
    return "".join(texts)


def _extent(preview: RepairPreview) -> str:
    if preview.first_revision > preview.revision:
        return f"the state at revision {preview.revision} and no batch"
    batches = f"batches {preview.first_revision} to {preview.revision}"
    state = f"the state at revision {preview.revision}"
    if preview.unerased:
        unerased = counted(len(preview.unerased), "batch", "batches")
        state += f", which holds what was to be erased of {unerased}"
    return f"{batches} and {state}"
