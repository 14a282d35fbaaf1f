"""`snapledger repair`: a new store from what can be read of a damaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from eventstore import repair_store
from projections.snapshots import SnapshotsProjection, events
from tools.cli import output
from tools.cli.arguments import checked_path, json_option, store_argument
from tools.cli.batches import write_batch
from tools.cli.failures import DAMAGED
from tools.cli.records import batch_record
from tools.cli.text import one_line, printable, quoted

if TYPE_CHECKING:
    from eventstore import LostRevisions, RepairReport


@click.command("repair")
@store_argument
@click.option(
    "--output",
    "new_store",
    metavar="NEW",
    required=True,
    callback=checked_path,
    help="Where the new store goes: a path where nothing is, or an empty directory.",
)
@json_option
@click.pass_context
def command(context: click.Context, store: str, new_store: str, as_json: bool) -> None:
    """Make the new store NEW of what can be read of the damaged STORE.

    STORE is only read; stop the driver that writes to it. What is kept stays as it was: the same
    store id, revisions, times and digests. So retire STORE afterwards: two with one identity
    would part ways. Of the states that can be read, NEW gets the one of the highest revision; all
    that this leaves out is listed. Exits with 3 if a batch was lost, with 0 if none was.

    JSON: is_complete, store_id, revision, first_revision (of the oldest batch kept),
    checkpoint_revision, lost [first, last, is_in_state], damage [path, offset_bytes, size_bytes,
    reason], dropped [as log --json: the batches that could be read but not kept], touched [the
    keys and names in the dropped events].
    """
    with output.progress("reading batch") as show_count:
        report = repair_store(store, new_store, [SnapshotsProjection()], on_batch=show_count)
    if as_json:
        output.write_json(_record(report))
    else:
        _write(report, new_store)
    if not report.is_complete:
        context.exit(DAMAGED)


def _record(report: RepairReport) -> dict[str, Any]:
    return {
        "is_complete": report.is_complete,
        "store_id": report.store_id.hex(),
        "revision": report.revision,
        "first_revision": report.first_revision,
        "checkpoint_revision": report.checkpoint_revision,
        "lost": [lost._asdict() for lost in report.lost],
        "damage": [damage._asdict() for damage in report.damage],
        "dropped": [batch_record(batch, batch.events) for batch in report.dropped],
        "touched": _touched(report),
    }


def _touched(report: RepairReport) -> list[str]:
    """Return the keys and names of the snapshots that the dropped events are about."""
    return sorted(
        {
            event.data[field]
            for batch in report.dropped
            for event in batch.events
            if event.type in events.OF_ONE_SNAPSHOT
            for field in ("key", "name")
            if field in event.data
        }
    )


def _write(report: RepairReport, new_store: str) -> None:
    for path, offset_bytes, size_bytes, reason in report.damage:
        place = f"{size_bytes} bytes at byte {offset_bytes}"
        output.write_line(one_line(f"damaged: {path}: {place}: {reason}"))
    for lost in report.lost:
        output.write_line(f"lost: {_lost_text(lost)}")
    if report.dropped:
        output.write_line("dropped, although they could be read:")
        for batch in report.dropped:
            write_batch(batch, batch.events)
        output.write_line(f"touched: {' '.join(map(quoted, _touched(report)))}")
    has_batches = report.first_revision <= report.revision
    start = report.checkpoint_revision
    output.write_fields(
        [
            ("new store", printable(new_store)),
            ("store id", report.store_id.hex()),
            ("revision", str(report.revision)),
            ("batches", f"from revision {report.first_revision}" if has_batches else "none"),
            ("state", f"from the checkpoint at {start}" if start else "from the batches"),
            ("lost", "nothing" if report.is_complete else "see above"),
        ]
    )


def _lost_text(lost: LostRevisions) -> str:
    one = lost.first == lost.last
    batches = f"batch {lost.first}" if one else f"batches {lost.first} to {lost.last}"
    if lost.is_in_state:
        return f"{batches}: from the history; a checkpoint holds their effect"
    return f"{batches}: with their effect"
