"""What `put`, `apply` and `emit` accept comes back the same; the rest is refused, not logged."""

from __future__ import annotations

import enum
import math
import struct
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import (
    CorruptionError,
    Event,
    EventStore,
    Projection,
    ProjectionError,
    StoreOptions,
    TableSpec,
)
from eventstore.arguments import excerpt
from eventstore.tables import rows as rows_module
from eventstore.tables import table as table_module
from eventstore.tables import view as view_module
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eventstore import WritableTable

PLAIN, CODED, SEEN = "plain", "coded", "seen"
OPTIONS = StoreOptions(segment_bytes=4096, background=False)


class Blob(bytes):
    __slots__ = ()


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    one: int
    two: str


class Box:
    """A value that is not plain, and whose content may be nothing that can be packed."""

    def __init__(self, content: Any) -> None:
        self.content = content


def encode(box: Box) -> Any:
    return [type(box.content) is list, box.content]


def decode(_: Any, plain: tuple[Any, ...]) -> Box:
    was_list, content = plain
    return Box(list(content) if was_list else content)


class Pool(Projection):
    """Puts keys and values of a pool, which the events name by number.

    So a test can have an `apply` put anything, although events hold plain data only. "put" and
    "delete" change one row. "sweep" changes rows while it iterates over all, and keeps the keys
    that it saw.
    """

    name, version = "pool", 1
    tables = (TableSpec(PLAIN), TableSpec(CODED, encode=encode, decode=decode), TableSpec(SEEN))

    def __init__(self, pool: list[tuple[Any, Any]]) -> None:
        self.pool = pool

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        name, number = event.data
        table, (key, value) = tables[name], self.pool[number]
        if event.type == "put":
            table.put(key, value)
        elif event.type == "delete":
            table.delete(key)
        else:
            keys = []
            for key, _ in table.items():
                keys.append(key)
                number = (number + 1) % len(self.pool)
                if number % 3:
                    table.put(*self.pool[number])
                elif key in table:
                    table.delete(key)
            tables[SEEN].put(sum(1 for _ in tables[SEEN].items()), tuple(keys))


def expected_after(event: Event, before: dict[str, Rows], pool: list[tuple[Any, Any]]) -> None:
    """Do to dictionaries what `Pool.apply` does, once the store has accepted the event."""
    name, number = event.data
    rows, (key, value) = before[name], pool[number]
    if event.type == "put":
        rows[key] = value
    elif event.type == "delete":
        del rows[key]
    else:
        keys = sorted(rows)
        for key in keys:
            number = (number + 1) % len(pool)
            if number % 3:
                rows.pop(pool[number][0], None)
                rows[pool[number][0]] = pool[number][1]
            else:
                rows.pop(key, None)
        before[SEEN][len(before[SEEN])] = tuple(keys)


Rows = dict[Any, Any]


def exact(value: Any) -> Any:
    """Return a value with its types, so that equal means the same."""
    kind = type(value)
    if isinstance(value, Box):
        return (kind, exact(value.content))
    if isinstance(value, (tuple, list)):
        return (kind, tuple(map(exact, value)))
    if isinstance(value, dict):
        return (kind, tuple((exact(key), exact(inner)) for key, inner in value.items()))
    if isinstance(value, float):
        return (kind, struct.pack("d", value))
    return (kind, value)


def content(store: EventStore, revision: int | None = None) -> dict[str, list[Any]]:
    with store.transaction() if revision is None else store.at(revision) as tx:
        return {name: [exact(row) for row in tx.items(name)] for name in (PLAIN, CODED, SEEN)}


def wanted(rows: dict[str, Rows]) -> dict[str, list[Any]]:
    return {
        name: [exact(row) for row in sorted(own.items(), key=_key)] for name, own in rows.items()
    }


def _key(row: tuple[Any, Any]) -> Any:
    return row[0]


@pytest.fixture(autouse=True, scope="module")
def _small_slices() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (table_module, view_module):
            patch.setattr(module, "FIRST_SLICE_ROWS", 2)
            patch.setattr(module, "SLICE_ROWS_MAX", 3)
        patch.setattr(rows_module, "SLICE_ROWS_MAX", 3)
        yield


