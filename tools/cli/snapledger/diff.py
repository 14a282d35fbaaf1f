"""`snapledger diff`: what differs between two moments, and who did that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from projections.snapshots import Kind, Usage
from snapledger import output
from snapledger.arguments import Range, json_option, moment_of, require_forward, store_argument
from snapledger.reading import open_for_reading, require_reached
from snapledger.selecting import last_revision
from snapledger.text import format_time, label_text, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from projections.snapshots import HistoryEntry, SnapshotDiff


_EXAMPLE = """\b
Example: what became different in the last hour:
  snapledger diff STORE 1h"""


@click.command("diff", epilog=_EXAMPLE)
@store_argument
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@json_option
def command(store: str, first: str, second: str | None, as_json: bool) -> None:
    """Show how the snapshots after B differ from those after A, and who changed each.

    A and B are revisions or times; A..B is the same as A B, and without B it is now. A line of
    a snapshot begins with + (it was made), - (it was removed) or ~ (it was changed).

    JSON: one line a snapshot: id, before and after {name, kind, parent, labels, usage}, null where
    it was not there, entries [revision, time, actor, reason, request_id, type].
    """
    if second is None and ".." in first:
        first, _, second = first.partition("..")
    moments = moment_of(first), moment_of(second) if second else None
    require_forward(Range(*moments))
    with open_for_reading(store) as opened:
        events = opened.event_store
        with opened.transaction() as now:
            highest = now.revision
        before, after = (
            highest
            if moment is None
            else require_reached(opened, last_revision(events, moment), highest)
            for moment in moments
        )
        if before > after:
            raise click.UsageError(
                f"{opened.path}: a difference goes from a revision to a later one, not from "
                f"{before} back to {after}; give them the other way round",
                click.get_current_context(),
            )
        for each in opened.diff(before, after):
            if each.before == each.after:
                continue
            if as_json:
                output.write_json(_record(each))
            else:
                for line in _lines(each):
                    output.write_line(line)


def _lines(each: SnapshotDiff) -> Iterator[str]:
    fields = each.after or each.before or {}
    sign = "+" if each.before is None else "-" if each.after is None else "~"
    yield f"{sign} {fields.get('kind') or '?'} {printable(fields.get('name') or '?')}  id={each.id}"
    for name, (old, new) in each.changes.items():
        if sign == "~":
            yield f"    {name}: {_shown(old)} -> {_shown(new)}"
    for entry in each.entries:
        yield f"    {entry_line(entry)}"


def entry_line(entry: HistoryEntry) -> str:
    """Return when, by whom and why something was done."""
    parts = [f"revision {entry.revision}", format_time(entry.time_ns), entry.event.type]
    parts += [
        f"{name}={quoted(value)}"
        for name, value in entry.metadata._asdict().items()
        if value is not None
    ]
    return "  ".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, Usage):
        return f"{value.size} bytes, {value.inodes} inodes"
    if isinstance(value, dict):
        pairs = (label_text(key, each) for key, each in sorted(value.items()))
        return "{" + " ".join(pairs) + "}"
    return "-" if value is None else quoted(str(value))


def _record(each: SnapshotDiff) -> dict[str, Any]:
    return {
        "id": each.id,
        "before": _fields(each.before),
        "after": _fields(each.after),
        "entries": [
            {
                "revision": entry.revision,
                "time": format_time(entry.time_ns),
                **entry.metadata._asdict(),
                "type": entry.event.type,
            }
            for entry in each.entries
        ],
    }


def _fields(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    shown = dict(fields)
    if isinstance(shown.get("kind"), Kind):
        shown["kind"] = shown["kind"].value
    if isinstance(shown.get("usage"), Usage):
        shown["usage"] = shown["usage"]._asdict()
    return shown
