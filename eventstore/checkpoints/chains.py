"""Chains of checkpoint files: what an open at a revision reads, and what must be kept. Pure.

A *base* holds all rows, a *delta* those changed since the checkpoint before it. So the state at a
revision is a *chain*: a base, and the deltas from there on. After a chain was folded into a new
base there are two ways to one state: the new base, and the deltas up to the same revision, which
the next chain or the past may go on to use.

What is kept is decided by names alone. Kept are the chains of the newest two states, and that of
the *fallback*: the newest state that can be loaded without any file of the newest one's chain. So
whatever single file is damaged, the newest state or the fallback can be loaded; and the segments
with batches after the fallback are kept too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_NEWEST_KEPT = 2


class CheckpointFile(NamedTuple):
    """A file of a checkpoint, by its name.

    Attributes:
        revision: that it leads to.
        previous: revision of the checkpoint that it continues; None for a base.
        path: of the file.
        is_rung: whether it is one of the ladder (`rungs`), which leads to a past state only, by a
            chain of its own; `previous` is then the rung that it is packed against.
    """

    revision: int
    previous: int | None
    path: str
    is_rung: bool = False


class Kept(NamedTuple):
    """What must stay.

    Attributes:
        files: of the chains that must be kept.
        fallback: revision from which on batches must be kept; 0 if all of them must.
    """

    files: frozenset[CheckpointFile]
    fallback: int


class Chains:
    """The chains that some files make.

    Attributes:
        revisions: of the states that can be loaded, if no file is damaged, ascending.
    """

    def __init__(self, files: Iterable[CheckpointFile]) -> None:
        self._next: dict[int, CheckpointFile] = {}
        # A base before a delta to the same revision, and what is continued before what continues.
        for file in sorted(files, key=lambda file: (file.revision, file.previous or 0)):
            is_rooted = file.previous is None or file.previous in self._next
            if is_rooted:
                self._next.setdefault(file.revision, file)
        self.revisions = sorted(self._next)

    def __contains__(self, revision: int) -> bool:
        """Say whether the state at a revision can be loaded, if no file is damaged."""
        return revision in self._next

    def to(self, revision: int) -> list[CheckpointFile]:
        """Return the chain of a state that can be loaded: the base, then its deltas."""
        chain = [self._next[revision]]
        while (previous := chain[-1].previous) is not None:
            chain.append(self._next[previous])
        return chain[::-1]


def must_keep(files: Collection[CheckpointFile]) -> Kept:
    """Return which files must be kept, and from where on batches."""
    chains = Chains(files)
    kept: set[CheckpointFile] = set()
    for revision in chains.revisions[-_NEWEST_KEPT:]:
        kept.update(chains.to(revision))
    if not kept:
        return Kept(frozenset(), 0)
    newest = chains.to(chains.revisions[-1])
    others = Chains(file for file in files if file not in newest)
    if not others.revisions:
        return Kept(frozenset(kept), 0)
    fallback = others.revisions[-1]
    kept.update(others.to(fallback))
    return Kept(frozenset(kept), fallback)
