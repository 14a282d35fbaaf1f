"""An idle reader pins little, and sees its own version however those behind it are merged."""

from __future__ import annotations

import random
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Event, Projection, TableSpec
from eventstore.tables import thinning
from eventstore.tables.state import State
from eventstore.tables.version import Version
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = "rows"


class Rows(Projection):
    name = "rows"
    version = 1
    tables = (TableSpec(ROWS), TableSpec("others"))

    def apply(self, event: Event, tables: Any) -> None:
        for key, value in event.data:
            table = tables[ROWS if key % 3 else "others"]
            if value is None:
                if key in table:
                    table.delete(key)
            else:
                table.put(key, value)


@pytest.fixture
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "_INTERVAL_VERSIONS", 2)
    monkeypatch.setattr(thinning, "_YOUNG_VERSIONS", 0)
    monkeypatch.setattr(thinning, "_SLICE_KEYS", 1)


def commit(state: State, *changes: tuple[int, Any]) -> None:
    state.begin()
    state.apply(Event("change", changes))
    state.publish(state.commit(state.newest.revision + 1, b"", 0))


def content(state: State, view: View) -> dict[int, Any]:
    tables = state.tables.values()
    found = {key: value for table in tables for key, value in view.items(table)}
    for key in range(12):
        assert view.get(state.tables[ROWS if key % 3 else "others"], key) == found.get(key)
    return found


@pytest.mark.usefixtures("short_intervals")
@given(st.integers(0, 1 << 32))
def test_readers_see_their_own_version_while_versions_are_merged(seed: int) -> None:
    choice = random.Random(seed)
    state, now = State([Rows()], Version(0, b"", 0)), dict[int, Any]()
    readers: list[tuple[View, dict[int, Any]]] = []
    for _ in range(150):
        changes = [
            (choice.randrange(12), choice.choice([None, choice.random()]))
            for _ in range(choice.randrange(4))
        ]
        act = choice.random()
        if act < 0.6:
            commit(state, *changes)
            now.update(changes)
            now = {key: value for key, value in now.items() if value is not None}
        elif act < 0.7:
            state.begin()
            state.apply(Event("change", changes))
            if choice.random() < 0.5:
                readers.append((View(state.durable), dict(now)))
            state.rollback()
        elif act < 0.85:
            readers.append((View(state.durable), dict(now)))
        elif readers:
            view, expected = readers[choice.randrange(len(readers))]
            if choice.random() < 0.5:
                readers.remove((view, expected))
            assert content(state, view) == expected
    for view, expected in readers:
        assert content(state, view) == expected


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("short_intervals", "frequent_switches")
def test_readers_in_other_threads_see_one_version_while_versions_are_merged() -> None:
    state = State([Rows()], Version(0, b"", 0))
    commit(state, *((key, 0) for key in range(12)))
    problems: list[object] = []
    done = threading.Event()

    def read() -> None:
        views: list[View] = []
        try:
            while not done.is_set():
                views.append(View(state.durable))
                if len(views) > 20:
                    values = set(content(state, views.pop(0)).values())
                    if len(values) != 1:
                        problems.append(values)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 600):
        commit(state, *((key, number) for key in range(12)))
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


def pinned_bytes(state: State, commits: int, keys: int) -> int:
    """Return what is held after so many commits, since tracing began."""
    for number in range(commits):
        commit(state, (number % keys, 1000 + number))
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("keys", [1, 500])
def test_what_an_idle_reader_pins_does_not_grow_with_the_commits(keys: int) -> None:
    state = State([Rows()], Version(0, b"", 0))
    commit(state, *((key, 0) for key in range(keys)))
    idle = View(state.durable)
    tracemalloc.start()
    before = pinned_bytes(state, 6_000, keys)
    after = pinned_bytes(state, 6_000, keys)
    tracemalloc.stop()
    assert after - before < 30 * 6_000
    assert set(content(state, idle).values()) == {0}


def test_versions_are_freed_when_the_idle_reader_is_gone() -> None:
    state = State([Rows()], Version(0, b"", 0))
    idle = View(state.durable)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(3_000):
        commit(state, (number, number))
        commit(state, (number, None))
    del idle
    for number in range(200):
        commit(state, (1, number))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 150_000
