"""The projection folds its events into the same tables each time; its check finds wrong ones."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import content, content_of, create_committed

from eventstore import Event
from projections.snapshots import (
    Info,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    SnapshotsProjection,
    Usage,
    events,
)
from projections.snapshots.projection import (
    BY_KIND,
    BY_LABEL,
    BY_PARENT,
    CHILDREN,
    COUNTERS,
    LAST_ID,
    SNAPSHOTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.snapshots import OpenStore


class PlainTable(dict[Any, Any]):
    """A table without anything behind it."""

    put = dict.__setitem__
    delete = dict.__delitem__

    def items(self, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:  # type: ignore[override]
        for key in sorted(self):
            if (start is None or start <= key) and (stop is None or key < stop):
                yield key, self[key]

    def by_index(self, index: str, entry: object) -> Iterator[tuple[Any, Any]]:
        raise NotImplementedError


Tables = dict[str, PlainTable]


@pytest.fixture
def populated(store: MetaStore) -> MetaStore:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base", labels={"a": "1", "b": "2"})
        create_committed(tx, "gone")
        tx.create_snapshot(Kind.ACTIVE, "child", "base", {"a": "1"})
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.VIEW, "view", "base")
        tx.update_info("child", {"c": "3", "NUL": "x\0y"})
        tx.remove("gone")
    return store


def tables_of(store: MetaStore) -> Tables:
    with store.transaction() as tx:
        return {spec.name: PlainTable(tx.items(spec.name)) for spec in SnapshotsProjection().tables}


def test_events_folded_again_give_the_same_tables(populated: MetaStore) -> None:
    projection = SnapshotsProjection()
    folded: Tables = {spec.name: PlainTable() for spec in projection.tables}
    for batch in populated.event_store.batches():
        for event in batch.events:
            projection.apply(event, folded)
            projection.check(folded)
    assert folded == tables_of(populated)


def test_events_of_other_domains_change_nothing(populated: MetaStore) -> None:
    tables, before = tables_of(populated), tables_of(populated)
    SnapshotsProjection().apply(Event("counter.added", {"by": 1}), tables)
    assert tables == before


def test_rows_come_back_from_a_checkpoint_as_they_were(
    populated: MetaStore, open_store: OpenStore
) -> None:
    expected, tables = content_of(populated), tables_of(populated)
    populated.checkpoint()
    populated.close()
    reopened = open_store()
    assert reopened.recovery.replayed_batches == 0
    assert tables_of(reopened) == tables
    with reopened.transaction() as tx:
        assert content(tx) == expected
        for snapshot_id, info, usage in content(tx)[0]:
            assert [type(part) for part in (snapshot_id, info, usage)] == [str, Info, Usage]
            assert type(info.labels) is MappingProxyType
            assert type(info.kind) is Kind


def change(tables: Tables, key: str, **changes: Any) -> None:
    snapshot_id, info, usage = tables[SNAPSHOTS][key]
    tables[SNAPSHOTS][key] = (snapshot_id, info._replace(**changes), usage)


TAMPERINGS: dict[str, tuple[Callable[[Tables], Any], str]] = {
    "number of children lost": (lambda t: t[CHILDREN].pop("base"), "numbers of children"),
    "child too few": (lambda t: t[CHILDREN].put("base", 1), "numbers of children"),
    "child too many": (lambda t: t[CHILDREN].put("base", 3), "numbers of children"),
    "children of one without": (lambda t: t[CHILDREN].put("child", 1), "numbers of children"),
    "no children said": (lambda t: t[CHILDREN].put("child", 0), "numbers of children"),
    "snapshot lost": (lambda t: t[SNAPSHOTS].pop("view"), "numbers of children"),
    "parent lost": (lambda t: t[SNAPSHOTS].pop("base"), "no committed parent 'base'"),
    "parent not committed": (
        lambda t: change(t, "view", parent="child"),
        "no committed parent 'child'",
    ),
    "parent changed": (lambda t: change(t, "view", parent=""), "numbers of children"),
    "name changed": (lambda t: change(t, "view", name="other"), "'view' holds the info of 'other'"),
    "id given twice": (lambda t: t[SNAPSHOTS].put("view", ("1", *t[SNAPSHOTS]["view"][1:])), "id"),
    "id of none": (lambda t: t[SNAPSHOTS].put("view", ("0", *t[SNAPSHOTS]["view"][1:])), "id 0"),
    "counter behind": (lambda t: t[COUNTERS].put(LAST_ID, 3), "the counter is at 3"),
    "counter lost": (lambda t: t[COUNTERS].pop(LAST_ID), "the counter is at 0"),
}


@pytest.mark.parametrize(("tamper", "message"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_check_finds_tables_that_disagree(
    populated: MetaStore, tamper: Callable[[Tables], Any], message: str
) -> None:
    tables = tables_of(populated)
    SnapshotsProjection().check(tables)
    tamper(tables)
    with pytest.raises(AssertionError, match=message):
        SnapshotsProjection().check(tables)


@pytest.mark.parametrize(
    ("index", "entry", "found"),
    [
        (BY_PARENT, "base", ["child", "view"]),
        (BY_PARENT, "", ["base"]),
        (BY_KIND, "view", ["view"]),
        (BY_KIND, "committed", ["base"]),
        (BY_LABEL, ("a", "1"), ["base"]),
        (BY_LABEL, ("NUL", "x\0y"), ["child"]),
        (BY_LABEL, ("a", "2"), []),
    ],
)
def test_indexes_give_the_snapshots_that_have_an_entry(
    populated: MetaStore, index: str, entry: Any, found: list[str]
) -> None:
    with populated.transaction() as tx:
        assert [name for name, _ in tx.by_index(SNAPSHOTS, index, entry)] == found


def test_a_removed_child_is_no_child_any_more(populated: MetaStore) -> None:
    for name, count in (("view", 1), ("child", None)):
        with populated.transaction(writable=True) as tx:
            tx.remove(name)
            assert tx.get(CHILDREN, "base") == count
        populated.check()
    with populated.transaction(writable=True) as tx:
        tx.remove("base")


def without(event: Event, field: str) -> Event:
    return Event(event.type, {name: each for name, each in event.data.items() if name != field})


EVENTS = {
    event.type: event
    for event in (
        events.created(
            id_number=9, kind=Kind.ACTIVE, key="k", parent="", labels={"a": "1"}, time_ns=1
        ),
        events.committed(
            id_number=9, key="child", name="n", parent="", labels={}, usage=Usage(), time_ns=1
        ),
        events.updated(id_number=9, name="child", labels={}, time_ns=1),
        events.removed(id_number=9, key="child"),
        events.imported(id_number=9, info=Info("i", "", Kind.ACTIVE, {}, 1, 1), usage=Usage()),
        events.id_counter_imported(9),
        events.ids_reserved(9),
    )
}


def test_every_event_has_the_fields_that_are_listed_for_it() -> None:
    assert {name: tuple(event.data) for name, event in EVENTS.items()} == events.FIELDS


@pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
def test_an_event_that_lacks_a_field_is_refused_by_its_name_and_undone(
    populated: MetaStore, event: Event
) -> None:
    before = content_of(populated)
    for field in event.data:
        if field == "id" and event.type in (events.UPDATED, events.REMOVED):
            continue  # no table holds it
        with populated.transaction(writable=True) as tx:
            says = f"event '{event.type}': its data lacks '{field}'"
            with pytest.raises(InvalidArgumentError, match=says):
                tx.emit(without(event, field))
            assert tx.receipt is None
    assert content_of(populated) == before


@pytest.mark.parametrize("name", [events.COMMITTED, events.UPDATED, events.REMOVED])
def test_an_event_of_a_snapshot_that_is_not_there_is_refused_by_its_name(
    populated: MetaStore, name: str
) -> None:
    event = EVENTS[name]
    data = {field: "nobody" if each == "child" else each for field, each in event.data.items()}
    says = f"event '{name}' of id 9: there is no snapshot 'nobody'"
    with (
        populated.transaction(writable=True) as tx,
        pytest.raises(NotFoundError, match=says),
    ):
        tx.emit(Event(name, data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (events.CREATED, {"kind": "third"}),
        (events.CREATED, {"labels": 5}),
        (events.CREATED, {"labels": {"a": 5}}),
        (events.CREATED, {"labels": {5: "a"}}),
        (events.UPDATED, {"labels": {"a": 5}}),
        (events.CREATED, {"parent": 5}),
        (events.CREATED, {"key": 5}),
        (events.CREATED, {"id": [1]}),
        (events.REMOVED, {"key": ["child"]}),
    ],
)
def test_an_event_with_a_field_of_another_kind_is_refused_by_its_name(
    populated: MetaStore, name: str, data: dict[str, Any]
) -> None:
    before = content_of(populated)
    event = Event(name, {**EVENTS[name].data, **data})
    with (
        populated.transaction(writable=True) as tx,
        pytest.raises((InvalidArgumentError, NotFoundError), match=f"event '{name}' of id"),
    ):
        tx.emit(event)
    assert content_of(populated) == before
    with (
        populated.transaction(writable=True) as tx,
        pytest.raises(InvalidArgumentError, match=f"event '{name}': its data must be a dict"),
    ):
        tx.emit(Event(name, [1]))
