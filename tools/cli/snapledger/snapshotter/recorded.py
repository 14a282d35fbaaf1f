"""Which strategy a root is kept with: its name, in `ROOT/strategy`.

Each strategy takes the directories of the other one for something that they are not, and would
serve wrong trees. So the strategy is recorded when a root is first served or taken over, and no
other is let at it. A root that an older version has made has no record: its directories tell. Where
there are none, whoever serves it first decides.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snapledger.snapshotter.place import PlaceError
from snapledger.snapshotter.replacing import write_new
from snapledger.snapshotter.strategy import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from projections.snapshots import MetaStore

RECORD = "strategy"
_MODE = 0o600
_IN_OVERLAYS = {"fs", "work"}


def check_strategy(root: str, strategy: str, store: MetaStore, snapshots: str) -> None:
    """Refuse a strategy that a root is not kept with; record it, durably, if none is yet.

    Raises:
        PlaceError: it is kept with another one, with none that is known, or it can't be told.
        OSError: the record can't be read or written.
    """
    with store.transaction() as now:
        ids = now.id_map()
    require_strategy(root, strategy, ids, snapshots)
    if recorded_strategy(root) is None:
        record_strategy(root, strategy)


def require_strategy(root: str, strategy: str, ids: Iterable[str], snapshots: str) -> None:
    """Refuse a strategy that a root with snapshots of these ids is not kept with.

    Raises as `check_strategy` does.
    """
    found = recorded_strategy(root) or _recognised(root, ids, snapshots) or strategy
    if found != strategy:
        raise PlaceError(
            f"{root}: it is kept with {found}, whose directories {strategy} would take for "
            f"something else: serve it with --strategy {found}, or give {strategy} another root"
        )


def record_strategy(root: str, strategy: str) -> None:
    """Record the strategy of a root that has no record, durably.

    Raises:
        FileExistsError: it has one.
        OSError: it can't be written.
    """
    path = f"{root}/{RECORD}"
    write_new(path, f"{strategy}\n".encode("ascii"), _MODE, path)


def recorded_strategy(root: str) -> str | None:
    """Return the strategy that a root is kept with, if it has a record.

    Raises:
        PlaceError: the record names none that is known.
        OSError: it can't be read.
    """
    try:
        with open(f"{root}/{RECORD}", encoding="ascii", errors="replace") as file:
            text = file.read(100)
    except FileNotFoundError:
        return None
    for name in STRATEGIES:
        if text == f"{name}\n":
            return name
    raise PlaceError(
        f"{root}/{RECORD}: it names none of the strategies {', '.join(STRATEGIES)}: a newer "
        "version has written it, or it is damaged; write the right name there, and a line feed"
    )


def _recognised(root: str, ids: Iterable[str], snapshots: str) -> str | None:
    """Return the strategy that has made the directories of snapshots; None where there are none."""
    each_found = (_strategy_of(f"{snapshots}/{each}") for each in ids)
    found = {name for name in each_found if name is not None}
    if len(found) > 1:
        raise PlaceError(
            f"{root}: its directories look like those of {' and '.join(sorted(found))}: "
            f"write the name of the strategy that has made them to {root}/{RECORD}, and a line feed"
        )
    return next(iter(found), None)


def _strategy_of(directory: str) -> str | None:
    try:
        names = set(os.listdir(directory))
    except OSError:
        return None
    is_overlays = names <= _IN_OVERLAYS and os.path.isdir(f"{directory}/fs")
    return "overlay" if is_overlays else "native"
