"""`snapledger log`: what was changed, when, by whom and why."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import click

from projections.snapshots import NotFoundError
from snapledger import output
from snapledger.arguments import (
    COUNT,
    REVISION,
    Range,
    json_option,
    range_of,
    require_forward,
    store_argument,
)
from snapledger.batches import write_batch
from snapledger.reading import (
    mention_before_history,
    mention_dropped,
    open_for_reading,
    require_reached,
)
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


_HELD_MAX = 100
"""So many batches are held at once to be turned round."""
_EXAMPLE = """\b
Example: what was removed since yesterday, newest first:
  snapledger log STORE --since yesterday --type removed --reverse"""


@click.command("log", epilog=_EXAMPLE)
@store_argument
@click.argument("asked", metavar="[A..B] [KEY]", nargs=-1)
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
    asked: tuple[str, ...],
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

    A..B are the batches that led from A to B, which are revisions or times: those after A, up to B.
    Without A from the first batch on, without B up to now. A key that names a range, such as 1..2,
    goes to --key.

    Batches that retention dropped, a repair left out or somebody removed are gone; where the log
    begins later than revision 1, a note on stderr says so.

    JSON: one line a batch: revision, time, time_ns, actor, reason, request_id, digest,
    events [type, version, data]. The data of snapshot events has times as time and time_ns.
    """
    key, between, mistyped = _told_apart(asked, key_option)
    for range_asked in (between, Range(since, until)):
        if range_asked is not None:
            require_forward(range_asked)
    ends = bool(until or last or (between and between.until))
    _require_sense(first, last, follow and (reverse or ends))
    with open_for_reading(store) as opened:
        events = opened.event_store
        oldest = events.oldest_revision()
        lowest = first or oldest
        # What is asked for from its beginning, or from before it on, is no longer all there.
        reaches_back = first is None and since is None and not (between and between.after)
        chosen = _chosen(opened, key, mistyped, actor, event_type)
        is_newest = first is None
        # Of the newest ones it is seen when they come, without a search for the revision.
        looks_back = is_newest and limit is not None and chosen.is_everything
        if since is not None and (since.time_ns is None or not looks_back):
            begins = first_revision(events, since, oldest)
            reaches_back |= begins < oldest or (begins == oldest and since.time_ns is not None)
            lowest = max(lowest, begins)
        with opened.transaction() as now:
            highest = now.revision
        limits = [last, until and last_revision(events, until)]
        if until is not None:
            mention_before_history(opened, until, limits[1] or 0)
        if between is not None:
            after, to = _revisions_of(between, opened, highest)
            reaches_back |= after + 1 < oldest
            lowest = max(lowest, after + 1)
            limits.append(to)
        if reaches_back:
            mention_dropped(opened)
        end = min([highest, *(limit for limit in limits if limit is not None)])
        asked_from = max(first or 0, (since and since.revision) or 0)
        if asked_from > highest:
            _mention_future(opened, asked_from, highest, goes_on=follow)
        found = _limited(chosen, opened, lowest, end, limit, reverse=reverse, newest=is_newest)
        since_ns = (since and since.time_ns) or 0
        written = 0
        for change in found:
            if change[0].time_ns >= since_ns:
                write_change(change, as_json=as_json)
                written += 1
        if not written:
            _mention_nothing(chosen, opened, since_ns)
        if follow:
            for change in chosen.changes(opened.watch(max(lowest, highest + 1))):
                write_change(change, as_json=as_json)


def _mention_nothing(chosen: Selection, store: MetaStore, since_ns: int) -> None:
    """Mention what may be mistyped where nothing was found."""
    chosen.mention_unknown(store)
    if since_ns > time.time_ns():
        output.note(f"{store.path}: --since is a time that is yet to come")


def write_change(change: Change, *, as_json: bool) -> None:
    """Write a batch with those of its events that are to be shown."""
    batch, shown = change
    if as_json:
        output.write_json(batch_record(batch, shown))
    else:
        write_batch(batch, shown)


def _told_apart(
    asked: tuple[str, ...], key_option: str | None
) -> tuple[str | None, Range | None, click.UsageError | None]:
    """Return the key and the range among the arguments.

    Returns:
        also what is wrong with the key as a range, where it looks so: there may be such a key.
    """
    keys = [] if key_option is None else [key_option]
    ranges = []
    mistyped = None
    for text in asked:
        between = None
        try:
            between = range_of(text)
        except click.UsageError as error:
            mistyped = error
        if between is None:
            keys.append(text)
        else:
            ranges.append(between)
    if mistyped is not None and len(keys) > 1:
        raise mistyped
    for what, given in (("KEY", keys), ("A..B", ranges)):
        if len(given) > 1:
            raise click.UsageError(f"{what} is given twice", click.get_current_context())
    return keys[0] if keys else None, ranges[0] if ranges else None, mistyped


def _chosen(
    store: MetaStore,
    key: str | None,
    mistyped: click.UsageError | None,
    actor: str | None,
    event_type: str | None,
) -> Selection:
    """Return what is asked for; a key that nobody had, and that looks so, was to be a range."""
    try:
        return Selection.of(store, key, actor, event_type)
    except NotFoundError:
        if mistyped is None:
            raise
        raise click.UsageError(
            f"{mistyped.message}; no snapshot has or had such a key or name", mistyped.ctx
        ) from None


def _revisions_of(between: Range, store: MetaStore, highest: int) -> tuple[int, int]:
    """Return the revision after which, and the one up to which.

    Raises:
        ClickException: it goes backwards, which is a usage error, or beyond what is there.
    """
    after, until = (
        no_end
        if moment is None
        else require_reached(store, last_revision(store.event_store, moment), highest)
        for moment, no_end in ((between.after, 0), (between.until, highest))
    )
    if after > until:
        raise click.UsageError(
            f"{store.path}: a range goes from a revision to a later one, not from {after} back to "
            f"{until}; give them the other way round",
            click.get_current_context(),
        )
    if between.until is not None:
        mention_before_history(store, between.until, until)
    return after, until


def _mention_future(store: MetaStore, first: int, highest: int, *, goes_on: bool) -> None:
    """Mention that what is asked for is yet to come, as a mistyped revision is."""
    waiting = "; waiting for it" if goes_on else ""
    output.note(
        f"{store.path}: there is no revision {first} yet: the store is at {highest}{waiting}"
    )


def _require_sense(first: int | None, last: int | None, ends: bool) -> None:
    context = click.get_current_context()
    if first is not None and last is not None and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}", context)
    if ends:
        raise click.UsageError(
            "--follow has no end: not with --reverse, --until, --to or ..B", context
        )


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
    """Yield the changes to show; memory holds one of them, or a few."""
    if limit is None:
        return chosen.search(store, first, last, reverse=reverse)
    if chosen.is_everything:
        # Revisions are dense, so which ones these are need not be looked up.
        if newest:
            first = max(first, last - limit + 1)
        else:
            last = min(last, first + limit - 1)
        if reverse and limit <= _HELD_MAX:
            # Read forwards, which needs no index of what the last batches are about.
            return reversed([*chosen.search(store, first, last, reverse=False)])
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
