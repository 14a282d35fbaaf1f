"""`snapledger log`: what was changed, when, by whom and why."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import click

from snapledger import output
from snapledger.arguments import COUNT, REVISION, json_option, store_argument
from snapledger.batches import write_batch
from snapledger.reading import open_for_reading
from snapledger.records import batch_record
from snapledger.selecting import (
    Selection,
    actor_option,
    first_revision,
    last_revision,
    since_option,
    type_option,
    until_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projections.snapshots import MetaStore
    from snapledger.arguments import Moment
    from snapledger.selecting import Change


_EXAMPLE = """\b
Example: what was removed since yesterday, newest first:
  snapledger log STORE --since yesterday --type removed --reverse"""


@click.command("log", epilog=_EXAMPLE)
@store_argument
@click.argument("key", metavar="[KEY]", required=False)
@click.option("--key", "key_option", metavar="KEY", help="The same as KEY.")
@click.option("--from", "first", type=REVISION, metavar="REVISION", help="The first revision.")
@click.option("--to", "last", type=REVISION, metavar="REVISION", help="The last revision.")
@since_option
@until_option
@actor_option
@type_option
@click.option("--reverse", is_flag=True, help="Newest first.")
@click.option("--follow", is_flag=True, help="Go on with what is committed from now on.")
@click.option(
    "-n",
    "--limit",
    type=COUNT,
    metavar="COUNT",
    help="At most this many batches: with --from the first ones, else the newest.",
)
@json_option
def command(
    store: str,
    key: str | None,
    key_option: str | None,
    first: int | None,
    last: int | None,
    since: Moment | None,
    until: Moment | None,
    actor: str | None,
    event_type: str | None,
    reverse: bool,
    follow: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show batches, one a transaction, oldest first: revision, time, who, why, and the events.

    With KEY a snapshot is followed through its renames: asked for by its name, it is shown from
    its creation under a key on. Only the events that are about it are shown then.

    Batches that retention dropped, a repair left out or somebody removed are gone; where the log
    begins later than revision 1, a note on stderr says so.

    JSON: one line a batch: revision, time, time_ns, actor, reason, request_id, digest,
    events [type, version, data]. The data of snapshot events has times as time and time_ns.
    """
    _require_sense(key, key_option, first, last, follow and (reverse or bool(until or last)))
    with open_for_reading(store) as opened:
        events = opened.event_store
        oldest = events.oldest_revision()
        if first is None and since is None and oldest > 1:
            output.note(f"{opened.path}: batches before revision {oldest} are no longer kept")
        lowest = first or oldest
        if since is not None:
            lowest = max(lowest, first_revision(events, since, oldest))
        with opened.transaction() as now:
            highest = now.revision
        ends = [end for end in (last, until and last_revision(events, until)) if end is not None]
        end = min([highest, *ends])
        chosen = Selection.of(opened, key if key is not None else key_option, actor, event_type)
        found = _limited(chosen, opened, lowest, end, limit, reverse=reverse, newest=first is None)
        for change in found:
            write_change(change, as_json=as_json)
        if follow:
            for change in chosen.changes(opened.watch(max(lowest, highest + 1))):
                write_change(change, as_json=as_json)


def write_change(change: Change, *, as_json: bool) -> None:
    """Write a batch with those of its events that are to be shown."""
    batch, shown = change
    if as_json:
        output.write_json(batch_record(batch, shown))
    else:
        write_batch(batch, shown)


def _require_sense(
    key: str | None, key_option: str | None, first: int | None, last: int | None, ends: bool
) -> None:
    context = click.get_current_context()
    if first is not None and last is not None and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}", context)
    if key is not None and key_option is not None:
        raise click.UsageError("KEY is given twice", context)
    if ends:
        raise click.UsageError("--follow has no end: not with --reverse, --until or --to", context)


def _limited(
    chosen: Selection,
    store: MetaStore,
    first: int,
    last: int,
    limit: int | None,
    *,
    reverse: bool,
    newest: bool,
) -> Iterator[Change]:
    """Yield the changes to show; memory holds one of them."""
    if limit is None:
        return chosen.search(store, first, last, reverse=reverse)
    if newest == reverse:
        return islice(chosen.search(store, first, last, reverse=reverse), limit)
    # The others are at the far end: where they begin is found from there.
    far = islice(chosen.search(store, first, last, reverse=not reverse), limit)
    found = deque(((batch.revision) for batch, _ in far), maxlen=1)
    if not found:
        return iter(())
    first, last = (found[0], last) if newest else (first, found[0])
    return chosen.search(store, first, last, reverse=reverse)
