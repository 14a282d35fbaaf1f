"""Whatever stops an append, a roll, a flush, a checkpoint or a compaction, at any statement, twice.

The batch is done, undone, or the handle has failed; nothing hangs; what was acknowledged is there
when the store is opened again.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import pkgutil
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from support.engine import HookedFileSystem, add, balance, open_store
from support.stopping import Stopper, ticking

import eventstore.checkpoints.loader
import eventstore.log.spares
import eventstore.log.writer
import eventstore.maintenance.compaction
import eventstore.tables.journal
import eventstore.tables.rows
import eventstore.tables.state
import eventstore.tables.table
import eventstore.tables.values
import eventstore.tables.version
import eventstore.tables.view
from eventstore import Event, Metadata, Retention, StoreFailedError, StoreOptions
from eventstore.format.codec import encode_batch, encode_event
from eventstore.log.writer import LogWriter
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from types import ModuleType

    from eventstore import EventStore
    from eventstore.backend.file_log import FileLog
    from eventstore.log.interface import Appended

MODULES = [
    eventstore.log.writer,
    eventstore.log.spares,
    eventstore.checkpoints.loader,
    eventstore.maintenance.compaction,
    eventstore.tables.journal,
    eventstore.tables.state,
    eventstore.tables.rows,
    eventstore.tables.table,
    eventstore.tables.values,
    eventstore.tables.version,
    eventstore.tables.view,
]
# Not the transaction, which relies on assignments that follow each other, where neither a signal
# handler runs nor memory is taken: see `tests/engine/handle/test_interrupted_transactions.py`.
OTHER_MODULES = [
    module
    for found in pkgutil.walk_packages(eventstore.__path__, "eventstore.")
    if not found.ispkg and not found.name.startswith("eventstore.testing")
    for module in [importlib.import_module(found.name)]
    if module not in MODULES and found.name != "eventstore.handle.write_transaction"
]
OPTIONS = StoreOptions(segment_bytes=4096, background=False, retention=Retention(revisions=1))
BIG_NOTE = "n" * 2500
"""A batch with this takes more than half of a segment, so each one rolls."""
HANG_SECONDS = 20.0
SAMPLE = 30
ALL_UP_TO = 200
NEVER = 1 << 60


Work = Callable[["EventStore", list[int]], object]
"""Notes each payment when it is acknowledged."""


def commit(store: EventStore, acknowledged: list[int]) -> None:
    add(store, 1)
    acknowledged.append(1)


def commit_with_a_roll(store: EventStore, acknowledged: list[int]) -> None:
    add(store, 1, BIG_NOTE)
    acknowledged.append(1)


def commit_with_a_roll_behind_another(store: EventStore, acknowledged: list[int]) -> None:
    """While this rolls, the batch of another thread waits in the old segment's group."""
    log, appended, may_flush = cast("FileLog", store._log), threading.Event(), threading.Event()
    make_durable = log.make_durable

    def make_durable_later(ticket: Appended) -> None:
        appended.set()
        may_flush.wait()
        make_durable(ticket)

    def commit_other() -> None:
        with contextlib.suppress(StoreFailedError):
            commit(store, acknowledged)

    other = threading.Thread(target=commit_other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "make_durable", make_durable_later)
        other.start()
        appended.wait()
    try:
        commit_with_a_roll(store, acknowledged)
    finally:
        may_flush.set()
        other.join()


def checkpoint(store: EventStore, acknowledged: list[int]) -> None:
    store.checkpoint()


def compact(store: EventStore, acknowledged: list[int]) -> None:
    store.compact()


WORKS = [commit, commit_with_a_roll, commit_with_a_roll_behind_another, checkpoint, compact]


