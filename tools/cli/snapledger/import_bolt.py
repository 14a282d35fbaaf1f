"""`snapledger import-bolt`: a containerd snapshotter's database becomes a store."""

from __future__ import annotations

import click

from projections.snapshots.importer import import_containerd
from snapledger import output
from snapledger.arguments import checked_path, checked_text, json_option, store_argument
from snapledger.text import printable
from snapledger.wording import counted

_EXAMPLE = """\b
Example: a copy of a containerd database:
  snapledger import-bolt metadata.db STORE --actor migration"""


@click.command("import-bolt", epilog=_EXAMPLE)
@click.argument("database", metavar="DB", callback=checked_path)
@store_argument
@click.option(
    "--actor",
    default="import",
    show_default=True,
    callback=checked_text,
    help="Who, for the history.",
)
@json_option
def command(database: str, store: str, actor: str, as_json: bool) -> None:
    """Make the new store STORE of DB, the metadata.db of a containerd snapshotter.

    DB is only read; containerd must not have it open, so stop it or import a copy. Ids, names,
    parents, labels, usage, times and the id counter are kept. The import is the first batch of
    the new store, and says which file it came from. If anything is wrong, no store is made.

    JSON: snapshot_count, last_id, sha256 (of DB), receipt {store_id, revision, digest}.
    """
    with output.progress("importing snapshot") as show_count:
        report = import_containerd(database, store, actor=actor, on_snapshot=show_count)
    receipt = report.receipt
    snapshots = counted(report.snapshot_count, "snapshot")
    with output.told_after(f"{store}: the store is there"):
        if as_json:
            output.write_json(
                {
                    "snapshot_count": report.snapshot_count,
                    "last_id": str(report.last_id),
                    "sha256": report.sha256,
                    "receipt": {
                        "store_id": receipt.store_id.hex(),
                        "revision": receipt.revision,
                        "digest": receipt.digest.hex(),
                    },
                }
            )
            return
        output.write_fields(
            [
                ("imported", f"{snapshots}, the last id is {report.last_id}"),
                ("from", printable(database)),
                ("sha256", report.sha256),
                ("store", printable(store)),
                ("store id", receipt.store_id.hex()),
                ("revision", str(receipt.revision)),
                ("digest", receipt.digest.hex()),
            ]
        )
