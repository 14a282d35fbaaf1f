"""Files that somebody has made to hurt: each reader refuses them in words, by a documented code.

Every checksum in them holds. What a verb may say is its documented exit code; a traceback is never
one of them, nor is a reader that waits for ever or takes memory without bound.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import msgpack
import pytest
from support.cli import DATABASE, OPTIONS, PROGRAM, ROOT, tell_story
from support.damage import reseal

from eventstore import CorruptionError, Event, EventStore, InvalidEventError, Metadata
from eventstore.format.checkpoint import (
    CheckpointFooter,
    checkpoint_header_bytes,
    pack_checkpoint_header,
    pack_chunk,
    pack_ends,
    pack_footer,
    unpack_checkpoint_header,
)
from eventstore.format.segment import record_seed
from eventstore.options import BATCH_BYTES_LIMIT
from projections.snapshots import Kind, MetaStore, SnapshotsProjection
from snapledger.program import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MIB = 1024 * 1024
MEMORY_BYTES_MAX = 512 * MIB
DAMAGED, NO_STORE = 3, 10

Rows = tuple[bytes, bytes, list[bytes]]
"""A chunk: its first key, its keys, its values, all packed."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one checkpoint, which holds all, and without the log before it."""
    path = tmp_path_factory.mktemp("hostile") / "base"
    tell_story(path)
    with MetaStore.open(path, options=OPTIONS) as store:
        store.checkpoint()
    return path


@pytest.fixture
def store(base: Path, tmp_path: Path) -> Path:
    path = tmp_path / "store"
    shutil.copytree(base, path)
    return path


def checkpoint_of(store: Path) -> Path:
    [path] = (store / "checkpoints").glob("*.ckpt")
    return path


def forge_checkpoint(store: Path, chunks: list[Rows], names: bytes | None = None) -> None:
    """Put chunks of the first table into the place of a store's checkpoint."""
    path = checkpoint_of(store)
    data = path.read_bytes()
    header = unpack_checkpoint_header(data[: checkpoint_header_bytes(data)])
    table_count = len(msgpack.unpackb(header.table_names))
    forged = pack_checkpoint_header(replace(header, table_names=names or header.table_names))
    seed = record_seed(header.store_id)
    for first, keys, values in chunks:
        parts = (first, keys, pack_ends(values), b"".join(values))
        forged += pack_chunk(0, len(values), parts, seed)
    counts = (sum(len(values) for *_, values in chunks), *[0] * (table_count - 1))
    digest = hashlib.sha256(forged).digest()
    forged += pack_footer(CheckpointFooter(len(chunks), digest, counts))
    path.write_bytes(forged)


pack: Callable[[object], bytes] = msgpack.packb
DEEP = b"\x91" * 900 + b"\xc0"
DEEPER = b"\x91" * 100_000 + b"\xc0"
EXTENSION = b"\xc7\x00\x05"
VALUE = pack([1, "", "active", {}, 0, 0, 0, 0])


def rows(first: bytes, *others: bytes, value: bytes = VALUE) -> list[Rows]:
    """Return a chunk with these keys."""
    keys = bytes([0x91 + len(others)]) + first + b"".join(others)
    return [(first, keys, [value] * (1 + len(others)))]