class Trials:
    """One store that is opened, stopped in the middle of a work, and opened again, many times."""

    def __init__(self, work: Work, error: type[BaseException]) -> None:
        self._work = work
        self._error = error
        self._memory = SimulatedFileSystem(keep_steps=False)
        self._balance = 0
        self.stopper = Stopper()
        self.length = 0  # statements of the last work
        self.stops = self.once = 0  # of all works; of those before any was stopped twice
        self.failed = 0
        with self._open() as store:
            add(store, 1)
        self._balance = 1

    def run(self, *at: int) -> None:
        """Stop the work before these statements, if it goes so far."""
        store = self._open()
        add(store, 1, BIG_NOTE)
        before = self._balance + 1
        acknowledged, stopped = self._stopped_work(store, at)
        paid = sum(acknowledged)
        self.length = self.stopper.count
        self.stopper.arm(error=self._error)
        seen, on_their_way, later, has_failed = self._look(store)
        store.close()
        with self._open() as store:
            self._balance = found = balance(store)
            if self.stops % 16 == 0:
                assert store.verify().is_sound
        if has_failed:
            self.failed += 1
            assert seen <= found <= before + 2
        else:
            # What it was seen to be is what it is. But a second interrupt can cut off that the
            # handle fails: then what was on its way becomes durable with the next batch, all of it.
            assert found == seen + on_their_way + later
            assert on_their_way == 0 or len(at) > 1
        assert min(seen, found) >= before + paid
        if not stopped:
            assert found == before + paid + later
        self.stops += stopped

    def _stopped_work(self, store: EventStore, at: tuple[int, ...]) -> tuple[list[int], bool]:
        acknowledged: list[int] = []
        stops: list[BaseException] = []

        def work() -> None:
            self.stopper.arm(*at, error=self._error)
            try:
                self._work(store, acknowledged)
            except BaseException as error:
                stops.append(error)

        self._in_time(work)
        for error in stops:
            causes = (error, error.__cause__)
            assert any(isinstance(cause, (self._error, StoreFailedError)) for cause in causes)
        return acknowledged, bool(stops)

    def _look(self, store: EventStore) -> tuple[int, int, int, bool]:
        """Return what is seen of a store, and what one more commit comes to.

        These are the balance, the payments that were appended and are not shown, what one more
        commit has added, and whether the handle had failed.
        """
        found: list[tuple[int, int, int, bool]] = []

        def look() -> None:
            seen, stats = balance(store), store.stats()
            on_their_way = stats["revision"] - stats["durable_revision"]
            try:
                add(store, 1)
            except StoreFailedError:
                found.append((seen, on_their_way, 0, True))
            else:
                found.append((seen, on_their_way, 1, False))

        self._in_time(look)
        return found[0]

    @staticmethod
    def _in_time(target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        thread.join(HANG_SECONDS)
        assert not thread.is_alive(), "it hangs"

    def _open(self) -> EventStore:
        return open_store(Path("/store"), file_system=self._memory, options=OPTIONS)


@pytest.fixture(params=[KeyboardInterrupt, MemoryError, RecursionError])
def error(request: pytest.FixtureRequest) -> type[BaseException]:
    kind: type[BaseException] = request.param
    return kind


@pytest.fixture(autouse=True)
def quick_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.log.writer._LEADER_SECONDS", 0.01)
    monkeypatch.setattr("eventstore.handle.writer_lock._LOOK_SECONDS", 0.01)


@pytest.mark.parametrize("work", WORKS)
def test_stopped_anywhere_it_is_done_or_undone_or_the_handle_has_failed(
    work: Work,
    error: type[BaseException],
    deep: bool,
    record_proof: Callable[..., None],
) -> None:
    trials = Trials(work, error)
    _stop_anywhere(trials, MODULES, random.Random(work.__name__), deep)
    record_proof(
        "stopped log",
        once=trials.once,
        twice=trials.stops - trials.once,
        handles_failed=trials.failed,
    )


# An interrupt as a with statement takes its transaction leaves one that is dropped, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("work", WORKS)
def test_stopped_in_any_other_module_it_is_so_as_well(
    work: Work, deep: bool, record_proof: Callable[..., None]
) -> None:
    trials = Trials(work, KeyboardInterrupt)
    _stop_anywhere(trials, OTHER_MODULES, random.Random(work.__name__), deep)
    record_proof(
        "stopped engine",
        once=trials.once,
        twice=trials.stops - trials.once,
        handles_failed=trials.failed,
    )


def _stop_anywhere(
    trials: Trials, modules: list[ModuleType], choice: random.Random, deep: bool
) -> None:
    with ticking(modules, trials.stopper):
        trials.run(NEVER)
        places = range(1, trials.length + 1)
        all_once = deep or trials.length <= ALL_UP_TO
        for place in places if all_once else choice.sample(places, SAMPLE):
            trials.run(place)
        trials.once = trials.stops
        for first in [*places, *places] if deep else choice.sample(places, SAMPLE):
            trials.run(first, first + choice.randrange(1, 30))
    assert trials.once


def test_a_roll_that_is_stopped_at_any_statement_leaves_no_hole_in_the_log() -> None:
    stopper, at, is_stopped = Stopper(), 0, True
    with ticking([eventstore.log.writer], stopper):
        while is_stopped:
            at += 1
            memory = SimulatedFileSystem(keep_steps=False)
            with open_store(Path("/store"), file_system=memory, options=OPTIONS) as store:
                add(store, 1, BIG_NOTE)
                stopper.arm(at, error=KeyboardInterrupt)
                try:
                    add(store, 1, BIG_NOTE)
                    is_stopped = False
                except KeyboardInterrupt:
                    pass
                finally:
                    stopper.arm(error=KeyboardInterrupt)
                # The first record of a segment stands behind its header in any case.
                with contextlib.suppress(StoreFailedError):
                    add(store, 2)
                expected = balance(store)
            with open_store(Path("/store"), file_system=memory, options=OPTIONS) as store:
                assert balance(store) >= expected
    assert at > 20


def test_a_batch_behind_a_roll_does_not_join_the_group_of_the_segment_before(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with open_store(path, options=OPTIONS) as store:
        add(store, 1)
        log = cast("FileLog", store._log)
        event = encode_event(
            Event("money.deposited", {"account": "a", "amount": 1, "note": BIG_NOTE})
        )
        payload = encode_batch(Metadata(), [event])
        tickets = [
            log.append(payload, expected_revision=revision, frees_space=lambda: False)
            for revision in (2, 3, 4)
        ]
        for ticket in reversed(tickets):
            log.make_durable(ticket)
    with open_store(path, options=OPTIONS) as store:
        assert balance(store) == 4
        assert store.verify().is_sound


def test_a_failed_sync_is_not_tried_again_though_its_handling_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[str] = []

    def hook(call: str, path: str) -> None:
        if call == "sync" and path.endswith(".log"):
            syncs.append(path)
            if len(syncs) == 1:
                raise OSError(errno.EIO, "the medium fails", path)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    file_system = HookedFileSystem()
    with open_store(tmp_path / "store", file_system=file_system) as store:
        add(store, 2)
        file_system.hook = hook
        with monkeypatch.context() as patch:
            patch.setattr(LogWriter, "_fail", interrupted)
            patch.setattr(LogWriter, "abandon", interrupted)
            with pytest.raises(KeyboardInterrupt):
                add(store, 1)
        with pytest.raises(StoreFailedError):
            add(store, 1)
        assert len(syncs) == 1
        assert balance(store) == 2
