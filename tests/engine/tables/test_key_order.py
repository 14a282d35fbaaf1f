"""The order of a table's keys: kept apart from the rows, and brought up to date by scans."""

from __future__ import annotations

import linecache
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.tables import order as order_module
from eventstore.tables.order import KeyOrder

# A change of one key, or a scan.
STEPS = st.lists(st.one_of(st.none(), st.tuples(st.booleans(), st.integers(0, 30))), max_size=80)


def listed(order: KeyOrder, rows: dict[Any, Any]) -> list[Any]:
    return order.listed(rows, None, None, 1 << 30, (True, False))


def change(order: KeyOrder, rows: dict[Any, Any], key: Any, *, is_there: bool) -> None:
    """Do what a table does."""
    if is_there == (key in rows):
        return
    order.touch(key, len(rows))
    if is_there:
        rows[key] = None
    else:
        del rows[key]


@given(STEPS, st.integers(0, 12), st.integers(1, 40))
def test_every_scan_lists_the_keys_that_have_rows(
    steps: list[tuple[bool, int] | None], touched_min: int, share: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_module, "_TOUCHED_MIN", touched_min)
        patch.setattr(order_module, "_ADDED_SHARE_MAX", share)
        order, rows = KeyOrder(), dict[Any, Any]()
        for step in steps:
            if step is None:
                assert listed(order, rows) == sorted(rows)
            else:
                change(order, rows, step[1], is_there=step[0])
        assert listed(order, rows) == sorted(rows)
        order.check(rows)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_scan_between_note_and_row_is_followed_by_one_that_knows(is_there: bool) -> None:
    order, rows = KeyOrder(), dict[Any, Any]()
    for key in range(5):
        change(order, rows, key, is_there=True)
    key = 9 if is_there else 3
    order.touch(key, len(rows))
    assert listed(order, rows) == [0, 1, 2, 3, 4]
    if is_there:
        rows[key] = None
    else:
        del rows[key]
    assert listed(order, rows) == sorted(rows)


def test_touched_keys_that_came_and_went_take_no_more_room_than_the_rows() -> None:
    order, rows = KeyOrder(), dict[Any, Any]()
    for key in range(20_000):
        change(order, rows, key, is_there=True)
        if key >= 10:
            change(order, rows, key, is_there=False)
    assert len(order._touched) <= order_module._TOUCHED_MIN
    assert listed(order, rows) == list(range(10))


def test_a_scan_that_is_interrupted_anywhere_is_followed_by_one_that_is_right() -> None:
    def run(at: int) -> bool:
        """Interrupt one scan at a line; say whether it got so far."""
        order, rows = KeyOrder(), dict.fromkeys(range(0, 80, 2))
        order.forget(0)
        listed(order, rows)
        order._keys._reset(4)  # sublists so short that they are split and merged
        for key in (*range(1, 30, 2), 91, 95, 93):
            change(order, rows, key, is_there=True)
            change(order, rows, key - 1, is_there=False)
        left = at

        def trace(frame: Any, event: str, argument: object) -> Any:
            nonlocal left
            name = frame.f_code.co_filename
            line = linecache.getline(name, frame.f_lineno).strip()
            # The line of a `with` is passed again when the block ends. A signal is not looked at
            # there before the lock is free.
            is_with = line.startswith("with ")
            if event == "line" and name.endswith(("order.py", "sortedlist.py")) and not is_with:
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        previous = sys.gettrace()
        sys.settrace(trace)
        try:
            listed(order, rows)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(previous)
        assert listed(order, rows) == sorted(rows)
        order.check(rows)
        return left <= 0

    at = 1
    while run(at):
        at += 1
    assert at > 200


def test_scans_beside_a_writer_without_a_lock_miss_no_key_that_stays() -> None:
    order, rows = KeyOrder(), dict[Any, Any]()
    stays = range(0, 3000, 3)
    for key in stays:
        change(order, rows, key, is_there=True)
    done = threading.Event()

    def write() -> None:
        for _ in range(20):
            for key in range(1, 3000, 3):
                change(order, rows, key, is_there=True)
            for key in range(1, 3000, 3):
                change(order, rows, key, is_there=False)
        done.set()

    thread = threading.Thread(target=write)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        while not done.is_set():
            found = listed(order, rows)
            assert found == sorted(set(found))
            assert set(stays) <= set(found)
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert listed(order, rows) == sorted(rows)