def open_pool(
    files: SimulatedFileSystem, pool: list[tuple[Any, Any]], version: int = 1
) -> EventStore:
    projection = Pool(pool)
    projection.version = version
    return EventStore.open("/store", [projection], options=OPTIONS, file_system=files)


DEEP: Any = ()
for _ in range(400):
    DEEP = (DEEP,)

BAD_KEYS = [
    datetime(2026, 1, 1, tzinfo=UTC),
    "lone \ud800 surrogate",
    2**70,
    -(2**63) - 1,
    math.nan,
    1.5,
    True,
    None,
    Color.RED,
    Level.LOW,
    Blob(b"blob"),
    Pair(1, "a"),
    (),
    ("a", 2**70),
    ("a", "\ud800"),
    ("a", True),
    ("a", None),
    ("a", ("b",)),
    ("a", [1]),
    frozenset("a"),
    object(),
]
BAD_VALUES = [
    b"bytes",
    Blob(b"blob"),
    [1, 2],
    {1, 2},
    Color.RED,
    Level.LOW,
    Pair(1, "a"),
    2**64,
    -(2**63) - 1,
    "lone \ud800 surrogate",
    datetime(2026, 1, 1, tzinfo=UTC),
    bytearray(b"a"),
    object(),
    (1, [2]),
    (1, Color.RED),
    (1, Blob(b"blob")),
    {"a": [1]},
    {Color.RED: 1},
    {"a": 2**64},
    DEEP,
]
BAD_CONTENTS = [
    object(),
    2**64,
    {1, 2},
    datetime(2026, 1, 1, tzinfo=UTC),
    ("\ud800",),
    msgpack.ExtType(5, b"abc"),
    ["Ȁ", {"a": msgpack.ExtType(5, b"")}],
    msgpack.Timestamp(1, 2),
]


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        *((PLAIN, key, 1) for key in BAD_KEYS),
        *((CODED, key, Box(1)) for key in BAD_KEYS),
        *((PLAIN, "key", value) for value in BAD_VALUES),
        *((CODED, "key", Box(content)) for content in BAD_CONTENTS),
        (CODED, "key", b"bytes"),
        (CODED, "key", "no box"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_row_that_would_not_come_back_is_refused_and_nothing_is_logged(
    table: str, key: Any, value: Any
) -> None:
    files, pool = SimulatedFileSystem(), [("good", 1), ("good", Box(1)), (key, value)]
    with open_pool(files, pool) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", [PLAIN, 0]))
            tx.emit(Event("put", [CODED, 1]))
            with pytest.raises((TypeError, ValueError), match=f"table '{table}', key ") as caught:
                tx.emit(Event("put", [table, 2]))
            assert excerpt(key) in str(caught.value)
        assert [event.type for batch in store.batches() for event in batch.events] == ["put", "put"]
        before = content(store)
        assert store.checkpoint() == 1
    with open_pool(files, pool) as store:
        assert content(store) == before


class OtherError(Exception):
    """What a signal handler raises."""


@pytest.mark.parametrize("error", [OtherError, MemoryError])
def test_what_is_no_fault_of_a_value_comes_through_a_put_and_a_replay(
    error: type[Exception],
) -> None:
    files = SimulatedFileSystem()
    raised: list[Exception] = []

    def encode_or_raise(box: Box) -> Any:
        if raised:
            raise raised[0]
        return encode(box)

    class Interrupted(Pool):
        tables = (
            TableSpec(PLAIN),
            TableSpec(CODED, encode=encode_or_raise, decode=decode),
            TableSpec(SEEN),
        )

    pool = [("good", Box(1))]
    with EventStore.open("/store", [Interrupted(pool)], file_system=files) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", [CODED, 0]))
        raised.append(error("not now"))
        with store.transaction(writable=True) as tx, pytest.raises(error, match="not now"):
            tx.emit(Event("put", [CODED, 0]))
        assert len(list(store.batches())) == 1
    expected = MemoryError if error is MemoryError else ProjectionError
    with pytest.raises(expected, match="not now"):
        EventStore.open("/store", [Interrupted(pool)], file_system=files)
    raised.clear()
    with EventStore.open("/store", [Interrupted(pool)], file_system=files) as store:
        assert store.recovery.revision == 1


def test_a_row_that_a_replay_can_not_decode_is_damage_and_no_fault_of_apply() -> None:
    files = SimulatedFileSystem()
    is_broken: list[bool] = []

    def decode_or_fail(key: Any, plain: Any) -> Any:
        if is_broken:
            raise ValueError("nonsense")
        return decode(key, plain)

    class Reading(Pool):
        tables = (
            TableSpec(PLAIN),
            TableSpec(CODED, encode=encode, decode=decode_or_fail),
            TableSpec(SEEN),
        )

        def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
            _ = tables[CODED].get("good")
            super().apply(event, tables)

    pool = [("good", Box(1)), ("other", Box(2))]
    with EventStore.open("/store", [Reading(pool)], file_system=files) as store:
        for number in (0, 1):
            with store.transaction(writable=True) as tx:
                tx.emit(Event("put", [CODED, number]))
            if not number:
                store.checkpoint()
    is_broken.append(True)
    with pytest.raises(CorruptionError, match="nonsense"):
        EventStore.open("/store", [Reading(pool)], file_system=files)


GOOD_ROWS: list[tuple[Any, Any]] = [
    ("text", "ü"),
    ("", -0.0),
    ("ü", math.inf),
    ("\0", ("a", b"b", (), None, True, 1.5, -(2**63), 2**64 - 1)),
    ("dict", {"a": (1,), 2: {}, None: b"", ("a", 1): 0, 1.5: False}),
    ("z" * 70_000, {}),
]


@pytest.mark.parametrize(
    "rows",
    [
        GOOD_ROWS,
        [(number, None) for number in (-(2**63), -1, 0, 2**64 - 1)],
        [(b"", 1), (b"\xff", 2), (b"a", 3)],
        [(("a", 2), 1), (("a", 1), 2), (("b", -1), 3)],
        [(("a",), 1), (("a", "b"), 2), (("a", "b", "c"), 3), (("b",), 4)],
        [((1, 2), 1), ((1,), 2), ((1, 2, 3), 3)],
    ],
)
def test_what_is_accepted_comes_back_the_same(rows: list[tuple[Any, Any]]) -> None:
    files = SimulatedFileSystem()
    expected = [exact(row) for row in sorted(rows, key=_key)]
    for opened in range(3):
        with open_pool(files, rows) as store:
            for number in range(len(rows)):
                if opened != 1:
                    with store.transaction(writable=True) as tx:
                        tx.emit(Event("put", [PLAIN, number]))
            for _ in range(2):
                assert content(store)[PLAIN] == expected
                store.checkpoint()


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (1, "a"),
        ("a", b"a"),
        ("a", ("a",)),
        (("a",), "a"),
        (("a", 1), ("b", "x")),
        (("a", 1), ("a",)),
        (("a", "b"), (1, 2)),
        (("a", 1), ("b", 1, 1)),
    ],
)
@pytest.mark.parametrize("reopened", [False, True])
def test_key_of_another_shape_is_refused(first: Any, other: Any, reopened: bool) -> None:
    files, pool = SimulatedFileSystem(), [(first, 1), (other, 1)]
    store = open_pool(files, pool)
    with store.transaction(writable=True) as tx:
        tx.emit(Event("put", [PLAIN, 0]))
    if reopened:
        store.checkpoint()
        store.close()
        store = open_pool(files, pool)
    with store, store.transaction(writable=True) as tx:
        with pytest.raises(TypeError, match="the other keys are"):
            tx.emit(Event("put", [PLAIN, 1]))
        if not reopened:  # nor once there is none left, while readers may be where there was one
            tx.emit(Event("delete", [PLAIN, 0]))
            with pytest.raises(TypeError, match="the other keys are"):
                tx.emit(Event("put", [PLAIN, 1]))


