"""`snapledger export-bolt`: what a store holds becomes a containerd snapshotter's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from projections.snapshots.exporter import export_containerd
from snapledger import output
from snapledger.arguments import at_option, checked_path, json_option, store_argument
from snapledger.reading import snapshots_at
from snapledger.text import printable
from snapledger.wording import counted

if TYPE_CHECKING:
    from snapledger.arguments import Moment


_EXAMPLE = """\b
Example: a database for containerd's own overlay snapshotter:
  snapledger export-bolt STORE metadata.db"""


@click.command("export-bolt", epilog=_EXAMPLE)
@store_argument
@click.argument("database", metavar="DB", callback=checked_path)
@at_option
@json_option
def command(store: str, database: str, moment: Moment | None, as_json: bool) -> None:
    """Write the snapshots of STORE as DB, the metadata.db of a containerd snapshotter.

    Ids, names, parents, labels, usage, times and the id counter go along; the history does not. DB
    must not be there yet. STORE is only read, so stop its driver first if DB is to replace it.

    JSON: snapshot_count, last_id, revision, sha256 (of DB).
    """
    with snapshots_at(store, moment) as transaction:
        report = export_containerd(transaction, database)
    with output.told_after(f"{database}: the database is there"):
        if as_json:
            output.write_json({**report._asdict(), "last_id": str(report.last_id)})
            return
        snapshots = counted(report.snapshot_count, "snapshot")
        output.write_fields(
            [
                ("exported", f"{snapshots}, the last id is {report.last_id}"),
                ("revision", str(report.revision)),
                ("to", printable(database)),
                ("sha256", report.sha256),
            ]
        )
