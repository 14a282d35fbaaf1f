"""Stages that are made ahead, so that a Prepare neither makes nor syncs one.

Nearly all Prepares ask for the same empty directories. One sync makes many of them durable, and
nobody waits for it: a sync for each was half of what a Prepare took. A spare has the name of a
stage, and whatever ends the driver, the next start takes it for one that nothing refers to.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from projections.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snapledger.snapshotter.directories import Directories
    from snapledger.snapshotter.strategy import Strategy

COUNT = 64
"""So many are kept: each costs three inodes."""

_SECONDS_AFTER_FAILURE = 5.0
_log = logging.getLogger(__name__)


class Spares:
    """Empty stages of active snapshots, for any number of threads."""

    def __init__(self, directories: Directories, strategy: Strategy, count: int) -> None:
        """Keep up to `count`, from the first `fill` on."""
        self._directories = directories
        self._strategy = strategy
        self._count = count
        self._ready: deque[str] = deque()
        self._are_few = threading.Event()
        self._is_over = False

    def take(self) -> str | None:
        """Return a stage, which is whole and durable, and in flight; None if there is none."""
        try:
            name = self._ready.popleft()
        except IndexError:
            name = None
        if len(self._ready) <= self._count // 2:
            self._are_few.set()
        return name

    def names(self) -> list[str]:
        """Return those that are ready."""
        return list(self._ready)

    def fill(self) -> None:
        """Make as many as are missing, durably.

        Raises:
            OSError: they can't be made; what there is of them is removed.
        """
        made: list[str] = []
        filled: list[str] = []
        try:
            for _ in range(self._count - len(self._ready)):
                made.append(self._directories.begin_stage())
                path = self._directories.of(made[-1])
                filled += self._strategy.fill(path, Kind.ACTIVE, None, {})
            if made:
                self._directories.sync_stage(filled)
        except BaseException:
            # One that can't be removed now either is a leftover that the next start removes.
            for name in made:
                with contextlib.suppress(OSError):
                    self._directories.discard(name)
            raise
        self._ready.extend(made)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Have a thread fill them up, whenever they are few, until the end of the block."""
        if self._count == 0:
            yield
            return
        self._are_few.set()
        filling = threading.Thread(target=self._keep, name="spares")
        filling.start()
        try:
            yield
        finally:
            self._is_over = True
            self._are_few.set()
            filling.join()
            while self._ready:
                with contextlib.suppress(OSError):
                    self._directories.discard(self._ready.popleft())

    def _keep(self) -> None:
        while True:
            self._are_few.wait()
            self._are_few.clear()
            if self._is_over:
                return
            try:
                self.fill()
            except OSError as error:
                _log.warning("no directories can be made ahead", extra={"error": str(error)})
                # A Prepare makes its own, and tells its caller what is wrong.
                self._are_few.wait(_SECONDS_AFTER_FAILURE)
