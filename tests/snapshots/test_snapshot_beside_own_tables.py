"""A driver keeps tables of its own beside the snapshots, in one batch with them."""

from __future__ import annotations

from typing import Any

from eventstore import Event, EventStore, Projection, TableSpec
from eventstore.testing import SimulatedFileSystem
from projections.snapshots import Kind, MetaStore, SnapshotsProjection


class Mounts(Projection):
    name = "mounts"
    version = 1
    tables = (TableSpec("mounts"),)

    def apply(self, event: Event, tables: Any) -> None:
        if event.type == "mounted":
            tables["mounts"].put(event.data["id"], True)


def test_a_batch_holds_what_a_driver_emits_beside_the_snapshot() -> None:
    file_system = SimulatedFileSystem()
    engine = EventStore.open("/s", [SnapshotsProjection(), Mounts()], file_system=file_system)
    with MetaStore(engine) as store:
        with store.transaction(writable=True) as tx:
            snapshot = tx.create_snapshot(Kind.ACTIVE, "a")
            tx.emit(Event("mounted", {"id": snapshot.id}))
        with store.transaction() as now:
            assert now.get("mounts", snapshot.id) is True
        [batch] = engine.batches()
        assert [event.type for event in batch.events] == ["snapshot.created", "mounted"]
