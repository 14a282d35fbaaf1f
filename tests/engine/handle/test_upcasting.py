"""Events of older versions: read as the newest, by every reader, without a byte changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.archives import unpack
from support.evolution import (
    GUESTS,
    SEATS,
    VERSIONS,
    SeatsThree,
    SeatsTwo,
    batches,
    list_guests,
    split_seat,
    taken,
)

from eventstore import Event, EventStore, Projection, ProjectionError, StoreOptions, TableSpec

DATA = Path(__file__).parents[2] / "data" / "evolution"
SMALL = StoreOptions(segment_bytes=4096, background=False)
SHOWN = [
    Event("seat.taken", taken(3, row, "A", guest).data, 3) for row, guest in enumerate(GUESTS, 1)
]


def unpacked(version: int, path: Path) -> Path:
    path.mkdir(mode=0o700)
    unpack(DATA / f"seats-{version}.tar.gz", path)
    return path


def content(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (path / "wal").iterdir()}


@pytest.mark.parametrize("version", VERSIONS)
def test_store_of_every_version_is_read_as_the_newest(version: int, tmp_path: Path) -> None:
    path = unpacked(version, tmp_path / "store")
    before = content(path)
    with EventStore.open(path, [SeatsThree()], options=SMALL) as store:
        rebuilt = [one.held_version for one in store.recovery.rebuilt]
        assert rebuilt == ([version] if version < 3 else [])
        seats = {f"{row}-A": (guest,) for row, guest in enumerate(GUESTS, 1)}
        with store.transaction() as now, store.at(5) as past:
            assert dict(now.items(SEATS)) == seats
            assert dict(past.items(SEATS)) == dict(list(seats.items())[:5])
        shown = list(store.batches())
        assert [batch.events for batch in shown] == [(event,) for event in SHOWN]
        assert [batch.revision for batch in store.history("cy")] == [3]
        assert next(store.batches(reverse=True)).events == (SHOWN[-1],)
        assert next(store.watch(4)).events == (SHOWN[3],)
        report = store.verify()
        assert report.is_sound
        assert report.replayed_checkpoints
    # The open may write a spare; what held batches holds the same bytes.
    assert {name: content(path)[name] for name in before} == before
    with (
        EventStore.open(path, [SeatsThree()], read_only=True) as follower,
        follower.transaction() as now,
    ):
        assert dict(now.items(SEATS)) == seats


def test_log_keeps_what_was_emitted(tmp_path: Path) -> None:
    path = unpacked(1, tmp_path / "store")
    with EventStore.open(path, [], options=SMALL) as store:
        assert [list(batch.events) for batch in store.batches()] == batches(1)


def test_event_of_an_old_version_is_folded_alike_when_emitted_and_replayed(tmp_path: Path) -> None:
    with EventStore.open(tmp_path / "store", [SeatsThree()], options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            for version in VERSIONS:
                tx.emit(taken(version, version, "B", "guest"))
        store.check()
        with store.transaction() as now:
            live = dict(now.items(SEATS))
    with EventStore.open(tmp_path / "store", [SeatsThree()], options=SMALL) as store:
        with store.transaction() as now:
            assert (
                dict(now.items(SEATS)) == live == dict.fromkeys(("1-B", "2-B", "3-B"), ("guest",))
            )
        assert [event.version for event in next(store.batches()).events] == [3, 3, 3]


def test_projection_beside_sees_events_as_its_own_upcasters_leave_them(tmp_path: Path) -> None:
    class Versions(Projection):
        name = "versions"
        version = 1
        tables = (TableSpec("versions"),)

        def apply(self, event: Event, tables: Any) -> None:
            tables["versions"].put(event.version, tables["versions"].get(event.version, 0) + 1)

    path = unpacked(1, tmp_path / "store")
    with EventStore.open(path, [SeatsThree(), Versions()], options=SMALL) as store:
        assert {one.name for one in store.recovery.rebuilt} == {"seats", "versions"}
        with store.transaction() as now:
            assert dict(now.items("versions")) == {1: len(GUESTS)}


def failing(data: Any) -> Any:
    raise KeyError(data["guest"])


class SeatsFailing(SeatsThree):
    upcasters = {("seat.taken", 1): failing}  # noqa: RUF012 - nobody changes it


def test_upcaster_that_fails_is_told_with_its_revision(tmp_path: Path) -> None:
    path = unpacked(1, tmp_path / "store")
    with pytest.raises(ProjectionError, match=r"revision 1 can't be replayed: KeyError: 'ann'"):
        EventStore.open(path, [SeatsFailing()], options=SMALL)


def test_history_says_which_batch_an_upcaster_fails_on(tmp_path: Path) -> None:
    refused: list[str] = []

    def failing_later(data: Any) -> Any:
        if data["guest"] in refused:
            raise KeyError(data["guest"])
        return split_seat(data)

    seats = SeatsTwo()
    seats.upcasters = {("seat.taken", 1): failing_later}
    with EventStore.open(tmp_path / "store", [seats], options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(taken(1, 1, "A", "ann"))
        refused.append("ann")
        with pytest.raises(
            ProjectionError, match=r"revision 1: the event 'seat.taken' of version 1"
        ):
            list(store.batches())


class Other(Projection):
    name = "other"
    version = 1
    tables = ()

    def apply(self, event: Event, tables: Any) -> None:
        """Fold nothing."""


@pytest.mark.parametrize(
    ("upcasters", "said"),
    [
        ({("seat.taken", 1): list_guests}, "in another way than one beside it"),
        ({"seat.taken": split_seat}, "is none: 'seat.taken'"),
        ({("seat.taken", True): split_seat}, "is none"),
        ({("seat.taken", 1): "split"}, "'split'"),
        ([split_seat], "must be a dictionary"),
    ],
)
def test_upcasters_that_do_not_fit_are_refused(upcasters: Any, said: str, tmp_path: Path) -> None:
    other = Other()
    other.upcasters = upcasters
    with pytest.raises(ProjectionError, match=said):
        EventStore.open(tmp_path / "store", [SeatsTwo(), other], options=SMALL)
    assert not (tmp_path / "store").exists()
