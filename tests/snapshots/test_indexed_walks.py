"""An indexed walk gives what a scan of everything gives, and looks at no more than it must."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from support.snapshots import OPTIONS, create_committed, names

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore, SnapshotError, Usage, parse_filters
from projections.snapshots.importer import import_containerd
from projections.snapshots.projection import SNAPSHOTS, decode_row
from projections.snapshots.walk import plain_rows, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from support.snapshots import OpenStore

    from projections.snapshots import SnapshotTransaction

DATABASE = Path(__file__).parent.parent / "data" / "containerd" / "containerd-overlayfs-metadata.db"
KEYS = ["a", "b", "ab", "a\1", "B", "é", "\uffff", "\U00010000", "labels", "x" * 300]
LABEL_KEYS = ["a", "ab", "a.b", "a\0b", "é", "\1"]
LABEL_VALUES = ["", "1", "2", "1\0", "1\0" + "a", "\1", "тест", "a,b", '"']
OPERATORS = ["==", "==", "==", "!=", "~="]


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


SELECTORS = st.one_of(
    st.builds(
        lambda field, operator, value: field + operator + quoted(value),
        st.sampled_from(["name", "parent", "parent", "name.rest"]),
        st.sampled_from(OPERATORS),
        st.sampled_from([*KEYS, ""]),
    ),
    st.builds(
        lambda operator, kind: f"kind{operator}{kind}",
        st.sampled_from(OPERATORS),
        st.sampled_from([*Kind, "none", '"active\\x00a"']),
    ),
    st.builds(
        lambda key, operator, value: f"labels.{quoted(key)}{operator}{quoted(value)}",
        st.sampled_from([*LABEL_KEYS, "", "a\0b\0" + "1"]),
        st.sampled_from(OPERATORS),
        st.sampled_from(LABEL_VALUES),
    ),
    st.builds(lambda key: f"labels.{quoted(key)}", st.sampled_from(LABEL_KEYS)),
    st.sampled_from(["name", "parent", "labels.a.b==1", "labels==1", "other==1", r'name=="\xff"']),
)
FILTERS = st.lists(st.lists(SELECTORS, max_size=3).map(",".join), max_size=3)
LABELS = st.dictionaries(st.sampled_from(LABEL_KEYS), st.sampled_from(LABEL_VALUES), max_size=3)


def assert_walks_agree(transaction: SnapshotTransaction, *filters: str) -> None:
    rows = [(name, info) for name, (_, info, _) in transaction.items(SNAPSHOTS)]
    matches = parse_filters(*filters)
    expected = [info for _, info in rows if matches(info)]
    assert list(transaction.walk_info(*filters)) == expected, filters


class Walks(RuleBasedStateMachine):
    """Any operations on a few keys; then any walk, of now, of old readers and of the past."""

    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())

    @initialize()
    def make(self) -> None:
        self.path = tempfile.mkdtemp()
        self.store = MetaStore.open(self.path, options=self.options)
        self.writer: Any = None
        self.readers: list[tuple[Any, list[Any]]] = []

    def teardown(self) -> None:
        if self.writer is not None:
            self.writer.rollback()
        self.store.close()
        shutil.rmtree(self.path)

    def write(self, operation: str, *positional: Any, **arguments: Any) -> None:
        if self.writer is None:
            self.writer = self.store.transaction(writable=True)
        with contextlib.suppress(SnapshotError):
            getattr(self.writer, operation)(*positional, **arguments)

    @rule(
        kind=st.sampled_from([Kind.ACTIVE, Kind.VIEW]),
        key=st.sampled_from(KEYS),
        parent=st.sampled_from(["", *KEYS]),
        labels=LABELS,
    )
    def create(self, **arguments: Any) -> None:
        self.write("create_snapshot", **arguments)

    @rule(
        key=st.sampled_from(KEYS),
        name=st.sampled_from(KEYS),
        usage=st.just(Usage(1, 2)),
        labels=LABELS,
        parent=st.sampled_from(["", "", *KEYS]),
    )
    def commit_active(self, **arguments: Any) -> None:
        self.write("commit_active", **arguments)

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: str) -> None:
        self.write("remove", key)

    @rule(
        key=st.sampled_from(KEYS),
        labels=LABELS,
        paths=st.lists(st.sampled_from(["labels", *(f"labels.{key}" for key in LABEL_KEYS)])),
    )
    def update(self, key: str, labels: dict[str, str], paths: list[str]) -> None:
        self.write("update_info", key, labels, *paths)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def commit(self) -> None:
        self.writer.commit()
        self.writer = None

    @precondition(lambda self: self.writer is not None)
    @rule()
    def roll_back(self) -> None:
        self.writer.rollback()
        self.writer = None

    @rule()
    def begin_reading(self) -> None:
        reader = self.store.transaction()
        self.readers = [*self.readers[-3:], (reader, list(reader.walk_info()))]

    @precondition(lambda self: self.writer is None)
    @rule(how=st.sampled_from(["reopen", "checkpoint", "compact"]))
    def persist(self, how: str) -> None:
        if how == "compact":
            self.store.compact()
            return
        if how == "checkpoint":
            self.store.checkpoint()
        self.store.close()
        self.store = MetaStore.open(self.path, options=self.options)

    @rule(filters=FILTERS)
    def walk(self, filters: list[str]) -> None:
        matches = parse_filters(*filters)
        for reader, infos in self.readers:
            assert list(reader.walk_info(*filters)) == [info for info in infos if matches(info)]
        with self.store.transaction() as now:
            assert_walks_agree(now, *filters)
        if self.writer is not None:
            assert_walks_agree(self.writer, *filters)

    @invariant()
    def indexes_agree_with_the_snapshots(self) -> None:
        self.store.check()


TestIndexedWalks = Walks.TestCase


@pytest.fixture(scope="module")
def populated() -> Iterator[MetaStore]:
    path = Path(tempfile.mkdtemp())
    with MetaStore.open(path, options=OPTIONS) as store:
        with store.transaction(writable=True) as tx:
            for number, name in enumerate(KEYS):
                labels = {
                    key: LABEL_VALUES[(number + place) % len(LABEL_VALUES)]
                    for place, key in enumerate(LABEL_KEYS)
                }
                create_committed(tx, name, KEYS[number // 2] if number > 1 else "", labels)
                tx.create_snapshot(Kind.ACTIVE, f"active {number}", name, labels)
                tx.create_snapshot(Kind.VIEW, f"view {number}", name)
        yield store
    shutil.rmtree(path)


@given(filters=FILTERS)
@example(filters=[r'labels.a=="1\x00"'])
@example(filters=[r'labels."a\x00b"==1'])
@example(filters=[r'labels.a=="1\x00",kind==active', "name==a"])
@example(filters=["name==a,name==b"])
@example(filters=['parent==""', "parent==a,kind==view"])
def test_indexed_walk_equals_a_scan(populated: MetaStore, filters: list[str]) -> None:
    with populated.transaction() as tx:
        assert_walks_agree(tx, *filters)


# What a walk looks at.


class Counting:
    """Counts what a walk reads of a transaction."""

    def __init__(self, transaction: SnapshotTransaction) -> None:
        self.transaction = transaction
        self.snapshots: set[str] = set()
        self.index_rows = 0

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        self.snapshots.add(key)
        return self.transaction.get(table, key, default)

    def items(
        self,
        table: str,
        start: Any = None,
        stop: Any = None,
        *,
        decode: Callable[[Any, Any], Any] | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        found = self.transaction.items(table, start, stop, decode=decode, reverse=reverse)
        for key, value in found:
            self.snapshots.add(key)
            yield key, value

    def by_index(self, table: str, index: str, entry: Hashable) -> Iterator[tuple[Any, Any]]:
        for key, value in self.transaction.by_index(table, index, entry):
            self.snapshots.add(key)
            self.index_rows += 1
            yield key, value


@pytest.mark.parametrize(
    ("filters", "visited"),
    [
        (["name==base"], 1),
        (["name==none"], 1),
        (["name.whatever==base"], 1),
        (["parent==base"], 20),
        (['parent==""'], 101),
        (["parent==none"], 0),
        (["kind==view"], 10),
        (["kind==none"], 0),
        (["labels.rare==yes"], 5),
        (['labels."rare"==yes,kind==active,name~=o'], 5),
        (["labels.rare==no"], 0),
        (["kind==view,parent==base"], 20),
        (["kind==view,parent==base,name!=x"], 20),
        (["parent==base,name==base"], 1),
        (["kind==view,labels.rare==yes"], 5),
        (["name==base", "labels.rare==yes"], 6),
        (["name==base", "name==base"], 1),
        (["kind==view", "kind==view,parent==base"], 20),
        (["name!=base"], 121),
        (["name==base", "name~=b"], 121),
        (["name==base", ""], 121),
        ([], 121),
        (["labels.rare"], 121),
    ],
)
def test_walk_visits_only_what_its_index_gives(
    store: MetaStore, filters: list[str], visited: int
) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base")
        for number in range(20):
            kind = Kind.ACTIVE if number % 2 else Kind.VIEW
            tx.create_snapshot(kind, f"child {number}", "base")
        for number in range(100):
            labels = {"rare": "yes"} if number % 20 == 0 else {"common": "1"}
            tx.create_snapshot(Kind.ACTIVE, f"solo {number}", labels=labels)
    with store.transaction() as tx:
        counting = Counting(tx)
        matches = parse_filters(*filters)
        assert list(walk(counting, filters)) == [info for info in tx.walk_info() if matches(info)]
        assert len(counting.snapshots) == visited
        assert counting.index_rows <= 2 * visited


@pytest.mark.parametrize(
    "text",
    [
        *("", "name==base", 'parent==""', "kind==active", "labels.rare==yes", "labels.rare"),
        *("name~=/o [0-3]/", "name!=base", "parent~=/^b/", "parent!=base", "parent", "kind~=/^v/"),
        *(
            "kind!=view",
            "kind",
            "labels.rare~=y",
            "labels.rare~=/^$/",
            "labels.rare!=yes",
            "labels",
        ),
        *("labels.common~=1,kind!=active", "nothing", "nothing!=x", "nothing~=x", "name,kind~=a"),
    ],
)
def test_rows_are_selected_as_they_are_packed_as_their_infos_are(
    store: MetaStore, text: str
) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base")
        for number in range(6):
            kind = Kind.ACTIVE if number % 2 else Kind.VIEW
            labels = {"rare": "yes"} if number % 3 == 0 else {"common": str(number), "é": "1"}
            tx.create_snapshot(kind, f"solo {number}", "base" if number < 2 else "", labels)
    for writable in (False, True):
        with store.transaction(writable=writable) as tx:
            if writable:
                tx.update_info("solo 1", {"rare": "yes"})
            for filters in ((text,), (text, "kind==view"), (text, "name~=/o 1/")):
                matches = parse_filters(*filters)
                expected = [row for row in tx.walk() if matches(row[1])]
                assert list(tx.walk(*filters)) == expected
                assert [decode_row(*row) for row in plain_rows(tx, filters)] == expected
                from_end = plain_rows(tx, filters, reverse=True)
                assert [decode_row(*row) for row in from_end] == expected[::-1]
                assert list(tx.walk_info(*filters)) == [info for _, info, _ in expected]


def test_walk_reads_ahead_only_a_little(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        for number in range(1000):
            tx.create_snapshot(Kind.ACTIVE, f"{number:04}")
    with store.transaction() as tx:
        for filters in ((), ("kind==active",)):
            counting = Counting(tx)
            assert next(walk(counting, filters)).name == "0000"
            assert len(counting.snapshots) == 1


def test_import_fills_the_indexes(tmp_path: Path, open_store: OpenStore) -> None:
    import_containerd(DATABASE, tmp_path / "store", options=OPTIONS)
    store = open_store()
    with store.transaction() as tx:
        infos = list(tx.walk_info())
        filters = {f'parent=="{info.parent}"' for info in infos}
        filters |= {f"kind=={info.kind}" for info in infos}
        filters |= {
            f'labels."{key}"=="{value}"' for info in infos for key, value in info.labels.items()
        }
        assert len(filters) > 5
        for text in filters:
            assert_walks_agree(tx, text)


# The order.


def test_names_come_in_byte_order(open_store: OpenStore) -> None:
    unordered = ["\U00010000", "\uffff", "\ue000", "é", "z", "a", "A", "\1", "a\1", "a ", "ab", "~"]
    expected = sorted(unordered, key=str.encode)
    with open_store() as store:
        with store.transaction(writable=True) as tx:
            for name in unordered:
                tx.create_snapshot(Kind.ACTIVE, name, labels={"l": "1"})
            assert names(tx) == expected
        store.checkpoint()
    with open_store().transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "\U0010ffff", labels={"l": "1"})
        for filters in ((), ("kind==active",), ("labels.l==1",), ('parent==""', "kind==active")):
            assert names(tx, *filters) == [*expected, "\U0010ffff"]


# Walking and writing at once.


@pytest.mark.parametrize("filters", [(), ("kind==active",), ("labels.l==1", 'parent==""')])
@pytest.mark.parametrize("packed", [False, True], ids=["", "from a checkpoint"])
def test_walk_while_its_transaction_writes_is_in_order_and_misses_nothing_untouched(
    open_store: OpenStore, filters: tuple[str, ...], packed: bool
) -> None:
    store = open_store()
    with store.transaction(writable=True) as tx:
        for number in range(300):
            tx.create_snapshot(Kind.ACTIVE, f"{number:03}", labels={"l": "1"})
    if packed:
        store.checkpoint()
        store.close()
        store = open_store()
    with store.transaction() as reader, store.transaction(writable=True) as tx:
        seen = []
        for info in tx.walk_info(*filters):
            seen.append(info.name)
            number = len(seen)
            if info.name.isdigit() and int(info.name) % 3 == 0:
                tx.remove(info.name)
            elif info.name.isdigit() and int(info.name) % 3 == 1:
                tx.commit_active(info.name, f"committed {number}", Usage())
            tx.create_snapshot(Kind.ACTIVE, f"0{number:04} new", labels={"l": "1"})
            if number > 2000:
                break
        assert seen == sorted(set(seen)), "in order, none twice"
        assert {f"{number:03}" for number in range(2, 300, 3)} <= set(seen)
        assert names(reader, *filters) == [f"{number:03}" for number in range(300)]


def test_removing_everything_in_a_walk_removes_everything(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        for number in range(300):
            tx.create_snapshot(Kind.VIEW, f"{number:03}")
    with store.transaction(writable=True) as tx:
        for info in tx.walk_info("kind==view"):
            tx.remove(info.name)
        assert tx.id_map() == {}


def test_commit_ends_a_walk_of_the_same_transaction_only(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        for number in range(300):
            tx.create_snapshot(Kind.VIEW, f"{number:03}")
    reader = store.transaction()
    walks = [reader.walk_info(), reader.walk_info("kind==view")]
    heads = [next(walk_).name for walk_ in walks]
    with store.transaction(writable=True) as tx:
        for name in names(tx):
            tx.remove(name)
    assert heads == ["000", "000"]
    assert [len(list(walk_)) for walk_ in walks] == [299, 299]
