"""No crash takes a dropped batch's place in the tree: leaves are durable before a segment goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.crash import LEDGER, WORKLOADS, opened, pay

from eventstore import Retention
from eventstore.maintenance import checkpointing, compaction, ladder
from eventstore.testing import DEEP, QUICK, SMALL, NotedStore, Session, explore

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _small_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small stores write deltas, and fold them soon."""
    monkeypatch.setattr(checkpointing, "BASE_ROWS", 16)
    monkeypatch.setattr(compaction, "_CHAIN_DELTAS", 2)
    monkeypatch.setattr(compaction, "_FOLD_SHARE", 1)
    monkeypatch.setattr(ladder, "_FILE_BYTES_MIN", 1)


def dropping_at_once(session: Session) -> None:
    """A first compaction that saves the first leaves, and drops their segments at once."""
    session.options = replace(SMALL, retention=Retention.none())
    with opened(session) as store:
        for number in range(3):
            pay(store, "a", number, 2800)
            store.checkpoint()
        store.compact()


TREES = {
    name: WORKLOADS[name][0] for name in ("compaction", "retention", "deltas", "forgetting")
} | {"dropping at once": dropping_at_once}


@pytest.mark.parametrize("name", TREES)
def test_every_recovered_store_proves_all_of_its_batches(
    name: str, deep: bool, record_proof: Callable[..., None]
) -> None:
    workload = TREES[name]
    digests: dict[tuple[bytes, int], bytes] = {}
    dropped = 0

    def noting(session: Session) -> None:
        """Run the workload, and note the digests that it ends with."""
        workload(session)
        with session.open() as store:
            for revision in range(1, store.tree_head().size + 1):
                proof = store.inclusion_proof(revision)
                digests[store.store_id, revision] = proof.digest

    def proves_all(store: NotedStore) -> None:
        nonlocal dropped
        head = store.tree_head()
        kept = {record.revision: record.digest for record in store.raw_records()}
        for revision in range(1, head.size + 1):
            proof = store.inclusion_proof(revision)
            proof.check()
            if revision in kept:
                assert proof.digest == kept[revision]
            else:
                dropped += 1
                assert proof.digest == digests[store.store_id, revision]

    depth = DEEP if deep else replace(QUICK, crash_points=20, images=8)
    report = explore(noting, LEDGER, depth=depth, inspect=proves_all)
    print(f"{name}: {report}; {dropped} proofs of dropped batches")
    report.require_sound()
    assert dropped or name == "compaction"
    record_proof(f"trees after crashes: {name}", images=report.images, dropped=dropped)
