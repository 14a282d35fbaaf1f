"""A compaction that another process asks for, and what it would do."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL
from support.ledger import Ledger

from eventstore import (
    CompactionReport,
    Event,
    EventStore,
    EventStoreError,
    Retention,
    StoreOptions,
)
from eventstore.files.local import local_file_system
from eventstore.format.request import (
    Answer,
    pack_answer,
    pack_request,
    unpack_answer,
    unpack_request,
)
from eventstore.maintenance.preview import preview_compaction
from eventstore.maintenance.requests import Answered, CompactionRequest, RequestDesk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "0123456789abcdef" * 2
REPORT = CompactionReport(archived=3, dropped=2, checkpoints_removed=1, freed_bytes=-7)
LIVE = StoreOptions(segment_bytes=4096, checkpoint_on_close=False)


def commit(store: EventStore, count: int) -> None:
    for _ in range(count):
        with store.transaction(writable=True) as tx:
            tx.emit(Event("note.taken", {"text": os.urandom(100).hex()}))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a store that nobody has open, with several segments."""
    path = tmp_path / "store"
    with EventStore.open(path, [Ledger()], options=SMALL) as store:
        commit(store, 60)
    return path


def desk(path: Path) -> RequestDesk:
    return RequestDesk(local_file_system(), str(path))


def request(path: Path) -> CompactionRequest:
    return CompactionRequest(local_file_system(), str(path))


@pytest.mark.parametrize("packed", [pack_request(TOKEN), pack_answer(Answer(TOKEN, {"a": 1}, "é"))])
def test_every_prefix_and_every_other_message_is_refused(packed: bytes) -> None:
    for end in range(len(packed)):
        assert unpack_request(packed[:end]) is None
        assert unpack_answer(packed[:end]) is None
    assert (unpack_request(packed) is None) != (unpack_answer(packed) is None)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"[]\n",
        b"[" * 4000 + b"\n",
        b'{"compact": 1}\n',
        b'{"compact": "../../etc"}\n',
        b'{"answered": "%s", "counts": {"a": true}, "error": null}\n' % TOKEN.encode(),
        b'{"answered": "%s", "counts": [], "error": null}\n' % TOKEN.encode(),
        b'{"answered": "%s", "counts": {}, "error": 1}\n' % TOKEN.encode(),
        b'{"compact": "%s"}%s\n' % (TOKEN.encode(), b" " * 5000),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    assert unpack_request(data) is None
    assert unpack_answer(data) is None


def test_an_answer_with_a_long_error_is_read_again() -> None:
    answer = unpack_answer(pack_answer(Answer(TOKEN, {}, "\N{PILE OF POO}\0" * 5000)))
    assert answer is not None
    assert answer.error is not None
    assert answer.error.isprintable()


def test_a_request_is_answered_and_then_gone(place: Path) -> None:
    with request(place) as asked:
        assert asked.wait(0) is None
        token = desk(place).token()
        assert token is not None
        desk(place).answer(token, REPORT, 7)
        assert desk(place).token() is None
        assert asked.wait(0) == Answered(REPORT, 7)
    assert not list(place.glob("compact.*"))


def test_an_answer_of_an_older_release_tells_no_checkpoint(place: Path) -> None:
    with request(place) as asked:
        asked.wait(0)
        token = str(desk(place).token())
        (place / "compact.answer").write_bytes(pack_answer(Answer(token, {"archived": 3}, None)))
        (place / "compact.request").unlink()
        answered = asked.wait(0)
    assert answered is not None
    assert (answered.report.archived, answered.checkpoint_revision) == (3, None)


def test_a_failure_is_told_to_whoever_asked(place: Path) -> None:
    with request(place) as asked:
        asked.wait(0)
        desk(place).answer(str(desk(place).token()), ValueError("no\nspace"))
        with pytest.raises(EventStoreError, match=r"could not compact it: ValueError: no\?space"):
            asked.wait(0)


def test_who_gives_up_takes_the_request_back(place: Path) -> None:
    with request(place) as asked:
        assert asked.wait(0.05) is None
    assert not list(place.glob("compact.*"))


def test_a_second_request_waits_for_the_first_and_does_not_take_its_answer(place: Path) -> None:
    with request(place) as first, request(place) as second:
        first.wait(0)
        token = desk(place).token()
        assert second.wait(0) is None
        assert desk(place).token() == token
        desk(place).answer(str(token), REPORT)
        assert second.wait(0) is None
        assert desk(place).token() not in (None, token)
        assert first.wait(0) == Answered(REPORT, 0) or first.wait(0) is None


def test_a_half_written_request_is_removed_at_the_second_look(place: Path) -> None:
    place.joinpath("compact.request").write_bytes(pack_request(TOKEN)[:-1])
    keeper = desk(place)
    assert keeper.token() is None
    assert place.joinpath("compact.request").exists()
    assert keeper.token() is None
    assert not place.joinpath("compact.request").exists()


