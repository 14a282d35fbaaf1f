"""`compact` beside a driver that has the store open, with limits, and as a preview."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from eventstore import Retention, StoreOptions
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.cli import Call, Holder

SEGMENT_BYTES = 8192
QUIET = StoreOptions(segment_bytes=SEGMENT_BYTES, background=False)


def commit(store: MetaStore, first: int, last: int) -> None:
    for number in range(first, last + 1):
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"a": "b" * 900})


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """Return a store of thirty batches, with an archive and segments that may go there."""
    path = tmp_path / "store"
    with MetaStore.open(path, options=QUIET) as store:
        for first in (1, 11, 21):
            commit(store, first, first + 9)
            if first < 21:
                store.compact()
    return path


def test_a_driver_that_has_the_store_open_compacts_by_its_own_retention(
    call: Call, long: Path
) -> None:
    options = StoreOptions(segment_bytes=SEGMENT_BYTES, retention=Retention(revisions=12))
    with MetaStore.open(long, options=options) as store:
        commit(store, 31, 31)
        result = call("compact", long, "--json")
        assert (result.code, result.err) == (0, "")
        record = json.loads(result.out)
        assert (record["asked"], record["checkpoint_revision"]) == (True, 31)
        assert record["archived"] > 0
        assert record["dropped"] > 0
        assert store.stats()["checkpoint_revision"] == 31
        result = call("compact", long)
        assert (result.code, result.err) == (0, "")
        assert "done by     the driver that has the store open\n" in result.out
    assert not list(long.glob("compact.*"))


def test_a_driver_that_does_not_answer_is_11_and_the_request_is_taken_back(
    call: Call, story: Path, hold: Callable[[Path], Holder]
) -> None:
    hold(story)
    result = call("compact", story, "--wait", "0.6")
    assert (result.code, result.out) == (11, "")
    assert not list(story.glob("compact.*"))


def test_a_limit_is_not_imposed_on_a_running_driver(
    call: Call, story: Path, hold: Callable[[Path], Holder]
) -> None:
    hold(story)
    result = call("compact", story, "--keep-none", "--wait", "0.1")
    assert result.code == 11
    assert "a --keep option can't change that. Leave it out to have" in result.err
    assert "asks it" not in result.err
    assert not list(story.glob("compact.*"))


@pytest.mark.parametrize(
    "limit",
    [["--keep-revisions", "5"], ["--keep-none"], ["--keep-bytes", "0"], ["--keep-within", "0s"]],
    ids=lambda limit: limit[0],
)
def test_a_limit_drops_what_its_preview_lists(limit: list[str], call: Call, long: Path) -> None:
    previewed = json.loads(call("compact", long, *limit, "--dry-run", "--json").out)
    assert previewed["drop"]
    assert json.loads(call("stats", long, "--json").out)["oldest_revision"] == 1
    done = json.loads(call("compact", long, *limit, "--json").out)
    assert done["dropped"] == len(previewed["drop"])
    oldest = json.loads(call("stats", long, "--json").out)["oldest_revision"]
    assert oldest == previewed["first_revision"] == previewed["drop"][-1]["last_revision"] + 1


def test_a_limit_that_keeps_all_drops_nothing(call: Call, long: Path) -> None:
    for limit in (["--keep-within", "30d"], ["--keep-revisions", "1000"], []):
        assert json.loads(call("compact", long, *limit, "--dry-run", "--json").out)["drop"] == []
    assert json.loads(call("compact", long, "--keep-within", "30d", "--json").out)["dropped"] == 0


def test_a_preview_works_beside_a_driver(
    call: Call, story: Path, hold: Callable[[Path], Holder]
) -> None:
    hold(story)
    result = call("compact", story, "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("nothing was changed\n")


@pytest.mark.parametrize(
    "options",
    [["--keep-within", "soon"], ["--keep-none", "--keep-bytes", "1"], ["--keep-bytes", "-1"]],
)
def test_a_limit_that_is_none_is_a_usage_error(options: list[str], call: Call, told: Path) -> None:
    assert call("compact", told, *options).code == 2
