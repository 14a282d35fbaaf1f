"""The verification kit: what the engine is proved with, for users' own projections too.

- `SimulatedFileSystem` stands in for the machine's file system and knows what a crash would leave
  of it. Give it to `EventStore.open(…, file_system=…)`.
- `explore` runs a workload, crashes it at every operation, in every way while they are few, and
  the recoveries too, and judges what is found.

The engine never imports this package.
"""

from __future__ import annotations

from eventstore.testing.explore import DEEP, QUICK, Depth, crash_at_end, explore
from eventstore.testing.faults import Call, FailCall, Failure, FaultHook, PowerCutError
from eventstore.testing.images import CrashImage, crash_images
from eventstore.testing.medium import Medium
from eventstore.testing.oracle import Fault
from eventstore.testing.report import InconsistencyError, Report
from eventstore.testing.session import SMALL, STORE_PATH, NotedStore, Session
from eventstore.testing.simulated import SimulatedFileSystem, Step

__all__ = [
    "DEEP",
    "QUICK",
    "SMALL",
    "STORE_PATH",
    "Call",
    "CrashImage",
    "Depth",
    "FailCall",
    "Failure",
    "Fault",
    "FaultHook",
    "InconsistencyError",
    "Medium",
    "NotedStore",
    "PowerCutError",
    "Report",
    "Session",
    "SimulatedFileSystem",
    "Step",
    "crash_at_end",
    "crash_images",
    "explore",
]
