"""`snapledger log`: what was changed, when, by whom and why."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import click

from projections.snapshots import NotFoundError
from projections.snapshots.history import changes_of, owners_of
from snapledger import output
from snapledger.arguments import COUNT, REVISION, json_option, store_argument
from snapledger.batches import write_batch
from snapledger.reading import open_for_reading
from snapledger.records import batch_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore import Batch, Event
    from projections.snapshots import MetaStore

    Change = tuple[Batch, tuple[Event, ...]]
    """A batch, and those of its events that are to be shown."""


@click.command("log")
@store_argument
@click.option("--key", metavar="KEY", help="Only what happened to the snapshots that ever had KEY.")
@click.option("--from", "first", type=REVISION, metavar="REVISION", help="The first revision.")
@click.option("--to", "last", type=REVISION, metavar="REVISION", help="The last revision.")
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
    first: int | None,
    last: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show batches, one a transaction, oldest first: revision, time, who, why, and the events.

    With --key a snapshot is followed through its renames: asked for by its name, it is shown from
    its creation under a key on. Only the events that are about it are shown then.

    Batches that retention dropped, a repair left out or somebody removed are gone; where the log
    begins later than revision 1, a note on stderr says so.

    JSON: one line a batch: revision, time, time_ns, actor, reason, request_id, digest,
    events [type, version, data]. The data of snapshot events has times as time and time_ns.
    """
    if first is not None and last is not None and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}", click.get_current_context())
    with open_for_reading(store) as opened:
        oldest = opened.event_store.oldest_revision()
        if first is None and oldest > 1:
            output.note(f"{opened.path}: batches before revision {oldest} are no longer kept")
        found = _changes(opened, key, first or oldest, last)
        if limit is not None:
            found = _limited(found, limit, newest=first is None)
        for batch, events in found:
            if as_json:
                output.write_json(batch_record(batch, events))
            else:
                write_batch(batch, events)


def _changes(store: MetaStore, key: str | None, first: int, last: int | None) -> Iterator[Change]:
    events = store.event_store
    if key is None:
        return ((batch, batch.events) for batch in events.batches(first, last))
    with store.transaction() as now:
        newest = now.revision
    owners = owners_of(events, key, newest)
    if not owners.ids:
        raise NotFoundError(f"no snapshot has or had the key or name {key!r}")
    return changes_of(events, owners, first, newest if last is None else last)


def _limited(found: Iterator[Change], limit: int, *, newest: bool) -> Iterator[Change]:
    if newest:
        yield from deque(found, maxlen=limit)
        return
    for _ in range(limit):
        change = next(found, None)
        if change is None:
            return
        yield change