KEYS: dict[str, list[Rows]] = {
    "nil": rows(b"\xc0"),
    "number of the wrong type": rows(pack(0.5)),
    "truth": rows(b"\xc3"),
    "not a number": rows(pack(float("nan"))),
    "map": rows(pack({"a": 1})),
    "map in a list": rows(pack([{"a": 1}])),
    "list in a list": rows(pack([["a"]])),
    "deep": rows(DEEP),
    "deeper": rows(DEEPER),
    "extension": rows(EXTENSION),
    "timestamp": rows(b"\xd6\xff\0\0\0\0"),
    "several types": rows(pack("a"), pack(1)),
    "several types in several chunks": rows(pack("a")) + rows(pack(1)),
    "not ascending": rows(pack("b"), pack("a")),
    "all of another type": rows(pack(1), pack(2)),
    "all of another type, bytes": rows(pack(b"a"), pack(b"b")),
    "not ascending chunks": rows(pack("b")) + rows(pack("a")),
    "huge count": [(pack("a"), b"\xdd\xff\xff\xff\xff", [VALUE])],
    "no array": [(pack("a"), pack("a"), [VALUE])],
    "no msgpack": [(pack("a"), b"\xc1", [VALUE])],
    "fewer keys than values": [(pack("a"), pack(["a"]), [VALUE, VALUE])],
    "another first key": [(pack("a"), pack(["b"]), [VALUE])],
}
VALUES: dict[str, bytes] = {
    "number": pack(1),
    "short list": pack([1]),
    "wrong types": pack([{}, 1, 2, 3, "a", "b", None, []]),
    "no msgpack": b"\xc1",
    "nothing": b"",
    "extension": EXTENSION,
    "deep": DEEP,
    "deeper": DEEPER,
    "huge count": b"\xdf\xff\xff\xff\xff",
}
NAMES: dict[str, bytes] = {
    "number": pack(5),
    "numbers": pack([[1, 2, 3]] * 5),
    "numbers, all different": pack([[number, 1, number] for number in range(5)]),
    "map": pack({"a": 1}),
    "lists": pack([[["a"], 1, "t"]] * 5),
    "a table twice": pack([["snapshots", 1, "snapshots"]] * 5),
    "deep": DEEP,
}
CHECKPOINTS: dict[str, tuple[list[Rows], bytes | None]] = {
    **{f"key: {what}": (chunks, None) for what, chunks in KEYS.items()},
    **{f"value: {what}": (rows(pack("a"), value=value), None) for what, value in VALUES.items()},
    **{f"table list: {what}": (rows(pack("a")), names) for what, names in NAMES.items()},
}


