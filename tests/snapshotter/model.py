"""A plain model of what the driver's calls do to the snapshots."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from snapledger.snapshotter.audit import origin

Call = tuple[Any, ...]


@dataclass(frozen=True)
class Entry:
    """A snapshot: its number, counted from 1 as they are made, its kind and its parent."""

    number: int
    kind: str
    parent: str


@dataclass(frozen=True)
class Model:
    """What is to be seen, snapshots by their names, and what only calls to come will show.

    Attributes:
        snapshots: by their names.
        commits: which of them a key was last committed as.
        last: the number of the last one made.
    """

    snapshots: dict[str, Entry]
    commits: dict[str, int] = field(default_factory=dict, compare=False)
    last: int = field(default=0, compare=False)

    def after(self, call: Call) -> Model | None:
        """Return the model after a call; None if that is refused."""
        match call:
            case ("prepare", key, parent):
                return self._created(key, "active", parent)
            case ("view", key, parent):
                return self._created(key, "view", parent)
            case ("commit", key, name) if key in self.snapshots:
                entry = self.snapshots[key]
                if name in self.snapshots or entry.kind != "active":
                    return None
                return self._renamed(key, name, entry)
            case ("commit", key, name):
                return self._repeated(key, name)
            case ("remove", key):
                if key not in self.snapshots or self._has_children(key):
                    return None
                left = {name: each for name, each in self.snapshots.items() if name != key}
                return replace(self, snapshots=left)
        return self

    def _created(self, key: str, kind: str, parent: str) -> Model | None:
        if key in self.snapshots:
            return None
        if parent:
            found = self.snapshots.get(parent)
            if found is None or found.kind != "committed":
                return None
        made = Entry(self.last + 1, kind, parent)
        return replace(self, snapshots={**self.snapshots, key: made}, last=self.last + 1)

    def _renamed(self, old: str, new: str, entry: Entry) -> Model:
        left = {name: each for name, each in self.snapshots.items() if name != old}
        left[new] = replace(entry, kind="committed")
        return replace(self, snapshots=left, commits={**self.commits, old: entry.number})

    def _repeated(self, key: str, name: str) -> Model | None:
        """Take a commit of what isn't there for one whose answer was lost, if it may be."""
        number = self.commits.get(key)
        for held, entry in self.snapshots.items():
            if entry.number != number or entry.kind != "committed":
                continue
            if held == name:
                return self
            is_same = origin(held) == origin(name) and origin(name).namespace is not None
            if is_same and name not in self.snapshots and not self._has_children(held):
                return self._renamed(held, name, entry)
        return None

    def _has_children(self, name: str) -> bool:
        return any(each.parent == name for each in self.snapshots.values())


EMPTY = Model({})
