"""What workers tell, and when: one JSON line each, in a file outside the store's file system.

A line is written with one call to the operating system, so it stays when the worker is killed, and
when the power of the store's file system is cut. What is told before an act (`ISSUED`, `CLOSING`)
and what after it (`OPENED`, `ACKNOWLEDGED`) is what the oracle builds on.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

OPENED = "opened"  # revision, numbers: the store is open for writing
CLOSING = "closing"  # it is about to be closed
REFUSED = "refused"  # another process held the lock
ISSUED = "issued"  # author, number: the batch is about to be committed
ACKNOWLEDGED = "acknowledged"  # author, number, receipt: its commit has returned
SEEN = "seen"  # revision, digest: a follower shows it
FAILED = "failed"  # text: an error that only a fault of the medium explains
VIOLATED = "violated"  # text: something that must never be
KILLED = "killed"  # told for it, by who kills it, just before


class Line(NamedTuple):
    time_ns: int
    worker: str
    kind: str
    values: list[Any]


class Reporter:
    """The worker's side."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def tell(self, kind: str, *values: Any) -> None:
        os.write(
            self._descriptor, json.dumps([time.monotonic_ns(), kind, *values]).encode() + b"\n"
        )


class ReportReader:
    """The other side: gives out each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0

    def read_on(self) -> list[Line]:
        """Return what was told since the last call; not what a kill has cut short."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                data = file.read()
        except FileNotFoundError:
            return []
        data = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(data)
        return [
            Line(time_ns, self._path.name, kind, values)
            for time_ns, kind, *values in map(json.loads, data.splitlines())
        ]
