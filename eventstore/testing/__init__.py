"""The verification kit: what the engine is proved with, for users' own projections too.

- `SimulatedFileSystem` stands in for the machine's file system and knows what a crash would leave
  of it. Give it to `EventStore.open(…, file_system=…)`.
- `explore` runs a workload, crashes it at every operation, in every way while they are few, and
  the recoveries too, and judges what is found.
- `check_crash_replay` takes a `Domain`: projections, a Hypothesis strategy for commands, and a
  plain model. It searches for a script of transactions, checkpoints, restarts and crashes after
  which the store and the model disagree, and prints the smallest that it finds. It alone needs
  Hypothesis: `pip install '.[testing]'` in a checkout.

The engine never imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.testing.domain import Domain
from eventstore.testing.explore import DEEP, QUICK, Depth, crash_at_end, explore
from eventstore.testing.faults import Call, FailCall, Failure, FaultHook, PowerCutError
from eventstore.testing.images import CrashImage, crash_images
from eventstore.testing.medium import Medium
from eventstore.testing.oracle import Defect
from eventstore.testing.report import InconsistencyError, Report
from eventstore.testing.session import SMALL, STORE_PATH, NotedStore, Session
from eventstore.testing.simulated import SimulatedFileSystem, Step

if TYPE_CHECKING:
    from eventstore.testing.consistency import check_crash_replay

__all__ = [
    "DEEP",
    "QUICK",
    "SMALL",
    "STORE_PATH",
    "Call",
    "CrashImage",
    "Defect",
    "Depth",
    "Domain",
    "FailCall",
    "Failure",
    "FaultHook",
    "InconsistencyError",
    "Medium",
    "NotedStore",
    "PowerCutError",
    "Report",
    "Session",
    "SimulatedFileSystem",
    "Step",
    "check_crash_replay",
    "crash_at_end",
    "crash_images",
    "explore",
]


def __getattr__(name: str) -> Any:
    """Import what needs Hypothesis when it is first asked for."""
    if name != "check_crash_replay":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventstore.testing import consistency  # noqa: PLC0415  (Hypothesis may not be there)

    return consistency.check_crash_replay
