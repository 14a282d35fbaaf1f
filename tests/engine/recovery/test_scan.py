"""A scan yields the batches after the checkpoint, and is judged once they were all read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine import add, open_store

from eventstore import Verdict
from eventstore.files.local import local_file_system
from eventstore.recovery.decide import decide
from eventstore.recovery.scan import scan_store

if TYPE_CHECKING:
    from pathlib import Path


def test_scan_yields_what_is_after_the_checkpoint_and_then_says_what_was_found(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 2)
        store.checkpoint()
        add(store, 2)
    scan = scan_store(local_file_system(), str(path))
    assert scan.checkpoint is not None
    assert scan.checkpoint.revision == 2
    assert [record.revision for record in scan] == [3, 4]
    result = scan.result()
    assert result.batch_count == 2
    decision = decide(result.found)
    assert (decision.verdict, decision.problem) == (Verdict.CLEAN, None)
    assert decision.end is not None
    assert decision.end.revision == 4


def test_scan_that_was_not_read_to_its_end_has_no_result(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 2)
    scan = scan_store(local_file_system(), str(tmp_path / "store"))
    next(iter(scan))
    with pytest.raises(ValueError, match="not been read to its end"):
        scan.result()