@pytest.mark.parametrize("kinds", [("put",), ("put", "delete")], ids="-".join)
def test_key_of_another_shape_is_refused_after_a_rebuild(kinds: tuple[str, ...]) -> None:
    class Raised(Pool):
        version = Pool.version + 1

    files, pool = SimulatedFileSystem(), [(1, 1), ("a", 1)]
    with open_pool(files, pool) as store:
        with store.transaction(writable=True) as tx:
            for kind in kinds:
                tx.emit(Event(kind, [PLAIN, 0]))
        store.checkpoint()
    rebuilt = EventStore.open("/store", [Raised(pool)], options=OPTIONS, file_system=files)
    with (
        rebuilt as store,
        store.transaction(writable=True) as tx,
        pytest.raises(TypeError, match="the other keys are"),
    ):
        tx.emit(Event("put", [PLAIN, 1]))


def test_table_that_was_emptied_may_change_the_shape_of_its_keys_after_a_reopen() -> None:
    files, pool = SimulatedFileSystem(), [(1, "number"), ("a", "text")]
    with open_pool(files, pool) as store:
        for kind in ("put", "delete"):
            with store.transaction(writable=True) as tx:
                tx.emit(Event(kind, [PLAIN, 0]))
            store.checkpoint()
    with open_pool(files, pool) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", [PLAIN, 1]))
        expected = content(store)
    _, newest = sorted(files.list_directory("/store/checkpoints"))
    files.remove(f"/store/checkpoints/{newest}")  # so that the replay starts where a number is
    with open_pool(files, pool) as store:
        assert store.recovery.checkpoint_revision == 1
        assert content(store) == expected
        store.check()


