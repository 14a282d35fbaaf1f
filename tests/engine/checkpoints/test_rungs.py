"""Rungs: past states packed one against the other, made and thinned by compactions."""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import SMALL, flip, open_store
from support.erasing import FIELDS, SECRET, everything, fill
from support.ledger import ACCOUNTS, Ledger, Totals, close_account, deposit, open_account

from eventstore import (
    CorruptionError,
    EventStore,
    Retention,
    StoreOptions,
    Verdict,
    erase,
    verify_store,
)
from eventstore.checkpoints import rung_writer
from eventstore.checkpoints.checkpoint import Checkpoint
from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints
from eventstore.checkpoints.reader import TableName
from eventstore.checkpoints.rung_writer import packed_rung, rung_state, write_rung
from eventstore.checkpoints.rungs import RungLoader, RungState, list_rungs, read_rung
from eventstore.checkpoints.writer import packed_rows
from eventstore.files.local import LocalFileSystem, local_file_system
from eventstore.format import checkpoint as checkpoint_format
from eventstore.format import rung as rung_format
from eventstore.format.blocks import MalformedError
from eventstore.format.checkpoint import lengths_of, pack_ends
from eventstore.format.codec import pack
from eventstore.format.names import parse_rung_name, rung_name
from eventstore.format.rung import (
    Seen,
    chunk_of,
    pack_rung,
    parts_of,
    unpack_rung,
    unpack_rung_header,
)
from eventstore.handle import history
from eventstore.maintenance import checkpointing, climbing, compaction, ladder
from eventstore.recovery import replay as replay_module
from eventstore.tables.stored import StoredRows
from projections.snapshots import Kind, MetaStore, SnapshotsProjection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eventstore.checkpoints.chains import CheckpointFile

STORE_ID = bytes(range(16))
ACCOUNTS_COUNT = 200
ALL = replace(SMALL, retention=Retention(checkpoint_share=10_000.0))
GOLDEN = json.loads(
    (Path(__file__).parents[2] / "data" / "format" / "rungs-version-1.json").read_text()
)
PROJECTIONS = (Ledger(), Totals())
Rows = dict[str, bytes]


@pytest.fixture(autouse=True)
def _small_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_small(monkeypatch)


