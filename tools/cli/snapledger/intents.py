"""`snapledger intents`: work outside the store that is not known to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from projections.snapshots.intents import INTENTS
from snapledger import output
from snapledger.arguments import at_option, json_option, store_argument
from snapledger.batches import data_text
from snapledger.reading import snapshots_at
from snapledger.records import json_value
from snapledger.text import format_time, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projections.snapshots import Intent, SnapshotTransaction
    from snapledger.arguments import Moment

_COLUMNS = ("NUMBER", "SINCE", "KIND", "KEY", "ID", "STAGED", "ACTOR", "DATA")
_FACTS = ("NUMBER", "SINCE", "ID", "STAGED")
_FIRST_TO_GO = ("STAGED", "SINCE", "ID", "DATA")
_EXAMPLE = """\b
Example: what did a crash leave to be finished or undone?
  snapledger intents STORE"""


@click.command("intents", epilog=_EXAMPLE)
@store_argument
@at_option
@json_option
def command(store: str, moment: Moment | None, as_json: bool) -> None:
    """List the intents that are open: work on a disk or in a device that STORE has recorded.

    While a driver runs, some are of what it is just doing, or has finished and will say so with its
    next commit; one that stays open was left by a crash, or by work that could not be undone, and
    waits for the driver to finish or undo it, as it does when it starts. A staged one belongs to a
    snapshot that is committed, and can only be finished.

    JSON: revision, intents [number, kind, key, id (of the snapshot; null for none), is_staged,
    time, time_ns, actor, reason, request_id, data (names on the disk, as the driver knows them)].
    """
    with snapshots_at(store, moment) as transaction:
        found = _open(transaction)
        if as_json:
            head = {"revision": transaction.revision}
            output.write_json_list(head, "intents", map(_record, found))
        else:
            output.write_table(_COLUMNS, map(_cells, found), _FACTS, _FIRST_TO_GO)


def _open(transaction: SnapshotTransaction) -> Iterator[Intent]:
    return (intent for _, intent in transaction.items(INTENTS.name))


def _record(intent: Intent) -> dict[str, Any]:
    return {
        "number": intent.number,
        "kind": intent.kind,
        "key": intent.key,
        "id": intent.id,
        "is_staged": intent.is_staged,
        "time": format_time(intent.time_ns),
        "time_ns": intent.time_ns,
        "actor": intent.actor,
        "reason": intent.reason,
        "request_id": intent.request_id,
        "data": json_value(dict(intent.data)),
    }


def _cells(intent: Intent) -> tuple[str, ...]:
    return (
        str(intent.number),
        format_time(intent.time_ns),
        printable(intent.kind),
        printable(intent.key),
        intent.id or "-",
        "yes" if intent.is_staged else "no",
        printable(intent.actor or "-"),
        data_text(dict(intent.data)).strip(),
    )
