"""What the engine itself commits (`eventstore.engine_events`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.format.codec import encode_event
from eventstore.handle.write_transaction import WriteTransaction

if TYPE_CHECKING:
    from eventstore.event import Event


class EngineTransaction(WriteTransaction):
    """A write transaction whose events are the engine's own: they change no table."""

    __slots__ = ()

    def note(self, event: Event) -> None:
        """Make one of the engine's events part of the batch."""
        self.begin()
        self._events.append(encode_event(event))

    def _frees_space(self) -> bool:
        """Say yes: what it notes is what makes space, so a full disk must not keep it out."""
        return True
