"""`snapledger-snapshotter`: runs the driver, takes a root over, and gives it back."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from eventstore import EventStoreError
from projections.snapshots import SnapshotError
from snapledger.arguments import checked_path
from snapledger.failures import of_system
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.place import PlaceError
from snapledger.snapshotter.renaming import rename_snapshotter
from snapledger.snapshotter.serving import THREADS, Server, bound, opened
from snapledger.snapshotter.stopping import Stop
from snapledger.snapshotter.strategy import STRATEGIES
from snapledger.snapshotter.takeover import give_back, take_over
from snapledger.snapshotter.telling import MetricsServer, log_to_stderr, notify, store_lines

if TYPE_CHECKING:
    from projections.snapshots import MetaStore

_FAILED = 1
_SECONDS_BETWEEN_LOOKS = 1.0
_log = logging.getLogger(__name__)

root_option = click.option(
    "--root",
    required=True,
    metavar="DIR",
    callback=checked_path,
    help="Where metadata and snapshots are.",
)


@click.group()
@click.version_option(package_name="snapledger")
def group() -> None:
    """A proxy snapshotter for containerd that can say what happened to its snapshots."""


@group.command()
@root_option
@click.option(
    "--socket",
    required=True,
    metavar="PATH",
    callback=checked_path,
    help="Where containerd connects.",
)
@click.option(
    "--strategy",
    type=click.Choice(sorted(STRATEGIES)),
    default="overlay",
    show_default=True,
    help="How snapshots are kept in directories.",
)
@click.option(
    "--async-remove", is_flag=True, help="Leave the directories of removed snapshots to Cleanup."
)
@click.option(
    "--sync-contents", is_flag=True, help="Sync the file system before a snapshot is committed."
)
@click.option("--threads", type=click.IntRange(1, 256), default=THREADS, show_default=True)
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Answer Prometheus there, on 127.0.0.1."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def serve(
    root: str,
    socket: str,
    strategy: str,
    async_remove: bool,
    sync_contents: bool,
    threads: int,
    metrics_port: int | None,
    log_level: str,
) -> None:
    """Serve containerd until SIGTERM or SIGINT; calls under way are answered first."""
    log_to_stderr(log_level)
    stop = Stop()
    options = Options(async_remove, sync_contents)
    try:
        with (
            bound(socket, threads=threads) as server,
            opened(root, strategy, options) as (snapshotter, _),
            server.serving(snapshotter),
        ):
            stop.interrupts_no_more()
            metrics = _metrics(metrics_port, server, snapshotter.store)
            _log.info("serving", extra={"root": root, "socket": socket, "strategy": strategy})
            is_found = _wait(stop, server)
            if metrics is not None:
                metrics.close()
    except KeyboardInterrupt:
        _log.info("stopped before it served")
        return
    if not is_found:
        _log.error("the socket is not there any more, or is another's", extra={"socket": socket})
    if server.failed.is_set():
        _log.error("the store has failed and must be opened anew")
    if server.failed.is_set() or not is_found:
        sys.exit(_FAILED)


def _wait(stop: Stop, server: Server) -> bool:
    """Tell the service manager that we serve, until we are to stop; False: nobody finds us."""
    notify("READY=1")
    is_found = True
    while is_found and not (stop.is_asked(_SECONDS_BETWEEN_LOOKS) or server.failed.is_set()):
        is_found = server.is_reachable()
    notify("STOPPING=1")
    _log.info("stopping")
    return is_found


def _metrics(port: int | None, server: Server, store: MetaStore) -> MetricsServer | None:
    if port is None:
        return None
    metrics = MetricsServer(port, lambda: [*server.counts.lines(), *store_lines(store.stats())])
    _log.info("metrics", extra={"port": metrics.port})
    return metrics


@group.command("take-over")
@root_option
def take_over_command(root: str) -> None:
    """Make the root of containerd's overlay snapshotter ours.

    containerd must not run. Its metadata.db is imported, and a copy kept; all directories stay.
    """
    log_to_stderr("info")
    moved = take_over(root)
    if moved is None:
        click.echo(f"{root} is ours already; nothing was done")
        return
    click.echo(f"{moved.snapshot_count} snapshots taken over; the old metadata is {moved.kept}")


@group.command("give-back")
@root_option
def give_back_command(root: str) -> None:
    """Make the root one of containerd's overlay snapshotter again.

    The driver must not run. A metadata.db is written, and our store renamed; all directories stay.
    """
    log_to_stderr("info")
    moved = give_back(root)
    if moved is None:
        click.echo(f"{root} is containerd's already; nothing was done")
        return
    click.echo(f"{moved.snapshot_count} snapshots given back; the history is {moved.kept}")


@group.command("rename-snapshotter")
@click.option(
    "--database",
    required=True,
    metavar="META_DB",
    callback=checked_path,
    help="containerd's own meta.db.",
)
@click.option("--from", "old", required=True, metavar="NAME", help="As it is called now.")
@click.option("--to", "new", required=True, metavar="NAME", help="As it is to be called.")
def rename_command(database: str, old: str, new: str) -> None:
    """Give a snapshotter another name in containerd's own metadata.

    containerd must not run. The old file is kept beside the new one.
    """
    if old == new:
        raise click.BadParameter(f"{new} is its name already", param_hint="'--to'")
    renamed = rename_snapshotter(database, old, new)
    click.echo(
        f"{old} is called {new} now in {renamed.places} places; the old file is {renamed.kept}"
    )


def main() -> None:
    """Run the command; an error that is not ours ends as one line and exit code 1."""
    try:
        group()
    except (PlaceError, EventStoreError, SnapshotError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(of_system(error))


def _fail(message: str) -> NoReturn:
    click.echo(f"snapledger-snapshotter: {message}", err=True)
    sys.exit(_FAILED)
