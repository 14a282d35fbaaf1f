"""An erasure is cut at a call, then a file is damaged: check, open and repair must agree."""

from __future__ import annotations

import contextlib
from random import Random
from typing import TYPE_CHECKING

from support.erasing import OWNER, PROJECTIONS, SECRET, SMALL

from eventstore import (
    CorruptionError,
    EventStore,
    EventStoreError,
    Verdict,
    erase,
    repair_store,
    verify_store,
)
from eventstore.engine_events import ERASED
from eventstore.integrity.repair import preview_repairs
from eventstore.testing import STORE_PATH, SimulatedFileSystem
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEW = "/new"
ERASED_OWNERS = {6: 5, 26: 25, 39: 38}
"""Number of the snapshot whose owner is erased, by the revision that has made it."""


def erased_disk() -> tuple[SimulatedFileSystem, int]:
    """Return a disk on which an erasure was done, and how many steps came before it."""
    disk = SimulatedFileSystem(keep_steps=True)
    with EventStore.open(STORE_PATH, PROJECTIONS, options=SMALL, file_system=disk) as engine:
        store = MetaStore(engine)
        for number in range(40):
            with store.transaction(writable=True) as tx:
                owner = SECRET if number in ERASED_OWNERS.values() else "nobody"
                labels = {"owner": owner, "note": "n" * 150}
                tx.create_snapshot(Kind.ACTIVE, f"key-{number}", labels=labels)
            if number in (12, 20, 30):
                store.compact()
    started = len(disk.steps)
    fields: dict[int, list[tuple[str, ...]]] = {revision: [OWNER] for revision in ERASED_OWNERS}
    erase(STORE_PATH, PROJECTIONS, fields, actor="dpo", reason="", options=SMALL, file_system=disk)
    return disk, started


def files_of(disk: SimulatedFileSystem) -> Iterator[str]:
    """Yield the paths of a store's files but that of LOCK."""
    for name in disk.list_directory(STORE_PATH):
        path = f"{STORE_PATH}/{name}"
        if disk.is_file(path):
            if name != "LOCK":
                yield path
        else:
            yield from (f"{path}/{each}" for each in disk.list_directory(path))


def content(disk: SimulatedFileSystem) -> dict[str, bytes]:
    found = {}
    for path in files_of(disk):
        with contextlib.closing(disk.open(path)) as file:
            found[path] = file.read(0, file.size_bytes())
    return found


def write(disk: SimulatedFileSystem, path: str, data: bytes) -> None:
    disk.remove(path)
    with contextlib.closing(disk.create(path)) as file:
        file.write(0, data)


def flip(disk: SimulatedFileSystem, path: str) -> None:
    data = bytearray(content(disk)[path])
    if data:
        data[len(data) // 2] ^= 1
    write(disk, path, bytes(data))


def empty(disk: SimulatedFileSystem, path: str) -> None:
    write(disk, path, b"")


def remove(disk: SimulatedFileSystem, path: str) -> None:
    disk.remove(path)


DAMAGES: tuple[Callable[[SimulatedFileSystem, str], None], ...] = (flip, empty, remove)


def require_agreement(disk: SimulatedFileSystem, when: str) -> Verdict:
    """Check that open and repair do what check and its preview say; return the verdict."""
    before = content(disk)
    report = verify_store(STORE_PATH, PROJECTIONS, file_system=disk)
    newest, oldest = preview_repairs(STORE_PATH, file_system=disk)
    for foreseen, keep_history in ((newest, False), (oldest, True)):
        copy = SimulatedFileSystem(disk.medium.copy())
        repaired = repair_store(
            STORE_PATH, NEW, PROJECTIONS, keep_history=keep_history, file_system=copy
        )
        assert (repaired.revision, repaired.first_revision, repaired.lost) == foreseen[:3], when
        said = (repaired.unerased, repaired.unvouched, repaired.erasure_lost)
        assert said == foreseen[3:], when
        if not repaired.erasure_lost:
            require_erased(copy, NEW, set(repaired.unerased), when)
    assert content(disk) == before, when
    try:
        EventStore.open(STORE_PATH, PROJECTIONS, options=SMALL, file_system=disk).close()
    except CorruptionError:
        assert report.verdict is Verdict.CORRUPT, when
        assert content(disk) == before, when
    else:
        assert report.verdict is not Verdict.CORRUPT, when
        if report.is_sound or f"{STORE_PATH}/ERASING" in before:
            # Without its note nothing finishes an erasure, but a check tells.
            require_erased(disk, STORE_PATH, set(), when)
        after, _ = preview_repairs(STORE_PATH, file_system=disk)
        assert after.revision >= newest.revision, when
    return report.verdict


def require_erased(disk: SimulatedFileSystem, path: str, unerased: set[int], when: str) -> None:
    """Check that a store that says that something was erased shows it nowhere."""
    with EventStore.open(path, PROJECTIONS, options=SMALL, file_system=disk) as engine:
        oldest = engine.oldest_revision()
        try:
            said = list(engine.batches(type=ERASED))
        except EventStoreError:  # an old segment is damaged
            said = []
        if not said:
            return
        for batch in engine.batches(max(oldest, min(ERASED_OWNERS)), 6):
            assert SECRET not in str(batch.events), when
        with MetaStore(engine).transaction() as now:
            for revision in ERASED_OWNERS.keys() - unerased:
                owner = now.get_info(f"key-{ERASED_OWNERS[revision]}")[1].labels["owner"]
                assert owner == "*" * len(SECRET), (when, revision)


def test_check_open_and_repair_agree_wherever_an_erasure_was_cut_and_a_file_damaged(
    deep: bool,
) -> None:
    disk, started = erased_disk()
    cases = [
        (step, path, damage)
        for step in disk.steps[started:]
        for path in files_of(SimulatedFileSystem(step.medium.copy()))
        if not path.endswith((".leaves", ".tmp"))
        for damage in DAMAGES
    ]
    chosen = cases if deep else Random(7).sample(cases, 40)
    verdicts = set()
    for step, path, damage in chosen:
        damaged = SimulatedFileSystem(step.medium.copy())
        damage(damaged, path)
        verdicts.add(require_agreement(damaged, f"{step.name}, {damage.__name__} {path}"))
    assert Verdict.CORRUPT in verdicts
    assert Verdict.CLEAN in verdicts
