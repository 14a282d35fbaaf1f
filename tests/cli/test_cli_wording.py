"""Counts agree with their nouns, whatever a verb counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.cli import DATABASE, OPTIONS, Call

from projections.snapshots import Kind, MetaStore
from snapledger.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

WRONG_NUMBER = re.compile(
    r"\b1 (more )?(?:older )?\w+s\b|\b(?:0|[2-9]|\d\d+) (?:byte|batch|segment)\b"
)


def test_a_count_of_one_is_in_the_singular() -> None:
    assert [counted(n, "batch", "batches") for n in range(3)] == [
        "0 batches",
        "1 batch",
        "2 batches",
    ]
    assert [counted(n, "segment") for n in range(3)] == ["0 segments", "1 segment", "2 segments"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_every_verb_counts_in_words_that_agree(count: int, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=OPTIONS) as store:
        for number in range(count):
            with store.transaction(writable=True) as transaction:
                transaction.create_snapshot(Kind.ACTIVE, f"k{number}")
    texts = [call(verb, path).out for verb in ("check", "stats", "tree", "log", "ls")]
    texts.append(call("check", path, "--quick").out)
    for number in range(3):
        texts.append(call("compact", path).out)
        texts.append(call("check", path).out)
        with (
            MetaStore.open(path, options=OPTIONS) as store,
            store.transaction(writable=True) as transaction,
        ):
            transaction.create_snapshot(Kind.ACTIVE, f"more{number}")
    texts.append(call("repair", path, "--output", tmp_path / "new").out)
    segment = path / "wal" / f"{1:020}.log"
    content = bytearray(segment.read_bytes())
    content[content.index(b"more2")] ^= 1
    segment.write_bytes(content)
    texts.append(call("check", path).out)
    texts.append(call("repair", path, "--output", tmp_path / "another").out)
    texts.append(call("import-bolt", DATABASE, tmp_path / "imported").out)
    for text in texts:
        assert WRONG_NUMBER.search(text) is None, text
