"""Every workload survives a crash at each of its operations, and at those of the recovery.

The usual run samples the images of a crash point that has more than eight; the long one,
`--hypothesis-profile=deep`, those that have more than 300, and crashes far more recoveries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.crash import LEDGER, WORKLOADS, rolls
from support.ledger import balances, total

from eventstore.maintenance import checkpointing, compaction, ladder
from eventstore.testing import DEEP, Defect, Depth, NotedStore, explore

if TYPE_CHECKING:
    from collections.abc import Callable


USUAL = Depth(images=4, double_crashes=1, double_crashes_after_kill=2)


@pytest.fixture(autouse=True)
def _small_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small stores write deltas, and fold them soon."""
    monkeypatch.setattr(checkpointing, "BASE_ROWS", 16)
    monkeypatch.setattr(compaction, "_CHAIN_DELTAS", 2)
    monkeypatch.setattr(compaction, "_FOLD_SHARE", 1)
    monkeypatch.setattr(ladder, "_FILE_BYTES_MIN", 1)


def both_projections_agree(store: NotedStore) -> None:
    with store.transaction() as tx:
        if "accounts" in store.stats()["rows"]:
            assert sum(balances(tx).values()) == total(tx)


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_crash_loses_or_invents_a_batch(
    name: str, deep: bool, record_proof: Callable[..., None]
) -> None:
    workload, projections = WORKLOADS[name]
    report = explore(
        workload,
        projections,
        depth=DEEP if deep else USUAL,
        inspect=both_projections_agree if projections is LEDGER else None,
    )
    print(f"{name}: {report}")
    report.require_sound()
    record_proof(
        f"crash exploration: {name}",
        operations=report.operations,
        crash_points=report.crash_points,
        crash_points_total=report.crash_points_total,
        images=report.images,
        recoveries=report.recoveries,
        kills=report.kills,
        double_crashes=report.double_crashes,
        verified=report.verified,
        acknowledged_lost=report.counts[Defect.LOST],
        phantom=report.phantoms,
        wrong_verdict=report.counts[Defect.REFUSED],
    )


def test_no_crash_loses_or_invents_a_batch_beside_the_preparing_thread(deep: bool) -> None:
    explore(rolls, LEDGER, depth=DEEP if deep else USUAL, own_threads=True).require_sound()
