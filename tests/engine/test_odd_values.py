"""Every public method says what is wrong with a value that can't be meant, and changes nothing.

The errors are of the class that the docstrings name: never a KeyError, an AttributeError or an
OverflowError from within, and the message is short whatever was given.
"""

from __future__ import annotations

import math
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, add, balance
from support.ledger import Ledger, Totals

from eventstore import (
    Event,
    EventStore,
    InvalidEventError,
    ProjectionError,
    Receipt,
    ReceiptError,
    Retention,
    StoreOptions,
    repair_store,
    verify_store,
)
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HUGE = 10**5000
NUMBERS: tuple[Any, ...] = (1.5, math.nan, math.inf, -math.inf)
NAIVE = datetime(2020, 1, 1)  # noqa: DTZ001 - what is to be refused
NO_NUMBERS: tuple[Any, ...] = ("5", b"5", "\udcff", "", [], {}, (), object(), NAIVE)


def named(value: object) -> str:
    text = f"{type(value).__name__} {'huge' if value in (HUGE, -HUGE) else value!a}"
    return text[:40].partition(" at 0x")[0]


class NotRefusedError(Exception):
    """A call took what it should refuse."""


def refusal(call: Callable[[], Any]) -> Exception:
    """Return the error of a call; its message must be fit to be read."""
    try:
        result = call()
        if hasattr(result, "__next__"):
            result = next(result, None)
    except Exception as error:
        message = str(error)
        assert message
        assert len(message) < 400
        message.encode()
        return error
    raise NotRefusedError(f"took it, and returned {result!r:.100}")


@pytest.fixture
def store() -> Iterator[EventStore]:
    with EventStore.open(
        "/store", [Ledger(), Totals()], options=SMALL, file_system=SimulatedFileSystem()
    ) as opened:
        add(opened, 2)
        yield opened
        assert balance(opened) == 2
        assert len(list(opened.batches())) == 2
        opened.check()


REVISIONS: dict[str, Callable[[EventStore, Any], Any]] = {
    "at": lambda store, value: store.at(value),
    "batches from": lambda store, value: store.batches(value),
    "batches to": lambda store, value: store.batches(1, value),
    "watch": lambda store, value: store.watch(value, timeout=0.0),
}


@pytest.mark.parametrize("name", REVISIONS)
@pytest.mark.parametrize("value", [*NUMBERS, *NO_NUMBERS, True, False, -1, -HUGE], ids=named)
def test_a_revision_that_is_none_is_refused(store: EventStore, name: str, value: Any) -> None:
    error = refusal(lambda: REVISIONS[name](store, value))
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    assert type(error) is (ValueError if is_whole else TypeError)
    assert "revision" in str(error)


def test_revisions_beyond_the_last_are_refused_only_where_they_must_be_there(
    store: EventStore,
) -> None:
    for value in (3, 2**63, 2**64, HUGE):
        with pytest.raises(ValueError, match="is not there: the store is at 2"):
            store.at(value)
        assert list(store.batches(value)) == []
        assert len(list(store.batches(1, value))) == 2
        assert list(store.watch(value, timeout=0.0)) == []
    assert list(store.batches(1, 0)) == []


@pytest.mark.parametrize("value", [*NUMBERS, *NO_NUMBERS, True, False], ids=named)
def test_a_time_that_is_none_is_refused(store: EventStore, value: Any) -> None:
    error = refusal(lambda: store.at(time=value))
    assert type(error) is (ValueError if isinstance(value, datetime) else TypeError)
    assert "time" in str(error)


def test_any_whole_number_is_a_time(store: EventStore) -> None:
    assert store.at(time=-1).revision == store.at(time=-HUGE).revision == 0
    assert store.at(time=2**64).revision == store.at(time=HUGE).revision == 2


def test_not_exactly_one_of_revision_and_time_is_refused(store: EventStore) -> None:
    with pytest.raises(ValueError, match="give one of revision and time"):
        store.at()
    with pytest.raises(ValueError, match="give one of revision and time"):
        store.at(1, time=1)


