"""`snapledger replay`: the state by the log alone, and whether the checkpoints say the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import click

from eventstore import OvertakenError
from eventstore.engine_events import ERASED
from projections.snapshots import SnapshotsProjection
from snapledger import output
from snapledger.arguments import json_option, parsed_moment, store_argument
from snapledger.failures import DAMAGED
from snapledger.reading import (
    mention_before_history,
    open_for_reading,
    require_reached,
)
from snapledger.selecting import last_revision
from snapledger.times import FORMS
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore import ReadTransaction
    from projections.snapshots import MetaStore, SnapshotTransaction
    from snapledger.arguments import Moment

_ATTEMPTS = 5
_TABLES = tuple(spec.name for spec in SnapshotsProjection().tables)
_EXAMPLE = """\b
Example: does the log lead to what the checkpoints hold?
  snapledger replay STORE --verify"""


@click.command("replay", epilog=_EXAMPLE)
@store_argument
@click.option(
    "--to",
    "moment",
    metavar="REVISION|TIME",
    callback=parsed_moment,
    help=f"Up to this, instead of all: {FORMS}.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Compare every row with the state that begins at a checkpoint; exit with 3 where they "
    "differ.",
)
@json_option
@click.pass_context
def command(
    context: click.Context, store: str, moment: Moment | None, verify: bool, as_json: bool
) -> None:
    """Fold the batches of STORE from the first one on, by the log alone, and say what comes of it.

    No checkpoint is believed. It needs all batches: where retention dropped the first ones it
    fails. `check` compares too, with every checkpoint, and reads all else that is there.

    JSON: revision, batches, seconds, rows {of each table}, checkpoint_revision (of the newest
    one, 0 if there is none) and differing_rows; these two are null without --verify.
    """
    found = _replayed(store, moment, verify=verify)
    if found.differing:
        found = _replayed_apart_from_erasures(store, moment)
    if as_json:
        output.write_json(
            {
                "revision": found.revision,
                "batches": found.revision,
                "seconds": round(found.seconds, 6),
                "rows": found.rows,
                "checkpoint_revision": found.checkpoint_revision,
                "differing_rows": found.differing,
            }
        )
    else:
        output.write_fields(_fields(found))
    if found.differing:
        context.exit(DAMAGED)


class _Replayed(NamedTuple):
    """What one replay has come to.

    Attributes:
        revision: that it ended at.
        seconds: that it took.
        rows: how many there are, by table.
        differing: how many differ from the state by checkpoints; None if that was not asked.
        checkpoint_revision: of the newest checkpoint, if it was.
    """

    revision: int
    seconds: float
    rows: dict[str, int]
    differing: int | None
    checkpoint_revision: int | None


def _replayed(store: str, moment: Moment | None, *, verify: bool) -> _Replayed:
    # The state to compare with is taken first: a writer may go on while the log is replayed.
    with open_for_reading(store) as opened, opened.transaction() as now:
        revision = _wanted(opened, moment, now.revision)
        started = time.perf_counter()
        with output.progress("replaying batch", revision) as show_count:
            replayed = opened.event_store.replay(revision, on_batch=show_count)
        seconds = time.perf_counter() - started
        rows = {name: sum(1 for _ in replayed.items(name)) for name in _TABLES}
        differing = checkpoint_revision = None
        if verify:
            with now if revision == now.revision else opened.at(revision) as held:
                differing = _differing_rows(replayed, held)
            checkpoint_revision = opened.stats()["checkpoint_revision"]
        return _Replayed(revision, seconds, rows, differing, checkpoint_revision)


def _replayed_apart_from_erasures(store: str, moment: Moment | None) -> _Replayed:
    """Replay and compare again until nothing has been erased meanwhile.

    An erasure takes the same texts out of the log and out of the state, but not at the same time.

    Raises:
        OvertakenError: each time something was.
    """
    for _ in range(_ATTEMPTS):
        before = _last_erasure(store)
        found = _replayed(store, moment, verify=True)
        if not found.differing or _last_erasure(store) == before:
            return found
    raise OvertakenError(
        f"{store}: something was erased each time while the log was replayed, {_ATTEMPTS} times",
        "replay again when there is less to erase",
    )


def _last_erasure(store: str) -> int:
    """Return the revision of the newest erasure; 0 if there is none."""
    with open_for_reading(store) as opened:
        engine = opened.event_store
        oldest = engine.oldest_revision()
        found = engine.batches(oldest, type=ERASED, reverse=True) if oldest else iter(())
        return next((batch.revision for batch in found), 0)


def _wanted(store: MetaStore, moment: Moment | None, newest: int) -> int:
    if moment is None:
        return newest
    wanted = require_reached(store, last_revision(store.event_store, moment), newest)
    mention_before_history(store, moment, wanted)
    return wanted


def _fields(found: _Replayed) -> Iterator[tuple[str, str]]:
    yield "revision", str(found.revision)
    yield "replayed", f"{counted(found.revision, 'batch', 'batches')} in {found.seconds:.3f} s"
    yield "rows", ", ".join(f"{count} in {name}" for name, count in found.rows.items())
    if found.differing is not None:
        newest = f"the newest is of revision {found.checkpoint_revision}"
        checkpoints = newest if found.checkpoint_revision else "there is none"
        different = f"{counted(found.differing, 'row')} DIFFERENT"
        result = different if found.differing else "all rows the same"
        yield "compared", f"with the state by checkpoints ({checkpoints}): {result}"


def _differing_rows(one: ReadTransaction, other: SnapshotTransaction) -> int:
    """Return how many rows only one of two states has, or has with another value."""
    differing = 0
    missing = object()
    for table in _TABLES:
        differing += sum(1 for key, value in one.items(table) if other.get(table, key) != value)
        differing += sum(
            1 for key, _ in other.items(table) if one.get(table, key, missing) is missing
        )
    return differing
