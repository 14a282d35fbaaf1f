"""`snapledger stats`: show sizes and counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from projections.snapshots import Kind
from projections.snapshots.intents import INTENTS
from projections.snapshots.projection import SNAPSHOTS
from snapledger import output
from snapledger.arguments import json_option, store_argument
from snapledger.reading import open_for_reading
from snapledger.text import format_size, format_time, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from projections.snapshots import MetaStore, SnapshotTransaction

_FILES = ("segment", "archive", "checkpoint")
_UNITS = ("count", "bytes")

_EXAMPLE = """\b
Example: for a monitor:
  snapledger stats STORE --json"""


@click.command("stats", epilog=_EXAMPLE)
@store_argument
@json_option
def command(store: str, as_json: bool) -> None:
    """Show sizes and counts of STORE.

    Segments are preallocated, so they take their full size from the start.

    JSON: path, store_id, revision, oldest_revision, digest, snapshots {committed, active, view},
    intents (how many are open), oldest_intent_ns (when the oldest of them was begun, in nanoseconds
    since the epoch; null without one), rows {of each table}, segment_count, segment_bytes,
    archive_count, archive_bytes, checkpoint_count, checkpoint_bytes, checkpoint_revision (0 without
    a checkpoint).
    """
    with open_for_reading(store) as opened:
        record = _record(opened)
    if as_json:
        output.write_json(record)
    else:
        output.write_fields(_fields(record))


def _record(store: MetaStore) -> dict[str, Any]:
    with store.transaction() as transaction:
        stats = store.stats()
        is_same = stats["revision"] == transaction.revision
        kinds = _kinds(transaction, stats["rows"][SNAPSHOTS] if is_same else None)
        begun = [intent.time_ns for _, intent in transaction.items(INTENTS.name)]
    return {
        **{
            name: stats[name]
            for name in ("path", "store_id", "revision", "oldest_revision", "digest")
        },
        "snapshots": {kind.value: kinds[kind] for kind in reversed(Kind)},
        "intents": len(begun),
        "oldest_intent_ns": min(begun, default=None),
        "rows": dict(stats["rows"]),
        **{f"{kind}_{unit}": stats[f"{kind}_{unit}"] for kind in _FILES for unit in _UNITS},
        "checkpoint_revision": stats["checkpoint_revision"],
    }


def _kinds(transaction: SnapshotTransaction, count: int | None) -> dict[Kind, int]:
    """Return how many snapshots there are of each kind.

    Of all but committed ones there are few, which are looked for: to go through 100,000 takes
    0.3 s.

    Args:
        transaction: that sees them.
        count: of all snapshots, if it is known.
    """
    if count is None:
        return Counter(info.kind for info in transaction.walk_info())
    kinds: dict[Kind, int] = {
        kind: sum(1 for _ in transaction.walk_info(kind=kind))
        for kind in Kind
        if kind is not Kind.COMMITTED
    }
    kinds[Kind.COMMITTED] = count - sum(kinds.values())
    return kinds


def _fields(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "path", printable(record["path"])
    yield "store id", record["store_id"]
    yield "revision", f"{record['revision']}, kept from {record['oldest_revision']} on"
    yield "digest", record["digest"]
    yield "snapshots", ", ".join(f"{n} {kind}" for kind, n in record["snapshots"].items())
    yield "intents", _intents_text(record["intents"], record["oldest_intent_ns"])
    for kind, title in zip(_FILES, ("segments", "archive", "checkpoints"), strict=True):
        size = format_size(record[f"{kind}_bytes"])
        yield title, f"{record[f'{kind}_count']}, {size}"
    if record["checkpoint_revision"]:
        yield "newest", f"checkpoint of revision {record['checkpoint_revision']}"


def _intents_text(count: int, oldest_ns: int | None) -> str:
    if oldest_ns is None:
        return "none open"
    return f"{count} open, the oldest since {format_time(oldest_ns)}"
