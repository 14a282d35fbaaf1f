"""Deltas: checkpoints that hold what has changed, and stores that are opened by chains of them."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, checkpoints, flip, open_store
from support.ledger import ACCOUNTS, Ledger, Totals, close_account, deposit, open_account

from eventstore import (
    CorruptionError,
    Event,
    EventStore,
    Projection,
    Retention,
    StorageFullError,
    StoreOptions,
    TableSpec,
    Verdict,
    repair_store,
)
from eventstore.checkpoints import changed as changed_module
from eventstore.checkpoints.checkpoint import CheckpointContent
from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints, load_checkpoint
from eventstore.checkpoints.writer import packed_rows, write_checkpoint
from eventstore.files.local import local_file_system
from eventstore.format.codec import pack
from eventstore.format.names import checkpoint_name
from eventstore.handle import history
from eventstore.maintenance import checkpointing, compaction
from eventstore.recovery import replay as replay_module
from eventstore.tables.stored import StoredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eventstore import WritableTable
    from eventstore.checkpoints.chains import CheckpointFile
    from eventstore.checkpoints.reader import CheckpointPart

NONE = replace(SMALL, retention=Retention.none())
ACCOUNTS_COUNT = 60
GOLDEN = json.loads(
    (Path(__file__).parents[2] / "data" / "format" / "checkpoints-version-2.json").read_text()
)
PROJECTIONS = (Ledger(), Totals())


@pytest.fixture(autouse=True)
def _small_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointing, "BASE_ROWS", 8)
    monkeypatch.setattr(compaction, "_CHAIN_DELTAS", 2)
    monkeypatch.setattr(compaction, "_FOLD_SHARE", 1)


def filled(path: Path, options: object = SMALL) -> EventStore:
    """Return a store with many accounts and a base."""
    store = open_store(path, options=options)
    with store.transaction(writable=True) as tx:
        for number in range(ACCOUNTS_COUNT):
            open_account(tx, f"{number:03}")
            deposit(tx, f"{number:03}", 100)
    store.checkpoint()
    return store


def change(store: EventStore, number: int) -> None:
    """Change one account, take one away and make a new one."""
    with store.transaction(writable=True) as tx:
        deposit(tx, f"{number:03}", number + 1)
        close_account(tx, f"{number + 30:03}")
        open_account(tx, f"{number:03}-new")


def content(store: EventStore) -> dict[object, object]:
    with store.transaction() as tx:
        return {name: dict(tx.items(name)) for name in (ACCOUNTS, "totals")}


def files(path: Path) -> list[CheckpointFile]:
    return list_checkpoints(local_file_system(), str(path))


def kinds(path: Path) -> str:
    return "".join("b" if file.previous is None else "d" for file in files(path))


def test_a_delta_holds_only_the_rows_that_changed(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        change(store, 1)
        store.checkpoint()
    assert kinds(tmp_path) == "bd"
    loader = CheckpointLoader(local_file_system(), files(tmp_path))
    part = loader.part(files(tmp_path)[1])
    held = {name.table: dict(rows.items()) for name, rows in part.tables}
    assert set(held[ACCOUNTS]) == {"001", "031", "001-new"}
    assert held[ACCOUNTS]["031"] == b""
    assert set(held["totals"]) == {"deposited", "largest"}


@pytest.mark.parametrize("reopens", [False, True])
def test_a_store_opens_at_the_end_of_a_chain(tmp_path: Path, *, reopens: bool) -> None:
    store = filled(tmp_path)
    for number in range(4):
        change(store, number)
        store.checkpoint()
        if reopens:
            store.close()
            store = open_store(tmp_path)
            assert store.recovery.replayed_batches == 0
    expected = content(store)
    store.close()
    assert kinds(tmp_path) == "bdddd"
    with open_store(tmp_path) as store:
        assert (store.recovery.checkpoint_revision, store.recovery.replayed_batches) == (5, 0)
        assert content(store) == expected
        store.check()
        report = store.verify()
        assert report.is_sound
        assert report.replayed_checkpoints == 5


def test_rows_that_change_while_a_delta_is_written_are_in_the_next_one(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        change(store, 1)
        reader = store.transaction()
        before = content(store)
        save = store._log.save_checkpoint  # type: ignore[attr-defined]

        def saving(content: CheckpointContent, pause: Callable[[], object]) -> None:
            change(store, 2)
            save(content, pause)

        store._log.save_checkpoint = saving  # type: ignore[attr-defined]
        assert store.checkpoint() == 2
        store._log.save_checkpoint = save  # type: ignore[attr-defined]
        assert dict(reader.items(ACCOUNTS)) == before[ACCOUNTS]
        assert store.checkpoint() == 3
        expected = content(store)
    assert kinds(tmp_path) == "bdd"
    with open_store(tmp_path) as store:
        assert store.recovery.replayed_batches == 0
        assert content(store) == expected
        assert store.verify().is_sound


def test_a_checkpoint_of_many_changes_is_a_base(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        for number in range(16):
            change(store, number)
        store.checkpoint()
    assert kinds(tmp_path) == "bb"


def test_a_damaged_chain_is_not_folded_and_no_batch_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(tmp_path) as store:
        damaged(checkpoints(tmp_path)[0])
        for number in range(4):
            change(store, number)
            store.compact()
        assert kinds(tmp_path) == "bdddd"
        assert "can't be folded" in caplog.text
        expected = content(store)
    with open_store(tmp_path) as store:
        assert store.recovery.replayed_batches == 5
        assert content(store) == expected


def test_a_checkpoint_is_a_base_where_too_many_keys_changed_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changed_module, "KEYS_MIN", 0)
    with filled(tmp_path) as store:
        for number in range(30):
            change(store, number)
        store.checkpoint()
        expected = content(store)
    assert kinds(tmp_path) == "bb"
    with open_store(tmp_path) as store:
        assert store.recovery.replayed_batches == 0
        assert content(store) == expected


def test_a_compaction_folds_a_long_chain_and_the_state_stays(tmp_path: Path) -> None:
    with filled(tmp_path, NONE) as store:
        for number in range(3):
            change(store, number)
            store.compact()
        expected = content(store)
        assert kinds(tmp_path) == "bddbd"
        assert store.verify().is_sound
    newest = [file for file in files(tmp_path) if file.revision == 4]
    assert [file.previous for file in newest] == [None, 3]
    for file in newest:
        copy = tmp_path / "copy" / str(file.previous)
        shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("copy"))
        damaged(copy / "checkpoints" / file.path.rsplit("/", 1)[1])
        with open_store(copy) as store:
            # That of the last compaction, which says what was dropped.
            assert store.recovery.replayed_batches == 1
            assert content(store) == expected
            store.check()


@pytest.mark.parametrize("retention", [Retention(), Retention.none(), Retention(revisions=1)])
def test_any_one_damaged_checkpoint_file_costs_time_and_no_data(
    tmp_path: Path, retention: Retention
) -> None:
    path, options = tmp_path / "store", replace(SMALL, retention=retention)
    seen = set()
    with filled(path, options) as store:
        for number in range(12):
            if number < 10:
                change(store, number)
            with store.transaction(writable=True) as tx:
                deposit(tx, "059", 1, "n" * 1500)
            if number % 2:
                store.compact()
            else:
                store.checkpoint()
            with store.transaction(writable=True) as tx:
                deposit(tx, "058", 1)
            expected = content(store)
            seen.add(kinds(path))
            for file in files(path):
                for damage in (damaged, missing):
                    copy = tmp_path / "copy"
                    shutil.copytree(path, copy)
                    damage(copy / "checkpoints" / file.path.rsplit("/", 1)[1])
                    with open_store(copy, options=options) as opened:
                        assert content(opened) == expected
                        assert opened.recovery.verdict is Verdict.CLEAN
                        # And what it writes then can carry the next open.
                        with opened.transaction(writable=True) as tx:
                            deposit(tx, "058", 1)
                        opened.checkpoint()
                        after = content(opened)
                    with open_store(copy, options=options) as opened:
                        assert content(opened) == after
                        assert opened.recovery.replayed_batches == 0
                    shutil.rmtree(copy)
    assert any("bd" in kind and kind.count("b") > 1 for kind in seen)


def damaged(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def missing(path: Path) -> None:
    path.unlink()


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    with filled(tmp_path) as store:
        change(store, 1)
        store.checkpoint()
    return tmp_path / "checkpoints" / files(tmp_path)[1].path.rsplit("/", 1)[1]


def test_every_prefix_of_a_delta_is_refused(delta: Path) -> None:
    whole = delta.read_bytes()
    for size in range(len(whole)):
        delta.write_bytes(whole[:size])
        with pytest.raises(CorruptionError):
            load_checkpoint(local_file_system(), str(delta))
    delta.write_bytes(whole + bytes(8))
    with pytest.raises(CorruptionError):
        load_checkpoint(local_file_system(), str(delta))


def test_every_flipped_byte_of_a_delta_is_refused(delta: Path) -> None:
    for offset in range(delta.stat().st_size):
        flip(delta, offset)
        with pytest.raises(CorruptionError):
            load_checkpoint(local_file_system(), str(delta))
        flip(delta, offset)
    load_checkpoint(local_file_system(), str(delta))


def test_a_delta_under_another_name_is_refused(delta: Path) -> None:
    other = delta.with_name(checkpoint_name(3, 1))
    delta.rename(other)
    [base, renamed] = list_checkpoints(local_file_system(), str(delta.parent.parent))
    loader = CheckpointLoader(local_file_system(), [base, renamed])
    with pytest.raises(CorruptionError, match="states revision 2"):
        loader.load(3)
    assert loader.load(1).revision == 1


def test_files_of_version_2_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name, packed in GOLDEN["files"].items():
        (tmp_path / "checkpoints" / name).write_bytes(base64.b64decode(packed))
    loader = CheckpointLoader(local_file_system(), files(tmp_path), with_digest=True)
    for revision, expected in GOLDEN["rows"].items():
        checkpoint = loader.load(int(revision))
        rows = {
            name.table: {key: value.hex() for key, value in stored.items()}
            for name, stored in checkpoint.tables
        }
        assert rows == expected


def test_a_delta_of_another_history_is_not_laid_over_a_base(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    with filled(one) as store:
        change(store, 1)
    shutil.copytree(one, other)
    with open_store(one) as store:
        change(store, 2)
        store.checkpoint()
        expected = content(store)
    with open_store(other) as store:
        change(store, 3)
        store.checkpoint()
        change(store, 4)
        store.checkpoint()
    [foreign] = [file for file in files(other) if file.revision == 4]
    shutil.copy(foreign.path, one / "checkpoints")
    with open_store(one) as store:
        assert content(store) == expected
        assert [name.rsplit("/", 1)[1] for name in store.recovery.damaged_checkpoints] == [
            foreign.path.rsplit("/", 1)[1]
        ]


def test_files_that_rest_on_a_damaged_one_are_set_aside_with_it(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        for number in range(3):
            change(store, number)
            store.checkpoint()
        expected = content(store)
    damaged(tmp_path / "checkpoints" / files(tmp_path)[2].path.rsplit("/", 1)[1])
    with open_store(tmp_path) as store:
        assert store.recovery.checkpoint_revision == 2
        assert len(store.recovery.damaged_checkpoints) == 2
        assert content(store) == expected
    assert kinds(tmp_path) == "bd"
    assert len(list((tmp_path / "checkpoints").glob("*.damaged"))) == 2


def test_a_verification_lists_a_delta_whose_base_is_missing(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        change(store, 1)
        store.checkpoint()
        checkpoints(tmp_path)[0].unlink()
        for quick in (True, False):
            [problem] = store.verify(quick=quick).problems
            assert problem.path == files(tmp_path)[0].path
            assert "continues checkpoint 1" in problem.reason


def test_a_verification_finds_a_wrong_row_in_a_delta(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        change(store, 1)
        store.checkpoint()
        before, delta = files(tmp_path)
        loader = CheckpointLoader(local_file_system(), [before, delta])
        rewrite(loader.part(delta), tmp_path, lambda key, value: b"" if key == "001" else value)
        [problem] = store.verify().problems
        assert problem.path == delta.path
        assert "differs from the replayed log in 1 row, '001' for one" in problem.reason
        # One that leaves a change out is as wrong.
        rewrite(loader.part(delta), tmp_path, lambda key, value: None if key == "001" else value)
        [problem] = store.verify().problems
        assert "1 row, '001'" in problem.reason


def rewrite(
    part: CheckpointPart, path: Path, change: Callable[[object, bytes], bytes | None]
) -> None:
    """Write a delta again, with other rows, under good checksums."""
    header = part.header
    tables: list[Any] = []
    for name, rows in part.tables:
        changed = [(key, change(key, value)) for key, value in rows.items()]
        left = [(key, value) for key, value in changed if value is not None]
        tables.append((name, partial(list, left)))
    written = CheckpointContent(
        header.store_id,
        header.revision,
        header.time_ns,
        header.digest,
        tuple(tables),
        header.previous,
    )
    write_checkpoint(local_file_system(), str(path / "checkpoints"), written)


def test_a_repair_keeps_what_a_chain_leads_to(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with filled(path, NONE) as store:
        for number in range(7):
            change(store, number)
            with store.transaction(writable=True) as tx:
                deposit(tx, "059", 1, "n" * 1500)
            store.compact()
        expected = content(store)
        revision = store.stats()["checkpoint_revision"]
    assert kinds(path).endswith("d")
    for segment in (path / "wal").iterdir():
        segment.unlink()
    report = repair_store(path, tmp_path / "new", PROJECTIONS)
    assert report.revision == revision
    with open_store(tmp_path / "new") as store:
        assert content(store) == expected


def test_a_follower_opens_and_reads_on_while_chains_are_folded(tmp_path: Path) -> None:
    with filled(tmp_path, NONE) as store:
        change(store, 0)
        store.checkpoint()
        with open_store(tmp_path, read_only=True) as follower:
            for number in range(1, 9):
                change(store, number)
                store.compact()
                assert content(follower) == content(store)
                with open_store(tmp_path, read_only=True) as late:
                    assert content(late) == content(store)


def test_the_past_is_replayed_from_the_rung_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(SMALL, retention=Retention(checkpoint_share=100.0))
    with filled(tmp_path, options) as store:
        states = {}
        for number in range(16):
            change(store, number)
            with store.transaction(writable=True) as tx:
                deposit(tx, "059", 1, "n" * 1500)
            states[store.stats()["revision"]] = content(store)
            store.compact()
        replayed: list[object] = []
        replay = replay_module.replay_record
        monkeypatch.setattr(
            history, "replay_record", lambda *given: (replayed.append(given), replay(*given))
        )
        for revision, expected in states.items():
            del replayed[:]
            past = store.at(revision)
            assert {name: dict(past.items(name)) for name in (ACCOUNTS, "totals")} == expected
            assert len(replayed) <= 2
        assert store.verify().is_sound


def test_no_rungs_are_kept_without_an_archive_or_a_share(tmp_path: Path) -> None:
    for number, retention in enumerate([Retention.none(), Retention(checkpoint_share=0)]):
        path = tmp_path / str(number)
        with filled(path, replace(SMALL, retention=retention)) as store:
            for step in range(12):
                change(store, step)
                store.compact()
            assert len(files(path)) <= 8


def test_a_delta_that_cannot_continue_anything_is_followed_by_a_base(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        change(store, 1)
        save = store._log.save_checkpoint  # type: ignore[attr-defined]

        def failing(content: CheckpointContent, pause: Callable[[], object]) -> None:
            assert content.previous is not None
            raise CorruptionError("delta", 0, "it can't be read back")

        store._log.save_checkpoint = failing  # type: ignore[attr-defined]
        with pytest.raises(CorruptionError):
            store.checkpoint()
        store._log.save_checkpoint = save  # type: ignore[attr-defined]
        store.checkpoint()
    assert kinds(tmp_path) == "bb"


class Numbered(Projection):
    """Rows under whatever keys the events name, beside many others."""

    name = "numbered"
    version = 1
    tables = (TableSpec("rows"), TableSpec("others"))

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        for key, value in event.data:
            if value is None:
                tables["rows"].delete(key)
            else:
                tables[event.type].put(key, value)


def numbered(path: Path) -> EventStore:
    return EventStore.open(path, [Numbered()], options=SMALL)


def put(store: EventStore, table: str, rows: Mapping[str | int, int | None]) -> None:
    with store.transaction(writable=True) as tx:
        tx.emit(Event(table, [[key, value] for key, value in rows.items()]))


def test_a_table_that_was_emptied_by_a_chain_takes_keys_of_another_type(tmp_path: Path) -> None:
    with numbered(tmp_path) as store:
        put(store, "others", dict.fromkeys(range(60), 1))
        put(store, "rows", {"a": 1, "b": 2})
        store.checkpoint()
        put(store, "rows", {"a": None})
        store.checkpoint()
        put(store, "rows", {"b": None})
        store.checkpoint()
    with numbered(tmp_path) as store:
        put(store, "rows", {7: 1, 8: 2})
        store.checkpoint()
    assert kinds(tmp_path) == "bddd"
    with numbered(tmp_path) as store, store.transaction() as tx:
        assert dict(tx.items("rows")) == {7: 1, 8: 2}
        assert store.verify().is_sound


@pytest.mark.parametrize(
    ("under", "over"), [("a", 1), (("a", 1), (1, "a")), (("a",), "a")], ids=repr
)
def test_keys_of_one_type_laid_over_those_of_another_are_damage(under: Any, over: Any) -> None:
    base = packed_rows([(under, pack(1))], "base.ckpt")
    delta = packed_rows([(over, pack(1))], "delta.ckpt")
    with pytest.raises(CorruptionError, match="keys of a table are of several types") as refused:
        StoredRows(base, [delta])
    assert refused.value.path == "delta.ckpt"


def test_a_projection_that_is_retired_makes_the_next_checkpoint_a_base(tmp_path: Path) -> None:
    filled(tmp_path).close()
    options = replace(SMALL, retired_projections=("totals",))
    with EventStore.open(tmp_path, [Ledger()], options=options) as store:
        change(store, 1)
        store.checkpoint()
    assert kinds(tmp_path) == "bb"
    with EventStore.open(tmp_path, [Ledger()], options=SMALL) as store:
        change(store, 2)
        store.checkpoint()
        assert store.verify().is_sound
    assert kinds(tmp_path) == "bbd"


BACKGROUND = replace(SMALL, background=True)


def test_a_close_with_much_to_replay_leaves_little_to_the_next_open(tmp_path: Path) -> None:
    options = replace(BACKGROUND, checkpoint_after_seconds=1e-6)
    with open_store(tmp_path, options=options) as store:
        store._own_upkeep()._background.close()
        for number in range(20):
            with store.transaction(writable=True) as tx:
                open_account(tx, str(number))
    with open_store(tmp_path) as store:
        assert (store.recovery.checkpoint_revision, store.recovery.replayed_batches) == (20, 0)


@pytest.mark.parametrize(
    "options",
    [
        replace(BACKGROUND, checkpoint_after_seconds=1e-6, checkpoint_on_close=False),
        replace(SMALL, checkpoint_after_seconds=1e-6),
        BACKGROUND,
    ],
    ids=["switched off", "no background work", "little to replay"],
)
def test_a_close_writes_no_checkpoint_unasked(tmp_path: Path, options: StoreOptions) -> None:
    with open_store(tmp_path, options=options) as store:
        store._own_upkeep()._background.close()
        for number in range(20):
            with store.transaction(writable=True) as tx:
                open_account(tx, str(number))
    assert kinds(tmp_path) == ""


@pytest.mark.parametrize(
    ("row_seconds", "kind"), [(1e-9, "b"), (1.0, "")], ids=["shorter than a replay", "longer"]
)
def test_a_close_writes_a_large_base_only_where_the_next_open_gains_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_seconds: float, kind: str
) -> None:
    monkeypatch.setattr(checkpointing, "CLOSE_ROWS", 0)
    monkeypatch.setattr(checkpointing, "_SECONDS_PER_ROW", row_seconds)
    options = replace(BACKGROUND, checkpoint_after_seconds=1e-6)
    with open_store(tmp_path, options=options) as store:
        store._own_upkeep()._background.close()
        with store.transaction(writable=True) as tx:
            for number in range(20):
                open_account(tx, str(number))
    assert kinds(tmp_path) == kind


def test_a_close_that_cannot_write_its_checkpoint_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = replace(BACKGROUND, checkpoint_after_seconds=1e-6)
    store = open_store(tmp_path, options=options)
    store._own_upkeep()._background.close()
    with store.transaction(writable=True) as tx:
        open_account(tx, "a")

    def full(content: CheckpointContent, pause: Callable[[], object]) -> None:
        raise StorageFullError("no space")

    monkeypatch.setattr(store._log, "save_checkpoint", full)
    store.close()
    assert "not all was saved at the close" in caplog.text
    with open_store(tmp_path) as store:
        assert "a" in str(content(store))


def test_an_interrupted_checkpoint_at_the_close_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(BACKGROUND, checkpoint_after_seconds=1e-6)
    store = open_store(tmp_path, options=options)
    store._own_upkeep()._background.close()
    with store.transaction(writable=True) as tx:
        open_account(tx, "a")

    def interrupted(content: CheckpointContent, pause: Callable[[], object]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store._log, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.close()
    store.close()
    with open_store(tmp_path) as store:
        assert store.recovery.replayed_batches == 1


def test_a_checkpoint_is_due_once_its_replay_would_take_too_long(tmp_path: Path) -> None:
    with open_store(tmp_path, options=replace(SMALL, checkpoint_after_seconds=0.01)) as store:
        is_due = store._own_upkeep()._checkpointer.is_due
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        assert not is_due()
        with store.transaction(writable=True) as tx:
            deposit(tx, "a", 1, "n" * 200_000)
        assert is_due()
        store.checkpoint()
        assert not is_due()


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan"), "1", True])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="checkpoint_after_seconds"):
        StoreOptions(checkpoint_after_seconds=seconds)


@pytest.mark.parametrize("share", [-1.0, float("inf"), float("nan"), "1", True])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="checkpoint_share"):
        Retention(checkpoint_share=share)
