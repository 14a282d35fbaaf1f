"""What every handle has, writing or following: a log, its state, and what is shown of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from eventstore.files.local import local_file_system
from eventstore.handle.closing import Closing
from eventstore.upcasting import all_upcasters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.files.interface import FileSystem
    from eventstore.handle.opening import Opened
    from eventstore.reports import RecoveryReport
    from eventstore.tables.state import State


T = TypeVar("T")


class Reading:
    """A handle on a log for those who read.

    Attributes:
        path: of the store.
    """

    def __init__(self, parts: Opened) -> None:
        self.path = parts.path
        self._file_system = parts.file_system
        self._log = parts.log
        self._state = parts.state
        # The state of a follower has to be brought up to date.
        self._refresh = parts.refresh
        self._projections = parts.projections
        self._upcasters = all_upcasters(parts.projections)
        self._closing = Closing()

    @property
    def recovery(self) -> RecoveryReport:
        """What opening found and did."""
        return self._log.recovery

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn when the store was made."""
        return self._log.store_id

    def _read_amid(self, items: Iterator[T]) -> Iterator[T]:
        """Yield on as `Closing.told_amid` does, and keep this handle from being dropped meanwhile.

        Nobody else may have it: `for batch in EventStore.open(…).batches()`.
        """
        yield from self._closing.told_amid(items)

    def _follow(self, refresh: Callable[[], State]) -> None:
        state = refresh()
        if state is not self._state:  # it has begun again from a checkpoint
            self._state = state
            self._renew_locks_in_children(state)

    def _process(self) -> FileSystem:
        """Return what knows when this process forks."""
        return self._file_system or local_file_system()

    def _shown_revision(self) -> int:
        """Return the revision that everybody is shown: that which a read transaction would see."""
        if self._refresh is not None:
            self._follow(self._refresh)
        return self._state.shown(self._log).revision

    def _renew_locks_in_children(self, state: State) -> None:
        """See to it that readers of a state can read on in the child of a fork.

        The tables are told, not the state: a reader may be all that is left of it.
        """
        for table in state.tables.values():
            self._process().call_in_forked_child(table.renew_lock)
