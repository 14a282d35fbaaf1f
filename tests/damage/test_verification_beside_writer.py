"""A verification looks again at what a running writer has half written."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from support.engine import add, open_store, overwrite, records, segments, state_durable
from support.ledger import Ledger

from eventstore import Verdict, verify_store
from eventstore.recovery import scan

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_record_that_is_being_written_is_waited_for_and_is_no_torn_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_TAIL_LOOKS", 1000)
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 5)
    [segment] = segments(path)
    last = records(segment)[-1]
    middle = (last.offset_bytes + last.end_bytes) // 2
    state_durable(path, last.revision - 1)
    later_half = segment.read_bytes()[middle : last.end_bytes]
    overwrite(segment, middle, bytes(len(later_half)))
    arrival = threading.Timer(0.05, overwrite, (segment, middle, later_half))

    def go_on_writing(revision: int) -> None:
        if revision == last.revision - 1:
            arrival.start()

    report = verify_store(path, [Ledger()], on_batch=go_on_writing)
    arrival.join()
    assert (report.problems, report.remarks, report.verdict) == ((), (), Verdict.CLEAN)
