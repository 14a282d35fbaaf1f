"""`snapledger compact`: write a checkpoint and archive what it supersedes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from eventstore import StoreOptions
from projections.snapshots import MetaStore
from snapledger import output
from snapledger.arguments import SECONDS, json_option, store_argument
from snapledger.text import format_size
from snapledger.wording import counted

if TYPE_CHECKING:
    from eventstore import RecoveryReport


@click.command("compact")
@store_argument
@click.option(
    "--wait",
    "wait_seconds",
    type=SECONDS,
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for another process to let go of the store; not at all by default.",
)
@click.option(
    "--allow-foreign-owner",
    is_flag=True,
    help="Work on a store whose directories belong to another user, who must be trusted. What root "
    "makes there belongs to that user.",
)
@json_option
def command(store: str, wait_seconds: float, allow_foreign_owner: bool, as_json: bool) -> None:
    """Write a checkpoint of STORE, and archive the segments that are superseded.

    Nothing of the history is dropped: superseded segments are compressed into the archive. The
    checkpoints that a recovery needs, and the segments after them, stay as they are.

    Needs the lock: while a driver has the store open, it compacts by itself. Opening recovers the
    store first; what that has cut, set aside or rebuilt is mentioned on stderr.

    JSON: checkpoint_revision, archived, dropped, checkpoints_removed, freed_bytes (negative if
    the store takes more than before).
    """
    options = StoreOptions(background=False, allow_foreign_owner=allow_foreign_owner)
    with (
        output.progress("compacting") as show_count,
        MetaStore.open(
            store,
            create=False,
            lock_timeout=wait_seconds,
            options=options,
            on_rebuild=lambda reached, last: show_count(reached),
        ) as opened,
    ):
        _mention_rebuilt(opened.recovery)
        report = opened.compact()
        revision = opened.stats()["checkpoint_revision"]
    if as_json:
        output.write_json(
            {
                "checkpoint_revision": revision,
                "archived": report.archived,
                "dropped": report.dropped,
                "checkpoints_removed": report.checkpoints_removed,
                "freed_bytes": report.freed_bytes,
            }
        )
        return
    output.write_fields(
        [
            ("checkpoint", f"at revision {revision}"),
            ("archived", counted(report.archived, "segment")),
            ("dropped", counted(report.dropped, "segment")),
            ("removed", counted(report.checkpoints_removed, "older checkpoint")),
            _size_change(report.freed_bytes),
        ]
    )


def _size_change(freed_bytes: int) -> tuple[str, str]:
    if freed_bytes < 0:
        return "grown by", format_size(-freed_bytes)
    return "freed", format_size(freed_bytes)


def _mention_rebuilt(recovery: RecoveryReport) -> None:
    for one in recovery.rebuilt:
        output.note(
            f"projection {one.name} was rebuilt from the batches up to revision {one.revision}; "
            f"the open took {recovery.seconds:.1f} s"
        )
