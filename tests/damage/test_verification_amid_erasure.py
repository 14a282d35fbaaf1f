"""A verification takes an erasure that is under way, or was cut short, for no damage."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING

import pytest
from support.engine import HookedFileSystem
from support.erasing import FIELDS, PROJECTIONS, SECRET, SMALL, everything, fill

from eventstore import OvertakenError, verify_store
from projections.snapshots import Kind, MetaStore

FILLING = {"note": "n" * 150}

if TYPE_CHECKING:
    from pathlib import Path

    from eventstore import Damage


def erase(store: MetaStore) -> None:
    store.erase(FIELDS, actor="dpo", reason="asked")


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("calls", range(1, 9))
def test_an_erasure_that_was_cut_short_is_a_remark(calls: int, quick: bool, tmp_path: Path) -> None:
    path, left = tmp_path / "store", [calls]

    def fail(call: str, name: str) -> None:
        if call in ("rename", "remove") and (path / "ERASING").exists():
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.EIO, "no", name)

    fill(path)
    with MetaStore.open(path, options=SMALL) as store:
        store.checkpoint()
    files = HookedFileSystem()
    with MetaStore.open(path, options=SMALL, file_system=files) as store:
        files.hook = fail
        with pytest.raises(OSError, match="no"):
            erase(store)
        files.hook = lambda call, name: None
    before = everything(path)
    report = verify_store(path, PROJECTIONS, quick=quick)
    assert (report.problems, report.is_sound) == ((), True)
    [remark] = report.remarks
    assert "an erasure is unfinished" in remark
    assert everything(path) == before
    with MetaStore.open(path, options=SMALL) as store:
        report = store.event_store.verify(quick=quick)
        assert (report.problems, report.remarks) == ((), ())


@pytest.mark.parametrize("at", [1, 7, 25, 44, 60])
def test_an_erasure_that_comes_amid_a_verification_is_no_damage(at: int, tmp_path: Path) -> None:
    path, left = tmp_path / "store", [at]
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:

        def erase_there(revision: int) -> None:
            if left and revision == left[0]:
                left.clear()
                erase(store)

        report = verify_store(path, PROJECTIONS, on_batch=erase_there)
    assert not left
    assert (report.problems, report.is_sound) == ((), True)


def test_an_erasure_that_comes_amid_a_verification_of_a_log_alone_is_no_damage(
    tmp_path: Path,
) -> None:
    path, left = tmp_path / "store", [True]
    with MetaStore.open(path, options=SMALL) as store:
        for number in range(60):
            with store.transaction(writable=True, actor=SECRET) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels={"note": "n" * 150})

        def erase_once(revision: int) -> None:
            if left:
                left.clear()
                store.erase({50: [("actor",)]}, actor="dpo", reason="asked")

        assert verify_store(path, PROJECTIONS, on_batch=erase_once).problems == ()


@pytest.mark.parametrize("every", [2, 9, 20, 40])
def test_erasures_that_never_end_are_no_damage(every: int, tmp_path: Path) -> None:
    path, count = tmp_path / "store", [0]
    fill(path)
    with MetaStore.open(path, options=SMALL) as store:

        def erase_another(revision: int) -> None:
            count[0] += 1
            if count[0] % every == 0:
                with store.transaction(writable=True, actor=SECRET) as tx:
                    tx.create_snapshot(Kind.ACTIVE, f"key-of-{count[0]}")
                assert tx.receipt is not None
                store.erase({tx.receipt.revision: [("actor",)]}, actor="dpo", reason="asked")

        problems: tuple[Damage, ...] = ()
        with contextlib.suppress(OvertakenError):
            problems = verify_store(path, PROJECTIONS, on_batch=erase_another).problems
        assert problems == ()
    assert count[0] >= 60
    assert verify_store(path, PROJECTIONS).is_sound


def test_erasures_that_are_committed_behind_the_end_of_each_reading_vouch(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=SMALL) as store:

        def commit(count: int) -> int:
            for _ in range(count):
                with store.transaction(writable=True, actor=SECRET) as tx:
                    tx.create_snapshot(Kind.ACTIVE, f"key-{time.time_ns()}", labels=FILLING)
            assert tx.receipt is not None
            return tx.receipt.revision

        last = [commit(30)]
        readings = [0]

        def erase_the_last(revision: int) -> None:
            if revision == 1:
                readings[0] += 1
                erased, last[0] = last[0], commit(30)  # which begins other segments
                store.erase({erased: [("actor",)]}, actor="dpo", reason="asked")

        report = verify_store(path, PROJECTIONS, on_batch=erase_the_last)
    assert (report.problems, report.is_sound) == ((), True)
    assert readings == [1]
