"""Checkpoints: what a compaction keeps and verifies, and what counts towards the next one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, checkpoints, open_store, segments

from eventstore import CorruptionError, Retention
from eventstore.format.checkpoint import footer_bytes, pack_footer, unpack_footer
from eventstore.log.segments import compress
from eventstore.maintenance import compaction

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("retention", [Retention.none(), Retention(revisions=1)])
def test_no_checkpoint_goes_while_one_of_the_two_newest_is_damaged(
    tmp_path: Path, retention: Retention
) -> None:
    with open_store(tmp_path, options=replace(SMALL, retention=retention)) as store:
        for _ in range(2):
            add(store, 30)
            store.compact()
        before = checkpoints(tmp_path)
        before[1].write_bytes(before[1].read_bytes()[:-9])
        add(store, 30)
        with pytest.raises(CorruptionError):
            store.compact()
        assert set(before) < set(checkpoints(tmp_path))


def test_segment_stays_when_its_archived_copy_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path) as store:
        for _ in range(2):
            add(store, 30)
            store.checkpoint()
        before = segments(tmp_path)
        # A medium that gives back other bytes than were written, and under a good checksum.
        monkeypatch.setattr(compaction, "compress", lambda data: compress(data[:-1] + b"x"))
        with pytest.raises(CorruptionError, match="differs from the segment"):
            store.compact()
        assert segments(tmp_path) == before
        assert len(list(store.batches())) == 60


def test_full_verification_compares_the_digest_of_a_checkpoint(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        add(store, 3)
        store.checkpoint()
        [path] = checkpoints(tmp_path)
        content = path.read_bytes()
        body = content[: -footer_bytes(2)]
        footer = unpack_footer(content[len(body) :], 2)
        # All checksums are right, as after damage that by chance has the same ones.
        path.write_bytes(body + pack_footer(footer._replace(digest=bytes(32))))
        [problem] = store.verify().problems
        assert "SHA-256" in problem.reason


def test_log_replayed_at_the_open_counts_towards_the_next_checkpoint(tmp_path: Path) -> None:
    options = replace(SMALL, background=True, checkpoint_after_bytes=8192)
    for _ in range(8):
        with open_store(tmp_path, options=options) as store:
            add(store, 40)
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                if checkpoints(tmp_path):
                    return
                time.sleep(0.05)
    pytest.fail("no checkpoint, although the log has grown past the limit")
