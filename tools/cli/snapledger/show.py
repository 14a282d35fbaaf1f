"""`snapledger show`: one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from eventstore.engine_events import ERASED
from eventstore.log.redaction import redactions_in
from snapledger import output
from snapledger.arguments import REVISION, json_option, store_argument
from snapledger.batches import write_batch
from snapledger.reading import open_for_reading, require_reached
from snapledger.records import batch_record
from snapledger.text import format_time, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore import Batch, Event, EventStore

_EXAMPLE = """\b
Example: a batch for a script:
  snapledger show STORE 1204 --json"""


@click.command("show", epilog=_EXAMPLE)
@store_argument
@click.argument("revision", metavar="REVISION", type=REVISION)
@json_option
def command(store: str, revision: int, as_json: bool) -> None:
    """Show the batch of REVISION: when, by whom, why, and its events.

    Its digest is the leaf that `prove` proves: the text of a receipt is store id, revision, digest.

    Of a batch of which parts were erased it says which, when, by whom and why.

    JSON: revision, time, time_ns, actor, reason, request_id, digest, events [type, version, data];
    where parts were erased, redacted (true) and erased [revision, time, time_ns, actor, reason,
    fields].
    """
    with open_for_reading(store) as opened:
        with opened.transaction() as now:
            require_reached(opened, revision, now.revision)
        [batch] = opened.event_store.batches(revision, revision)
        erased = list(_erased(opened.event_store, batch))
        if as_json:
            record = batch_record(batch, batch.events)
            output.write_json({**record, "erased": erased} if batch.is_redacted else record)
            return
        write_batch(batch, batch.events, names_show=False)
        output.write_line(f"  digest {batch.digest.hex()}")
        for one in erased:
            names = " ".join(quoted(".".join(field)) for field in one["fields"])
            output.write_line(
                f"  erased {names} by revision {one['revision']}  {one['time']}  "
                f"actor={quoted(one['actor'])}  reason={quoted(one['reason'])}"
            )


def _erased(store: EventStore, batch: Batch) -> Iterator[dict[str, Any]]:
    """Yield what was erased of a batch, when, and by whose order."""
    if not batch.is_redacted:
        return
    for later in store.batches(batch.revision + 1, type=ERASED):
        for event in later.events:
            for one in redactions_in([event]):
                if one.revision == batch.revision:
                    yield {
                        "revision": later.revision,
                        **_ordered_by(later, event),
                        "fields": [list(path) for path in one.paths],
                    }


def _ordered_by(later: Batch, event: Event) -> dict[str, Any]:
    """Return when an erasure was, by whose order and why; a restore states it again."""
    said = event.data.get("restated")
    if not isinstance(said, dict):
        said = {"time_ns": later.time_ns, **later.metadata._asdict()}
    time_ns = said.get("time_ns")
    return {
        "time": format_time(time_ns) if isinstance(time_ns, int) else "",
        "time_ns": time_ns,
        "actor": str(said.get("actor") or ""),
        "reason": str(said.get("reason") or ""),
    }
