"""`snapledger restore`: make a store of a backup, as of any revision of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from projections.snapshots import MetaStore
from snapledger import output
from snapledger.arguments import (
    Moment,
    checked_path,
    checked_store_path,
    json_option,
    parsed_moment,
)
from snapledger.text import printable
from snapledger.times import FORMS
from snapledger.wording import start_of_history

if TYPE_CHECKING:
    from eventstore import RestoreReport


_EXAMPLE = """\b
Example: the store as it was yesterday at noon:
  snapledger restore /backups/node-7 STORE --to 'yesterday 12:00'"""


@click.command("restore", epilog=_EXAMPLE)
@click.argument("source", metavar="SOURCE", callback=checked_path)
@click.argument("path", metavar="PATH", callback=checked_store_path)
@click.option(
    "--to",
    "moment",
    metavar="REVISION|TIME",
    callback=parsed_moment,
    help=f"Up to a revision, or a time: {FORMS}; all that the backup holds unless given. A time "
    "without a zone is local.",
)
@click.option(
    "--as-new",
    is_flag=True,
    help="The original lives on: part from it, even if nothing is left out.",
)
@json_option
def command(source: str, path: str, moment: Moment | None, as_new: bool, as_json: bool) -> None:
    """Make the new store PATH of the backup SOURCE, a directory or a URL.

    Nothing may be at PATH. Every byte is checked before it becomes a store. Receipts, heads and
    proofs that were given for a revision up to the restored one hold in it. With --to, if that
    leaves out batches, or with --as-new, the first batch of its own says so, and from there on its
    history is another than the original's: later receipts of each fail in the other. A restore of
    all is the store as it was: retire the original. Exits with 3 if the backup is damaged.

    Example: snapledger restore /backup/metadata /var/lib/driver/metadata --to 'yesterday 14:00'

    JSON: store_id, first_revision (of the oldest batch), restored_revision (the last batch of the
    backup), revision (that the store is at), digest, backup_revision, fork_id (null if the store
    goes on where the backup ends).
    """
    to = moment or Moment()
    with output.progress("restoring batch") as show_count:
        report = MetaStore.restore(
            source,
            path,
            revision=to.revision,
            time=to.time_ns,
            as_new=as_new,
            on_batch=show_count,
        )
    with output.told_after(f"{path}: the store is there"):
        if report.restored_revision == 0 and report.backup_revision:
            output.note(
                f"{path}: nothing had been committed at that moment, so the new store is empty"
            )
        if as_json:
            output.write_json(_record(report))
            return
        if report.first_revision > 1:
            output.write_line(start_of_history(report.first_revision))
        output.write_fields(
            [
                ("new store", printable(path)),
                ("store id", report.store_id.hex()),
                ("revision", str(report.revision)),
                ("digest", report.digest.hex()),
                ("restored to", f"revision {report.restored_revision} of {report.backup_revision}"),
                ("history", _history_text(report)),
            ]
        )


def _record(report: RestoreReport) -> dict[str, Any]:
    return {
        "store_id": report.store_id.hex(),
        "first_revision": report.first_revision,
        "restored_revision": report.restored_revision,
        "revision": report.revision,
        "digest": report.digest.hex(),
        "backup_revision": report.backup_revision,
        "fork_id": None if report.fork_id is None else report.fork_id.hex(),
    }


def _history_text(report: RestoreReport) -> str:
    if report.fork_id is None:
        return "that of the original, which is to be retired"
    return f"parts from the original after revision {report.restored_revision}"