def call(*arguments: object) -> int:
    return main([str(each) for each in arguments])


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_hostile_checkpoint_is_damage_to_every_reader(
    store: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused when it is loaded, so that the log is replayed, or when its rows are read."""
    forge_checkpoint(store, *CHECKPOINTS[what])
    assert call("check", store) == DAMAGED
    assert call("check", store, "--quick") in (0, DAMAGED)
    listed = call("ls", store)
    assert listed in (0, DAMAGED)
    assert call("tree", store) == listed
    assert call("info", store, "sha256:" + "ab" * 32) in (0, 1, DAMAGED)  # 1: no such snapshot
    assert call("log", store) == 0
    assert call("repair", store, "--output", tmp_path / "new") in (0, DAMAGED)
    with MetaStore.open(store, options=OPTIONS) as opened, opened.transaction() as transaction:
        if listed == 0:
            assert [info.name for info in transaction.walk_info()] == ["sha256:" + "ab" * 32]
        else:
            with pytest.raises(CorruptionError) as refused:
                list(transaction.walk_info())
            assert refused.value.path == str(checkpoint_of(store))
    capsys.readouterr()


def test_a_key_that_stands_twice_is_found_by_a_verification(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge_checkpoint(store, rows(pack("a"), pack("a")))
    assert call("check", store) == DAMAGED
    assert "not in key order" in capsys.readouterr().out


@pytest.mark.parametrize("levels", [300, 1010, 100_000])
def test_a_forged_batch_that_nests_too_deep_is_damage_to_every_reader(
    tmp_path: Path, levels: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store"
    data = {"key": "k"}

    def pack_batch(metadata: Metadata, events: list[bytes]) -> bytes:
        event = b"\x93\xa4deep\x01" + b"\x81\xa1d" * levels + b"\xc0"
        return b"\x92" + pack([None, None, None]) + b"\x91" + event

    with pytest.MonkeyPatch.context() as patch, EventStore.open(path, []) as opened:
        patch.setattr("eventstore.handle.write_transaction.encode_batch", pack_batch)
        with opened.transaction(writable=True) as transaction:
            transaction.emit(Event("deep", data))
    for arguments in (("ls",), ("log",), ("log", "--json"), ("check",)):
        assert call(arguments[0], path, *arguments[1:]) == DAMAGED, arguments
    with pytest.raises(CorruptionError):
        MetaStore.open(path, options=OPTIONS)
    capsys.readouterr()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _empty(path: Path) -> None:
    path.touch()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


SPARSE = "sparse file of 1 TiB"
THINGS: dict[str, Callable[[Path], None]] = {
    "fifo": _fifo,
    "directory": _directory,
    "link": _link,
    "empty file": _empty,
    SPARSE: _sparse,
}
VERBS = ("ls", "log", "stats", "check", "repair")


@pytest.mark.parametrize(
    ("place", "thing"),
    [(place, thing) for place in ("wal", "checkpoints", "archive", "durable") for thing in THINGS],
)
def test_what_stands_in_the_place_of_a_file_is_refused_in_words(
    store: Path, tmp_path: Path, place: str, thing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name a segment, a checkpoint and an archive file; the exit code is a documented one."""
    number = f"{2**63 + 5:020d}"
    name = {"wal": f"{number}.log", "checkpoints": f"{number}.ckpt", "archive": f"{number}.log.gz"}
    path = store / place / name[place] if place in name else store / place
    path.unlink(missing_ok=True)
    THINGS[thing](path)
    for verb in VERBS:
        if verb == "repair" and thing == SPARSE:
            continue  # it looks for records everywhere: in the next test, with little memory
        extra = ("--output", tmp_path / "new") if verb == "repair" else ()
        code = call(verb, store, *extra)
        assert code in (0, DAMAGED, NO_STORE), verb
        if verb == "check" and not (place == "durable" and path.is_file()):
            assert code != 0
    capsys.readouterr()


@pytest.mark.parametrize("place", ["checkpoints", "archive", "wal"])
def test_a_file_without_end_takes_little_memory(
    store: Path, tmp_path: Path, place: str, deep: bool
) -> None:
    suffix = {"checkpoints": "ckpt", "archive": "log.gz", "wal": "log"}[place]
    _sparse(store / place / f"{2**63 + 5:020d}.{suffix}")
    for verb in ("check", "ls", "repair"):
        if verb == "repair" and place == "wal" and not deep:
            continue  # it goes through all the zeros: a quarter of a minute
        extra = ("--output", str(tmp_path / "new")) if verb == "repair" else ()
        done = _limited(verb, str(store), *extra)
        assert done.returncode in (0, DAMAGED)
        assert "Traceback" not in done.stderr


def _limited(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program with little memory.

    A shell sets the limit: a function that runs between fork and exec would run beside what gRPC
    has left in this process, which ends such children now and then.
    """
    limited = ["sh", "-c", f'ulimit -v {MEMORY_BYTES_MAX // 1024}; exec "$@"', "sh"]
    return subprocess.run(
        [*limited, *PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", [b"\xff\xfe.log", b"caf\xe9.tmp", b"0" * 19 + b".log", b"9" * 20])
def test_names_that_are_no_names_of_the_store_are_left_alone(store: Path, name: bytes) -> None:
    for directory in ("wal", "checkpoints", "archive", "torn"):
        with open(os.path.join(os.fsencode(store / directory), name), "wb") as file:
            file.write(b"x")
    assert call("check", store) == 0
    assert call("ls", store) == 0
    with MetaStore.open(store, options=OPTIONS) as opened:
        opened.compact()
    assert call("check", store) == 0


def test_a_name_with_an_absurd_number_is_damage(store: Path) -> None:
    for number in (0, 2**63, 2**64 - 1, 10**20 - 1):
        path = store / "wal" / f"{number:020d}.log"
        shutil.copy(store / "wal" / f"{1:020d}.log", path)
        assert call("check", store) == DAMAGED
        # What seems to be superseded by the checkpoint is read by no open.
        assert call("ls", store) == (DAMAGED if number else 0)
        path.unlink()


def test_a_cap_that_no_options_allow_is_a_damaged_header(store: Path) -> None:
    """So that no reader allocates more than the highest one for a record."""
    [segment] = (store / "wal").glob("*.log")
    data = segment.read_bytes()
    header = data[:12] + struct.pack("<I", BATCH_BYTES_LIMIT + 1) + data[16:512]
    segment.write_bytes(reseal(header) + data[512:])
    with pytest.raises(CorruptionError, match="allows payloads of"):
        MetaStore.open(store, options=OPTIONS)
    assert call("check", store) == DAMAGED


def test_an_archive_that_unpacks_without_end_is_refused(store: Path) -> None:
    def bomb(sizes: Iterable[int]) -> bytes:
        compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join(compressor.compress(bytes(n)) for n in sizes) + compressor.flush()

    shutil.rmtree(store / "archive")
    (store / "archive").mkdir()
    path = store / "archive" / f"{0:020d}.log.gz"
    path.write_bytes(bomb([64 * MIB] * 2))
    for verb in ("check", "ls"):
        done = _limited(verb, str(store))
        assert "Traceback" not in done.stderr
        assert done.returncode == (DAMAGED if verb == "check" else 0)


@pytest.mark.parametrize("thing", [*THINGS, "endless device"])
def test_an_import_refuses_what_is_no_database(tmp_path: Path, thing: str) -> None:
    database = tmp_path / "metadata.db"
    if thing == "endless device":
        database = "/dev/zero"  # type: ignore[assignment]
    else:
        THINGS[thing](database)
    done = _limited("import-bolt", str(database), str(tmp_path / "store"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    if thing in ("fifo", "endless device"):
        assert "not a regular file" in done.stderr
    assert not (tmp_path / "store").exists()


def test_an_import_still_reads_a_database(tmp_path: Path) -> None:
    assert _limited("import-bolt", str(DATABASE), str(tmp_path / "store")).returncode == 0


def test_the_pure_python_msgpack_refuses_what_is_nested_too_deep(store: Path) -> None:
    code = """
import sys
from eventstore import EventStore, Event, InvalidEventError
from eventstore.format.codec import DecodeError, decode_batch, unpack_row
for levels in (256, 257, 1500, 50_000):
    data = None
    for _ in range(levels):
        data = [data]
    with EventStore.open(sys.argv[1], []) as store:
        try:
            with store.transaction(writable=True) as transaction:
                transaction.emit(Event("deep", data))
            assert levels == 256
        except InvalidEventError:
            assert levels > 256
    while data:  # a deep list that is dropped at once recurses in some interpreters
        data = data.pop()
    for decode in (decode_batch, unpack_row):
        try:
            decode(b"\\x91" * levels + b"\\xc0")
        except DecodeError:
            pass
with EventStore.open(sys.argv[1], []) as store:
    assert store.verify().is_sound
"""
    for pure in ("1", ""):
        path = store.with_name(f"deep{pure}")
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MSGPACK_PUREPYTHON": pure},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-800:]


def test_a_transaction_near_the_end_of_the_stack_is_done_undone_or_has_failed(
    tmp_path: Path,
) -> None:
    """A RecursionError, at whatever depth, leaves no half commit."""
    path = tmp_path / "store"
    store = MetaStore.open(path, options=OPTIONS)

    def at_depth(depth: int, call: Callable[[], None]) -> None:
        if depth:
            at_depth(depth - 1, call)
        else:
            call()

    def commit() -> None:
        with store.transaction(writable=True) as transaction:
            transaction.create_snapshot(Kind.ACTIVE, f"k{transaction.revision}")

    limit = sys.getrecursionlimit()
    outcomes = set()
    for room in range(70, 4, -1):
        before = store.event_store.stats()["revision"]
        try:
            at_depth(limit - _depth() - room, commit)
            outcomes.add("done")
        except (RecursionError, InvalidEventError):
            outcomes.add("undone")
        if store.event_store.stats()["failed"]:
            outcomes.add("failed")
            store.close()
            store = MetaStore.open(path, options=OPTIONS)
        after = store.event_store.stats()["revision"]
        assert after - before in (0, 1)
        with store.transaction() as transaction:
            names = [info.name for info in transaction.walk_info()]
        assert len(names) == after
    assert {"done", "undone"} <= outcomes
    store.event_store.check()
    assert store.event_store.verify().is_sound
    store.close()
    with EventStore.open(path, [SnapshotsProjection()], read_only=True) as follower:
        assert follower.stats()["revision"] == after


def _depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth
