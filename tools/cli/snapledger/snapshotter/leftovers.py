"""Leftovers: which directories go, at a start and at a Cleanup, and what is said of each.

| there is | since | it is |
| --- | --- | --- |
| a stage that nobody works on, or `rm-…` | nothing refers to it | removed |
| an id that was given and is no snapshot | it was removed | removed, and who did is said |
| an id that was never given, or that nothing is told of | it is not ours | left, and reported |
| anything else | it is not ours | left, and reported |

What can't be removed, such as a file that is immutable or a directory that something is mounted in,
stays, is told, and keeps nobody from working: the next Cleanup and the next start try again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from snapledger.snapshotter.directories import REMOVED_PREFIX, STAGE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from projections.snapshots.reconcile import Reconciliation, Removal
    from snapledger.snapshotter.directories import Directories

ACTOR = "snapledger-snapshotter"
"""Of the batches that keep numbers from being given."""

OURS = (STAGE_PREFIX, REMOVED_PREFIX)
"""So begin the names that only a driver gives."""

_ADVICE = (
    "see what holds it (a mount, an open file, `lsattr`) and let it go, or remove it yourself: "
    "the next Cleanup or start tries again"
)
_log = logging.getLogger(__name__)


class Cleared(NamedTuple):
    """What was done, by the names of directories.

    Attributes:
        removed: what went.
        stuck: what should have gone and could not be removed.
        unknown: what was left as it is.
    """

    removed: tuple[str, ...]
    stuck: tuple[str, ...]
    unknown: tuple[str, ...]


def clear(directories: Directories, found: Reconciliation, stages: Iterable[str]) -> Cleared:
    """Remove these stages, and what belongs to removed snapshots; leave all else from now on."""
    why = dict.fromkeys(sorted(stages), "nothing refers to it")
    told = {name: _why(removal) for name, removal in found.removed.items() if removal is not None}
    removed, stuck = [], []
    for name, reason in (told | why).items():
        if not is_removed(directories, name):
            stuck.append(name)
            continue
        removed.append(name)
        _log.info("a leftover was removed", extra=_told(directories, name) | {"why": reason})
    untold = [name for name, removal in found.removed.items() if removal is None]
    unknown = (*(name for name in found.unknown if not name.startswith(OURS)), *untold)
    for name in directories.leave(unknown):
        _log.warning("what is not known is left as it is", extra=_told(directories, name))
    return Cleared(tuple(removed), tuple(stuck), unknown)


def is_removed(directories: Directories, name: str) -> bool:
    """Remove a directory; where that can't be done, say so and return False."""
    try:
        directories.remove(name)
    except OSError as error:
        told = {**_told(directories, name), "error": str(error), "advice": _ADVICE}
        _log.warning("a directory can't be removed", extra=told)
        return False
    return True


def _told(directories: Directories, name: str) -> dict[str, str]:
    return {"name_on_disk": name, "path": directories.of(name)}


def _why(removal: Removal) -> str:
    """Return what the history knows of a leftover."""
    who, reason = removal.metadata.actor, removal.metadata.reason
    return f"{removal.name} was removed at revision {removal.revision} by {who}: {reason}"