def patch_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small stores write deltas, fold them soon, and keep small rungs."""
    monkeypatch.setattr(checkpointing, "BASE_ROWS", 8)
    monkeypatch.setattr(compaction, "_CHAIN_DELTAS", 2)
    monkeypatch.setattr(compaction, "_FOLD_SHARE", 1)
    monkeypatch.setattr(ladder, "_FILE_BYTES_MIN", 1)


# The files by themselves


def checkpoint_of(revision: int, rows: Mapping[str, Rows]) -> Checkpoint:
    tables = tuple(
        (TableName("p", 1, name), StoredRows(packed_rows(sorted(own.items()), "")))
        for name, own in rows.items()
    )
    return Checkpoint(STORE_ID, revision, revision, bytes([revision] * 32), tables)


def rows_of(checkpoint: Checkpoint) -> dict[str, Rows]:
    return {name.table: rows.as_dict() for name, rows in checkpoint.tables}


def written(directory: Path, states: Mapping[int, Mapping[str, Rows]]) -> list[CheckpointFile]:
    """Write states, each packed against the one before it."""
    (directory / "ladder").mkdir(parents=True, exist_ok=True)
    before: RungState | None = None
    for revision, rows in states.items():
        state = rung_state(checkpoint_of(revision, rows))
        write_rung(local_file_system(), str(directory / "ladder"), packed_rung(state, before))
        before = state
    return list_rungs(local_file_system(), str(directory))


def numbered(count: int, *changed: int, value: bytes = b"changed") -> Rows:
    rows = {f"key {number:05}": pack(f"{number}" * 9) for number in range(count)}
    return rows | {f"key {number:05}": pack(value) for number in changed}


STATES: dict[int, dict[str, Rows]] = {
    1: {"a": numbered(300), "b": {}},
    2: {"a": numbered(320, 7, 200), "b": numbered(3)},
    3: {"a": numbered(10), "b": numbered(200, 5)},
    4: {"a": {}, "b": numbered(200, 5, 6)},
}


def test_states_read_back_rung_by_rung(tmp_path: Path) -> None:
    files = written(tmp_path, STATES)
    loader = RungLoader(local_file_system(), files, checks_rows=True)
    for order in (files, files[::-1]):
        for file in order:
            loaded = loader.load_by(file)
            assert rows_of(loaded) == STATES[file.revision]
            assert loaded.digest == bytes([file.revision] * 32)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([f"{number:03}" for number in range(200)]),
            st.binary(min_size=1, max_size=40),
            max_size=150,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_states_read_back(tables: list[Rows]) -> None:
    before: RungState | None = None
    for revision, rows in enumerate(tables, 1):
        state = rung_state(checkpoint_of(revision, {"t": rows}))
        content = packed_rung(state, before).content
        header = unpack_rung_header(content)
        assert header.revision == revision
        seen = [[]] if before is None else before.tables
        assert unpack_rung(content, header, 1, seen, lambda: None) == state.tables
        before = state


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=70))
def test_a_chunk_has_the_same_parts_again(values: list[bytes]) -> None:
    parts = (b"k", b"keys", pack_ends(values), b"".join(values))
    assert parts_of(chunk_of(len(values), parts)) == parts


def test_lengths_of_values_do_not_tell_where_they_stand() -> None:
    assert lengths_of(pack_ends([b"a" * 5] * 9)) == lengths_of(pack_ends([b"b" * 5] * 9))


def test_what_has_not_changed_takes_next_to_nothing(tmp_path: Path) -> None:
    states = {1: {"a": numbered(2000)}, 2: {"a": numbered(2001, 7)}}
    root, link = written(tmp_path, states)
    sizes = [Path(file.path).stat().st_size for file in (root, link)]
    assert sizes[1] * 5 < sizes[0]


def test_a_table_that_was_emptied_may_have_keys_of_another_type(tmp_path: Path) -> None:
    numbers: Any = dict.fromkeys(range(100), b"\x01")
    files = written(tmp_path, {1: {"a": numbered(100)}, 2: {"a": numbers}})
    loaded = RungLoader(local_file_system(), files, checks_rows=True).load_by(files[1])
    assert rows_of(loaded) == {"a": numbers}


def test_rungs_of_version_1_stay_readable(tmp_path: Path) -> None:
    (tmp_path / "ladder").mkdir()
    for name, content in GOLDEN["files"].items():
        (tmp_path / "ladder" / name).write_bytes(base64.b64decode(content))
    files = list_rungs(local_file_system(), str(tmp_path))
    loader = RungLoader(local_file_system(), files, checks_rows=True)
    for file in files:
        rows = {
            table: {key: value.hex() for key, value in own.items()}
            for table, own in rows_of(loader.load_by(file)).items()
        }
        assert rows == GOLDEN["rows"][str(file.revision)]


def small(directory: Path) -> list[CheckpointFile]:
    return written(directory, {1: {"a": numbered(5)}, 2: {"a": numbered(6, 3)}})


def test_no_flipped_bit_and_no_cut_of_a_rung_passes(tmp_path: Path) -> None:
    root, link = small(tmp_path)
    before = read_rung(local_file_system(), root.path, None)
    path = Path(link.path)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CorruptionError):
            read_rung(local_file_system(), link.path, before)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptionError):
            read_rung(local_file_system(), link.path, before)


def test_a_rung_of_a_newer_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = checkpoint_format.RUNG._replace(version=2)
    monkeypatch.setattr(rung_format, "RUNG", newer)
    [file] = written(tmp_path, {1: STATES[1]})
    monkeypatch.undo()
    with pytest.raises(CorruptionError, match="format version 2, a newer one"):
        RungLoader(local_file_system(), [file]).load_by(file)


def test_a_rung_is_not_unpacked_against_another_state(tmp_path: Path) -> None:
    root, link = small(tmp_path)
    other = rung_state(checkpoint_of(1, {"a": numbered(5, 3)}))
    with pytest.raises(CorruptionError, match=r"from|length"):
        read_rung(local_file_system(), link.path, other)
    for wrong in (
        replace(other.header, revision=9),
        replace(other.header, digest=bytes(32)),
        replace(other.header, store_id=bytes(16)),
        replace(other.header, table_names=b"\x90"),
    ):
        with pytest.raises(CorruptionError, match="than that before it"):
            read_rung(local_file_system(), link.path, other._replace(header=wrong))
    with pytest.raises(CorruptionError, match="named a root"):
        read_rung(local_file_system(), link.path, None)
    shutil.copy(root.path, Path(root.path).with_name(rung_name(7, None)))
    [_, _, renamed] = list_rungs(local_file_system(), str(tmp_path))
    with pytest.raises(CorruptionError, match="states revision 1"):
        RungLoader(local_file_system(), [renamed]).load_by(renamed)


def test_a_rung_whose_foot_is_missing_is_told(tmp_path: Path) -> None:
    _, link = small(tmp_path)
    with pytest.raises(CorruptionError, match="missing"):
        RungLoader(local_file_system(), [link]).load_by(link)


def test_a_directory_that_claims_too_much_is_refused_before_it_is_unpacked() -> None:
    state = rung_state(checkpoint_of(1, {"a": numbered(5)}))
    content = bytearray(packed_rung(state, None).content)
    header = unpack_rung_header(bytes(content))
    at = checkpoint_format.checkpoint_header_bytes(bytes(content[:200]), checkpoint_format.RUNG)
    content[at + 4 : at + 8] = b"\xff\xff\xff\x7f"
    with pytest.raises(MalformedError, match="longer than it can be"):
        unpack_rung(bytes(content), header, 1, [[]], lambda: None)


def test_a_chunk_that_is_shorter_than_its_parts_is_refused() -> None:
    state = rung_state(checkpoint_of(1, {"a": numbered(5)}))
    [[chunk]] = state.tables
    longer = chunk._replace(row_count=1000)
    content = packed_rung(state._replace(tables=[[longer]]), None).content
    with pytest.raises(MalformedError, match="another length"):
        unpack_rung(content, unpack_rung_header(content), 1, [[]], lambda: None)


@pytest.mark.parametrize("seen", [Seen(0, 1), Seen(7, 1), Seen(0, 9)])
def test_a_chunk_is_not_unpacked_against_what_is_not_there(seen: Seen) -> None:
    state = rung_state(checkpoint_of(1, {"a": numbered(5)}))
    eight = [state.tables[0] * 8]
    content = pack_rung(state.header, state.tables, eight, lambda *_: seen, lambda: None)
    before = eight if seen.chunk_count > 8 else [[]]
    with pytest.raises(MalformedError, match="not there"):
        unpack_rung(content, state.header, 1, before, lambda: None)


def test_names_of_rungs_read_back() -> None:
    assert parse_rung_name(rung_name(7, None)) == (7, None)
    assert parse_rung_name(rung_name(7, 3)) == (7, 3)
    for name in ("7.rung", rung_name(7, 3) + ".tmp", rung_name(7, 3).replace("-", "_")):
        assert parse_rung_name(name) is None


def test_a_rung_that_reads_back_otherwise_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        rung_writer, "read_rung", lambda *_: rung_state(checkpoint_of(1, {"a": numbered(9)}))
    )
    with pytest.raises(CorruptionError, match="not what was written"):
        written(tmp_path, {1: STATES[1]})
    assert list((tmp_path / "ladder").iterdir()) == []


# What compactions make of them


def filled(path: Path, options: object = ALL, **given: Any) -> EventStore:
    store = open_store(path, options=options, **given)
    with store.transaction(writable=True) as tx:
        for number in range(ACCOUNTS_COUNT):
            open_account(tx, f"{number:03}")
    store.checkpoint()
    return store


def content(store: EventStore) -> dict[object, object]:
    return shown(store.transaction())


def shown(tx: Any) -> dict[object, object]:
    return {name: dict(tx.items(name)) for name in (ACCOUNTS, "totals")}


def change(store: EventStore, number: int) -> None:
    with store.transaction(writable=True) as tx:
        deposit(tx, f"{number:03}", number + 1, "n" * 1500)
        close_account(tx, f"{number + 100:03}")
        open_account(tx, f"{number:03}-new")


States = dict[int, dict[object, object]]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, States]:
    """A store with a ladder, and its states by their revisions."""
    path = tmp_path_factory.mktemp("usual") / "store"
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch_small(monkeypatch)
        store, states = climbed(path)
        store.close()
    return path, states


@pytest.fixture
def climbed_store(tmp_path: Path, usual: tuple[Path, States]) -> tuple[EventStore, States]:
    """An open copy of that store, at `tmp_path`."""
    path, states = usual
    shutil.copytree(path, tmp_path, dirs_exist_ok=True)
    return open_store(tmp_path, options=ALL), dict(states)


@pytest.fixture
def one_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[EventStore, States]:
    """Such a store whose rungs all rest on one root, at `tmp_path`."""
    monkeypatch.setattr(ladder, "LINKS_MIN", ladder.LINKS_MAX)
    return climbed(tmp_path)


def climbed(
    path: Path, count: int = 24, options: object = ALL, **given: Any
) -> tuple[EventStore, States]:
    """Return a store with a ladder, and its states by their revisions."""
    store = filled(path, options, **given)
    states = {}
    for number in range(count):
        change(store, number)
        states[store.stats()["revision"]] = content(store)
        store.compact()
    return store, states


def rungs(path: Path) -> list[CheckpointFile]:
    return list_rungs(local_file_system(), str(path))


def ladder_bytes(path: Path) -> int:
    return sum(entry.stat().st_size for entry in (path / "ladder").iterdir())


def sealed_bytes(path: Path) -> int:
    files = [*(path / "archive").iterdir(), *sorted((path / "wal").glob("*.log"))[:-1]]
    return sum(file.stat().st_size for file in files)


def require_past(store: EventStore, states: Mapping[int, dict[object, object]]) -> None:
    for revision, expected in states.items():
        assert shown(store.at(revision)) == expected


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What reads of the past have replayed."""
    counted: list[object] = []
    replay = replay_module.replay_record
    monkeypatch.setattr(
        history, "replay_record", lambda *given: (counted.append(given), replay(*given))
    )
    return counted


