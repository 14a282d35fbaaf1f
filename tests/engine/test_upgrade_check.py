"""The kit's check of an upgrade: sound ones pass, and each kind of fault is found and shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.evolution import (
    SEATS,
    VERSIONS,
    SeatsOne,
    SeatsThree,
    SeatsTwo,
    batches,
    list_guests,
    taken,
)

from eventstore import Event, Projection, ProjectionError, TableSpec, WritableTable
from eventstore.testing import InconsistencyError, check_upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TESTS = Path(__file__).parent.parent


class Carried(SeatsOne):
    """Version 1 with a count, carried over without the events."""

    version = 2
    tables: Sequence[TableSpec] = (TableSpec(SEATS), TableSpec("counts"))

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        if event.type == "seat.taken":
            counts, guest = tables["counts"], event.data["guest"]
            counts.put(guest, counts.get(guest, 0) + 1)
            super().apply(event, tables)

    def upgrade(self, version: int, tables: Mapping[str, WritableTable]) -> bool:
        for _, guest in tables[SEATS].items():
            tables["counts"].put(guest, tables["counts"].get(guest, 0) + 1)
        return version == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_upgrade_that_folds_anew_passes(version: int) -> None:
    old = VERSIONS[version]()
    checked = check_upgrade([old], [SeatsThree()], batches(version))
    assert checked == (len(batches(version)), (), ("seats",) if version < 3 else ())


def test_upgrade_that_carries_over_passes() -> None:
    assert check_upgrade([SeatsOne()], [Carried()], batches(1)) == (8, ("seats",), ())


def test_upgrade_of_an_empty_store_passes() -> None:
    assert check_upgrade([SeatsOne()], [Carried()], []) == (0, (), ())


def test_rows_that_an_upgrade_carries_over_wrongly_are_found_in_fewest_batches() -> None:
    # A guest who takes the same seat twice has two events, and one row.
    again = [*batches(1), [taken(1, 9, "A", "ivy")], [taken(1, 9, "A", "ivy")]]
    with pytest.raises(InconsistencyError) as raised:
        check_upgrade([SeatsOne()], [Carried()], again)
    said = str(raised.value)
    assert "is not what Carried makes of it" in said
    assert "table 'counts', row 'ivy': 1 in the store, 2 in the fold" in said
    assert said.count("Event(type=") == 2
    assert "with a checkpoint after batch 2" in said


def test_program_of_a_failure_fails_in_the_same_way(tmp_path: Path) -> None:
    again = [*batches(1), [taken(1, 9, "A", "ivy")], [taken(1, 9, "A", "ivy")]]
    with pytest.raises(InconsistencyError) as raised:
        check_upgrade([SeatsOne()], [Carried()], again)
    program = "\n".join(
        line[4:] for line in str(raised.value).splitlines() if line.startswith("    ")
    )
    path = tmp_path / "program.py"
    path.write_text(program)
    ran = subprocess.run(
        [sys.executable, path],
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "row 'ivy': 1 in the store, 2 in the fold" in ran.stderr


def changed_in_place(data: Any) -> Any:
    data["guests"] = [data.pop("guest")]
    return data


class ChangesData(SeatsTwo):
    version = 3
    upcasters = {**SeatsTwo.upcasters, ("seat.taken", 2): changed_in_place}  # noqa: RUF012

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        SeatsThree.apply(SeatsThree(), event, tables)

    def keys(self, event: Event) -> Iterator[str]:
        return SeatsThree().keys(event)


class LacksOne(SeatsThree):
    upcasters = {("seat.taken", 2): list_guests}  # noqa: RUF012


class SameVersion(SeatsTwo):
    version = 1


class WrongKeys(SeatsThree):
    def keys(self, event: Event) -> Iterator[str]:
        yield event.data["guest"]


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (ChangesData, "the upcaster changed_in_place changed the data that it was given"),
        (LacksOne, "KeyError: 'row'"),
        (SameVersion, "table 'seats', row"),
        (WrongKeys, "'guest'"),
    ],
)
def test_faulty_upgrade_is_found(new: type[Projection], said: str) -> None:
    with pytest.raises(InconsistencyError) as raised:
        check_upgrade([SeatsOne()], [new()], batches(1))
    assert said in str(raised.value)
    assert str(raised.value).count("Event(type=") == 1


def test_batches_that_the_old_refuse_are_no_fault_of_the_upgrade() -> None:
    with pytest.raises(KeyError, match="seat"):
        check_upgrade([SeatsOne()], [Carried()], [[Event("seat.taken", {})]])
    with pytest.raises(ProjectionError, match="the name"):
        check_upgrade([SeatsOne(), SeatsOne()], [Carried()], [])