@pytest.mark.parametrize("value", [None, 5, "text", b"x", ("a", 1, b"x"), object()], ids=named)
def test_what_is_no_receipt_is_refused(store: EventStore, value: Any) -> None:
    assert type(refusal(lambda: store.check_receipt(value))) is TypeError


@pytest.mark.parametrize("value", [None, *NUMBERS, *NO_NUMBERS, 0, -1, 3, HUGE, True], ids=named)
def test_a_receipt_with_an_odd_revision_does_not_match(store: EventStore, value: Any) -> None:
    receipt = Receipt(store.store_id, value, b"x")
    assert type(refusal(lambda: store.check_receipt(receipt))) is ReceiptError


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize(
    "value", [None, "nowhere", "", b"accounts", 5, HUGE, math.nan, [], {}, "\udcff"], ids=named
)
def test_an_unknown_table_is_refused_with_the_names_of_those_there(
    store: EventStore, value: Any, writable: Any
) -> None:
    with store.transaction(writable) as tx:
        for call in (
            lambda: tx.get(value, "a"),
            lambda: tx.get(value, "a", None),
            lambda: tx.items(value),
            lambda: tx.items(value, "a", "b"),
            lambda: tx.table(value),
        ):
            error = refusal(call)
            assert type(error) is ProjectionError
            assert "it has accounts, totals" in str(error)
        assert tx.get("accounts", "a").balance == 2


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("value", [5, 1.5, math.nan, b"a", HUGE, ("a",)], ids=named)
def test_a_key_of_another_type_is_not_there_and_is_no_bound(
    store: EventStore, value: Any, writable: Any
) -> None:
    with store.transaction(writable) as tx:
        assert tx.get("accounts", value, "default") == "default"
        assert value not in tx.table("accounts")
        for bounds in ((value, None), (None, value)):
            assert type(refusal(partial(tx.items, "accounts", *bounds))) is TypeError
        assert type(refusal(lambda: tx.get("accounts", []))) is TypeError


@pytest.mark.parametrize("part", ["actor", "reason", "request_id"])
@pytest.mark.parametrize(
    "value", [5, HUGE, *NUMBERS, True, b"x", [], {}, object(), "\udcff"], ids=named
)
def test_metadata_that_is_no_text_is_refused_and_the_lock_is_free(
    store: EventStore, part: str, value: Any
) -> None:
    def begin() -> None:
        with store.transaction(writable=True, **{part: value}):
            raise NotRefusedError

    assert type(refusal(begin)) is InvalidEventError
    store.transaction(writable=True, timeout=0).rollback()


ODD_TYPES: tuple[Any, ...] = (None, 5, HUGE, b"x", "\udcff", [])
ODD_DATA: tuple[Any, ...] = (2**70, HUGE, object(), "\udcff", NAIVE)
ODD_VERSIONS: tuple[Any, ...] = (None, 1.5, "1", True, HUGE)


@pytest.mark.parametrize(
    "event",
    [
        *(Event(value, {}) for value in ODD_TYPES),
        *(Event("x", value) for value in ODD_DATA),
        *(Event("x", {}, value) for value in ODD_VERSIONS),
    ],
    ids=lambda event: "-".join(map(named, event)),
)
def test_an_event_that_can_not_be_logged_is_refused(store: EventStore, event: Event) -> None:
    with store.transaction(writable=True) as tx:
        assert type(refusal(lambda: tx.emit(event))) is InvalidEventError


@pytest.mark.parametrize("value", [None, 5, "x", {}, object(), ("x", {}, 1)], ids=named)
def test_what_is_no_event_is_refused(store: EventStore, value: Any) -> None:
    with store.transaction(writable=True) as tx:
        assert type(refusal(lambda: tx.emit(value))) is InvalidEventError


