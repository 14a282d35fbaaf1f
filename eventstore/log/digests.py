"""The digests of the batches that a handle has appended, for the tree over a store's batches.

That needs nothing else of a batch (`eventstore.proofs.store_tree`), so what the writer keeps here
need not be read from the log again. Batches that are not durable yet are among them, and perhaps
some that never will be: whoever takes digests knows up to where they are.

The writer adds under the store's writer lock, and one other thread takes; they share no lock. A
part is only added to, and one behind which there is another is full and stays as it is.

Memory: 32 bytes a batch until it is taken, 4 MiB at the most. Older ones are in the log.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from eventstore.format.leaves import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_PART_BATCHES = 4096
_PARTS_MAX = 32


class _Part:
    """Digests of batches that follow each other.

    Attributes:
        previous_digest: of the batch before them.
        first_revision: of them.
        digests: one after the other.
    """

    __slots__ = ("digests", "first_revision", "previous_digest")

    def __init__(self, previous_digest: bytes, first_revision: int) -> None:
        self.previous_digest = previous_digest
        self.first_revision = first_revision
        self.digests = bytearray()

    @property
    def beyond(self) -> int:
        """The revision behind them, once it is full."""
        return self.first_revision + _PART_BATCHES

    def before(self, revision: int) -> bytes:
        """Return the digest before that of a revision."""
        if revision == self.first_revision:
            return self.previous_digest
        return self.digest(revision - 1)

    def digest(self, revision: int) -> bytes:
        """Return the digest of a revision."""
        at = (revision - self.first_revision) * DIGEST_BYTES
        return bytes(self.digests[at : at + DIGEST_BYTES])


class AppendedDigests:
    """See the module."""

    def __init__(self, revision: int, digest: bytes) -> None:
        """Begin behind a batch."""
        # What is added to a full one drops the first part.
        self._parts = deque([_Part(digest, revision + 1)], _PARTS_MAX)

    def add(self, digest: bytes) -> None:
        """Add that of the next batch."""
        part = self._parts[-1]
        if len(part.digests) == _PART_BATCHES * DIGEST_BYTES:
            part = _Part(part.digest(part.beyond - 1), part.beyond)
            self._parts.append(part)
        part.digests += digest

    def take(self, first: int, last: int) -> tuple[int, bytes, Iterator[bytes]]:
        """Return the digests from a revision on to another, as far as they are here.

        Those before the last one are dropped once they were given out, a part at a time.

        Returns:
            the revision that they begin at; the digest before it, if there are any; and they.
        """
        # What the writer drops from now on is in here all the same.
        parts = tuple(self._parts)
        start = max(first, parts[0].first_revision)
        parts = tuple(part for part in parts if part.first_revision <= last and part.beyond > start)
        previous = parts[0].before(start) if parts else b""
        return start, previous, self._given(parts, start, last)

    def _given(self, parts: tuple[_Part, ...], start: int, last: int) -> Iterator[bytes]:
        for part in parts:
            revisions = range(max(start, part.first_revision), min(last + 1, part.beyond))
            yield from map(part.digest, revisions)
        while len(self._parts) > 1 and self._parts[0].beyond <= last:
            self._parts.popleft()
