"""A projection of which a checkpoint holds an older version, and which can carry that over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL

from eventstore import Event, EventStore, Projection, ProjectionError, TableSpec, verify_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eventstore import WritableTable

WORDS, LENGTHS = "words", "lengths"


class Words(Projection):
    """Counts words; a later version keeps how many there are of each length, too."""

    name = "words"
    version = 1
    tables: tuple[TableSpec, ...] = (TableSpec(WORDS), TableSpec("old"))

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        word = event.data
        if LENGTHS in tables:
            tables[LENGTHS].put(len(word), tables[LENGTHS].get(len(word), 0) + 1)
        else:
            tables["old"].put(word, None)
        tables[WORDS].put(word, tables[WORDS].get(word, 0) + 1)


class Lengths(Words):
    """Counts lengths out of the words."""

    version = 2
    tables = (TableSpec(WORDS), TableSpec(LENGTHS))

    def upgrade(self, version: int, tables: Mapping[str, WritableTable]) -> bool:
        assert version == 1
        assert set(tables) == {WORDS, LENGTHS}
        for word, count in tables[WORDS].items():
            tables[LENGTHS].put(len(word), tables[LENGTHS].get(len(word), 0) + count)
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of version 1, with batches after its checkpoint."""
    path = tmp_path / "store"
    with EventStore.open(path, [Words()], options=SMALL) as store:
        for number in range(30):
            write(store, "a" * (number % 4))
        store.checkpoint()
        write(store, "aaaaa")
    return path


def write(store: EventStore, word: str) -> None:
    with store.transaction(writable=True) as tx:
        tx.emit(Event("word", word))


def content(store: EventStore, projection: Projection) -> dict[str, dict[Any, Any]]:
    with store.transaction() as tx:
        return {spec.name: dict(tx.items(spec.name)) for spec in projection.tables}


EXPECTED = {
    WORDS: {"": 8, "a": 8, "aa": 7, "aaa": 7, "aaaaa": 1},
    LENGTHS: {0: 8, 1: 8, 2: 7, 3: 7, 5: 1},
}


def test_what_is_carried_over_is_what_a_rebuild_gives(path: Path) -> None:
    for _ in range(2):
        with EventStore.open(path, [Lengths()], options=SMALL) as store:
            assert store.recovery.rebuilt == ()
            assert store.recovery.replayed_batches == 1
            assert content(store, Lengths()) == EXPECTED
            store.check()
    report = verify_store(path, [Lengths()])
    assert (report.problems, report.replayed_checkpoints) == ((), 1)


def test_the_next_checkpoint_is_of_the_new_version(path: Path) -> None:
    with EventStore.open(path, [Words()], options=SMALL) as store:
        store.checkpoint()
    with EventStore.open(path, [Lengths()], options=SMALL) as store:
        assert store.stats()["checkpoint_revision"] == 0
        store.checkpoint()

    class Never(Lengths):
        def upgrade(self, version: int, tables: Mapping[str, WritableTable]) -> bool:
            raise AssertionError("the newest checkpoint is of this version")

    with EventStore.open(path, [Never()], options=SMALL) as store:
        assert store.recovery.replayed_batches == 0
        assert content(store, Never()) == EXPECTED


def test_what_is_not_carried_over_is_rebuilt_and_nothing_is_left_of_the_try(path: Path) -> None:
    class Unable(Lengths):
        def upgrade(self, version: int, tables: Mapping[str, WritableTable]) -> bool:
            super().upgrade(version, tables)
            tables[WORDS].put("left over", 1)
            return False

    with EventStore.open(path, [Unable()], options=SMALL) as store:
        assert [one.name for one in store.recovery.rebuilt] == ["words"]
        assert content(store, Unable()) == EXPECTED


def test_an_upgrade_that_fails_is_told_of_and_the_store_is_unchanged(path: Path) -> None:
    class Failing(Lengths):
        def upgrade(self, version: int, tables: Mapping[str, WritableTable]) -> bool:
            raise KeyError("as asked")

    says = "'words' can't carry version 1 over: KeyError: 'as asked'"
    with pytest.raises(ProjectionError, match=says):
        EventStore.open(path, [Failing()], options=SMALL)
    assert any("can't carry" in each.reason for each in verify_store(path, [Failing()]).problems)
    with EventStore.open(path, [Words()], options=SMALL) as store:
        assert store.recovery.replayed_batches == 1


def test_an_older_program_does_not_carry_a_newer_version_over(path: Path) -> None:
    with EventStore.open(path, [Lengths()], options=SMALL) as store:
        store.checkpoint()

    class Older(Words):
        def upgrade(self, version: int, tables: Mapping[str, WritableTable]) -> bool:
            raise AssertionError(f"asked to upgrade from version {version}")

    with EventStore.open(path, [Older()], options=SMALL) as store:
        assert [one.name for one in store.recovery.rebuilt] == ["words"]
