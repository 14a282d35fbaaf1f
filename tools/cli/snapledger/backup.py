"""`snapledger backup`: bring a backup of a store up to date, or begin one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from snapledger import output
from snapledger.arguments import checked_path, json_option, store_argument
from snapledger.reading import open_for_reading
from snapledger.text import format_size, printable
from snapledger.wording import counted

if TYPE_CHECKING:
    from eventstore import BackupReport


_EXAMPLE = """\b
Example: each night, of a store in use:
  snapledger backup STORE /backups/node-7 --verify"""


@click.command("backup", epilog=_EXAMPLE)
@store_argument
@click.argument("target", metavar="TARGET", callback=checked_path)
@click.option(
    "--verify",
    is_flag=True,
    help="Read everything in the backup in the end, not only what was written now.",
)
@json_option
def command(store: str, target: str, verify: bool, as_json: bool) -> None:
    """Add to the backup TARGET what it lacks of STORE, or begin one where nothing is.

    Works while a driver has the store open. TARGET is a directory, or a URL that fsspec knows,
    such as s3://bucket/path (the extra `backup`). What is there already is not copied again, what
    is written is read back, and one that was cut short goes on where it was. A backup of another
    history is refused. Exits with 3 if a file of the backup is damaged.

    Example: snapledger backup /var/lib/driver/metadata /backup/metadata

    JSON: store_id, first_revision (the oldest batch in the backup), oldest_state (the oldest
    revision that a store can be made at), revision, digest, added_batches, added_bytes,
    file_count, size_bytes, is_verified (whether everything was read).
    """
    with open_for_reading(store) as opened, output.progress("copying batch") as show_count:
        report = opened.backup(target, verify=verify, on_batch=show_count)
    with output.told_after(f"{target}: the backup is at revision {report.revision}"):
        if as_json:
            output.write_json(backup_record(report))
            return
        oldest = report.oldest_state if report.oldest_state else 1
        output.write_fields(
            [
                ("backup", printable(target)),
                ("store id", report.store_id.hex()),
                ("revision", str(report.revision)),
                ("digest", report.digest.hex()),
                (
                    "added",
                    f"{counted(report.added_batches, 'batch', 'batches')}, "
                    f"{format_size(report.added_bytes)}",
                ),
                (
                    "in all",
                    f"{counted(report.file_count, 'file')}, {format_size(report.size_bytes)}",
                ),
                ("can restore", f"revisions {oldest} to {report.revision}"),
                ("read back", "everything" if report.is_verified else "what was added"),
            ]
        )


def backup_record(report: BackupReport) -> dict[str, Any]:
    """Return what JSON has of a backup."""
    return {
        "store_id": report.store_id.hex(),
        "first_revision": report.first_revision,
        "oldest_state": report.oldest_state,
        "revision": report.revision,
        "digest": report.digest.hex(),
        "added_batches": report.added_batches,
        "added_bytes": report.added_bytes,
        "file_count": report.file_count,
        "size_bytes": report.size_bytes,
        "is_verified": report.is_verified,
    }
