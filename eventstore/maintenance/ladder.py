"""The ladder: superseded checkpoints that stay, so that the past is near. Pure.

A past state is loaded from the newest checkpoint at or before it, and the batches from there on are
replayed. So checkpoints are left where they were made, one for about as much log as an open
replays: the rungs. What they take is bounded three times:

- Deltas are left as a chain: each holds what has changed from one rung to the next, so all of them
  together hold each change once. A base that a fold has made beside a delta stays only if the
  deltas since the base before it take as much, or are many: then it saves loading them.
- Where every checkpoint is a base, rungs are some thousand batches apart.
- All together take no more than a share of what archive and log take, not counting what recovery
  needs anyway; the oldest go first, with all that continue them up to the next base.

Retention rules it: a rung whose following batches are gone is of no use, and goes too, unless a
later one continues it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.checkpoints.chains import Chains

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from eventstore.checkpoints.chains import CheckpointFile

_LINKS_MAX = 64
_BASE_BATCHES = 10_000
"""Bases that nothing leads to but themselves are left this far apart."""


def rungs(
    sizes_bytes: Mapping[CheckpointFile, int],
    needed: Collection[CheckpointFile],
    first_revision: int,
    bytes_max: int,
) -> set[CheckpointFile]:
    """Return which files the ladder needs.

    Args:
        sizes_bytes: of all checkpoint files.
        needed: those that stay in any case.
        first_revision: of the oldest batch that is kept.
        bytes_max: how much the others may take.
    """
    chains = Chains(_useful(sizes_bytes))
    kept: set[CheckpointFile] = set()
    kept_bytes = 0
    for revision in reversed(chains.revisions):
        if revision < first_revision - 1:
            break
        added = [file for file in chains.to(revision) if file not in kept]
        kept_bytes += sum(sizes_bytes[file] for file in added if file not in needed)
        if kept_bytes > bytes_max:
            break
        kept.update(added)
    return kept


def _useful(sizes_bytes: Mapping[CheckpointFile, int]) -> list[CheckpointFile]:
    """Return all deltas, and of the bases those that are needed or save much loading."""
    useful: list[CheckpointFile] = []
    led_to = {file.revision for file in sizes_bytes if file.previous is not None}
    continued = {file.previous for file in sizes_bytes}
    delta_bytes = link_count = 0
    base_revision = 0
    for file in sorted(sizes_bytes, key=lambda file: (file.revision, file.previous is None)):
        if file.previous is not None:
            delta_bytes += sizes_bytes[file]
            link_count += 1
        elif file.revision in led_to:
            if delta_bytes < sizes_bytes[file] and link_count < _LINKS_MAX:
                continue
            delta_bytes = link_count = 0
        elif file.revision in continued or file.revision >= base_revision + _BASE_BATCHES:
            delta_bytes = link_count = 0
            base_revision = file.revision
        else:
            continue
        useful.append(file)
    return useful
