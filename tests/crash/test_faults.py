"""Every call of the file system fails, once and for good: the caller gets the right error.

One run makes every kind of call, goes on after each error as a stubborn caller would, and closes
and reopens the store. It is repeated with a failure at one call after the other. Whatever failed:
no handle acknowledges anything after its failure; the lock and every file are let go; and after a
kill or a power cut at the end the store holds all that was acknowledged, also where a failed sync
has left bytes that only the cache holds.

The usual run takes one call of each place in the engine that makes some, of one place the first, of
the next the last; `--hypothesis-profile=deep` takes every call.
"""

from __future__ import annotations

import errno
import logging
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.crash import LEDGER
from support.ledger import deposit, open_account

from eventstore import EventStoreError, StorageFullError, StoreFailedError
from eventstore.maintenance import checkpointing, compaction
from eventstore.testing import (
    Call,
    Defect,
    Depth,
    FailCall,
    Failure,
    Session,
    SimulatedFileSystem,
    crash_at_end,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from eventstore import EventStore

WRITES = frozenset(("write", "store"))
NEEDS_SPACE = WRITES.union(
    ("create", "truncate", "sync", "make_directory", "rename", "sync_directory", "lock")
)
AFTER_FAULT = Depth(images=2, double_crashes=1, double_crashes_after_kill=1, verify_every=8)
AFTER_FAULT_DEEP = Depth(images=16, double_crashes=2, double_crashes_after_kill=12, verify_every=4)
FAILURES = {
    "EIO": Failure(errno.EIO),
    "EIO in the midst of a write": Failure(errno.EIO, written_fraction=0.6),
    "EINTR": Failure(errno.EINTR),
    "ENOSPC": Failure(errno.ENOSPC),
    "ENOSPC in the midst of a write": Failure(errno.ENOSPC, written_fraction=0.4),
}


@pytest.fixture(autouse=True)
def _small_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the second handle write a delta, and the third one fold it."""
    monkeypatch.setattr(checkpointing, "BASE_ROWS", 4)
    monkeypatch.setattr(compaction, "_CHAIN_DELTAS", 1)
    monkeypatch.setattr(compaction, "_FOLD_SHARE", 1)


@dataclass
class Stretch:
    """What a stubborn caller has met: which step of which handle raised what."""

    session: Session
    file_system: SimulatedFileSystem
    errors: list[tuple[int, str, Exception]] = field(default_factory=list)
    handle: int = 0

    def attempt(self, step: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (OSError, EventStoreError) as error:
            self.errors.append((self.handle, step, error))
            return None


def run_with(fault: Callable[[Call], Failure | None] | None) -> Stretch:
    file_system = SimulatedFileSystem(fault=fault)
    run = Stretch(Session.over(file_system, LEDGER), file_system)
    for run.handle in range(3):
        store = run.attempt("open", run.session.open)
        if store is not None:
            use(run, store)
    file_system.fault = None
    return run


def use(run: Stretch, store: EventStore) -> None:
    for number, note_bytes in enumerate((10, 1500, 20, 1500, 3000, 30)):
        run.attempt("commit", partial(pay_in, store, number, note_bytes))
    run.attempt("checkpoint", store.checkpoint)
    run.attempt("compact", store.compact)
    run.attempt("commit", partial(pay_in, store, 1, 1))
    run.attempt("close", store.close)


def pay_in(store: EventStore, amount: int, note_bytes: int) -> None:
    with store.transaction(writable=True) as tx:
        if tx.get("accounts", "a") is None:
            for account in "abcdefgh":  # of which a delta holds one
                open_account(tx, account)
        deposit(tx, "a", amount, "n" * note_bytes)


def calls_by_site() -> dict[tuple[Any, ...], list[Call]]:
    """Return the calls of a run without failures, by the place in the engine that makes them."""
    sites: dict[tuple[Any, ...], list[Call]] = {}

    def note(call: Call) -> None:
        frame: FrameType | None = sys._getframe(1)
        places: list[tuple[str, int]] = []
        while frame is not None and len(places) < 4:
            name = frame.f_globals.get("__name__", "")
            if name.startswith("eventstore") and not name.startswith("eventstore.testing"):
                places.append((name, frame.f_lineno))
            frame = frame.f_back
        sites.setdefault((call.name, *places), []).append(call)

    assert run_with(note).errors == []
    return sites


def can_fail(call: Call, failure: Failure) -> bool:
    if failure.error_number == errno.ENOSPC and call.name not in NEEDS_SPACE:
        return False
    return call.name in WRITES or not failure.written_fraction


def chosen_calls(failure: Failure, *, deep: bool) -> tuple[int, list[Call]]:
    """Return how many places make calls that can fail so, and the calls that shall."""
    every_site = calls_by_site().values()
    assert len(every_site) > 50
    sites = [calls for calls in every_site if can_fail(calls[0], failure)]
    if deep:
        return len(sites), sorted(call for calls in sites for call in calls)
    return len(sites), sorted(calls[-(number % 2)] for number, calls in enumerate(sites))


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("name", FAILURES)
def test_every_failing_call_is_reported_and_costs_nothing_acknowledged(
    name: str, for_good: bool, deep: bool, record_proof: Callable[..., None]
) -> None:
    failure = FAILURES[name]
    logging.getLogger("eventstore").disabled = True
    sites, calls = chosen_calls(failure, deep=deep)
    tried: Counter[str] = Counter()
    try:
        for call in calls:
            later = later_calls(failure) if for_good else frozenset()
            run = run_with(FailCall(call.number, failure, later))
            where = f"{call} failing with {failure}, {'for good' if for_good else 'once'}"
            check_errors(run, failure, where, once=not for_good)
            report = crash_at_end(
                run.session,
                run.file_system,
                depth=AFTER_FAULT_DEEP if deep else AFTER_FAULT,
                seed=call.number,
            )
            assert report.is_sound, f"{where}: {report}"
            tried["faults"] += 1
            tried["images"] += report.images
            tried["double_crashes"] += report.double_crashes
            tried["acknowledged_lost"] += report.counts[Defect.LOST]
            tried["phantom"] += report.phantoms
            tried["wrong_verdict"] += report.counts[Defect.REFUSED]
    finally:
        logging.getLogger("eventstore").disabled = False
    proof = f"faults: {name}, {'for good' if for_good else 'once'}"
    record_proof(proof, call_sites=sites, **tried)


def later_calls(failure: Failure) -> frozenset[str] | None:
    """Return what fails on a full disk; on a dead one, everything."""
    return NEEDS_SPACE if failure.error_number == errno.ENOSPC else None


def check_errors(run: Stretch, failure: Failure, where: str, *, once: bool) -> None:
    assert run.session.broken_promises == 0, where
    assert run.file_system.open_files == 0, where
    failed: set[int] = set()
    for handle, step, error in run.errors:
        assert is_right(step, error, failure), f"{where}: {step} raised {error!r}"
        if step == "commit" and handle in failed:
            assert isinstance(error, StoreFailedError), where
        if isinstance(error, StoreFailedError):
            failed.add(handle)
    if once:
        handles = {handle for handle, _, _ in run.errors}
        assert len(handles) <= 1, f"{where}: {run.errors}"
        if not failed:
            assert len(run.errors) <= 1, f"{where}: {run.errors}"


def is_right(step: str, error: Exception, failure: Failure) -> bool:
    if step == "commit" and isinstance(error, StoreFailedError):
        return True
    if failure.error_number == errno.ENOSPC and step != "close":
        return isinstance(error, StorageFullError)
    is_injected = isinstance(error, OSError) and error.errno == failure.error_number
    return step != "commit" and is_injected


def test_commits_after_a_failed_sync_are_all_refused_although_syncs_work_again() -> None:
    def sync_fails_once(call: Call) -> Failure | None:
        is_due = call.name == "sync" and call.path.endswith(".log") and not failed
        if is_due:
            failed.append(call)
        return Failure(errno.EIO) if is_due else None

    failed: list[Call] = []
    run = run_with(sync_fails_once)
    first = [error for handle, step, error in run.errors if (handle, step) == (0, "commit")]
    assert len(first) == 7
    assert all(isinstance(error, StoreFailedError) for error in first)
    assert {handle for handle, _, _ in run.errors} == {0}


@pytest.mark.parametrize("name", ["write", "sync"])
def test_all_batches_of_a_group_fail_if_its_write_or_sync_fails(name: str) -> None:
    file_system = SimulatedFileSystem()
    session = Session.over(file_system, LEDGER)
    store = session.open()
    pay_in(store, 1, 10)
    errors: list[EventStoreError] = []

    def pay_in_a_group(amount: int) -> None:
        try:
            pay_in(store, amount, 10)
        except StoreFailedError as error:
            errors.append(error)

    fails = Failure(errno.EIO, written_fraction=0.5)
    file_system.fault = lambda call: fails if call.name == name else None
    session.together(*(partial(pay_in_a_group, amount) for amount in range(4)))
    file_system.fault = None
    assert len(errors) == 4
    with store.transaction() as tx:
        assert tx.revision == 1
    store.close()
    assert file_system.open_files == 0
    crash_at_end(session, file_system, depth=AFTER_FAULT_DEEP).require_sound()
