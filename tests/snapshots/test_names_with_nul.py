"""Names with NUL, which an older release's import took: children are counted and named right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.cli import OPTIONS

from projections.snapshots import FailedPreconditionError, Info, Kind, MetaStore, Usage, events

if TYPE_CHECKING:
    from pathlib import Path

PARENTS = ("a", "a\0", "a\0b", "\0")


def info(name: str, parent: str, kind: Kind) -> Info:
    return Info(name, parent, kind, {}, 1, 1)


def test_each_parent_has_its_own_children_whatever_the_names_hold(tmp_path: Path) -> None:
    children = {parent: f"{parent}\0child of {parent!r}" for parent in PARENTS}
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        with store.transaction(writable=True) as tx:
            for number, name in enumerate(PARENTS, 1):
                row = info(name, "", Kind.COMMITTED)
                tx.emit(events.imported(id_number=number, info=row, usage=Usage(1, 1)))
            for number, (parent, name) in enumerate(children.items(), 11):
                row = info(name, parent, Kind.ACTIVE)
                tx.emit(events.imported(id_number=number, info=row, usage=Usage(0, 0)))
            tx.emit(events.id_counter_imported(20))
        store.checkpoint()
    with MetaStore.open(tmp_path / "store", options=OPTIONS) as store:
        store.event_store.check()
        for parent, child in children.items():
            with store.transaction(writable=True) as tx:
                found = [each.name for each in tx.walk_info(parent=parent)]
                assert found == [child]
                with pytest.raises(FailedPreconditionError) as refused:
                    tx.remove(parent)
                assert repr(child)[1:-1] in str(refused.value)
                tx.remove(child)
                tx.remove(parent)
        store.event_store.check()
        with store.transaction() as tx:
            assert list(tx.walk_info()) == []
