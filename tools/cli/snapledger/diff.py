"""`snapledger diff`: what differs between two moments, and who did that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from projections.snapshots import Kind, Usage
from snapledger import output
from snapledger.arguments import (
    Range,
    json_option,
    moment_of,
    range_of,
    require_forward,
    store_argument,
)
from snapledger.reading import mention_dropped, open_for_reading, require_reached
from snapledger.selecting import last_revision
from snapledger.text import format_time, label_text, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from projections.snapshots import HistoryEntry, MetaStore, SnapshotDiff


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

    A and B are revisions or times; A..B is the same as A B. Without B it is now; ..B begins before
    the first batch. A line of a snapshot begins with + (it was made), - (it was removed) or ~ (it
    was changed).

    JSON: one line a snapshot: id, before and after {name, kind, parent, labels, usage}, null where
    it was not there, entries [revision, time, actor, reason, request_id, type].
    """
    between = _range(first, second)
    require_forward(between)
    with open_for_reading(store) as opened:
        for each in opened.diff(*_revisions_of(between, opened)):
            if each.before == each.after:
                continue
            if as_json:
                output.write_json(_record(each))
            else:
                for line in _lines(each):
                    output.write_line(line)


def _range(first: str, second: str | None) -> Range:
    """Return the range that A B, A..B or A names."""
    between = range_of(first)
    if second is None:
        return between or Range(moment_of(first), None)
    if between is not None or range_of(second) is not None:
        raise click.UsageError(
            "A..B has B in it: give A B or A..B, not both", click.get_current_context()
        )
    return Range(moment_of(first), moment_of(second))


def _revisions_of(between: Range, store: MetaStore) -> tuple[int, int]:
    """Return the revisions that differ; without A the one before the oldest batch.

    Raises:
        ClickException: one is yet to come; or they go backwards, which is a usage error.
    """
    with store.transaction() as now:
        highest = now.revision
    reached = [
        None
        if moment is None
        else require_reached(store, last_revision(store.event_store, moment), highest)
        for moment in between
    ]
    before, after = reached[0], highest if reached[1] is None else reached[1]
    if before is None:
        mention_dropped(store)
        return min(store.event_store.oldest_revision() - 1, after), after
    if before > after:
        raise click.UsageError(
            f"{store.path}: a difference goes from a revision to a later one, not from "
            f"{before} back to {after}; give them the other way round",
            click.get_current_context(),
        )
    return before, after


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
