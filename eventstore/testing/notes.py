"""What a run has issued and what it was promised: the two halves of the oracle.

A batch is *issued* when it goes to the log. A revision is *promised* when a commit, or anything
else that says it is durable, has returned; when an open serves it; when a reader begins at it.
After a crash the store must hold a prefix of what was issued, and all that was promised.

Everything is noted in order, with the position of the file system at that moment (how many
operations had changed the medium), so that the expectation at any crash point can be told later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.handle.receipt import Receipt


class Issued(NamedTuple):
    """A batch goes to the log: the revision that it is to have, and its encoded payload."""

    revision: int
    payload: bytes


class Promised(NamedTuple):
    """A revision survives any crash from now on; its digest, if it is known."""

    revision: int
    digest: bytes | None


class Opened(NamedTuple):
    """An open has returned at a revision: what was issued after it is gone for good."""

    revision: int
    digest: bytes


class Given(NamedTuple):
    """A receipt was given out."""

    receipt: Receipt


Note = Issued | Promised | Opened | Given


@dataclass(slots=True)
class Expectation:
    """What a store must hold after a crash.

    Attributes:
        revision: the least that it must reach.
        digests: of revisions that were promised.
        candidates: the payloads that each revision may have.
        receipts: that must be good.
    """

    revision: int = 0
    digests: dict[int, bytes] = field(default_factory=dict)
    candidates: dict[int, list[bytes]] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)

    def take(self, note: Note) -> None:
        """Expect what a note says."""
        match note:
            case Issued(revision, payload):
                self.candidates.setdefault(revision, []).append(payload)
            case Promised(revision, digest):
                self._require(revision, digest)
            case Opened(revision, digest):
                self._require(revision, digest)
                for later in [each for each in self.candidates if each > revision]:
                    del self.candidates[later]
            case Given(receipt):
                self.receipts.append(receipt)

    def copy(self) -> Expectation:
        """Return one that can go on by itself."""
        return Expectation(
            self.revision,
            dict(self.digests),
            {revision: list(payloads) for revision, payloads in self.candidates.items()},
            list(self.receipts),
        )

    def _require(self, revision: int, digest: bytes | None) -> None:
        self.revision = max(self.revision, revision)
        if digest is not None and revision:
            self.digests[revision] = digest


class Notes:
    """The notes of a run, in order. Thread safe.

    Args:
        position: tells the position of the file system.
        start: what must be true before the first note.
    """

    def __init__(self, position: Callable[[], int], start: Expectation | None = None) -> None:
        self._position = position
        self._start = start or Expectation()
        self._notes: list[tuple[int, Note]] = []
        self._lock = threading.Lock()

    def add(self, note: Note) -> None:
        """Add a note, as of now."""
        with self._lock:
            self._notes.append((self._position(), note))

    def at(self, position: int) -> Expectation:
        """Return what must be true after a crash at a position."""
        expectation = self._start.copy()
        with self._lock:
            for noted, note in self._notes:
                if noted > position:
                    break
                expectation.take(note)
        return expectation