OPTIONS: dict[str, Callable[[Any], object]] = {
    "segment_bytes": lambda value: StoreOptions(segment_bytes=value),
    "batch_bytes_max": lambda value: StoreOptions(batch_bytes_max=value),
    "checkpoint_after_bytes": lambda value: StoreOptions(checkpoint_after_bytes=value),
    "checkpoint_after_batches": lambda value: StoreOptions(checkpoint_after_batches=value),
    "size_bytes": lambda value: Retention(size_bytes=value),
    "revisions": lambda value: Retention(revisions=value),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", [*NUMBERS, *NO_NUMBERS, True, -1, -HUGE], ids=named)
def test_a_size_or_count_that_is_none_is_refused(name: str, value: Any) -> None:
    error = refusal(lambda: OPTIONS[name](value))
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    assert type(error) is (ValueError if is_whole else TypeError)
    assert name in str(error)


@pytest.mark.parametrize("name", ["segment_bytes", "batch_bytes_max"])
@pytest.mark.parametrize("value", [0, 1023, 2**30 + 1, 2**63, HUGE], ids=named)
def test_a_size_out_of_range_is_refused(name: str, value: int) -> None:
    assert type(refusal(lambda: OPTIONS[name](value))) is ValueError


@pytest.mark.parametrize("value", [*NO_NUMBERS, True, -1, math.nan, math.inf, -HUGE], ids=named)
def test_an_age_that_is_none_is_refused(value: Any) -> None:
    error = refusal(lambda: Retention(age_seconds=value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    assert type(error) is (ValueError if is_number else TypeError)


@pytest.mark.parametrize(
    "make",
    [
        lambda value: StoreOptions(background=value),
        lambda value: StoreOptions(allow_network_file_system=value),
        lambda value: Retention(archive=value),
        lambda value: EventStore.open("/s", [], read_only=value),
    ],
)
@pytest.mark.parametrize("value", [None, 0, 1, "false", "", b"", [], HUGE], ids=named)
def test_a_switch_is_true_or_false(make: Callable[[Any], object], value: Any) -> None:
    error = refusal(lambda: make(value))
    assert type(error) is TypeError
    assert "True or False" in str(error)


@pytest.mark.parametrize("value", [None, 5, "x", {}, StoreOptions], ids=named)
def test_retention_and_options_are_of_their_classes(value: Any) -> None:
    assert type(refusal(lambda: StoreOptions(retention=value))) is TypeError
    if value is not None:
        file_system = SimulatedFileSystem()
        error = refusal(
            lambda: EventStore.open("/store", [], options=value, file_system=file_system)
        )
        assert type(error) is TypeError
        assert not file_system.exists("/store")


@pytest.mark.parametrize(
    ("projections", "message"),
    [
        ([Ledger], r"Ledger is a class: give an instance of it, such as Ledger\(\)"),
        ([Totals(), Ledger], "Ledger is a class"),
        ("ab", "'a' is no projection"),
        ([None], "None is no projection"),
        ([5], "5 is no projection"),
        ([int], "is no projection"),
    ],
)
def test_what_is_no_projection_is_refused_before_anything_is_made(
    projections: Any, message: str
) -> None:
    file_system = SimulatedFileSystem()
    with pytest.raises(ProjectionError, match=message):
        EventStore.open("/store", projections, file_system=file_system)
    assert not file_system.exists("/store")


@pytest.mark.parametrize("value", [None, 5, 1.5, [], object()], ids=named)
def test_a_path_that_is_none_is_refused(tmp_path: Path, value: Any) -> None:
    for call in (
        lambda: EventStore.open(value, []),
        lambda: EventStore.open(value, [], read_only=True),
        lambda: verify_store(value, []),
        lambda: repair_store(value, tmp_path / "new", []),
        lambda: repair_store(tmp_path / "old", value, []),
    ):
        assert type(refusal(call)) is TypeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800"], ids=ascii)
def test_a_path_that_no_file_can_have_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: EventStore.open(text, []),
        lambda: EventStore.open(text, [], read_only=True),
        lambda: verify_store(text, []),
        lambda: repair_store(text, "new", []),
    ):
        assert isinstance(refusal(call), ValueError)
    assert not list(tmp_path.iterdir())
