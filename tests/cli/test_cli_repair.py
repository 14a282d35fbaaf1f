"""`snapledger repair`: what it says of a damaged store, and what of a sound one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.cli import LAYER, OPTIONS, Call

from eventstore import StoreOptions
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT = "wal/00000000000000000001.log"


def _contents(store: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in store.rglob("*")
        if path.is_file()
    }


def _damage(store: Path, text: bytes) -> int:
    """Flip a byte of the first place where a text stands in the log."""
    path = store / SEGMENT
    content = bytearray(path.read_bytes())
    offset = content.index(text)
    content[offset] ^= 1
    path.write_bytes(content)
    return offset


@pytest.fixture
def damaged(story: Path) -> Path:
    """Return the store of `tell_story`, its third batch damaged."""
    _damage(story, b"a b=c")
    return story


def test_a_sound_store_is_copied_and_nothing_is_lost(
    call: Call, story: Path, tmp_path: Path
) -> None:
    result = call("repair", story, "--output", tmp_path / "new")
    assert (result.code, result.err) == (0, "")
    assert "lost       nothing" in result.out
    for verb in ("ls", "log", "tree"):
        assert call(verb, tmp_path / "new") == call(verb, story)


def test_a_damaged_store_is_repaired_and_what_was_lost_is_listed(
    call: Call, damaged: Path, tmp_path: Path
) -> None:
    before = _contents(damaged)
    assert call("ls", damaged).code == 3
    result = call("repair", damaged, "--output", tmp_path / "new")
    assert (result.code, result.err) == (3, "")
    lines = result.out.splitlines()
    assert lines[0].startswith(f"damaged: {damaged / SEGMENT}: ")
    assert lines[0].endswith("the payload fails its checksum")
    detached = tmp_path / "new.detached.jsonl"
    kept = f"of these revisions 4 to 5 are kept in {detached}"
    assert lines[1] == f"lost: batches 3 to 5: with their effect; {kept}"
    kept = f"detached: 2 batches that could be read but not kept, revisions 4 to 5: in {detached}"
    assert lines[2] == kept
    batches = [json.loads(line) for line in detached.read_text().splitlines()]
    assert [batch["revision"] for batch in batches] == [4, 5]
    assert batches[0]["events"][0]["data"]["parent"] == LAYER
    assert _contents(damaged) == before
    assert call("check", tmp_path / "new").code == 0
    with MetaStore.open(tmp_path / "new", options=OPTIONS) as store, store.transaction() as tx:
        assert tx.get_info(LAYER)[1].labels == {"stage": "done"}


def test_json_has_the_same(call: Call, damaged: Path, tmp_path: Path) -> None:
    result = call("repair", damaged, "--output", tmp_path / "new", "--json")
    assert result.code == 3
    report = json.loads(result.out)
    assert report["is_complete"] is False
    assert (report["revision"], report["first_revision"]) == (2, 1)
    assert report["checkpoint_revision"] == 0
    assert report["lost"] == [{"first": 3, "last": 5, "is_in_state": False}]
    [damage] = report["damage"]
    assert damage["path"] == str(damaged / SEGMENT)
    assert damage["size_bytes"] > 0
    log = call("log", tmp_path / "new", "--json").out.splitlines()
    assert [json.loads(line)["revision"] for line in log] == [1, 2]
    assert report["more_damage"] == 0
    assert report["detached"] == {
        "path": str(tmp_path / "new.detached.jsonl"),
        "batch_count": 2,
        "revisions": [{"first": 4, "last": 5}],
        "more_revisions": 0,
    }


def test_a_checkpoint_behind_the_damage_keeps_the_state(
    call: Call, story: Path, tmp_path: Path
) -> None:
    assert call("compact", story).code == 0
    expected = call("ls", story).out
    _damage(story, b"a b=c")
    assert call("ls", story).code == 3  # as an open: an acknowledged batch is damaged
    result = call("repair", story, "--output", tmp_path / "new")
    assert result.code == 3
    assert "lost: batches 1 to 4: from the history; a checkpoint holds their effect" in result.out
    assert call("ls", tmp_path / "new").out == expected
    assert call("check", tmp_path / "new").code == 0


def test_the_output_must_be_given_and_must_be_free(call: Call, story: Path, tmp_path: Path) -> None:
    assert call("repair", story).code == 2
    assert call("repair", story, "--output", "").code == 2
    for output in (story, story / "new", tmp_path):
        result = call("repair", story, "--output", output)
        assert result.code == 1
        assert result.err.startswith(f"snapledger: {output}: ")
        assert result.err.count("\n") == 1
    assert call("repair", tmp_path / "nothing", "--output", tmp_path / "new").code == 10
    assert not (tmp_path / "new").exists()


def test_the_output_can_not_be_put_into_the_store_through_a_link(
    call: Call, story: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(story)
    (tmp_path / "above").symlink_to(story.parent)
    before = _contents(story)
    for source, output in (
        (story, tmp_path / "link" / "new"),
        (story, tmp_path / "link" / "torn"),
        (tmp_path / "above" / story.name, story / "new"),
    ):
        result = call("repair", source, "--output", output)
        assert result.code == 1
        assert "can't be put into the damaged one" in result.err
    assert _contents(story) == before
    assert call("ls", story).code == 0


def test_a_second_copy_of_a_checkpoint_is_damage_and_no_obstacle(
    call: Call, story: Path, tmp_path: Path
) -> None:
    assert call("compact", story).code == 0
    [checkpoint] = (story / "checkpoints").iterdir()
    (story / "checkpoints" / "00000000000000000003.ckpt").write_bytes(checkpoint.read_bytes())
    assert call("repair", story, "--output", tmp_path / "new").code == 0
    assert call("check", tmp_path / "new").code == 0


def test_a_store_that_says_nowhere_which_it_is_stays_as_it_is(
    call: Call, story: Path, tmp_path: Path
) -> None:
    (story / SEGMENT).write_bytes(b"x" * 4096)
    (story / "durable").write_bytes(b"")
    result = call("repair", story, "--output", tmp_path / "new")
    assert result.code == 3
    assert "says which store it is" in result.err
    assert not (tmp_path / "new").exists()


@pytest.fixture
def long_story(tmp_path: Path) -> Path:
    """Return a store of 60 batches: in an archive of several files, a checkpoint and the log."""
    path = tmp_path / "long"
    options = StoreOptions(segment_bytes=4096, background=False)
    with MetaStore.open(path, options=options) as store:
        for number in range(60):
            with store.transaction(writable=True) as transaction:
                transaction.create_snapshot(Kind.ACTIVE, f"k{number}", labels={"a": "b" * 200})
            if number in {40, 50}:
                store.checkpoint()
        assert store.compact().archived > 2
    return path


def _truncate_middle(store: Path) -> int:
    """Cut an archive file of the middle short; return its first revision."""
    archived = sorted((store / "archive").glob("*.log.gz"))
    path = archived[len(archived) // 2]
    path.write_bytes(path.read_bytes()[:50])
    return int(path.name.split(".")[0])


def test_damaged_checkpoints_alone_are_no_case_for_a_repair(call: Call, long_story: Path) -> None:
    newest = max((long_story / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    result = call("check", long_story)
    assert result.code == 3
    assert "an open would do without what is damaged" in result.out
    assert "start the driver, or run `snapledger compact`" in result.out
    assert "snapledger repair" not in result.out
    assert call("compact", long_story).code == 0
    assert call("check", long_story).code == 0


def test_check_says_what_a_repair_would_keep_and_a_repair_keeps_that(
    call: Call, long_story: Path, tmp_path: Path
) -> None:
    first = _truncate_middle(long_story)
    said = call("check", long_story).out
    newest = call("repair", long_story, "--output", tmp_path / "newest", "--json")
    oldest = call("repair", long_story, "--output", tmp_path / "old", "--json", "--keep-history")
    kept, early = json.loads(newest.out), json.loads(oldest.out)
    assert (newest.code, kept["revision"]) == (3, 60)
    assert (early["first_revision"], early["revision"]) == (1, first - 1)
    assert (
        f"repair` makes a new one of what can be read: batches {kept['first_revision']} to 60 "
        in said
    )
    assert f"--keep-history batches 1 to {first - 1} and the state at revision {first - 1}" in said
    assert call("check", tmp_path / "old").code == 0
    assert len(call("ls", tmp_path / "old").out.splitlines()) == first
    assert early["detached"]["batch_count"] > 0


def test_compaction_goes_on_beside_a_damaged_archive_file(call: Call, long_story: Path) -> None:
    _truncate_middle(long_story)
    with MetaStore.open(long_story) as store:
        for number in range(100, 160):
            with store.transaction(writable=True) as transaction:
                transaction.create_snapshot(Kind.ACTIVE, f"k{number}", labels={"a": "b" * 200})
        store.checkpoint()
    assert call("compact", long_story).code == 0
