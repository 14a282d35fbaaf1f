"""Segments, checkpoints, compaction and the past."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import (
    SMALL,
    Failing,
    HookedFileSystem,
    add,
    archived,
    balance,
    checkpoints,
    flip,
    open_store,
    records,
    segments,
    tree,
)
from support.ledger import ACCOUNTS, Account, Ledger, Totals, balances, deposit, open_account, total

from eventstore import (
    CompactedError,
    CorruptionError,
    EventStore,
    ProjectionError,
    Retention,
    StoreOptions,
    TableSpec,
    verify_store,
)
from eventstore.checkpoints.chains import CheckpointFile
from eventstore.format.names import parse_checkpoint_name, parse_segment_name
from eventstore.maintenance.compaction import Plan, plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NONE = dataclasses.replace(SMALL, retention=Retention.none())


def revisions(store: EventStore, *arguments: int) -> list[int]:
    return [batch.revision for batch in store.batches(*arguments)]


def grow(store: EventStore, rounds: int, batches: int = 40) -> None:
    """Commit some rounds of batches, with a compaction after each."""
    for _ in range(rounds):
        add(store, batches)
        store.compact()


@pytest.mark.parametrize("quick", [True, False])
def test_sound_store_verifies_as_sound_beside_its_writer(tmp_path: Path, quick: bool) -> None:
    options = StoreOptions(background=False)
    with open_store(tmp_path / "store", options=options) as store:
        ended = threading.Event()

        def write() -> None:
            while not ended.is_set():
                add(store, 1)
                time.sleep(0.0005)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            reports = [store.verify(quick=quick) for _ in range(8)]
        finally:
            ended.set()
            writer.join()
    assert [(report.problems, report.remarks) for report in reports] == 8 * [((), ())]


def test_segments_roll_and_every_batch_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        receipts = add(store, 200)
        assert len(segments(path)) > 5
        assert revisions(store) == list(range(1, 201))
        assert [batch.digest for batch in store.batches()] == [r.digest for r in receipts]
        assert revisions(store, 50, 60) == list(range(50, 61))
        assert revisions(store, 195, 1000) == list(range(195, 201))
        assert revisions(store, 60, 50) == []
        assert revisions(store, 201) == []
        report = store.verify()
        assert report.is_sound
        assert (report.batch_count, report.segment_count) == (200, len(segments(path)))
        quick = store.verify(quick=True)
        assert quick.is_sound
        assert (quick.batch_count, quick.segment_count) == (200, len(segments(path)))
        store.checkpoint()
        quick = store.verify(quick=True)
        assert quick.is_sound
        assert (quick.batch_count, quick.segment_count) == (len(records(segments(path)[-1])), 1)
    assert [parse_segment_name(file.name) for file in segments(path)] == [
        records(file)[0].revision for file in segments(path)
    ]
    assert {file.stat().st_size for file in segments(path)} == {4096}
    with open_store(path) as store:
        assert balance(store) == 200


@pytest.mark.parametrize("before", [0, 1, 30])
def test_oversized_batch_gets_a_segment_of_its_own_size(tmp_path: Path, before: int) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, before)
        add(store, 1, note="x" * 100_000)
        add(store, 30)
        assert revisions(store) == list(range(1, before + 32))
    assert max(file.stat().st_size for file in segments(path)) > 100_000
    with open_store(path) as store:
        assert balance(store) == before + 31
        assert store.verify().is_sound
        grow(store, 3)
        assert store.verify().is_sound


def test_batch_that_fills_a_segment_to_the_last_byte_is_kept(tmp_path: Path) -> None:
    for size in range(3380, 3420):
        path = tmp_path / f"store-{size}"
        with open_store(path) as store:
            add(store, 2)
            add(store, 1, note="x" * size)
            add(store, 2)
        with open_store(path) as store:
            assert balance(store) == 5
            assert store.verify().is_sound


def test_checkpoints_under_load_hold_one_revision(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        with store.transaction(writable=True) as tx:
            for number in range(600):
                open_account(tx, f"{number:03}")
        stop = threading.Event()

        def write(first: int) -> None:
            number = first
            while not stop.is_set():
                number = (number + 7) % 600
                with store.transaction(writable=True) as tx:
                    deposit(tx, f"{number:03}", 1)
                    deposit(tx, f"{(number + 300) % 600:03}", 1)

        threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            before = store.transaction().revision
            assert store.checkpoint() >= before
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join()
        report = store.verify()
        assert report.is_sound
        assert report.replayed_checkpoints == report.checkpoint_count == 5
        expected = store.transaction()
        with open_store(path, read_only=True) as follower:
            assert balances(follower.transaction()) == balances(expected)


def test_checkpoint_is_written_once_for_a_revision(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        assert store.checkpoint() == 0
        assert checkpoints(tmp_path / "store") == []
        add(store, 5)
        assert store.checkpoint() == 5
        [written] = checkpoints(tmp_path / "store")
        before = written.stat()
        assert store.checkpoint() == 5
        assert written.stat() == before


def test_values_of_a_checkpoint_are_decoded_when_they_are_read(tmp_path: Path) -> None:
    decoded: list[str] = []

    def decode(key: str, plain: Any) -> Account:
        decoded.append(key)
        return Account(*plain)

    class Counting(Ledger):
        tables = (TableSpec(ACCOUNTS, encode=list, decode=decode),)

    path = tmp_path / "store"
    with EventStore.open(path, [Counting()], options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            for number in range(1000):
                open_account(tx, f"{number:04}", "owner")
        store.checkpoint()
    with EventStore.open(path, [Counting()], options=SMALL) as store:
        assert decoded == []
        with store.transaction(writable=True) as tx:
            deposit(tx, "0500", 3)
        assert decoded == ["0500"]
        store.checkpoint()  # takes packed values over as they are
        assert decoded == ["0500"]
        assert store.transaction().get(ACCOUNTS, "0007").owner == "owner"
    with EventStore.open(path, [Counting()], options=SMALL) as store:
        assert store.recovery.replayed_batches == 0
        assert sum(balances(store.transaction()).values()) == 3
        store.check()


def test_value_that_a_checkpoint_can_not_keep_is_refused_before_it_is_logged(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path / "store") as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
            deposit(tx, "a", 2**63)
            with pytest.raises(ValueError, match="table 'accounts', key 'a'"):
                deposit(tx, "a", 2**63)
        assert store.checkpoint() == 1
        assert balance(store) == 2**63


def test_store_without_projections_keeps_events(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with EventStore.open(path, [], options=SMALL) as store:
        for _ in range(3):
            with store.transaction(writable=True) as tx:
                open_account(tx, "a")
            store.compact()
        assert store.at(2).revision == 2
    with EventStore.open(path, [], options=SMALL) as store:
        assert store.recovery.checkpoint_revision == 3
        assert revisions(store) == [1, 2, 3]
        assert store.verify().is_sound


def test_compaction_supersedes_only_what_two_checkpoints_hold() -> None:
    def bases(*revisions: int) -> list[CheckpointFile]:
        return [CheckpointFile(revision, None, "") for revision in revisions]

    assert plan([], [1, 10, 20]) == Plan((), ())
    assert plan(bases(25), [1, 10, 20]) == Plan((), ())
    assert plan(bases(9, 25), [1, 10, 20]) == Plan((), (1,))
    assert plan(bases(8, 25), [1, 10, 20]) == Plan((), ())
    assert plan(bases(30, 31), [1, 10, 20]) == Plan((), (1, 10))
    assert plan(bases(3, 19, 25), [1, 10, 20]) == Plan(tuple(bases(3)), (1, 10))


def test_everything_is_kept_in_the_archive_by_default(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        receipts = add(store, 1)
        grow(store, 4)
        assert len(archived(path)) > 3
        assert len(checkpoints(path)) == 2
        assert store.oldest_revision() == 1
        assert revisions(store) == list(range(1, 162))
        assert store.check_receipt(receipts[0]).revision == 1
        assert store.verify().is_sound
        assert store.compact().archived == 0
    names = [file.name.removesuffix(".gz") for file in archived(path)]
    assert not set(names) & {file.name for file in segments(path)}
    with gzip.open(archived(path)[0]) as file:  # the standard tools can read it
        assert file.read(7) == b"EVSTWAL"
    with open_store(path) as store:
        assert balance(store) == 161
        assert revisions(store) == list(range(1, 162))


def droppings(store: EventStore) -> int:
    """Return how many batches say that retention drops others, also where these were dropped."""
    revision: int = store.stats()["revision"]
    return revision - balance(store)


def test_retention_none_keeps_what_recovery_needs(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path, options=NONE) as store:
        receipts = add(store, 1)
        grow(store, 4)
        assert archived(path) == []
        oldest = store.oldest_revision()
        [older, _] = [parse_checkpoint_name(file.name) for file in checkpoints(path)]
        assert older is not None
        assert 1 < oldest <= older + 1
        assert revisions(store, oldest) == list(range(oldest, 162 + droppings(store)))
        for call in (
            lambda: revisions(store, 1),
            lambda: revisions(store, oldest - 1),
            lambda: store.watch(1),
            lambda: store.check_receipt(receipts[0]),
        ):
            with pytest.raises(CompactedError) as refusal:
                call()
            assert refusal.value.oldest_revision == oldest
        with pytest.raises(CompactedError) as refusal:
            store.at(oldest - 2)
        assert refusal.value.oldest_revision == older
        assert store.at(older).revision == older
        assert store.verify().is_sound
    with open_store(path, options=NONE) as store:
        assert balance(store) == 161


def test_retention_by_revisions(tmp_path: Path) -> None:
    path = tmp_path / "store"
    options = dataclasses.replace(SMALL, retention=Retention(revisions=100))
    with open_store(path, options=options) as store:
        grow(store, 8)
        oldest = store.oldest_revision()
        assert 1 < oldest <= 320 - 100
        assert oldest > 320 - 100 - 80
        assert revisions(store, oldest) == list(range(oldest, 321 + droppings(store)))


def test_retention_by_size(tmp_path: Path) -> None:
    path = tmp_path / "store"
    options = dataclasses.replace(SMALL, retention=Retention(size_bytes=5000))
    with open_store(path, options=options) as store:
        grow(store, 8)
        sizes = [file.stat().st_size for file in archived(path)]
        assert sum(sizes) <= 5000
        assert len(sizes) >= 2
        oldest = store.oldest_revision()
        assert revisions(store, oldest) == list(range(oldest, 321 + droppings(store)))


def test_retention_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    options = dataclasses.replace(SMALL, retention=Retention(age_seconds=3600))
    with open_store(path, options=options) as store:
        grow(store, 3)
        assert store.oldest_revision() == 1
        later = time.time_ns() + 7200 * 10**9
        monkeypatch.setattr("time.time_ns", lambda: later)
        grow(store, 3)
        oldest = store.oldest_revision()
        assert 80 < oldest <= 121
        assert revisions(store, oldest) == list(range(oldest, 241 + droppings(store)))


@pytest.mark.parametrize("limit", ["age_seconds", "size_bytes", "revisions"])
def test_negative_retention_is_refused(limit: str) -> None:
    negative: dict[str, Any] = {limit: -1}
    with pytest.raises(ValueError, match="from 0 on"):
        Retention(**negative)


def test_archive_is_dropped_when_retention_changes(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        grow(store, 4)
        assert archived(path)
    with open_store(path, options=NONE) as store:
        report = store.compact()
        assert report.dropped > 0
        assert report.freed_bytes > 0
        assert archived(path) == []
        assert store.verify().is_sound


def test_compaction_can_be_cut_anywhere(tmp_path: Path) -> None:
    for after in range(60):
        path = tmp_path / f"store-{after}"
        failing = Failing(errno.EIO, "create write sync rename remove sync_directory", "", after)
        with open_store(path, file_system=HookedFileSystem(failing)) as store:
            grow(store, 2)
            add(store, 40)
            failing.armed = True
            try:
                store.compact()
            except OSError:
                failing.armed = False
            else:
                break
            assert revisions(store) == list(range(1, 121))
        with open_store(path) as store:
            assert balance(store) == 120
            assert store.verify().is_sound
            store.compact()
            assert revisions(store) == list(range(1, 121))
            assert len(checkpoints(path)) == 2
    assert after > 8


def test_dropping_that_is_cut_short_leaves_no_gap(tmp_path: Path) -> None:
    """What goes, goes oldest first: also where both archive and log have something to drop."""
    for after in range(30):
        path = tmp_path / f"store-{after}"
        with open_store(path) as store:
            grow(store, 3)
            add(store, 40)
        assert archived(path)
        failing = Failing(errno.EIO, "remove", ".log", after)
        with open_store(path, options=NONE, file_system=HookedFileSystem(failing)) as store:
            failing.armed = True
            try:
                store.compact()
            except OSError:
                pass
            else:
                break
            oldest = store.oldest_revision()
            assert revisions(store, oldest) == list(range(oldest, 161 + droppings(store)))
            assert store.verify().is_sound
    assert after > 3


def test_damaged_segment_is_not_archived(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 60)
        store.compact()
        add(store, 1)
        damaged = segments(path)[0]
        flip(damaged, 700)
        before = segments(path)
        with pytest.raises(CorruptionError) as refusal:
            store.compact()
        assert refusal.value.path == str(damaged)
        assert segments(path) == before


def test_state_at_every_revision(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        for _ in range(3):
            add(store, 20)
            store.compact()
        for revision in range(61):
            with store.at(revision) as tx:
                assert tx.revision == revision
                assert sum(balances(tx).values()) == revision
                assert total(tx) == revision
        for revision in (-1, 61):
            with pytest.raises(ValueError, match="not there"):
                store.at(revision)
        for arguments in ({}, {"revision": 1, "time": 5}):
            with pytest.raises(ValueError, match="one of revision and time"):
                store.at(**arguments)


def test_state_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    now = [int(start.timestamp()) * 10**9]
    monkeypatch.setattr("time.time_ns", lambda: now[0])
    with open_store(tmp_path / "store") as store:
        for _ in range(10):
            now[0] += 10**9
            add(store, 1)
        assert [batch.time for batch in store.batches()][4] == start + timedelta(seconds=5)
        for seconds, expected in [(0, 0), (1, 1), (4.5, 4), (5, 5), (10, 10), (10_000, 10)]:
            at = start + timedelta(seconds=seconds)
            assert store.at(time=at).revision == expected
            assert store.at(time=int(at.timestamp() * 10**6) * 1000).revision == expected
        with pytest.raises(ValueError, match="time zone"):
            store.at(time=start.replace(tzinfo=None))


def test_time_before_the_oldest_batch_is_compacted(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path, options=NONE) as store:
        while len(segments(path)) < 3:
            add(store, 1)
            store.checkpoint()
        # The segments now start right after what the older checkpoint holds.
        store.compact()
        oldest = store.oldest_revision()
        assert oldest > 1
        with pytest.raises(CompactedError):
            store.at(time=0)
        newest = store.at(time=time.time_ns())
        assert newest.revision == store.transaction().revision


def test_past_that_no_checkpoint_holds_is_replayed_from_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        grow(store, 4)
        for file in checkpoints(path):
            file.unlink()
        assert total(store.at(75)) == 75


def collect(iterator: Iterator[Any], count: int) -> list[int]:
    return [next(iterator).revision for _ in range(count)]


def test_watch_is_gapless_across_rolls_and_compaction(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 10)
        seen: list[int] = []
        live: list[int] = []

        def watch(from_revision: int | None, into: list[int]) -> None:
            into.extend(batch.revision for batch in store.watch(from_revision, timeout=0.5))

        threads = [
            threading.Thread(target=watch, args=arguments)
            for arguments in ((1, seen), (None, live))
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        grow(store, 6, 30)
        for thread in threads:
            thread.join()
        assert seen == list(range(1, 191))
        assert live == list(range(11, 191))


def test_watch_yields_durable_batches_only(tmp_path: Path) -> None:
    hold, in_sync = threading.Event(), threading.Event()
    armed = False

    def hook(call: str, path: str) -> None:
        if armed and call == "sync" and path.endswith(".log"):
            in_sync.set()
            hold.wait(5)

    with open_store(tmp_path / "store", file_system=HookedFileSystem(hook)) as store:
        add(store, 2)
        armed = True
        thread = threading.Thread(target=add, args=(store,))
        thread.start()
        assert in_sync.wait(5)
        assert [batch.revision for batch in store.watch(1, timeout=0.05)] == [1, 2]
        hold.set()
        thread.join()
        assert [batch.revision for batch in store.watch(1, timeout=0.05)] == [1, 2, 3]


def test_watch_ends_when_the_store_closes(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    add(store, 2)
    ended = threading.Event()

    def watch() -> None:
        for _ in store.watch(1):
            pass
        ended.set()

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(0.05)
    store.close()
    assert ended.wait(5)
    thread.join()


def test_watch_from_a_dropped_revision_names_the_oldest(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", options=NONE) as store:
        grow(store, 4)
        oldest = store.oldest_revision()
        with pytest.raises(CompactedError) as refusal:
            store.watch(oldest - 1)
        assert (refusal.value.asked_revision, refusal.value.oldest_revision) == (oldest - 1, oldest)
        assert next(iter(store.watch(oldest))).revision == oldest


@pytest.mark.parametrize("start", [1, 5, 30])
def test_slow_watcher_whose_next_batches_are_dropped_is_told(tmp_path: Path, start: int) -> None:
    with open_store(tmp_path / "store", options=NONE) as store:
        add(store, 60)
        watcher = iter(store.watch(start))
        reader = iter(store.batches(start))
        assert collect(watcher, 3) == collect(reader, 3) == [start, start + 1, start + 2]
        grow(store, 3, 60)
        for iterator in (watcher, reader):
            with pytest.raises(CompactedError) as refusal:
                collect(iterator, 300)
            assert refusal.value.oldest_revision == store.oldest_revision()


def test_slow_watcher_finds_its_place_in_the_archive(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 60)
        watcher, reader = iter(store.watch(1)), iter(store.batches(1))
        assert collect(watcher, 3) == collect(reader, 3) == [1, 2, 3]
        grow(store, 3, 60)
        assert collect(watcher, 237) == list(range(4, 241))
        assert [batch.revision for batch in reader] == list(range(4, 61))


class CountEntries(Totals):
    """Another version of the totals: it counts deposits, where the first one summed them up."""

    version = 2

    def apply(self, event: Any, tables: Any) -> None:
        if event.type == "money.deposited":
            totals = tables["totals"]
            totals.put("deposited", totals.get("deposited", 0) + 1)


@pytest.fixture
def aged(tmp_path: Path) -> Path:
    """A store with a ledger alone, checkpoints, and a log that lies partly in the archive."""
    path = tmp_path / "store"
    with EventStore.open(path, [Ledger()], options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        for _ in range(4):
            for _ in range(40):
                with store.transaction(writable=True) as tx:
                    deposit(tx, "a", 3)
            store.compact()
    assert archived(path)
    return path


def test_projection_added_to_a_store_is_built_from_the_log(aged: Path) -> None:
    with EventStore.open(aged, [Ledger(), Totals()], options=SMALL) as store:
        with store.transaction() as tx:
            assert total(tx) == 480
            assert balances(tx) == {"a": 480}
        with store.transaction(writable=True) as tx:
            deposit(tx, "a", 5)
        assert total(store.transaction()) == 485
        store.check()
        assert store.checkpoint() == 162
        assert total(store.at(101)) == 300
    with EventStore.open(aged, [Ledger(), Totals()], options=SMALL) as store:
        assert store.recovery.checkpoint_revision == 162
        assert total(store.transaction()) == 485
        assert store.verify().is_sound


def test_projection_built_at_the_checkpoint_s_revision_gets_into_it(aged: Path) -> None:
    with EventStore.open(aged, [Ledger(), Totals()], options=SMALL) as store:
        assert store.checkpoint() == 161
    # A follower can't build anything, so it needs the projection in the checkpoint.
    with EventStore.open(aged, [Ledger(), Totals()], read_only=True) as follower:
        assert total(follower.transaction()) == 480


def test_projection_of_a_new_version_is_built_again(aged: Path) -> None:
    with EventStore.open(aged, [Ledger(), Totals()], options=SMALL) as store:
        store.checkpoint()
        assert total(store.transaction()) == 480
    with EventStore.open(aged, [Ledger(), CountEntries()], options=SMALL) as store:
        assert total(store.transaction()) == 160
        assert balances(store.transaction()) == {"a": 480}
        with store.transaction(writable=True) as tx:
            deposit(tx, "a", 5)
        assert total(store.transaction()) == 161


def test_projection_left_out_and_taken_back_is_built_again(aged: Path) -> None:
    for _ in range(2):
        with EventStore.open(aged, [Totals()], options=SMALL) as store:
            assert total(store.transaction()) == 480
            store.checkpoint()
        with EventStore.open(aged, [Ledger()], options=SMALL) as store:
            assert balances(store.transaction()) == {"a": 480}
            store.checkpoint()


def test_projection_that_can_not_be_built_any_more_is_refused(aged: Path) -> None:
    with EventStore.open(aged, [Ledger()], options=NONE) as store:
        store.compact()
        assert store.oldest_revision() > 1
    before = tree(aged)
    for _ in range(2):
        with pytest.raises(ProjectionError, match=r"'totals'.*can't be rebuilt"):
            EventStore.open(aged, [Ledger(), Totals()], options=SMALL)
    assert tree(aged) == before
    with EventStore.open(aged, [Ledger()], options=SMALL) as store:
        assert balances(store.transaction()) == {"a": 480}


def test_projection_that_refuses_its_own_past_is_named(tmp_path: Path) -> None:
    class Picky(Totals):
        def apply(self, event: Any, tables: Any) -> None:
            if event.data.get("amount", 0) > 2:
                raise OverflowError("too much")

    path = tmp_path / "store"
    with open_store(path) as store, store.transaction(writable=True) as tx:
        open_account(tx, "a")
        deposit(tx, "a", 3)
    before = tree(path)
    says = (
        r"revision 1 can't be replayed: OverflowError: too much "
        r"\(event 2 of 2, 'money.deposited'\); Projection.apply must accept"
    )
    with pytest.raises(ProjectionError, match=says):
        EventStore.open(path, [Ledger(), Picky()], options=SMALL)
    assert tree(path) == before
    with open_store(path) as store:
        assert balance(store) == 3


@pytest.mark.parametrize(("kind", "what"), [(RecursionError, "stack"), (MemoryError, "memory")])
def test_an_interpreter_without_room_is_not_called_a_fault_of_the_projection(
    kind: type[Exception], what: str, tmp_path: Path
) -> None:
    class Exhausted(Totals):
        def apply(self, event: Any, tables: Any) -> None:
            raise kind("no more")

    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 1)
    before = tree(path)
    with pytest.raises(kind, match=f"revision 1 can't be replayed: .* ran out of {what}"):
        EventStore.open(path, [Ledger(), Exhausted()], options=SMALL)
    assert tree(path) == before
    with open_store(path, read_only=True) as store:
        with pytest.raises(kind, match=f"ran out of {what}"):
            verify_store(path, [Ledger(), Exhausted()])
        assert balance(store) == 1


def test_projections_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectionError, match=r"two projections.*'ledger'"):
        EventStore.open(tmp_path / "store", [Ledger(), Ledger()])

    class Clashing(Totals):
        tables = (TableSpec(ACCOUNTS),)

    with pytest.raises(ProjectionError, match=r"two tables.*'accounts'"):
        EventStore.open(tmp_path / "store", [Ledger(), Clashing()])
    assert not (tmp_path / "store").exists()


def test_verify_says_what_differs_from_the_replayed_log(aged: Path) -> None:
    with EventStore.open(aged, [Ledger(), Totals()], options=SMALL) as store:
        store.checkpoint()

    class Drifted(Totals):
        """Applies otherwise than what is in the checkpoints, without a new version."""

        def apply(self, event: Any, tables: Any) -> None:
            CountEntries.apply(self, event, tables)  # type: ignore[arg-type]

    report = verify_store(aged, [Ledger(), Drifted()])
    assert [problem.reason for problem in report.problems] == [
        "table 'totals' differs from the replayed log in 2 rows, 'deposited' for one"
    ]
    assert verify_store(aged, [Ledger(), Totals()]).is_sound


def test_verify_beside_a_running_writer_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 10)

        def write_meanwhile(call: str, directory: str) -> None:
            if call == "list":
                add(store, 30)
                store.checkpoint()

        medium = HookedFileSystem(write_meanwhile)
        for quick in (False, True):
            report = verify_store(path, [Ledger(), Totals()], quick=quick, file_system=medium)
            assert report.problems == ()


def test_verify_reports_every_kind_of_damage(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        grow(store, 4)
    for damaged in (archived(path)[1], checkpoints(path)[0], segments(path)[-1]):
        flip(damaged, 150)
        report = verify_store(path, [Ledger(), Totals()])
        assert str(damaged) in [problem.path for problem in report.problems]
        flip(damaged, 150)
    before = tree(path)
    assert verify_store(path, [Ledger(), Totals()]).is_sound
    assert tree(path) == before


def test_options_may_differ_from_one_open_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for number, size in enumerate([4096, 65536, 8192, 4096]):
        with open_store(path, options=StoreOptions(segment_bytes=size, background=False)) as store:
            assert balance(store) == 100 * number
            add(store, 100)
            store.compact()
            assert store.verify().is_sound
            assert revisions(store) == list(range(1, 100 * number + 101))