def test_a_link_in_the_place_of_a_request_is_left_alone(place: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("elsewhere").write_bytes(pack_request(TOKEN))
    place.joinpath("compact.request").symlink_to(tmp_path / "elsewhere")
    keeper = desk(place)
    assert [keeper.token() for _ in range(3)] == [None] * 3
    assert tmp_path.joinpath("elsewhere").read_bytes() == pack_request(TOKEN)


def test_an_open_removes_what_was_asked_of_the_last_holder(place: Path) -> None:
    place.joinpath("compact.request").write_bytes(pack_request(TOKEN))
    place.joinpath("compact.answer").write_bytes(b"anything")
    place.joinpath("compact.answer.tmp").write_bytes(b"")
    with EventStore.open(place, [Ledger()], read_only=True) as follower:
        assert follower.recovery.removed_files == ()
    with EventStore.open(place, [Ledger()], options=SMALL) as store:
        names = {os.path.basename(path) for path in store.recovery.removed_files}
        assert {"compact.request", "compact.answer", "compact.answer.tmp"} <= names
        assert store.verify().is_sound
    assert not list(place.glob("compact.*"))


def test_a_store_that_is_open_compacts_when_it_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with EventStore.open(path, [Ledger()], options=LIVE) as store:
        commit(store, 60)
        store.checkpoint()
        commit(store, 1)
        with request(path) as asked:
            answered = asked.wait(20)
        assert answered is not None
        report = answered.report
        assert report.archived > 2
        assert answered.checkpoint_revision == store.stats()["checkpoint_revision"] > 60
        assert store.stats()["background_error"] is None
        assert len(list((path / "archive").iterdir())) == report.archived


def test_a_store_that_can_not_compact_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    with EventStore.open(path, [Ledger()], options=LIVE) as store:
        commit(store, 1)

        def fail() -> CompactionReport:
            raise EventStoreError("on purpose")

        monkeypatch.setattr(store._own_upkeep(), "_write_and_compact", fail)
        with request(path) as asked, pytest.raises(EventStoreError, match="on purpose"):
            asked.wait(20)


def test_who_asks_while_a_store_is_being_opened_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "store"
    EventStore.open(path, [Ledger()], options=LIVE).close()
    answered: list[Answered | None] = []

    def ask() -> None:
        with request(path) as asked:
            answered.append(asked.wait(20))

    thread = threading.Thread(target=ask)
    thread.start()
    while not path.joinpath("compact.request").exists():
        time.sleep(0.005)
    with EventStore.open(path, [Ledger()], options=LIVE) as store:
        commit(store, 1)
        thread.join()
    [answer] = answered
    assert answer is not None
    assert answer.report == CompactionReport(freed_bytes=answer.report.freed_bytes)


RETENTIONS = [
    Retention(),
    Retention(revisions=20),
    Retention(revisions=0),
    Retention(size_bytes=1200),
    Retention(age_seconds=0.0),
    Retention(age_seconds=3600.0),
    Retention(revisions=30, size_bytes=2000),
    Retention.none(),
]


def on_disk(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(path)), file.read_bytes()


@pytest.mark.parametrize("retention", RETENTIONS, ids=str)
def test_a_preview_is_what_the_compaction_does(retention: Retention, place: Path) -> None:
    keep_all = StoreOptions(segment_bytes=4096, background=False)
    with EventStore.open(place, [Ledger()], options=keep_all) as store:
        store.compact()
        commit(store, 40)
        store.compact()
        commit(store, 30)
    before = dict(on_disk(place))
    options = StoreOptions(segment_bytes=4096, background=False, retention=retention)
    with EventStore.open(place, [Ledger()], read_only=True) as follower:
        preview = preview_compaction(
            local_file_system(), str(place), follower.store_id, retention, 130
        )
    assert dict(on_disk(place)) == before
    with EventStore.open(place, [Ledger()], options=options) as store:
        report = store.compact()
        assert store.oldest_revision() == preview.first_revision
    assert len(preview.dropped) == report.dropped
    archived = {int(file.name[:20]) for file in (place / "archive").iterdir()}
    assert {segment.first_revision for segment in preview.archived} <= archived
    assert not {segment.first_revision for segment in preview.dropped} & archived
    if retention == Retention():
        assert len(preview.archived) == report.archived > 0


def test_a_directory_in_the_place_of_the_answer_is_told_and_stops_no_maintenance(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store"
    with EventStore.open(path, [Ledger()], options=LIVE) as store:
        commit(store, 1)
        (path / "compact.answer").mkdir()
        with request(path) as asked, pytest.raises(EventStoreError, match="in the place of the"):
            asked.wait(20)
        (path / "compact.request").write_bytes(pack_request(TOKEN))
        for _ in range(400):
            if not (path / "compact.request").exists():
                break
            time.sleep(0.05)
        assert not (path / "compact.request").exists()
        assert not (path / "compact.answer.tmp").exists()
        assert store.stats()["background_error"] is None
        (path / "compact.answer").rmdir()
        with request(path) as asked:
            assert asked.wait(20) is not None
