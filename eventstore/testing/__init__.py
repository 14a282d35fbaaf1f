"""The verification kit: what the engine is proved with, for users' own projections too.

- `SimulatedFileSystem` stands in for the machine's file system and knows what a crash would leave
  of it. Give it to `EventStore.open(…, file_system=…)`.
- `explore` runs a workload, crashes it at every operation, in every way while they are few, and
  the recoveries too, and judges what is found.
- `check_crash_replay` takes a `Domain`: projections, a Hypothesis strategy for commands, and a
  plain model. It searches for a script of transactions, checkpoints, restarts and crashes after
  which the store and the model disagree, and prints the smallest that it finds, as a program. It
  also finds projections that are no pure folds. It alone needs Hypothesis:
  `pip install '.[testing]'` in a checkout.
- `watched`, `check_fold`, `check_hash_seed` and `check_ignores_unknown` are what these programs
  use: guards around projections, and comparisons of a store's tables with folds of its batches.
- `check_upgrade` opens what old projections have written with new ones, and compares all that they
  show with what they fold of the batches alone.

A check that passes has found nothing. That does not show that nothing is there:

- a model, or a command, that is changed in place is found by its `repr`, so not where that hides
  the content;
- what depends on the time of day, on the locale or on the machine is found where two folds differ
  in it; two runs within one second, on one machine, agree;
- crashes are tried at some operations of small scripts: what only one crash of a long script shows
  may be missed, and what needs threads, or a real disk, is not looked for;
- scripts are drawn: commands that are refused most of the time try little (`Checked` has the
  share);
- the smallest script is one of which no part can be left out. There may be a smaller one that looks
  quite different.

The engine never imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.testing.domain import Domain
from eventstore.testing.elsewhere import NotImportableError, check_hash_seed
from eventstore.testing.explore import DEEP, QUICK, Depth, crash_at_end, explore
from eventstore.testing.faults import Call, FailCall, Failure, FaultHook, PowerCutError
from eventstore.testing.images import CrashImage, crash_images
from eventstore.testing.medium import Medium
from eventstore.testing.oracle import Defect
from eventstore.testing.purity import check_fold, check_ignores_unknown, watched
from eventstore.testing.report import Checked, InconsistencyError, Report
from eventstore.testing.session import SMALL, STORE_PATH, NotedStore, Session
from eventstore.testing.simulated import SimulatedFileSystem, Step
from eventstore.testing.upgrade import CheckedUpgrade, check_upgrade

if TYPE_CHECKING:
    from eventstore.testing.consistency import check_crash_replay

__all__ = [
    "DEEP",
    "QUICK",
    "SMALL",
    "STORE_PATH",
    "Call",
    "Checked",
    "CheckedUpgrade",
    "CrashImage",
    "Defect",
    "Depth",
    "Domain",
    "FailCall",
    "Failure",
    "FaultHook",
    "InconsistencyError",
    "Medium",
    "NotImportableError",
    "NotedStore",
    "PowerCutError",
    "Report",
    "Session",
    "SimulatedFileSystem",
    "Step",
    "check_crash_replay",
    "check_fold",
    "check_hash_seed",
    "check_ignores_unknown",
    "check_upgrade",
    "crash_at_end",
    "crash_images",
    "explore",
    "watched",
]


def __getattr__(name: str) -> Any:
    """Import what needs Hypothesis when it is first asked for."""
    if name != "check_crash_replay":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventstore.testing import consistency  # noqa: PLC0415  (Hypothesis may not be there)

    return consistency.check_crash_replay
