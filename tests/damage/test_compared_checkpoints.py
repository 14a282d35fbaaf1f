"""What a verification and a repair say of checkpoints that they could not compare with the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.damage import OPTIONS, PATH, Shelf, build_image, file_system_of, without_archive

from eventstore import (
    Event,
    EventStore,
    Projection,
    TableSpec,
    repair_store,
    verify_store,
)
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore import WritableTable


class Counts(Projection):
    """How many events there were."""

    name = "counts"
    version = 1
    tables = (TableSpec("counts"),)

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        tables["counts"].put("all", tables["counts"].get("all", 0) + 1)


class WrongCounts(Counts):
    """Another fold of the same events, as a fault would have left it in a checkpoint."""

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        tables["counts"].put("all", "wrong")


class NewerCounts(Counts):
    version = 2


def _store(*projections: Projection) -> SimulatedFileSystem:
    file_system = SimulatedFileSystem(keep_steps=False)
    with EventStore.open(PATH, projections, file_system=file_system, options=OPTIONS) as store:
        for number in range(3):
            with store.transaction(writable=True) as tx:
                tx.emit(Event("put", {"name": str(number), "text": "a"}))
        store.checkpoint()
    return file_system


def test_tables_of_a_projection_that_was_not_given_are_named_and_the_others_compared() -> None:
    file_system = _store(Shelf(), WrongCounts())
    report = verify_store(PATH, [Shelf()], file_system=file_system)
    assert report.is_sound
    assert report.unknown_projections == ("counts",)
    assert (report.checkpoint_count, report.replayed_checkpoints) == (1, 1)
    whole = verify_store(PATH, [Shelf(), Counts()], file_system=file_system)
    assert whole.unknown_projections == ()
    assert "table 'counts' differs" in whole.problems[0].reason


def test_a_checkpoint_of_which_no_table_is_known_is_not_counted_as_compared() -> None:
    file_system = _store(WrongCounts())
    for projections in ([], [Shelf()], [NewerCounts()]):
        known: Any = projections
        report = verify_store(PATH, known, file_system=file_system)
        assert report.unknown_projections == ("counts",)
        assert (report.checkpoint_count, report.replayed_checkpoints) == (1, 0)


def test_the_tables_of_one_version_are_compared_where_another_projection_is_newer() -> None:
    class WrongShelf(Shelf):
        def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
            tables["things"].put(event.data["name"], "something else")

    report = verify_store(
        PATH, [Shelf(), NewerCounts()], file_system=_store(WrongShelf(), Counts())
    )
    assert report.unknown_projections == ("counts",)
    assert "table 'things' differs" in report.problems[0].reason


def test_the_checkpoint_at_which_a_replay_begins_is_not_counted_as_compared() -> None:
    image = without_archive(build_image())
    report = verify_store(PATH, [Shelf()], file_system=file_system_of(image.files))
    assert report.is_sound
    assert report.first_revision > 1
    assert (report.checkpoint_count, report.replayed_checkpoints) == (2, 1)


def test_a_repair_names_the_projections_whose_tables_it_has_kept_without_comparing_them() -> None:
    file_system = _store(Shelf(), WrongCounts())
    report = repair_store(PATH, "/new", [Shelf()], file_system=file_system)
    assert report.is_complete
    assert report.unknown_projections == ("counts",)
    compared = repair_store(PATH, "/compared", [Shelf(), Counts()], file_system=file_system)
    assert compared.unknown_projections == ()
    assert "table 'counts' differs" in compared.damage[0].reason
