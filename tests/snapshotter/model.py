"""A plain model of what the driver's calls do to the snapshots."""

from __future__ import annotations

from typing import Any, NamedTuple

from projections.snapshots import Kind
from snapledger.snapshotter.audit import origin

Call = tuple[Any, ...]


class Entry(NamedTuple):
    """A snapshot: its number, counted from 1 as they are made, its kind and its parent."""

    number: int
    kind: Kind
    parent: str


class Model(NamedTuple):
    """Snapshots by their names, and which of them a key was last committed as."""

    snapshots: dict[str, Entry]
    commits: dict[str, int]
    last: int

    def after(self, call: Call) -> Model | None:
        """Return the model after a call; None if that is refused."""
        match call:
            case ("prepare", key, parent):
                return self._created(key, Kind.ACTIVE, parent)
            case ("view", key, parent):
                return self._created(key, Kind.VIEW, parent)
            case ("commit", key, name) if key in self.snapshots:
                entry = self.snapshots[key]
                if name in self.snapshots or entry.kind is not Kind.ACTIVE:
                    return None
                return self._renamed(key, name, entry)
            case ("commit", key, name):
                return self._repeated(key, name)
            case ("remove", key):
                if key not in self.snapshots or self._has_children(key):
                    return None
                left = {name: each for name, each in self.snapshots.items() if name != key}
                return self._replace(snapshots=left)
        return self

    def _created(self, key: str, kind: Kind, parent: str) -> Model | None:
        if key in self.snapshots:
            return None
        if parent:
            found = self.snapshots.get(parent)
            if found is None or found.kind is not Kind.COMMITTED:
                return None
        made = Entry(self.last + 1, kind, parent)
        return self._replace(snapshots={**self.snapshots, key: made}, last=self.last + 1)

    def _renamed(self, old: str, new: str, entry: Entry) -> Model:
        left = {name: each for name, each in self.snapshots.items() if name != old}
        left[new] = entry._replace(kind=Kind.COMMITTED)
        return self._replace(snapshots=left, commits={**self.commits, old: entry.number})

    def _repeated(self, key: str, name: str) -> Model | None:
        """Take a commit of what isn't there for one whose answer was lost, if it may be."""
        number = self.commits.get(key)
        for held, entry in self.snapshots.items():
            if entry.number != number or entry.kind is not Kind.COMMITTED:
                continue
            if held == name:
                return self
            is_same = origin(held) == origin(name) and origin(name).namespace is not None
            if is_same and name not in self.snapshots and not self._has_children(held):
                return self._renamed(held, name, entry)
        return None

    def _has_children(self, name: str) -> bool:
        return any(each.parent == name for each in self.snapshots.values())


EMPTY = Model({}, {}, 0)
