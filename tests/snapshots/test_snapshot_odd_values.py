"""What is asked of a whole metadata store with a value that can't be meant is refused in words."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from eventstore import InvalidEventError, Receipt
from eventstore.testing import SimulatedFileSystem
from projections.snapshots import (
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    parse_filters,
    storage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUGE = 10**5000
NAIVE = datetime(2020, 1, 1)  # noqa: DTZ001 - what is to be refused
NO_TEXTS: tuple[Any, ...] = (5, HUGE, True, 1.5, math.nan, b"a", NAIVE, [], {}, object())
NO_NUMBERS: tuple[Any, ...] = ("5", "", b"5", True, 1.5, math.nan, math.inf, [], {}, object())


def named(value: object) -> str:
    text = f"{type(value).__name__} {'huge' if value == HUGE else value!a}"
    return text[:40].partition(" at 0x")[0]


@pytest.fixture
def small() -> Iterator[MetaStore]:
    with MetaStore.open("/m", file_system=SimulatedFileSystem()) as store:
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "a")
        yield store
        with store.transaction() as reader:
            assert reader.id_map() == {"1": "a"}
            assert reader.revision == 1
        store.check()


def assert_refused(call: Callable[[], Any], *errors: type[Exception]) -> None:
    with pytest.raises(errors) as caught:
        call()
    assert type(caught.value) in errors
    message = str(caught.value)
    assert 0 < len(message) < 400
    message.encode()


@pytest.mark.parametrize("value", [*NO_NUMBERS, NAIVE], ids=named)
def test_a_past_that_can_not_be_meant_is_refused(small: MetaStore, value: Any) -> None:
    assert_refused(lambda: small.at(value), TypeError)
    assert_refused(lambda: small.at(time=value), ValueError if value is NAIVE else TypeError)
    assert_refused(lambda: small.watch(value), TypeError)
    assert_refused(lambda: small.check_receipt(value), TypeError)
    assert_refused(lambda: small.check_receipt(Receipt.parse(value)), TypeError, ValueError)


@pytest.mark.parametrize("value", [-1, 2, 2**64, HUGE], ids=named)
def test_a_revision_that_is_not_there_is_refused(small: MetaStore, value: int) -> None:
    assert_refused(lambda: small.at(value), ValueError)


@pytest.mark.parametrize("value", [None, *NO_TEXTS], ids=named)
def test_what_is_no_text_names_no_snapshot_and_is_no_filter(small: MetaStore, value: Any) -> None:
    assert_refused(lambda: small.history(value), InvalidArgumentError)
    assert_refused(lambda: parse_filters(value), InvalidArgumentError)
    assert_refused(lambda: Kind.parse(value), InvalidArgumentError)
    with small.transaction_context() as tx:
        assert_refused(lambda: tx.walk_info(value), InvalidArgumentError)
        assert_refused(lambda: tx.get_info(value), InvalidArgumentError)
        assert_refused(lambda: storage.walk_info(print, value), InvalidArgumentError)
        assert_refused(lambda: storage.get_info(value), InvalidArgumentError)


@pytest.mark.parametrize(
    "value", ["nowhere", "", "a\0", "\udcff", "x" * 100_000], ids=lambda v: v[:9]
)
def test_a_text_that_names_nothing_is_not_found_in_words(small: MetaStore, value: str) -> None:
    assert list(small.history(value)) == []
    assert_refused(lambda: Kind.parse(value), InvalidArgumentError)
    with small.transaction() as tx:
        assert_refused(lambda: tx.get_info(value), NotFoundError)


@pytest.mark.parametrize("part", ["actor", "reason", "request_id"])
@pytest.mark.parametrize("value", [*NO_TEXTS, "\udcff"], ids=named)
def test_metadata_that_is_no_text_is_refused(small: MetaStore, part: str, value: Any) -> None:
    def begin() -> None:
        with small.transaction(writable=True, **{part: value}):
            pass

    assert_refused(begin, InvalidEventError)
