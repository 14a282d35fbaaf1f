"""`snapledger erase`: make texts unreadable that must be forgotten."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from eventstore import StoreOptions, erase
from projections.snapshots import SnapshotsProjection
from snapledger import output
from snapledger.arguments import REVISION, SECONDS, json_option, store_argument
from snapledger.text import quoted
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXAMPLE = """\b
Example: an owner's name, out of the two batches that hold it:
  snapledger erase STORE 17 23 --label owner --by dpo --why "request 12" """


@click.command("erase", epilog=_EXAMPLE)
@store_argument
@click.argument("revisions", metavar="REVISION...", type=REVISION, nargs=-1, required=True)
@click.option("--label", "labels", metavar="KEY", multiple=True, help="The value of this label.")
@click.option("--actor", is_flag=True, help="Who did it.")
@click.option("--reason", is_flag=True, help="Why.")
@click.option("--request-id", is_flag=True, help="On behalf of which request.")
@click.option("--by", required=True, metavar="NAME", help="Who orders the erasure.")
@click.option("--why", required=True, metavar="TEXT", help="Why it must be.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option(
    "--wait",
    "wait_seconds",
    type=SECONDS,
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for another process to let go of the store; not at all by default.",
)
@json_option
def command(
    store: str,
    revisions: tuple[int, ...],
    labels: tuple[str, ...],
    actor: bool,
    reason: bool,
    request_id: bool,
    by: str,
    why: str,
    yes: bool,
    wait_seconds: float,
    as_json: bool,
) -> None:
    """Make texts in batches of STORE unreadable, for good: asterisks take their place.

    They go from the log, the archive and the checkpoints. Digests, receipts and proofs still hold,
    and the log says what was erased, when, by whom and why. Names, keys, ids and parents can't be
    erased. A value that other batches hold too stays there: `log KEY` shows all of a snapshot.

    Needs the lock: stop the driver first. Backups made before hold the texts; make them anew.

    JSON: revision, of the batch that says so; erased, the revisions; fields.
    """
    fields = list(_fields(labels, actor=actor, reason=reason, request_id=request_id))
    if not fields:
        raise click.UsageError("say what to erase: --label, --actor, --reason or --request-id")
    names = ", ".join(quoted(".".join(field[-2:])) for field in fields)
    what = f"{names} in {counted(len(set(revisions)), 'batch', 'batches')}"
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"this erases {what} for good: give --yes")
        click.confirm(f"Erase {what} for good?", abort=True, err=True)
    with output.progress("erasing"):
        done = erase(
            store,
            [SnapshotsProjection()],
            dict.fromkeys(revisions, fields),
            actor=by,
            reason=why,
            lock_timeout=wait_seconds,
            options=StoreOptions(background=False),
        )
    if as_json:
        output.write_json(
            {
                "revision": done.receipt.revision,
                "erased": list(done.revisions),
                "fields": [list(field) for field in fields],
            }
        )
        return
    output.write_fields(
        [("erased", what), ("said by", f"revision {done.receipt.revision}")],
    )


def _fields(
    labels: tuple[str, ...], *, actor: bool, reason: bool, request_id: bool
) -> Iterator[tuple[str, ...]]:
    for label in labels:
        yield "data", "labels", label
    for name, is_wanted in (("actor", actor), ("reason", reason), ("request_id", request_id)):
        if is_wanted:
            yield (name,)
