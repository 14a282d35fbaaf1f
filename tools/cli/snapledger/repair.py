"""`snapledger repair`: a new store from what can be read of a damaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from eventstore import repair_store
from projections.snapshots import SnapshotsProjection
from snapledger import output
from snapledger.arguments import checked_store_path, json_option, store_argument
from snapledger.failures import DAMAGED
from snapledger.reading import access_told, batch_count_about
from snapledger.text import one_line, printable, quoted
from snapledger.wording import counted, not_compared, start_of_history

if TYPE_CHECKING:
    from eventstore import LostRevisions, RepairReport

_TEXT_ITEMS_MAX = 20
_JSON_ITEMS_MAX = 1000

_EXAMPLE = """\b
Example: after check has found damage:
  snapledger repair STORE --output NEW --keep-history"""


@click.command("repair", epilog=_EXAMPLE)
@store_argument
@click.option(
    "--output",
    "new_store",
    metavar="NEW",
    required=True,
    callback=checked_store_path,
    help="Where the new store goes: a path where nothing is, or an empty directory.",
)
@click.option(
    "--keep-history",
    is_flag=True,
    help="Take the batches from the oldest one up to the first damage, and the state that they "
    "lead to, rather than the newest state.",
)
@json_option
@click.pass_context
def command(
    context: click.Context, store: str, new_store: str, keep_history: bool, as_json: bool
) -> None:
    """Make the new store NEW of what can be read of the damaged STORE.

    STORE is only read; stop the driver that writes to it. What is kept stays as it was: the same
    store id, revisions, times and digests. So retire STORE afterwards: two with one identity
    would part ways. Of the states that can be read, NEW gets the one of the highest revision,
    unless --keep-history asks for the one with the oldest batches. Batches that could be read but
    have no place in it are written to NEW.detached.jsonl, one a line; nothing may be there yet.
    Exits with 3 if a batch was lost or detached, with 0 if not.

    JSON: is_complete, store_id, revision, first_revision (of the oldest batch kept),
    checkpoint_revision, lost [first, last, is_in_state], damage [path, offset_bytes, size_bytes,
    reason; the first 1,000], more_damage (how many are not listed), detached {path (null if there
    is none), batch_count, revisions [first, last; the first 1,000], more_revisions},
    unknown_projections (names of those in the checkpoints kept that could not be compared),
    unerased (revisions of which the state of NEW still holds what was to be erased), unvouched
    (revisions that are redacted, and that no erasure in NEW names, which check finds fault with
    until the same fields are erased again), erasure_lost (whether an erasure that was cut short may
    be among what is lost).
    """
    total = batch_count_about(store)
    with access_told(store), output.progress("reading batch", total) as show_count:
        report = repair_store(
            store,
            new_store,
            [SnapshotsProjection()],
            keep_history=keep_history,
            on_batch=show_count,
        )
    with output.told_after(f"{new_store}: the store is there"):
        if as_json:
            output.write_json(_record(report))
        else:
            _write(report, store, new_store)
        if not report.is_complete:
            context.exit(DAMAGED)


def _record(report: RepairReport) -> dict[str, Any]:
    detached = report.detached
    return {
        "is_complete": report.is_complete,
        "store_id": report.store_id.hex(),
        "revision": report.revision,
        "first_revision": report.first_revision,
        "checkpoint_revision": report.checkpoint_revision,
        "lost": [lost._asdict() for lost in report.lost],
        "damage": [damage._asdict() for damage in report.damage[:_JSON_ITEMS_MAX]],
        "more_damage": len(report.damage[_JSON_ITEMS_MAX:]),
        "detached": {
            "path": detached.path,
            "batch_count": detached.batch_count,
            "revisions": [
                {"first": first, "last": last}
                for first, last in detached.revisions[:_JSON_ITEMS_MAX]
            ],
            "more_revisions": len(detached.revisions[_JSON_ITEMS_MAX:]),
        },
        "unknown_projections": list(report.unknown_projections),
        "unerased": list(report.unerased),
        "unvouched": list(report.unvouched),
        "erasure_lost": report.erasure_lost,
    }


def _write(report: RepairReport, store: str, new_store: str) -> None:
    for path, offset_bytes, size_bytes, reason in report.damage[:_TEXT_ITEMS_MAX]:
        place = f"{counted(size_bytes, 'byte')} at byte {offset_bytes}"
        output.write_line(one_line(f"damaged: {path}: {place}: {reason}"))
    if more := len(report.damage[_TEXT_ITEMS_MAX:]):
        places = counted(more, "more place")
        output.write_line(f"damaged: {places}; --json lists up to {_JSON_ITEMS_MAX}")
    for lost in report.lost:
        output.write_line(f"lost: {_lost_text(lost)}{_saved_text(lost, report)}")
    if report.detached.path is not None:
        batches = counted(report.detached.batch_count, "batch", "batches")
        output.write_line(
            f"detached: {batches} that could be read but not "
            f"kept, {_ranges_text(report.detached.revisions)}: in {printable(report.detached.path)}"
        )
    oldest = min([report.first_revision, *(lost.first for lost in report.lost)])
    if oldest > 1:
        output.write_line(f"of the damaged store, {start_of_history(oldest)}")
    if report.unerased:
        output.write_line(
            f"NOT ERASED: the state of the new store still holds what was to be erased of "
            f"{_revisions_text(report.unerased)}: it begins with a checkpoint from before that was "
            "done; change these labels, or remove these snapshots, to take it out of the state"
        )
    if report.unvouched:
        output.write_line(
            f"erased, but nothing in the new store says so: {_revisions_text(report.unvouched)}: "
            "the erasure is among what was lost; check finds fault with that until `erase` is told "
            "to erase the same fields again"
        )
    if report.erasure_lost:
        output.write_line(
            "an erasure was cut short, and may be among what was lost: other texts that it was to "
            "take may still be readable in the new store, and nothing says which: erase them again"
        )
    if report.unknown_projections:
        output.write_line(not_compared(map(quoted, report.unknown_projections)))
    has_batches = report.first_revision <= report.revision
    start = report.checkpoint_revision
    output.write_fields(
        [
            ("new store", printable(new_store)),
            ("store id", report.store_id.hex()),
            ("revision", str(report.revision)),
            ("batches", f"from revision {report.first_revision}" if has_batches else "none"),
            ("state", f"from the checkpoint at {start}" if start else "from the batches"),
            ("lost", _lost_summary(report)),
            ("history", f"that of {printable(store)}, which is to be retired"),
        ]
    )


def _lost_summary(report: RepairReport) -> str:
    if not report.is_complete:
        return "see above"
    return "nothing that was found; see above" if report.unknown_projections else "nothing"


def _revisions_text(revisions: tuple[int, ...]) -> str:
    return _ranges_text(tuple((revision, revision) for revision in revisions))


def _ranges_text(ranges: tuple[tuple[int, int], ...]) -> str:
    texts = [
        f"{first} to {last}" if first < last else str(first)
        for first, last in ranges[:_TEXT_ITEMS_MAX]
    ]
    more = len(ranges[_TEXT_ITEMS_MAX:])
    is_one = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
    rest = f" and {counted(more, 'more range')}" if more else ""
    return f"revision{'' if is_one else 's'} {', '.join(texts)}{rest}"


def _saved_text(lost: LostRevisions, report: RepairReport) -> str:
    """Return where batches are that have no place in the new store."""
    saved = [
        (max(first, lost.first), min(last, lost.last))
        for first, last in report.detached.revisions
        if first <= lost.last and last >= lost.first
    ]
    if not saved or report.detached.path is None:
        return ""
    path = printable(report.detached.path)
    if saved == [(lost.first, lost.last)]:
        return f"; what was in them is kept in {path}"
    return f"; of these {_ranges_text(tuple(saved))} are kept in {path}"


def _lost_text(lost: LostRevisions) -> str:
    one = lost.first == lost.last
    batches = f"batch {lost.first}" if one else f"batches {lost.first} to {lost.last}"
    if lost.is_in_state:
        return f"{batches}: from the history; a checkpoint holds their effect"
    return f"{batches}: with their effect"