def test_each_superseded_state_becomes_a_rung(
    tmp_path: Path, climbed_store: tuple[EventStore, States], replayed: list[object]
) -> None:
    store, states = climbed_store
    with store:
        below = min(file.revision for file in list_checkpoints(local_file_system(), str(tmp_path)))
        assert [file.revision for file in rungs(tmp_path)] == list(range(1, below))
        for revision, expected in states.items():
            del replayed[:]
            assert shown(store.at(revision)) == expected
            assert replayed == []
        report = store.verify()
        assert report.is_sound
        assert report.replayed_checkpoints >= len(states)
    with open_store(tmp_path, read_only=True) as follower:
        require_past(follower, states)


def test_the_ladder_takes_no_more_than_its_share_and_spans_the_past(
    tmp_path: Path, replayed: list[object]
) -> None:
    options = replace(SMALL, retention=Retention(checkpoint_share=0.5))
    store, states = climbed(tmp_path, 60, options)
    with store:
        assert 3 <= len(rungs(tmp_path)) < 45
        assert ladder_bytes(tmp_path) <= 0.5 * sealed_bytes(tmp_path)
        require_past(store, states)
        longest = 0
        for revision in states:
            del replayed[:]
            store.at(revision)
            longest = max(longest, len(replayed))
        assert longest <= 4 * (60 / len(rungs(tmp_path)))
        assert store.verify().is_sound


