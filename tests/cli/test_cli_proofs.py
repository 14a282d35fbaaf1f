"""Keys, heads and proofs at the command line: exact texts, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from support.cli import OPTIONS

from eventstore import Receipt
from eventstore.proofs import SigningKey, consistency_text, head_text, inclusion_text
from projections.snapshots import Kind, MetaStore
from snapledger.keys import write_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.cli import Call

KEY = SigningKey("example.com/node-7", bytes(range(32)))
VKEY = str(KEY.verifier_key)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    write_key(str(path), KEY)
    return path


@pytest.fixture
def save(call: Call, tmp_path: Path, key: Path) -> Callable[..., Path]:
    """Write what a verb prints to a file."""

    def run(name: str, *arguments: str | Path) -> Path:
        result = call(*arguments, "--key", key)
        assert (result.code, result.err) == (0, "")
        path = tmp_path / name
        path.write_bytes(result.out.encode())
        return path

    return run


def test_a_new_key_is_private_and_its_verifier_key_is_printed(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "new"
    result = call("key", "new", path, "--origin", "example.com/a")
    assert (result.code, result.err) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = SigningKey.parse(path.read_text().rstrip("\n"))
    assert result.out == f"{made.verifier_key}\n"


def test_a_key_is_never_written_over(call: Call, key: Path) -> None:
    before = key.read_bytes()
    result = call("key", "new", key, "--origin", "example.com/a")
    assert (result.code, result.out) == (1, "")
    assert "a key is never written over" in result.err
    assert key.read_bytes() == before


@pytest.mark.parametrize("inner", ["key", "archive/key"])
def test_no_key_is_put_into_a_store(call: Call, story: Path, inner: str) -> None:
    (story / "archive").mkdir(exist_ok=True)
    result = call("key", "new", story / inner, "--origin", "example.com/a")
    assert (result.code, result.out) == (1, "")
    assert "where only its own files may be; nothing was done" in result.err
    assert not (story / inner).exists()


def test_no_key_goes_through_a_link(call: Call, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert call("key", "new", tmp_path / "link", "--origin", "example.com/a").code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_could_not_be_written_whole_leaves_nothing(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", is_full)
        assert call("key", "new", tmp_path / "key", "--origin", "example.com/a").code == 1
    assert not (tmp_path / "key").exists()
    assert call("key", "new", tmp_path / "key", "--origin", "example.com/a").code == 0


def test_an_origin_with_a_space_is_a_usage_error(call: Call, tmp_path: Path) -> None:
    result = call("key", "new", tmp_path / "new", "--origin", "a b")
    assert result.code == 2
    assert not (tmp_path / "new").exists()


def test_heads_and_proofs_are_exactly_the_texts(call: Call, told: Path, key: Path) -> None:
    with MetaStore.open(told, read_only=True) as opened:
        store = opened.event_store
        expected = {
            ("head",): head_text(store.tree_head(), KEY),
            ("head", "--size", "2"): head_text(store.tree_head(2), KEY),
            ("prove", "2"): inclusion_text(store.inclusion_proof(2), KEY),
            ("prove", "2", "--size", "4"): inclusion_text(store.inclusion_proof(2, 4), KEY),
            ("prove", "--from", "3"): consistency_text(store.consistency_proof(3), KEY),
            ("prove", "--from", "0"): consistency_text(store.consistency_proof(0), KEY),
        }
    for (verb, *rest), text in expected.items():
        result = call(verb, told, *rest, "--key", key)
        assert (result.code, result.out.encode(), result.err) == (0, text, "")


def test_a_head_is_verified_without_the_store(
    call: Call, story: Path, save: Callable[..., Path]
) -> None:
    head = save("head", "head", story)
    shutil.rmtree(story)
    result = call("verify", head, "--vkey", VKEY, "--json")
    assert (result.code, result.err) == (0, "")
    record = json.loads(result.out)
    assert (record["kind"], record["origin"], record["size"]) == ("head", KEY.name, 5)


def test_an_inclusion_proof_is_verified_with_the_digest_that_show_tells(
    call: Call, told: Path, save: Callable[..., Path]
) -> None:
    proof = save("proof", "prove", told, "2")
    shown = json.loads(call("show", told, "2", "--json").out)
    record = json.loads(call("verify", proof, "--vkey", VKEY, "--json").out)
    assert (record["kind"], record["revision"]) == ("inclusion", 2)
    assert record["digest"] == shown["digest"]


def test_a_proof_of_another_batch_than_the_receipts_is_4(
    call: Call, told: Path, save: Callable[..., Path]
) -> None:
    proof = save("proof", "prove", told, "2")
    with MetaStore.open(told, read_only=True) as opened:
        receipts = [
            Receipt(opened.event_store.store_id, batch.revision, batch.digest)
            for batch in opened.event_store.batches(2, 3)
        ]
    codes = [
        call("verify", proof, "--vkey", VKEY, "--receipt", str(receipt)).code
        for receipt in (*receipts, receipts[0]._replace(revision=3))
    ]
    assert codes == [0, 4, 4]


def test_a_consistency_proof_is_verified_against_the_old_head(
    call: Call, told: Path, save: Callable[..., Path]
) -> None:
    old, proof = save("old", "head", told, "--size", "3"), save("proof", "prove", told, "--from", 3)
    other = save("other", "head", told, "--size", "2")
    assert call("verify", proof, "--vkey", VKEY, "--old", old).code == 0
    assert call("verify", proof, "--vkey", VKEY, "--old", other).code == 4
    assert call("verify", proof, "--vkey", VKEY, "--old", proof).code == 4
    assert call("verify", proof, "--vkey", VKEY).code == 2


@pytest.mark.parametrize("arguments", [["head"], ["prove", "2"]], ids=["head", "inclusion"])
def test_a_changed_text_or_another_key_is_4(
    call: Call, told: Path, save: Callable[..., Path], arguments: list[str]
) -> None:
    verb, *rest = arguments
    file = save("text", verb, told, *rest)
    text = file.read_bytes()
    other = SigningKey(KEY.name, bytes(32)).verifier_key
    assert call("verify", file, "--vkey", str(other)).code == 4
    for at in range(0, len(text), 5):
        file.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])
        result = call("verify", file, "--vkey", VKEY)
        assert (result.code, result.out) == (4, "")
        assert result.err.count("\n") == 1


def test_what_is_no_text_at_all_is_4_and_no_file_is_1(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"", b"\xff" * 10, b"x" * 100_000):
        file.write_bytes(content)
        assert call("verify", file, "--vkey", VKEY).code == 4
    assert call("verify", tmp_path / "nothing", "--vkey", VKEY).code == 1


@pytest.mark.parametrize("vkey", ["", "name", VKEY[:-1], VKEY.replace("node-7", "node-8")])
def test_what_is_no_verifier_key_is_a_usage_error(call: Call, key: Path, vkey: str) -> None:
    assert call("verify", key, "--vkey", vkey).code == 2


def test_what_is_no_key_file_is_1(call: Call, told: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    for content in (b"", b"\xff\n", b"PRIVATE+KEY+a+00000000+AAAA\n", VKEY.encode(), b"x" * 9999):
        bad.write_bytes(content)
        result = call("head", told, "--key", bad)
        assert (result.code, result.out) == (1, "")
        assert "`snapledger key new` makes one" in result.err


def test_a_revision_that_is_not_there_is_1_and_a_head_that_is_larger_4(
    call: Call, told: Path, key: Path
) -> None:
    assert call("prove", told, "6", "--key", key).code == 1
    assert call("head", told, "--size", "6", "--key", key).code == 1
    assert call("show", told, "6").code == 1
    result = call("prove", told, "--from", "6", "--key", key)
    assert (result.code, result.out) == (4, "")
    assert "the end of its log was cut off" in result.err


@pytest.mark.parametrize("arguments", [[], ["2", "--from", "1"], ["0"], ["--from", "-1"]])
def test_prove_of_neither_or_both_is_a_usage_error(
    call: Call, told: Path, key: Path, arguments: list[str]
) -> None:
    assert call("prove", told, *arguments, "--key", key).code == 2


def published(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def test_publishing_again_adds_what_is_new(
    call: Call, story: Path, key: Path, tmp_path: Path
) -> None:
    target = tmp_path / "published"
    record = json.loads(call("publish", story, target, "--key", key, "--json").out)
    assert (record["size"], record["published_before"], record["files"]) == (5, 0, 3)
    assert set(published(target)) == {"checkpoint", "tile/0/000.p/5", "tile/entries/000.p/5"}
    again = call("publish", story, target, "--key", key)
    assert again.out == f"{target}: 5 batches published, 0 of them new; 0 files written\n"
    with (
        MetaStore.open(story, options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        transaction.create_snapshot(Kind.ACTIVE, "one more")
    call("publish", story, target, "--key", key)
    assert "tile/0/000.p/6" in published(target)
    assert published(target)["checkpoint"] == call("head", story, "--key", key).out.encode()


def test_a_store_that_does_not_continue_what_is_published_changes_nothing(
    call: Call, story: Path, imported: Path, key: Path, tmp_path: Path
) -> None:
    target = tmp_path / "published"
    call("publish", story, target, "--key", key)
    before = published(target)
    assert call("publish", imported, target, "--key", key).code == 4
    (target / "checkpoint").write_bytes(b"something else")
    assert call("publish", story, target, "--key", key).code == 4
    assert {**published(target), "checkpoint": b""} == {**before, "checkpoint": b""}


def test_nothing_is_published_into_a_store(call: Call, story: Path, key: Path) -> None:
    assert call("publish", story, story / "archive", "--key", key).code == 1