def test_delete_by_a_key_that_is_only_equal_is_refused() -> None:
    files, pool = SimulatedFileSystem(), [(1, 1), (True, 1), ((1, 1), 1), ((1, True), 1)]
    for first in (0, 2):
        with open_pool(files, pool) as store, store.transaction(writable=True) as tx:
            tx.emit(Event("put", [PLAIN, first]))
            with pytest.raises(TypeError, match="table 'plain', key "):
                tx.emit(Event("delete", [PLAIN, first + 1]))
            tx.rollback()


def test_value_that_decode_makes_bytes_is_named() -> None:
    class Hex(Pool):
        tables = (
            TableSpec(PLAIN, encode=lambda value: value, decode=lambda key, plain: b"raw"),
            *Pool.tables[1:],
        )

    files = SimulatedFileSystem()
    for _ in range(2):
        with EventStore.open("/store", [Hex([("k", 1)])], file_system=files) as store:
            with store.transaction(writable=True) as tx:
                if tx.revision:
                    with pytest.raises(ProjectionError, match=r"'plain', key 'k'.*decode"):
                        tx.get(PLAIN, "k")
                else:
                    tx.emit(Event("put", [PLAIN, 0]))
            store.checkpoint()


def test_encode_is_asked_once_by_the_put_and_never_again() -> None:
    class Moody(Pool):
        tables = (
            TableSpec(PLAIN, encode=lambda value: [1][len(calls)], decode=lambda key, plain: plain),
            *Pool.tables[1:],
        )

    calls: list[int] = []
    files = SimulatedFileSystem()
    with EventStore.open("/store", [Moody([("k", 5)])], file_system=files) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", [PLAIN, 0]))
            calls.append(1)
            assert tx.get(PLAIN, "k") == 1, "what a checkpoint would give, and a replay"
        store.checkpoint()
    with (
        EventStore.open("/store", [Moody([("k", 5)])], file_system=files) as store,
        store.transaction() as reader,
    ):
        assert reader.get(PLAIN, "k") == 1


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("key", "equal"),
    [
        (1, True),
        (1, 1.0),
        ("red", Color.RED),
        ("a", Text("a")),
        (b"a", Blob(b"a")),
        ((1, 2), (True, 2.0)),
        ((1, "a"), Pair(True, Text("a"))),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_reopened", [False, True], ids=["live", "reopened"])
def test_a_look_up_by_an_equal_key_gives_the_row_as_its_own_key_decodes_it(
    key: Any, equal: Any, is_reopened: bool
) -> None:
    class Keyed(Pool):
        tables = (
            *Pool.tables[:1],
            TableSpec(CODED, encode=lambda box: box.content, decode=lambda key, _: (key, str(key))),
            *Pool.tables[2:],
        )

    files = SimulatedFileSystem()
    with EventStore.open("/store", [Keyed([(key, Box(1))])], file_system=files) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", [CODED, 0]))
        store.checkpoint()
        if not is_reopened:
            assert_found_by(store, equal, key)
    with EventStore.open("/store", [Keyed([])], file_system=files) as store:
        assert_found_by(store, equal, key)


def assert_found_by(store: EventStore, *keys: Any) -> None:
    """Expect the last key, and what it prints, whichever of them is asked for."""
    with store.transaction() as reader:
        for asked in keys:
            [found, text] = reader.get(CODED, asked)
            assert (excerpt(found), text) == (excerpt(keys[-1]), str(keys[-1]))


good_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
integers = st.integers(-(2**63), 2**64 - 1) | st.integers(-3, 3)
scalars = st.none() | st.booleans() | integers | st.floats() | good_texts | st.binary(max_size=3)
good_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(good_texts | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=6,
)
good_keys = st.one_of(
    st.sampled_from(["a", "b", "ü", 0, 1, b"a", ("a",), ("a", "b"), ("a", 1), ("b", 2)]),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple),
)
keys = good_keys | st.sampled_from([key for key in BAD_KEYS if key.__hash__ is not None])
values = good_values | st.sampled_from(BAD_VALUES)
boxes = (good_values | st.lists(good_values, max_size=2) | st.sampled_from(BAD_CONTENTS)).map(Box)
pools = st.lists(st.tuples(keys, values | boxes), min_size=3, max_size=12)
events = st.tuples(
    st.sampled_from(["put", "put", "put", "delete", "sweep"]),
    st.sampled_from([PLAIN, CODED]),
    st.integers(0, 11),
)
disturbances = st.sampled_from(
    ["checkpoint", "reopen", "older checkpoint", "whole replay", "rebuild"]
)
scripts = st.lists(st.lists(events, min_size=1, max_size=4) | disturbances, max_size=14)


