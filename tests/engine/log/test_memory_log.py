"""The engine's tests over a second, small log: what stands behind the seam needs no files.

The tests of transactions, history, shown revisions and idle readers run again, with a log in memory
behind each store that they open. What asks for files by its nature, or for another process, is
named here, with the reason.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from engine.handle import test_history, test_shown_revision, test_transactions
from engine.tables import test_idle_readers

from eventstore import EventStore, EventStoreError
from eventstore.testing.memory_log import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULES = (
    test_transactions,
    test_history,
    test_shown_revision,
    test_idle_readers,
)
NOT_OF_THIS_LOG = {
    "it is verified": (
        "test_any_clock_makes_a_store_that_can_be_read",
        "test_batch_that_fills_a_segment_to_the_last_byte_is_kept",
        "test_checkpoints_under_load_hold_one_revision",
        "test_options_may_differ_from_one_open_to_the_next",
        "test_sound_store_verifies_as_sound_beside_its_writer",
        "test_store_without_projections_keeps_events",
        "test_verify_says_what_differs_from_the_replayed_log",
        "test_verify_beside_a_running_writer_finds_nothing",
        "test_verify_reports_every_kind_of_damage",
    ),
    "its files are looked at": (
        "test_checkpoint_is_written_once_for_a_revision",
        "test_damaged_segment_is_not_archived",
        "test_oversized_batch_gets_a_segment_of_its_own_size",
        "test_projection_added_to_a_store_is_built_from_the_log",
        "test_projection_built_at_the_checkpoint_s_revision_gets_into_it",
        "test_projection_left_out_and_taken_back_is_built_again",
        "test_projection_of_a_new_version_is_built_again",
        "test_projection_that_can_not_be_built_any_more_is_refused",
        "test_segments_roll_and_every_batch_reads_back",
        "test_transaction_without_events_writes_nothing",
    ),
    "its medium is a test's own": (
        "test_compaction_can_be_cut_anywhere",
        "test_a_durable_batch_that_is_not_linked_yet_is_shown_to_nobody",
        "test_an_interpreter_without_room_is_not_called_a_fault_of_the_projection",
        "test_interrupted_sync_fails_the_handle_and_loses_nothing",
        "test_watch_yields_durable_batches_only",
        "test_what_a_thread_has_learned_of_it_is_shown_from_then_on",
    ),
    "another process follows it": ("test_a_follower_shows_batches_and_tables_of_one_revision",),
    "it archives or drops batches": (
        "test_archive_is_dropped_when_retention_changes",
        "test_dropping_that_is_cut_short_leaves_no_gap",
        "test_everything_is_kept_in_the_archive_by_default",
        "test_retention_by_age",
        "test_retention_by_revisions",
        "test_retention_by_size",
        "test_retention_none_keeps_what_recovery_needs",
        "test_slow_watcher_whose_next_batches_are_dropped_is_told",
        "test_time_before_the_oldest_batch_is_compacted",
        "test_watch_from_a_dropped_revision_names_the_oldest",
    ),
}
"""Tests of these modules that ask what this log is not made for."""
NEEDS_FILES = {name for names in NOT_OF_THIS_LOG.values() for name in names}

REAL_OPEN: Callable[..., EventStore] = EventStore.open.__func__  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> dict[str, MemoryLog]:
    """Put a log in memory behind every store, one for each path."""
    found: dict[str, MemoryLog] = {}

    def open_in_memory(
        cls: type[EventStore], /, path: Path, projections: Any, **arguments: Any
    ) -> EventStore:
        assert not {"file_system", "read_only"} & arguments.keys(), "this asks for files"
        name = os.fspath(path)
        log = found.setdefault(name, MemoryLog()).reopened(arguments.get("options"))
        return REAL_OPEN(cls, path, projections, log=log, **arguments)

    monkeypatch.setattr(EventStore, "open", classmethod(open_in_memory))
    return found


for _module in MODULES:
    for _name, _thing in vars(_module).items():
        is_fixture = type(_thing).__name__ == "FixtureFunctionDefinition"
        if is_fixture or (_name.startswith("test_") and _name not in NEEDS_FILES):
            globals()[_name] = _thing


def test_what_does_not_apply_is_there_to_be_named() -> None:
    names = {name for module in MODULES for name in vars(module)}
    assert names >= NEEDS_FILES


def test_a_log_that_is_given_is_named_where_it_can_not_do_what_files_can(tmp_path: Path) -> None:
    store = EventStore.open(tmp_path / "store", [])
    with store, pytest.raises(EventStoreError, match="verified by its own means"):
        store.verify()
    assert not (tmp_path / "store").exists()


def test_a_log_that_is_given_is_not_read_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read_only"):
        REAL_OPEN(EventStore, tmp_path / "store", [], log=MemoryLog(), read_only=True)
