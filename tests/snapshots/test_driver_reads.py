"""What a driver asks for: rows in one walk, ancestors, children, chains, suffixes, own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL
from support.snapshots import create_committed

from eventstore import Event, Projection, TableSpec
from eventstore.testing import STORE_PATH, SimulatedFileSystem
from projections.snapshots import InvalidArgumentError, Kind, MetaStore, NotFoundError, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.snapshots import OpenStore

    from eventstore import WritableTable


@pytest.fixture
def chain(store: MetaStore) -> MetaStore:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base", labels={"a": "1"})
        create_committed(tx, "middle", "base")
        create_committed(tx, "other", "base", {"a": "1"})
        create_committed(tx, "top", "middle")
        tx.create_snapshot(Kind.ACTIVE, "work", "top")
    return store


def test_a_walk_of_rows_is_that_of_infos_with_id_and_usage(chain: MetaStore) -> None:
    asked: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        ((), {}),
        (("labels.a==1",), {}),
        (('name~="^m"', "kind==active"), {}),
        ((), {"parent": "base"}),
        (("name==top",), {"kind": Kind.VIEW}),
    ]
    with chain.transaction() as now:
        for filters, keywords in asked:
            infos = list(now.walk_info(*filters, **keywords))
            assert list(now.walk(*filters, **keywords)) == [now.get_info(i.name) for i in infos]
        with pytest.raises(InvalidArgumentError):
            now.walk("name=")


def test_ancestors_children_and_the_usage_of_a_chain(chain: MetaStore) -> None:
    with chain.transaction() as now:
        assert [info.name for _, info, _ in now.ancestors("work")] == ["top", "middle", "base"]
        assert now.ancestors("base") == ()
        assert [info.name for _, info, _ in now.children("base")] == ["middle", "other"]
        assert list(now.children("work")) == []
        assert now.chain_usage("top") == Usage(3, 30)
        assert now.chain_usage("work") == Usage(3, 30)
        for read in (now.ancestors, now.children, now.chain_usage):
            with pytest.raises(NotFoundError):
                read("none")


def test_a_name_of_containerd_is_found_by_its_last_part(store: MetaStore) -> None:
    names = ["default/12/sha256:ab", "k8s.io/7/sha256:ab", "k8s.io/8/a/b", "x/y/sha256:ab", "plain"]
    with store.transaction(writable=True) as tx:
        for name in names:
            create_committed(tx, name)
        assert [row[1].name for row in tx.find("sha256:ab")] == names[:2]
    with store.transaction() as now:
        for suffix, found in (
            ("sha256:ab", names[:2]),
            ("a/b", names[2:3]),
            ("x/y/sha256:ab", names[3:4]),
            ("plain", names[4:]),
            ("default/12/sha256:ab", []),
        ):
            assert [info.name for _, info, _ in now.find(suffix)] == found
        with pytest.raises(InvalidArgumentError):
            now.find(5)  # type: ignore[arg-type]
    with store.transaction(writable=True) as tx:
        tx.remove(names[0])
        assert [row[1].name for row in tx.find("sha256:ab")] == names[1:2]


DEVICES = TableSpec[str, int]("devices")


class Devices(Projection):
    """The device of each snapshot."""

    name, version, tables = "devices", 1, (DEVICES,)

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        if event.type == "device.made":
            tables["devices"].put(event.data["key"], event.data["device"])


def test_a_drivers_own_tables_change_with_the_snapshots_or_not_at_all(
    open_store: OpenStore,
) -> None:
    store = open_store(projections=[Devices()])
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "k")
        tx.emit(Event("device.made", {"key": "k", "device": 7}))
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "not")
        tx.emit(Event("device.made", {"key": "not", "device": 8}))
        tx.rollback()
    store.close()
    again = open_store(projections=[Devices()])
    with again.transaction() as now:
        assert dict(now.table(DEVICES).items()) == {"k": 7}
        assert now.id_map() == {"1": "k"}


def test_a_store_with_own_tables_is_made_and_opened_on_any_file_system() -> None:
    disk: Any = {"file_system": SimulatedFileSystem(), "options": SMALL}
    with MetaStore.create(STORE_PATH, purpose="test", projections=[Devices()], **disk) as store:  # noqa: SIM117
        with store.transaction(writable=True) as tx:
            tx.emit(Event("device.made", {"key": "k", "device": 7}))
    with MetaStore.open(STORE_PATH, projections=[Devices()], **disk) as store:  # noqa: SIM117
        with store.transaction() as now:
            assert now.table(DEVICES)["k"] == 7
