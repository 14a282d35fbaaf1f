"""`snapledger show`: one batch."""

from __future__ import annotations

import click

from snapledger import output
from snapledger.arguments import REVISION, json_option, store_argument
from snapledger.batches import write_batch
from snapledger.reading import open_for_reading, require_reached
from snapledger.records import batch_record

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

    JSON: revision, time, time_ns, actor, reason, request_id, digest, events [type, version, data].
    """
    with open_for_reading(store) as opened:
        with opened.transaction() as now:
            require_reached(opened, revision, now.revision)
        [batch] = opened.event_store.batches(revision, revision)
        if as_json:
            output.write_json(batch_record(batch, batch.events))
        else:
            write_batch(batch, batch.events)
            output.write_line(f"  digest {batch.digest.hex()}")