def test_a_smaller_share_thins_the_ladder_and_none_removes_it(tmp_path: Path) -> None:
    store, states = climbed(tmp_path, 40)
    store.close()
    for share in (0.5, 0.2, 0):
        options = replace(SMALL, retention=Retention(checkpoint_share=share))
        with open_store(tmp_path, options=options) as store:
            store.compact()
            assert ladder_bytes(tmp_path) <= share * sealed_bytes(tmp_path)
            require_past(store, states)
            assert store.verify().is_sound
    assert rungs(tmp_path) == []


def test_where_nothing_is_archived_there_is_no_ladder(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, _ = climbed_store
    store.close()
    assert rungs(tmp_path)
    with open_store(tmp_path, options=replace(SMALL, retention=Retention.none())) as store:
        store.compact()
    assert rungs(tmp_path) == []


def test_rungs_go_with_the_batches_that_follow_them(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, states = climbed_store
    store.close()
    retention = Retention(revisions=8, checkpoint_share=10_000.0)
    with open_store(tmp_path, options=replace(SMALL, retention=retention)) as store:
        store.compact()
        store.compact()
        oldest = next(iter(store.batches(store.verify().first_revision))).revision
        assert oldest > 3
        used = [file for file in rungs(tmp_path) if file.revision >= oldest - 1]
        assert used
        require_past(store, {each: states[each] for each in states if each >= oldest})


def test_a_long_chain_of_rungs_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "LINKS_MIN", 4)
    monkeypatch.setattr(ladder, "LINKS_MAX", 4)
    store, states = climbed(tmp_path)
    with store:
        roots = [place for place, file in enumerate(rungs(tmp_path)) if file.previous is None]
        assert roots == list(range(0, len(rungs(tmp_path)), 4))
        require_past(store, states)


def test_a_damaged_rung_costs_time_and_is_removed_by_the_next_compaction(
    tmp_path: Path, one_chain: tuple[EventStore, States]
) -> None:
    store, states = one_chain
    with store:
        [_, _, damaged, *_] = before = rungs(tmp_path)
        flip(Path(damaged.path), Path(damaged.path).stat().st_size // 2)
        require_past(store, states)
        report = store.verify()
        assert not report.is_sound
        assert [problem.path for problem in report.problems] == [damaged.path]
        assert [problem.path for problem in store.verify(quick=True).problems] == [damaged.path]
        for number in range(24, 32):
            change(store, number)
            states[store.stats()["revision"]] = content(store)
            store.compact()
        assert store.verify().is_sound
        assert rungs(tmp_path)[:2] == before[:2]
        require_past(store, states)


def by_a_directory(rung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rung.unlink()
    (rung / "inside").mkdir(parents=True)


def by_one_that_is_longer_than_memory(rung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(rung, 1 << 40)


def by_an_endless_hole(rung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(rung, 0)
    os.truncate(rung, 1 << 40)


def by_one_of_a_newer_format(rung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = rung.read_bytes()
    header = rung_format.unpack_rung_header(content)
    with monkeypatch.context() as patch:
        patch.setattr(rung_format, "RUNG", checkpoint_format.RUNG._replace(version=2))
        rung.write_bytes(pack_rung(header, [[]], [[]], lambda *_: Seen(0, 0), lambda: None))


def by_what_can_not_be_read(rung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = LocalFileSystem.open

    def failing(self: LocalFileSystem, path: str, *, writable: bool = False) -> Any:
        if path == str(rung):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return opened(self, path, writable=writable)

    monkeypatch.setattr(LocalFileSystem, "open", failing)


@pytest.mark.parametrize("place", [2, -1])
@pytest.mark.parametrize(
    "replace_rung",
    [
        by_a_directory,
        by_one_that_is_longer_than_memory,
        by_an_endless_hole,
        by_one_of_a_newer_format,
        by_what_can_not_be_read,
    ],
)
def test_a_rung_that_can_not_be_used_costs_rungs_and_no_compaction(
    replace_rung: Callable[[Path, pytest.MonkeyPatch], None],
    place: int,
    tmp_path: Path,
    climbed_store: tuple[EventStore, States],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, states = climbed_store
    with store:
        bad = rungs(tmp_path)[place]
        replace_rung(Path(bad.path), monkeypatch)
        require_past(store, states)
        [problem] = [each for each in store.verify().problems if each.path == bad.path]
        assert problem.reason.endswith("remove it")
        archived = 0
        for number in range(24, 40):
            change(store, number)
            states[store.stats()["revision"]] = content(store)
            store.checkpoint()
            archived += store.compact().archived
        assert archived > 0
        assert [rung for rung in rungs(tmp_path) if rung.revision > 30], "it goes on"
        require_past(store, states)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_an_open_without_a_checkpoint_begins_at_the_newest_rung_that_can_be_used(
    tmp_path: Path, one_chain: tuple[EventStore, States], *, is_damaged: bool
) -> None:
    store, states = one_chain
    expected = content(store)
    store.close()
    for file in list_checkpoints(local_file_system(), str(tmp_path)):
        Path(file.path).unlink()
    found = rungs(tmp_path)
    if is_damaged:
        flip(Path(found[4].path), Path(found[4].path).stat().st_size // 2)
        found = found[:4]
    with open_store(tmp_path, options=ALL) as store:
        assert store.recovery.checkpoint_revision == found[-1].revision
        assert content(store) == expected
        require_past(store, states)


def test_a_damaged_rung_keeps_no_open_from_one_of_a_later_chain(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, states = climbed_store
    store.close()
    for file in list_checkpoints(local_file_system(), str(tmp_path)):
        Path(file.path).unlink()
    found = rungs(tmp_path)
    assert found[8].previous is None
    flip(Path(found[4].path), Path(found[4].path).stat().st_size // 2)
    with open_store(tmp_path, options=ALL) as store:
        assert store.recovery.checkpoint_revision == found[-1].revision
        require_past(store, states)


def test_rungs_of_a_copy_that_went_on_by_itself_keep_no_open_from_the_checkpoints(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, _ = climbed_store
    store.close()
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    shutil.copytree(tmp_path, copy)
    with open_store(copy, options=ALL) as other:
        for number in range(50, 62):
            change(other, number)
            other.checkpoint()
            other.compact()
    with open_store(tmp_path, options=ALL) as store:
        for number in range(24, 29):
            change(store, number)
        expected = content(store)
    shutil.rmtree(tmp_path / "ladder")
    shutil.copytree(copy / "ladder", tmp_path / "ladder")
    newest = max(file.revision for file in list_checkpoints(local_file_system(), str(tmp_path)))
    assert rungs(tmp_path)[-1].revision > newest
    assert verify_store(tmp_path, PROJECTIONS).verdict is not Verdict.CORRUPT
    with open_store(tmp_path, options=ALL) as store:
        assert content(store) == expected


def without_checkpoints(path: Path) -> None:
    """Cut the log at its start, and lose all checkpoints: the ladder alone holds a state."""
    retention = Retention(revisions=8, checkpoint_share=10_000.0)
    with open_store(path, options=replace(SMALL, retention=retention)) as store:
        store.compact()
        store.compact()
    assert rungs(path)[-1].revision >= verify_store(path, PROJECTIONS).first_revision - 1 > 0
    for file in list_checkpoints(local_file_system(), str(path)):
        Path(file.path).unlink()


def test_a_verification_and_an_open_agree_on_what_only_the_ladder_holds(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, _ = climbed_store
    expected = content(store)
    store.close()
    without_checkpoints(tmp_path)
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    shutil.copytree(tmp_path, copy)
    assert verify_store(tmp_path, PROJECTIONS).verdict is Verdict.CLEAN
    with open_store(tmp_path, options=ALL) as store:
        assert content(store) == expected
    shutil.rmtree(copy / "ladder")
    assert verify_store(copy, PROJECTIONS).verdict is Verdict.CORRUPT
    with pytest.raises(CorruptionError):
        open_store(copy)


def test_an_erasure_may_leave_the_ladder_alone_before_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path, Retention(checkpoint_share=10_000.0))
    options = replace(SMALL, retention=Retention(revisions=30, checkpoint_share=10_000.0))
    with MetaStore.open(path, options=options) as store:
        for number in range(4):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"later-{number}")
            store.compact()
        first = store.event_store.oldest_revision()
    assert first > 1
    [below, *_] = [file.revision for file in rungs(path) if file.revision >= first - 1]
    wanted = {below + 1: [("reason",)]}
    plain = list_checkpoints(local_file_system(), str(path))
    assert min(file.revision for file in plain) > below + 1
    erase(path, [SnapshotsProjection()], wanted, actor="dpo", reason="", options=options)
    assert verify_store(path, [SnapshotsProjection()]).is_sound
    with MetaStore.open(path, options=options) as store:
        [batch] = store.event_store.batches(below + 1, below + 1)
        assert batch.is_redacted


def test_damage_in_a_superseded_checkpoint_leaves_out_its_states(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with store:
        for number in range(3):
            change(store, number)
            store.checkpoint()
        delta = list_checkpoints(local_file_system(), str(tmp_path))[2]
        for number in range(3, 9):
            if number == 5:
                flip(Path(delta.path), Path(delta.path).stat().st_size // 2)
            change(store, number)
            store.compact()
        assert [file.revision for file in rungs(tmp_path)][:2] == [1, 2]
        assert delta.revision not in [file.revision for file in rungs(tmp_path)]
        assert store.verify().is_sound


class Noting(LocalFileSystem):
    """Notes what is renamed and removed in the ladder, and when its directory is synced."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def remove(self, path: str) -> None:
        super().remove(path)
        self._note("remove", path)

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self._note("rename", target)

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self._note("sync", path + "/")

    def _note(self, call: str, path: str) -> None:
        if "/ladder/" in path:
            self.calls.append(f"{call} {path.rpartition('/ladder/')[2]}".strip())


def test_what_takes_the_place_of_rungs_is_durable_before_they_go_one_by_one(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    climbed_store[0].close()
    before = rungs(tmp_path)
    last_bytes = Path(before[-1].path).stat().st_size
    share = (ladder_bytes(tmp_path) - last_bytes // 2) / sealed_bytes(tmp_path)
    noting = Noting()
    options = replace(SMALL, retention=Retention(checkpoint_share=share))
    with open_store(tmp_path, options=options, file_system=noting) as store:
        store.compact()
    [written] = set(rungs(tmp_path)).difference(before)
    gone = sorted(set(before).difference(rungs(tmp_path)), reverse=True)
    assert [file.revision for file in gone] == [written.revision, written.revision - 1]
    removals = [call for file in gone for call in (f"remove {Path(file.path).name}", "sync")]
    expected = [f"rename {Path(written.path).name}", "sync", *removals]
    assert noting.calls[-len(expected) :] == expected


class Full(LocalFileSystem):
    """A disk without space for files of the ladder."""

    is_full = True

    def create(self, path: str) -> Any:
        if self.is_full and "/ladder/" in path:
            raise OSError(errno.ENOSPC, "no space", path)
        return super().create(path)


def test_a_full_disk_makes_no_rungs_and_fails_no_compaction(tmp_path: Path) -> None:
    disk = Full()
    store, states = climbed(tmp_path, file_system=disk)
    with store:
        assert rungs(tmp_path) == []
        disk.is_full = False
        for number in range(24, 30):
            change(store, number)
            store.compact()
        made = rungs(tmp_path)
        assert made
        disk.is_full = True
        store.close()
    options = replace(SMALL, retention=Retention(checkpoint_share=0.05))
    with open_store(tmp_path, options=options, file_system=disk) as store:
        store.compact()
        assert ladder_bytes(tmp_path) <= 0.05 * sealed_bytes(tmp_path)
        require_past(store, states)


def test_where_states_share_little_the_newest_rung_goes(tmp_path: Path) -> None:
    options = replace(SMALL, retention=Retention(checkpoint_share=10_000.0))
    with open_store(tmp_path, options=options) as store:
        for number in range(12):
            with store.transaction(writable=True) as tx:
                for each in range(150):
                    own = blake2b(bytes([number, each])).hexdigest()
                    open_account(tx, f"{number:02}-{own}")
            store.compact()
    before = rungs(tmp_path)
    share = 0.8 * ladder_bytes(tmp_path) / sealed_bytes(tmp_path)
    few = replace(SMALL, retention=Retention(checkpoint_share=share))
    with open_store(tmp_path, options=few) as store:
        store.compact()
        left = rungs(tmp_path)
        assert left == before[: len(left)]
        assert 3 <= len(left) < len(before)


def test_what_a_crash_has_left_beside_a_rung_that_was_packed_anew_goes(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, states = climbed_store
    store.close()
    first, second, third, *_ = before = rungs(tmp_path)
    loader = RungLoader(local_file_system(), before)
    rung = packed_rung(loader.state_by(third), loader.state_by(first))
    write_rung(local_file_system(), str(tmp_path / "ladder"), rung)
    with open_store(tmp_path, options=ALL) as store:
        require_past(store, states)
        assert store.verify().is_sound
        store.compact()
        left = rungs(tmp_path)
        assert second not in left
        assert third not in left
        assert [file.revision for file in left] == [
            file.revision for file in before if file != second
        ]
        require_past(store, states)


def test_of_many_large_states_some_become_rungs_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(climbing, "_EFFORT_BYTES", 1)
    monkeypatch.setattr(compaction, "_CHAIN_DELTAS", 5)
    monkeypatch.setattr(compaction, "_FOLD_SHARE", 0)
    store, states = climbed(tmp_path, 40)
    with store:
        assert 2 <= len(rungs(tmp_path)) <= 10
        require_past(store, states)


def filled_with_secrets(path: Path) -> StoreOptions:
    """Make a store whose ladder holds what is to be erased; return its options."""
    retention = Retention(checkpoint_share=10_000.0)
    fill(path, retention)
    options = replace(SMALL, retention=retention)
    with MetaStore.open(path, options=options) as store:
        for number in range(4):
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"later-{number}")
            store.compact()
    return options


def test_an_erasure_leaves_nothing_of_a_text_in_the_ladder(tmp_path: Path) -> None:
    path = tmp_path / "store"
    options = filled_with_secrets(path)
    before = rungs(path)
    assert any(file.previous is not None for file in before)
    bodies = [chunk.body for file in before for chunk in _state(path, file).tables[0]]
    assert SECRET.encode() in b"".join(bodies)
    erase(path, [SnapshotsProjection()], FIELDS, actor="dpo", reason="", options=options)
    assert SECRET.encode() not in everything(path)
    assert all(file.revision < min(FIELDS) for file in rungs(path))
    assert verify_store(path, [SnapshotsProjection()]).is_sound


def test_an_erasure_whose_note_is_damaged_finds_what_the_ladder_still_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    options = filled_with_secrets(path)
    before = {file.path: Path(file.path).read_bytes() for file in rungs(path)}
    assert before
    erase(path, [SnapshotsProjection()], FIELDS, actor="dpo", reason="", options=options)
    for name, held in before.items():
        Path(name).write_bytes(held)
    assert SECRET.encode() in everything(path)
    assert not verify_store(path, [SnapshotsProjection()]).is_sound
    (path / "ERASING").write_text("damaged")
    with MetaStore.open(path, options=options) as store:
        assert store.verify().is_sound
    assert SECRET.encode() not in everything(path)


def _state(path: Path, file: CheckpointFile) -> RungState:
    return RungLoader(local_file_system(), rungs(path)).state_by(file)


def test_files_of_the_ladder_count_as_checkpoints_on_disk(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, _ = climbed_store
    with store:
        stats = store.stats()
        plain = list_checkpoints(local_file_system(), str(tmp_path))
        found = [*plain, *rungs(tmp_path)]
        assert stats["checkpoint_count"] == len(found)
        assert stats["checkpoint_bytes"] == sum(Path(file.path).stat().st_size for file in found)


def test_a_rung_whose_rows_are_wrong_is_found_by_a_verification(
    tmp_path: Path, climbed_store: tuple[EventStore, States]
) -> None:
    store, _ = climbed_store
    with store:
        file = rungs(tmp_path)[0]
        for each in rungs(tmp_path)[1:]:
            Path(each.path).unlink()
        loaded = RungLoader(local_file_system(), [file]).load_by(file)
        [(name, rows), *others] = loaded.tables
        wrong = [row for row in rows.items() if row[0] != "007"]
        tables = ((name, StoredRows(packed_rows(wrong, ""))), *others)
        Path(file.path).unlink()
        state = rung_state(replace(loaded, tables=tables))
        write_rung(local_file_system(), str(tmp_path / "ladder"), packed_rung(state, None))
        [problem] = store.verify().problems
        assert problem.path == file.path
        assert "differs from the replayed log" in problem.reason


def test_a_loader_takes_the_checkpoint_before_the_rung_and_the_rung_in_its_need(
    tmp_path: Path,
    climbed_store: tuple[EventStore, States],
) -> None:
    store, states = climbed_store
    store.close()
    plain = list_checkpoints(local_file_system(), str(tmp_path))
    whole = CheckpointLoader(local_file_system(), plain).load(plain[0].revision)
    (rung,) = [packed_rung(rung_state(whole), None)]
    file = write_rung(local_file_system(), str(tmp_path / "ladder"), rung)
    flip(Path(plain[0].path), 100)
    loader = CheckpointLoader(local_file_system(), [*plain, file])
    assert loader.load(file.revision).digest == whole.digest
    with open_store(tmp_path, options=ALL) as store:
        require_past(store, states)
