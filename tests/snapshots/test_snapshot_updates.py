"""What update_info changes, by its field paths; and the labels that commits and imports leave."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from support.snapshots import content, create_committed, names

from projections.snapshots import Info, Kind, MetaStore, Usage, events
from projections.snapshots.model import LABEL_PAIR_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

BEFORE = {"a": "1", "b": "2", "x/y.z": "3"}


@pytest.mark.parametrize(
    ("labels", "paths", "after"),
    [
        # Without paths, or by "labels", all are replaced.
        ({"c": "4"}, (), {"c": "4"}),
        ({"c": "4"}, ("labels",), {"c": "4"}),
        ({"c": "4"}, ("labels", "labels"), {"c": "4"}),
        ({}, (), {}),
        (None, (), {}),
        (None, ("labels",), {}),
        ({"a": "", "c": "4"}, (), {"c": "4"}),
        # By "labels.KEY" that one is.
        ({"a": "9", "b": "9"}, ("labels.a",), {**BEFORE, "a": "9"}),
        ({"c": "4"}, ("labels.c",), {**BEFORE, "c": "4"}),
        ({"x/y.z": "9"}, ("labels.x/y.z",), {**BEFORE, "x/y.z": "9"}),
        (
            {"x/y.z": "9", "a": "8"},
            ("labels.a", "labels.x/y.z"),
            {"a": "8", "b": "2", "x/y.z": "9"},
        ),
        ({"labels.a": "9"}, ("labels.labels.a",), {**BEFORE, "labels.a": "9"}),
        ({"a ": "9"}, ("labels.a ",), {**BEFORE, "a ": "9"}),
        ({".": "9"}, ("labels..",), {**BEFORE, ".": "9"}),
        ({'"a"': "9"}, ('labels."a"',), {**BEFORE, '"a"': "9"}),
        # An empty or absent value removes it.
        ({"a": ""}, ("labels.a",), {"b": "2", "x/y.z": "3"}),
        ({}, ("labels.a",), {"b": "2", "x/y.z": "3"}),
        (None, ("labels.a", "labels.b"), {"x/y.z": "3"}),
        ({}, ("labels.none",), BEFORE),
        ({"": ""}, ("labels.",), BEFORE),
        # Paths work one after the other.
        ({"c": "4", "a": "9"}, ("labels", "labels.a"), {"c": "4", "a": "9"}),
        ({"c": "4", "a": "9"}, ("labels.a", "labels"), {"c": "4", "a": "9"}),
        # Labels that no path names are not looked at.
        ({"a": "9", "b": "x" * 5000}, ("labels.a",), {**BEFORE, "a": "9"}),
    ],
)
@pytest.mark.parametrize("kind", list(Kind))
def test_update_changes_what_its_paths_name(
    store: MetaStore,
    labels: Mapping[str, str] | None,
    paths: tuple[str, ...],
    after: dict[str, str],
    kind: Kind,
) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "other", labels=BEFORE)
        if kind is Kind.COMMITTED:
            create_committed(tx, "it", labels=BEFORE)
        else:
            tx.create_snapshot(kind, "it", labels=BEFORE)
    with store.transaction(writable=True) as tx:
        id_before, before, usage = tx.get_info("it")
        updated = tx.update_info("it", labels, *paths)
        assert updated == before._replace(labels=after, updated_ns=updated.updated_ns)
        assert updated.updated_ns >= before.updated_ns
        assert tx.get_info("it") == (id_before, updated, usage)
        assert tx.get_info("other")[1].labels == BEFORE
        for key in {*BEFORE, *after} - {""}:
            value = after.get(key)
            found = names(tx, f'labels."{key}"=="{value}"') if '"' not in key else ["it"]
            assert ("it" in found) is (value is not None)


def test_labels_of_another_info_may_be_given(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "from", labels=BEFORE)
        create_committed(tx, "to")
        assert tx.update_info("to", tx.get_info("from")[1].labels).labels == BEFORE
        tx.create_snapshot(Kind.ACTIVE, "new", "to", tx.get_info("from")[1].labels)
        assert tx.get_info("new")[1].labels == BEFORE


def test_commit_replaces_the_labels(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        for name, labels in (("none", None), ("empty", {}), ("other", {"c": "4", "d": ""})):
            tx.create_snapshot(Kind.ACTIVE, "key", labels=BEFORE)
            tx.commit_active("key", name, Usage(), labels)
        assert [info.labels for info in tx.walk_info()] == [{}, {}, {"c": "4"}]
        assert names(tx, "labels.a==1") == []


def test_labels_beyond_the_limits_that_an_import_brought_survive_updates_of_others(
    store: MetaStore,
) -> None:
    brought = {"long": "x" * LABEL_PAIR_BYTES_MAX, "a": "1"}
    info = Info("it", "", Kind.COMMITTED, MappingProxyType(brought), 5, 6)
    with store.transaction(writable=True) as tx:
        tx.emit(events.imported(id_number=1, info=info, usage=Usage()))
        tx.emit(events.id_counter_imported(1))
        assert tx.update_info("it", {"a": "2"}, "labels.a").labels == {**brought, "a": "2"}
        assert tx.update_info("it", {}, "labels.long").labels == {"a": "2"}


def test_update_of_several_transactions_is_seen_by_each_reader_as_it_was(
    store: MetaStore,
) -> None:
    readers = []
    for number in range(10):
        with store.transaction(writable=True) as tx:
            if number:
                tx.update_info("it", {"n": f"{number}"}, "labels.n")
            else:
                create_committed(tx, "it", labels={"n": "0", "same": "1"})
        readers.append((number, store.transaction()))
    for number, reader in readers:
        assert content(reader)[0][0][1].labels == {"n": f"{number}", "same": "1"}
        for other in range(10):
            assert names(reader, f"labels.n=={other}") == ["it"] * (number == other)
