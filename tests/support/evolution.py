"""A domain that has changed twice: its events are of three versions, read by upcasters.

Version 1 of `seat.taken` holds a seat as a text ("12A") and a guest; version 2 the row and the
letter apart; version 3 a list of guests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore import Event, Projection, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eventstore import WritableTable

SEATS = "seats"


def split_seat(data: Any) -> Any:
    """Make version 2 of `seat.taken` of version 1."""
    return {"row": int(data["seat"][:-1]), "letter": data["seat"][-1], "guest": data["guest"]}


def list_guests(data: Any) -> Any:
    """Make version 3 of `seat.taken` of version 2."""
    return {"row": data["row"], "letter": data["letter"], "guests": [data["guest"]]}


class SeatsOne(Projection):
    """Who sits where: by the seat's text."""

    name = "seats"
    version = 1
    tables: Sequence[TableSpec] = (TableSpec(SEATS),)

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        if event.type == "seat.taken":
            tables[SEATS].put(event.data["seat"], event.data["guest"])

    def keys(self, event: Event) -> Iterator[str]:
        if event.type == "seat.taken":
            yield event.data["guest"]


class SeatsTwo(SeatsOne):
    """Who sits where: by row and letter."""

    version = 2
    upcasters = {("seat.taken", 1): split_seat}  # noqa: RUF012 - nobody changes it

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        if event.type == "seat.taken":
            place = f"{event.data['row']}-{event.data['letter']}"
            tables[SEATS].put(place, event.data["guest"])


class SeatsThree(SeatsTwo):
    """Who sit where: several may share a seat."""

    version = 3
    upcasters = {**SeatsTwo.upcasters, ("seat.taken", 2): list_guests}  # noqa: RUF012

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        if event.type == "seat.taken":
            place = f"{event.data['row']}-{event.data['letter']}"
            tables[SEATS].put(place, tuple(event.data["guests"]))

    def keys(self, event: Event) -> Iterator[str]:
        if event.type == "seat.taken":
            yield from event.data["guests"]


VERSIONS: Mapping[int, type[SeatsOne]] = {1: SeatsOne, 2: SeatsTwo, 3: SeatsThree}


def taken(version: int, row: int, letter: str, guest: str) -> Event:
    """Return the event of a version."""
    data: Any = {"seat": f"{row}{letter}", "guest": guest}
    if version > 1:
        data = split_seat(data)
    if version > 2:
        data = list_guests(data)
    return Event("seat.taken", data, version)


GUESTS = ("ann", "bob", "cy", "dot", "eve", "fay", "gus", "hal")


def batches(version: int) -> list[list[Event]]:
    """Return what the golden store of a version holds."""
    return [[taken(version, number, "A", guest)] for number, guest in enumerate(GUESTS, 1)]
