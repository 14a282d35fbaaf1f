"""`snapledger watch`: what is committed from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snapledger import output
from snapledger.arguments import REVISION, json_option, store_argument
from snapledger.log import write_change
from snapledger.reading import open_for_reading
from snapledger.selecting import Selection, actor_option, type_option

if TYPE_CHECKING:
    from projections.snapshots import MetaStore

_EXAMPLE = """\b
Example: tell of each removal:
  snapledger watch STORE --type removed --json"""


@click.command("watch", epilog=_EXAMPLE)
@store_argument
@click.argument("key", metavar="[KEY]", required=False)
@click.option(
    "--from",
    "first",
    type=REVISION,
    metavar="REVISION",
    help="The first revision, to go on where another watch has ended; without it, the next one.",
)
@actor_option
@type_option
@json_option
def command(
    store: str,
    key: str | None,
    first: int | None,
    actor: str | None,
    event_type: str | None,
    as_json: bool,
) -> None:
    """Show batches as they are committed, by whatever process, until it is interrupted.

    None is left out: who was slow, or was stopped and goes on with --from, sees all of them. With
    KEY only what happens to the snapshots that have or had that key when the watch begins.

    JSON: one line a batch, as of log.
    """
    with open_for_reading(store) as opened:
        chosen = Selection.of(opened, key, actor, event_type)
        chosen.mention_unknown(opened)
        if first is not None:
            _mention_gap(opened, first)
        for change in chosen.changes(opened.watch(first)):
            write_change(change, as_json=as_json)


def _mention_gap(store: MetaStore, first: int) -> None:
    """Mention that batches before the first one asked for are yet to come too."""
    with store.transaction() as now:
        newest = now.revision
    if first > newest + 1:
        output.note(
            f"{store.path}: the store is at revision {newest}: waiting for {first}; what is "
            "committed before that is not shown"
        )
