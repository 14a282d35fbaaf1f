"""The command line says what an operator can do, never which call of the library to make."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.cli import DATABASE, OPTIONS, Call, Holder

from eventstore import BatchTooLargeError, Event, EventStore, Projection, TableSpec
from eventstore.files import local
from projections.snapshots import MetaStore, SnapshotsProjection
from snapledger import records
from snapledger.failures import explain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OF_THE_LIBRARY = re.compile(
    r"\w\(|\b\w+=\w|\b[a-z]+_[a-z]+\b|\b(?!NotFound)[A-Z][a-z]+[A-Z]\w+|\b[A-Z]\w+\.[a-z]"
)
"""A call, an argument, a name of a class or of an attribute."""


def assert_for_operators(text: str, directory: Path) -> None:
    """Check the words of a message; the paths in it are the test's."""
    assert text
    words = re.sub(re.escape(str(directory)) + r"\S*", "PATH", text)
    assert OF_THE_LIBRARY.search(words) is None, words


class Notes(Projection):
    name = "notes"
    version = 1
    tables = (TableSpec("notes"),)

    def apply(self, event: Event, tables: Any) -> None:
        if event.type == "noted":
            tables["notes"].put(event.data["text"], 1)


def test_a_store_that_is_held(
    call: Call, story: Path, tmp_path: Path, hold: Callable[[Path], Holder]
) -> None:
    hold(story)
    result = call("compact", story, "--wait", "1")
    assert result.code == 11
    assert_for_operators(result.err, tmp_path)
    assert "--wait" in result.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_store_of_another_user(call: Call, story: Path, tmp_path: Path) -> None:
    os.chown(story, 12345, 12345)
    result = call("compact", story)
    assert result.code == 1
    assert_for_operators(result.err, tmp_path)
    assert "--allow-foreign-owner" in result.err


def test_a_path_on_a_network_file_system(
    call: Call, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "network_type", lambda path: "nfs4")
    for arguments in (
        ("compact", story),
        ("import-bolt", DATABASE, tmp_path / "new"),
        ("repair", story, "--output", tmp_path / "new"),
    ):
        result = call(*arguments)
        assert result.code == 1
        assert_for_operators(result.err, tmp_path)
        assert "local disk" in result.err


def test_a_store_with_a_projection_of_the_driver_s_own(
    call: Call, story: Path, tmp_path: Path
) -> None:
    with EventStore.open(story, [SnapshotsProjection(), Notes()], options=OPTIONS) as store:
        with store.transaction(writable=True) as transaction:
            transaction.emit(Event("noted", {"text": "a"}))
        store.checkpoint()
    with MetaStore.open(story, options=OPTIONS) as snapshots:
        snapshots.event_store.transaction(writable=True)
        with snapshots.transaction(writable=True) as transaction:
            transaction.emit(Event("noted", {"text": "b"}))
    result = call("compact", story)
    assert result.code == 1
    assert_for_operators(result.err, tmp_path)
    assert "'notes'" in result.err
    assert "the driver" in result.err


def test_a_batch_that_this_release_can_not_read(call: Call, story: Path, tmp_path: Path) -> None:
    with (
        EventStore.open(story, [Notes()], options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        transaction.emit(Event("snapshot.removed", {"id": 9, "key": "never"}))
    result = call("ls", story)
    assert result.code == 1
    assert_for_operators(result.err.replace("NotFoundError", ""), tmp_path)
    assert "revision 6 can't be replayed" in result.err
    assert "'never'" in result.err
    checked = call("check", story)
    assert checked.code == 3
    assert_for_operators(checked.out.replace("NotFoundError", ""), tmp_path)


def test_an_event_without_the_id_of_its_snapshot_is_shown(call: Call, story: Path) -> None:
    with (
        MetaStore.open(story, options=OPTIONS) as store,
        store.transaction(writable=True) as transaction,
    ):
        transaction.create_snapshot("active", "made")  # type: ignore[arg-type]
        transaction.emit(Event("snapshot.removed", {"key": "made"}))
    result = call("log", story, "--key", "made")
    assert (result.code, result.err) == (0, "")
    assert call("log", story).out.endswith("  snapshot.removed key=made\n")
    assert records.event_record(Event("snapshot.removed", {"key": "made"}))["data"] == {
        "key": "made"
    }


def test_what_a_recovery_has_cut_and_set_aside(call: Call, story: Path, tmp_path: Path) -> None:
    assert call("compact", story).code == 0
    [checkpoint] = (story / "checkpoints").iterdir()
    checkpoint.write_bytes(b"damaged")
    segment = story / "wal" / f"{1:020}.log"
    data = bytearray(segment.read_bytes())
    end = len(bytes(data).rstrip(b"\0"))
    end += -end % 8
    data[end : end + 40] = b"\x01" * 40
    segment.write_bytes(data)
    result = call("compact", story)
    assert result.code == 0
    cut, aside = result.err.splitlines()
    assert "cut a torn tail of 40 bytes" in cut
    assert str(checkpoint) in aside
    assert_for_operators(result.err, tmp_path)


def test_a_database_for_which_a_batch_is_too_small(tmp_path: Path) -> None:
    error = BatchTooLargeError("the events take 9 bytes, and one batch at most 8", "split(it)")
    failure = explain(error)
    assert failure is not None
    assert_for_operators(failure.message, tmp_path)


def test_an_interpreter_without_room_is_told_in_one_line() -> None:
    for error in (RecursionError("revision 1 can't be replayed: no stack"), MemoryError()):
        failure = explain(error)
        assert failure is not None
        assert failure.exit_code == 1
        assert failure.message
