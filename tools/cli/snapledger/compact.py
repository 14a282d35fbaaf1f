"""`snapledger compact`: write a checkpoint and archive what it supersedes, or preview that.

Where a driver has the store open, it is asked to do that itself.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from eventstore import Retention, StoreLockedError, StoreOptions
from eventstore.files.local import local_file_system
from eventstore.maintenance.preview import preview_compaction
from eventstore.maintenance.requests import CompactionRequest
from projections.snapshots import MetaStore
from snapledger import output
from snapledger.arguments import COUNT, SECONDS, SIZE, json_option, store_argument
from snapledger.reading import open_for_reading
from snapledger.text import format_size
from snapledger.times import parse_duration
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore import CompactionReport, RecoveryReport
    from eventstore.maintenance.preview import CompactionPreview, SegmentPreview
    from snapledger.output import Shown

_WAIT_SECONDS = 10.0
_TURN_SECONDS = 0.5
_ATTEMPTS = 5
_LABELS = {"row": "writing the checkpoint, row", "segment": "archiving segment"}
"""What is shown while it goes on, by what is counted."""
_EXAMPLE = """\b
Example: what would go if only a month were kept?
  snapledger compact STORE --keep-within 30d --dry-run"""


def parsed_age(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> float | None:
    """Return the seconds that a duration has."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=context, param=parameter) from error


@click.command("compact", epilog=_EXAMPLE)
@store_argument
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@click.option(
    "--keep-revisions",
    type=COUNT,
    metavar="COUNT",
    help="Drop archived segments that hold none of so many newest revisions.",
)
@click.option(
    "--keep-within",
    "age_seconds",
    metavar="AGE",
    callback=parsed_age,
    help="Drop those that were sealed longer ago, such as 12h, 30d, 8w.",
)
@click.option(
    "--keep-bytes",
    type=SIZE,
    metavar="SIZE",
    help="Drop the oldest that do not fit into this, compressed: bytes, or such as 500M, 20G.",
)
@click.option(
    "--keep-none", is_flag=True, help="Drop every segment that recovery does not need, unarchived."
)
@click.option(
    "--wait",
    "wait_seconds",
    type=SECONDS,
    default=_WAIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for another process that has the store open, to do it or to let go.",
)
@click.option(
    "--allow-foreign-owner",
    is_flag=True,
    help="Work on a store whose directories belong to another user, who must be trusted. What root "
    "makes there belongs to that user.",
)
@json_option
def command(
    store: str,
    dry_run: bool,
    keep_revisions: int | None,
    age_seconds: float | None,
    keep_bytes: int | None,
    keep_none: bool,
    wait_seconds: float,
    allow_foreign_owner: bool,
    as_json: bool,
) -> None:
    """Write a checkpoint of STORE, and archive the segments that are superseded.

    Nothing of the history is dropped unless a --keep option says what is to be kept: then what
    passes any of these limits is gone for good. The checkpoints that a recovery needs, and the
    segments after them, stay as they are.

    Where a driver has the store open, it is asked to do this, by the retention that it has itself;
    a --keep option is refused then. One that has written nothing since its open, or has no
    background maintenance, does not answer: exit code 11 after --wait. Opening a store that nobody
    has open recovers it first; what that has cut, set aside or rebuilt is mentioned on stderr.

    With --dry-run nothing is changed and nobody asked: it lists the segments that would be archived
    and dropped. That may be less: the next checkpoint can build on more of the log.

    JSON: asked (whether a running driver did it), checkpoint_revision (null where a driver of an
    older release did), archived, dropped, checkpoints_removed, freed_bytes (negative if the store
    takes more than before). With --dry-run: checkpoint_revision, archive and drop [first_revision,
    last_revision, size_bytes], first_revision (of the oldest batch left).
    """
    limits = (keep_revisions, age_seconds, keep_bytes)
    if keep_none and any(limit is not None for limit in limits):
        context = click.get_current_context()
        raise click.UsageError("--keep-none keeps nothing: not with another limit", context)
    retention = Retention(
        revisions=keep_revisions,
        age_seconds=age_seconds,
        size_bytes=keep_bytes,
        archive=not keep_none,
    )
    if dry_run:
        _write_preview(_preview(store, retention), as_json=as_json)
        return
    options = StoreOptions(
        background=False, allow_foreign_owner=allow_foreign_owner, retention=retention
    )
    with output.progress("opening the store, batch") as show_count:
        done = _compact_or_ask(store, options, wait_seconds, show_count)
    with output.told_after(f"{store}: compacted"):
        _write_report(done, as_json=as_json)


class _Done(NamedTuple):
    """What was done, and by whom.

    Attributes:
        report: of the compaction.
        checkpoint_revision: of the newest checkpoint; None if that was not told.
        is_asked: whether the process that has the store open has done it.
    """

    report: CompactionReport
    checkpoint_revision: int | None
    is_asked: bool