def test_whatever_is_accepted_is_the_same_after_checkpoints_reopens_and_replays(
    record_proof: Callable[..., None],
) -> None:
    tried: Counter[str] = Counter()

    @settings(max_examples=2 * settings().max_examples)
    @given(pools, scripts)
    def prove(pool: list[tuple[Any, Any]], script: list[str | list[tuple[str, str, int]]]) -> None:
        files = SimulatedFileSystem()
        rows: dict[str, Rows] = {PLAIN: {}, CODED: {}, SEEN: {}}
        store, version = open_pool(files, pool), 1
        history: dict[int, Any] = {}
        try:
            for step in [*script, "reopen", "checkpoint", "whole replay"]:
                if isinstance(step, list):
                    _transact(store, step, pool, rows, tried)
                elif step == "checkpoint":
                    store.checkpoint()
                else:
                    store.close()
                    _remove_checkpoints(files, step)
                    version += step == "rebuild"
                    store = open_pool(files, pool, version)
                with store.transaction() as tx:
                    history[tx.revision] = wanted(rows)
                assert content(store) == wanted(rows)
                for revision in {*history} & {tried["states"] % 5, tried["states"] % 7}:
                    assert content(store, revision) == history[revision]
                tried["states"] += 1
            store.check()
        finally:
            store.close()

    prove()
    assert tried["accepted"]
    assert tried["refused"]
    record_proof("what is accepted comes back", **tried)


def _transact(
    store: EventStore,
    step: list[tuple[str, str, int]],
    pool: list[tuple[Any, Any]],
    rows: dict[str, Rows],
    tried: Counter[str],
) -> None:
    with store.transaction(writable=True) as tx:
        for kind, table, number in step:
            event = Event(kind, [table, number % len(pool)])
            try:
                tx.emit(event)
            except (TypeError, ValueError, KeyError):
                tried["refused"] += 1
            else:
                expected_after(event, rows, pool)
                tried["accepted"] += 1


def _remove_checkpoints(files: SimulatedFileSystem, step: str) -> None:
    """Leave an open nothing but the log, or the older one of two checkpoints."""
    directory = "/store/checkpoints"
    names = sorted(files.list_directory(directory)) if files.exists(directory) else []
    removed = {"reopen": [], "rebuild": [], "older checkpoint": names[1:], "whole replay": names}[
        step
    ]
    for name in removed:
        files.remove(f"{directory}/{name}")
