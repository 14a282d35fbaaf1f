"""The exploration fails where it must: against media, logs and recoveries that are broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.crash import (
    LEDGER,
    commits,
    compaction,
    forgetting,
    making,
    pay,
    retention,
    rolls,
)

from eventstore import EventStore, Projection, TableSpec
from eventstore.backend.file_log import FileLog
from eventstore.files.paths import join
from eventstore.format.durable import pack_durable
from eventstore.format.names import DIRECTORY_NAMES
from eventstore.log.writer import LogWriter
from eventstore.recovery import execute as recovery
from eventstore.testing import Defect, Depth, InconsistencyError, Report, Session, explore

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore import Event
    from eventstore.files.interface import File, FileSystem

SHALLOW = Depth(images=8, double_crashes=1, double_crashes_after_kill=8)


class Tampered:
    """A file system some of whose syncs do nothing; everything else is that of the real one."""

    def __init__(
        self,
        real: FileSystem,
        *,
        lies_about_file: Callable[[str], bool] = lambda path: False,
        lies_about_directory: Callable[[str], bool] = lambda path: False,
        lies_once_after_open: bool = False,
    ) -> None:
        self._real = real
        self._lies_about_file = lies_about_file
        self._lies_about_directory = lies_about_directory
        self._lies_once_after_open = lies_once_after_open

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create(self, path: str) -> Any:
        return TamperedFile(self._real.create(path), self._lies_about_file, lies=0)

    def open(self, path: str, *, writable: bool = False) -> Any:
        lies = int(self._lies_once_after_open)
        return TamperedFile(
            self._real.open(path, writable=writable), self._lies_about_file, lies=lies
        )

    def sync_directory(self, path: str) -> None:
        if not self._lies_about_directory(path):
            self._real.sync_directory(path)


class TamperedFile:
    def __init__(self, real: File, lies_about: Callable[[str], bool], *, lies: int) -> None:
        self.path = real.path
        self._real = real
        self._lies_about = lies_about
        self._lies_left = lies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def sync(self) -> None:
        if self._lies_left:
            self._lies_left -= 1
        elif not self._lies_about(self.path):
            self._real.sync()


def explored(
    workload: Callable[[Session], None],
    projections: tuple[Projection, ...] = LEDGER,
    **tampering: Any,
) -> Report:
    report = explore(
        workload,
        projections,
        depth=SHALLOW,
        stop_early=True,
        wrap=(lambda real: Tampered(real, **tampering)) if tampering else None,
    )
    with pytest.raises(InconsistencyError):
        report.require_sound()
    assert str(report).startswith(f"{report.operations} operations")
    return report


def test_sound_engine_passes_at_this_depth() -> None:
    explore(commits, LEDGER, depth=SHALLOW).require_sound()


def test_sync_of_files_that_does_nothing_is_caught() -> None:
    assert explored(commits, lies_about_file=lambda path: True).acknowledged_lost


def test_sync_of_directories_that_does_nothing_is_caught() -> None:
    assert explored(commits, lies_about_directory=lambda path: True).acknowledged_lost


@pytest.mark.parametrize(
    ("workload", "directory"),
    [(rolls, "wal"), (commits, "store"), (compaction, "archive"), (forgetting, "checkpoints")],
)
def test_unsynced_names_in_one_directory_are_caught(
    workload: Callable[[Session], None], directory: str
) -> None:
    report = explored(workload, lies_about_directory=lambda path: path.endswith(directory))
    assert report.acknowledged_lost


@pytest.mark.parametrize(
    ("workload", "suffix"), [(forgetting, ".ckpt.tmp"), (compaction, ".gz.tmp")]
)
def test_rename_before_the_content_is_synced_is_caught(
    workload: Callable[[Session], None], suffix: str
) -> None:
    assert not explored(workload, lies_about_file=lambda path: path.endswith(suffix)).is_sound


def test_recovery_that_serves_what_it_has_not_synced_is_caught() -> None:
    report = explored(commits, lies_once_after_open=True)
    assert report.acknowledged_lost
    assert "killed after operation" in str(report)


def test_log_that_acknowledges_before_the_sync_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = LogWriter.make_durable
    late: dict[LogWriter, Any] = {}

    def acknowledge_first(writer: LogWriter, ticket: Any) -> None:
        if writer in late:
            sound(writer, late[writer])
        late[writer] = ticket
        writer.durable_revision = ticket.revision

    monkeypatch.setattr(LogWriter, "make_durable", acknowledge_first)
    assert explored(commits).counts[Defect.LOST]


def test_durable_file_that_says_too_much_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = FileLog.append

    def claim_first(log: FileLog, payload: bytes, **arguments: Any) -> Any:
        ticket = sound(log, payload, **arguments)
        log._durable_block.store(pack_durable(log.store_id, ticket.revision))
        return ticket

    monkeypatch.setattr(FileLog, "append", claim_first)
    assert explored(commits).counts[Defect.REFUSED]


def test_log_that_writes_another_batch_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = LogWriter.append

    def write_another(writer: LogWriter, payload: bytes, **arguments: Any) -> Any:
        return sound(writer, payload.replace(b"teller", b"robber"), **arguments)

    monkeypatch.setattr(LogWriter, "append", write_another)
    assert explored(commits).phantoms


def test_projection_that_is_not_pure_is_caught() -> None:
    class Impure(Projection):
        name = "impure"
        version = 1
        tables = (TableSpec("calls"),)
        calls = 0

        def apply(self, event: Event, tables: Any) -> None:
            Impure.calls += 1
            tables["calls"].put("last", Impure.calls)

    def two(session: Session) -> None:
        with session.open() as store:
            pay(store, "a", 1)
            pay(store, "a", 1)

    assert explored(two, (Impure(),)).counts[Defect.WRONG_STATE]


def test_broken_invariant_of_a_projection_is_caught() -> None:
    class Limited(Projection):
        name = "limited"
        version = 1
        tables = (TableSpec("count"),)

        def apply(self, event: Event, tables: Any) -> None:
            tables["count"].put("n", tables["count"].get("n", 0) + 1)

        def check(self, tables: Any) -> None:
            if tables["count"].get("n", 0) > 2:
                raise AssertionError("more than two")

    def three(session: Session) -> None:
        with session.open() as store:
            for _ in range(3):
                pay(store, "a", 1)

    report = explored(three, (Limited(),))
    assert report.counts[Defect.UNSOUND]
    assert "more than two" in str(report)


def test_store_that_can_not_be_used_after_recovery_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = EventStore.begin_write

    def refuse_after_recovery(store: EventStore, *arguments: Any) -> Any:
        if store.recovery.revision:
            raise RuntimeError("worn out")
        return sound(store, *arguments)

    def one(session: Session) -> None:
        with session.open() as store:
            pay(store, "a", 1)

    monkeypatch.setattr(EventStore, "begin_write", refuse_after_recovery)
    assert explored(one, (LEDGER[1],)).counts[Defect.STUCK]


def test_names_that_no_open_syncs_after_a_kill_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make_only_what_is_missing(file_system: FileSystem, path: str) -> None:
        for name in DIRECTORY_NAMES:
            if not file_system.exists(join(path, name)):
                file_system.make_directory(join(path, name))
                file_system.sync_directory(path)

    monkeypatch.setattr(recovery, "_make_subdirectories", make_only_what_is_missing)
    monkeypatch.setattr(recovery, "sync_names_above", lambda file_system, path: None)
    after_kill = Depth(images=1, double_crashes=0, double_crashes_after_kill=16, verify_every=1)
    for workload in (making, retention):
        report = explore(workload, LEDGER, depth=after_kill, stop_early=True)
        assert not report.is_sound, workload


def test_counts_are_repeatable_for_one_seed() -> None:
    first, second = (explore(making, LEDGER, depth=SHALLOW, seed=3) for _ in range(2))
    assert (first.operations, first.crash_points) == (second.operations, second.crash_points)
    assert first.images == second.images