def _compact_or_ask(
    store: str, options: StoreOptions, wait_seconds: float, show_count: Shown
) -> _Done:
    """Compact, or have that done by who has the store open.

    Raises:
        StoreLockedError: who has the store open neither does it in time nor lets go.
    """
    deadline = time.monotonic() + wait_seconds
    with CompactionRequest(local_file_system(), os.path.abspath(store)) as request:
        while True:
            try:
                return _compact(store, options, show_count)
            except StoreLockedError as error:
                left = deadline - time.monotonic()
                if left <= 0 and options.retention.drops:
                    raise StoreLockedError(
                        f"{error.what}, which keeps of the history what it was told to when it "
                        "opened the store: a --keep option can't change that. Leave it out to have "
                        "the store compacted by that process, or stop it first"
                    ) from error
                if left <= 0:
                    raise
            if options.retention.drops:
                # Its own retention is the driver's: nobody else decides what it forgets.
                time.sleep(min(_TURN_SECONDS, left))
                continue
            answered = request.wait(min(_TURN_SECONDS, left))
            if answered is not None:
                return _Done(*answered, is_asked=True)


def _compact(store: str, options: StoreOptions, show_count: Shown) -> _Done:
    with MetaStore.open(
        store,
        create=False,
        options=options,
        on_rebuild=show_count,
    ) as opened:
        _mention_rebuilt(opened.recovery)
        report = opened.compact(
            on_progress=lambda what, done, total: show_count(done, total, _LABELS[what])
        )
        return _Done(report, opened.stats()["checkpoint_revision"], is_asked=False)


def _preview(store: str, retention: Retention) -> CompactionPreview:
    with open_for_reading(store) as opened:
        for attempt in range(_ATTEMPTS):
            with opened.transaction() as now:
                revision = now.revision
            try:
                return preview_compaction(
                    local_file_system(),
                    opened.path,
                    opened.event_store.store_id,
                    retention,
                    revision,
                )
            except FileNotFoundError:  # a running driver's compaction has moved a file
                if attempt == _ATTEMPTS - 1:
                    raise
    raise AssertionError("unreachable")


def _write_report(done: _Done, *, as_json: bool) -> None:
    report, revision, is_asked = done
    if as_json:
        output.write_json(
            {
                "asked": is_asked,
                "checkpoint_revision": revision,
                "archived": report.archived,
                "dropped": report.dropped,
                "checkpoints_removed": report.checkpoints_removed,
                "freed_bytes": report.freed_bytes,
            }
        )
        return
    done_by = [("done by", "the driver that has the store open")] if is_asked else []
    checkpoint = [] if revision is None else [("checkpoint", f"at revision {revision}")]
    output.write_fields(
        [
            *done_by,
            *checkpoint,
            ("archived", counted(report.archived, "segment")),
            ("dropped", counted(report.dropped, "segment")),
            ("removed", counted(report.checkpoints_removed, "older checkpoint")),
            _size_change(report.freed_bytes),
        ]
    )


def _write_preview(preview: CompactionPreview, *, as_json: bool) -> None:
    if as_json:
        output.write_json(
            {
                "checkpoint_revision": preview.checkpoint_revision,
                "archive": [segment._asdict() for segment in preview.archived],
                "drop": [segment._asdict() for segment in preview.dropped],
                "first_revision": preview.first_revision,
            }
        )
        return
    for line in _preview_lines(preview):
        output.write_line(line)


def _preview_lines(preview: CompactionPreview) -> Iterator[str]:
    yield f"checkpoint  at revision {preview.checkpoint_revision}"
    for what, segments in (("archive", preview.archived), ("drop", preview.dropped)):
        yield f"{what + ':':<10}  {_extent(segments)}"
        for segment in segments:
            size = format_size(segment.size_bytes)
            yield f"  revisions {segment.first_revision} to {segment.last_revision}, {size}"
    yield f"left        batches from revision {preview.first_revision} on"
    yield "nothing was changed"


def _extent(segments: Sequence[SegmentPreview]) -> str:
    if not segments:
        return "nothing"
    size = format_size(sum(segment.size_bytes for segment in segments))
    return f"{counted(len(segments), 'segment')}, {size}"


def _size_change(freed_bytes: int) -> tuple[str, str]:
    if freed_bytes < 0:
        return "grown by", format_size(-freed_bytes)
    return "freed", format_size(freed_bytes)


def _mention_rebuilt(recovery: RecoveryReport) -> None:
    for one in recovery.rebuilt:
        output.note(
            f"projection {one.name} was rebuilt from the batches up to revision {one.revision}; "
            f"the open took {recovery.seconds:.1f} s"
        )
