"""Marks of segments, which every record starts with."""

from __future__ import annotations

from eventstore.format.segment import MARK_BYTES
from eventstore.log.writer import draw_mark


def test_no_mark_holds_a_zero_nor_is_one_drawn_twice() -> None:
    marks = {draw_mark() for _ in range(2000)}
    assert len(marks) == 2000
    assert {len(mark) for mark in marks} == {MARK_BYTES}
    assert not any(0 in mark for mark in marks)
