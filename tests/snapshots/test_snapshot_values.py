"""Infos, kinds, usages and snapshots are values: immutable, comparable, copyable, picklable."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from support.snapshots import create_committed

from projections.snapshots import Info, InvalidArgumentError, Kind, MetaStore, Snapshot, Usage

NS = 1_600_000_000_123_456_789
LABELS = MappingProxyType({"a": "1", "b": "2"})
INFO = Info("name", "parent", Kind.COMMITTED, LABELS, NS, NS + 1)
VALUES = [INFO, INFO._replace(labels=MappingProxyType({})), Snapshot(Kind.VIEW, "7", ("3", "1"))]
VALUES += [Usage(1, 2), Usage(), *Kind]
each_value = pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)


@each_value
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_value_survives_pickling(value: Any, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(value, protocol))
    assert again == value
    assert type(again) is type(value)
    assert type(getattr(again, "labels", LABELS)) is MappingProxyType


@each_value
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copy_is_the_same_value(value: Any, make: Any) -> None:
    assert make(value) == value
    assert type(make(value)) is type(value)


@each_value
def test_equal_values_have_equal_hashes(value: Any) -> None:
    assert hash(copy.deepcopy(value)) == hash(value)
    assert len({value, copy.deepcopy(value)}) == 1


def test_order_of_labels_makes_no_difference() -> None:
    turned = INFO._replace(labels=MappingProxyType({"b": "2", "a": "1"}))
    assert turned == INFO
    assert hash(turned) == hash(INFO)
    assert INFO._replace(labels=MappingProxyType({"a": "1"})) != INFO


@each_value
def test_value_is_immutable(value: Any) -> None:
    for name in getattr(value, "_fields", ("value", "name")):
        with pytest.raises(AttributeError):
            setattr(value, name, None)
    if not isinstance(value, Kind):
        with pytest.raises(AttributeError):
            value.extra = None


@pytest.mark.parametrize("labels", [{}, {"a": "1"}])
def test_labels_of_an_info_are_read_only_and_its_own(
    store: MetaStore, labels: dict[str, str]
) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "a", labels=labels)
        given = dict(labels)
        labels["later"] = "x"
        for info in (tx.get_info("a")[1], tx.update_info("a", given), next(tx.walk_info())):
            assert info.labels == given
            with pytest.raises(TypeError):
                info.labels["b"] = "2"  # type: ignore[index]
            with pytest.raises((TypeError, AttributeError)):
                info.labels.clear()  # type: ignore[attr-defined]
        given["later"] = "y"
        assert "later" not in tx.get_info("a")[1].labels


def test_info_does_not_change_when_its_snapshot_does(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "a", labels={"a": "1"})
        info = tx.get_info("a")[1]
        kept = copy.deepcopy(info)
        tx.update_info("a", {"a": "2"})
        tx.commit_active("a", "b", Usage())
        assert info == kept


@pytest.mark.parametrize("ns", [0, 1, 999, 1000, NS, -1, -1_000_000_001, 2**63 - 1, -(2**63)])
def test_times_are_utc_and_cut_to_microseconds(ns: int) -> None:
    info = INFO._replace(created_ns=ns, updated_ns=ns)
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
    assert info.created == info.updated == expected
    assert info.created.tzinfo is UTC
    assert pickle.loads(pickle.dumps(info)).created_ns == ns


@pytest.mark.parametrize("kind", list(Kind))
def test_kind_parses_from_its_text(kind: Kind) -> None:
    assert Kind.parse(str(kind)) is kind
    assert str(kind) == f"{kind}" == kind.value == kind.name.lower()


@pytest.mark.parametrize(
    "text", ["", "Active", "ACTIVE", "active ", "unknown", None, 1, [], b"view"]
)
def test_other_text_is_no_kind(text: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="one of view, active, committed"):
        Kind.parse(text)


def test_infos_of_a_store_may_be_sent_to_another_process(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base", labels={"a": "1"})
        create_committed(tx, "child", "base")
        row = tx.get_info("base")
        infos = list(tx.walk_info())
        assert pickle.loads(pickle.dumps((row, infos))) == (row, infos)
