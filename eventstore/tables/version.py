"""Versions: a forward chain, one for each batch, that readers hold.

Each holds what later batches have changed of it: for every key changed since, what it held at this
version. Versions behind all readers are freed by reference counting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any

    from eventstore.tables.table import Table


class Durability(Protocol):
    """What knows which revisions are on stable storage, as a log does."""

    @property
    def durable_revision(self) -> int:
        """The highest such revision; it never falls."""


class Version:
    """A version: the state after one batch. It holds what later batches have changed of it.

    Attributes:
        revision: of the batch.
        digest: its chain digest.
        time_ns: its time.
        undo: for each table, what keys that were changed later held at this version.
        next: the version after it; None for the newest.
    """

    __slots__ = ("__weakref__", "digest", "next", "revision", "time_ns", "undo")

    def __init__(self, revision: int, digest: bytes, time_ns: int) -> None:
        self.revision = revision
        self.digest = digest
        self.time_ns = time_ns
        self.undo: dict[Table, dict[Any, Any]] = {}
        self.next: Version | None = None
