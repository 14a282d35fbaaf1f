"""Which past states stay: under a share, evenly over all of the past, however it has grown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.maintenance.ladder import (
    LINKS_MAX,
    Rung,
    bytes_of,
    is_worth,
    needs_root,
    next_to_go,
    useless_count,
)

UNIT = 16 * 1024
FACTOR = 4
"""No gap is larger than so many times that of as many rungs evenly spread."""

spacings = st.lists(st.integers(1, 100), min_size=1, max_size=120)


def rung(revision: int, size_bytes: int = UNIT, *, is_root: bool = False) -> Rung:
    return Rung(revision, size_bytes, is_root)


def thinned(rungs: list[Rung], first: int, end: int, bytes_max: int) -> list[Rung]:
    """Return what is left where each rung that goes frees what it takes."""
    left = list(rungs)
    while (place := next_to_go(left, first, end, bytes_max)) is not None:
        del left[place]
    return left


def revisions_of(given: list[int]) -> list[int]:
    total = 0
    return [total := total + spacing for spacing in given]


def largest_gap(rungs: list[Rung], end: int) -> int:
    places = [0, *(each.revision for each in rungs), end]
    return max(above - below for below, above in pairwise(places))


@given(spacings, st.integers(0, 20))
def test_rungs_never_take_more_than_their_share(given: list[int], units: int) -> None:
    rungs = [rung(each, (1 + each % 5) * UNIT) for each in revisions_of(given)]
    left = thinned(rungs, 1, rungs[-1].revision + 1, units * UNIT)
    assert bytes_of(left) <= units * UNIT
    assert set(left) <= set(rungs)


@given(spacings, st.integers(0, 20))
def test_what_was_thinned_once_is_left_as_it_is(given: list[int], units: int) -> None:
    rungs = [rung(each) for each in revisions_of(given)]
    end = rungs[-1].revision + 1
    left = thinned(rungs, 1, end, units * UNIT)
    assert thinned(left, 1, end, units * UNIT) == left


@given(spacings, st.integers(1, 20))
def test_rungs_thinned_at_once_are_spread_over_all_of_the_past(
    given: list[int], units: int
) -> None:
    rungs = [rung(each) for each in revisions_of(given)]
    end = rungs[-1].revision + 1
    left = thinned(rungs, 1, end, units * UNIT)
    best = max(-(-end // (len(left) + 1)), *given)
    assert largest_gap(left, end) <= FACTOR * best


@given(spacings, st.integers(1, 20), st.booleans())
def test_rungs_of_a_store_that_grows_are_spread_over_all_of_the_past(
    given: list[int], units: int, share_grows: bool
) -> None:
    left: list[Rung] = []
    for number, revision in enumerate(revisions_of(given), 1):
        bytes_max = UNIT * (number // 2 + 1 if share_grows else units)
        added = rung(revision)
        if is_worth(left, added, 0, bytes_max):
            left.append(added)
        left = thinned(left, 1, revision + 1, bytes_max)
        assert bytes_of(left) <= bytes_max
    end = sum(given) + 1
    best = max(-(-end // (len(left) + 1)), *given)
    assert largest_gap(left, end) <= FACTOR * best


def test_the_rung_goes_that_leaves_the_smallest_gap() -> None:
    rungs = [rung(10), rung(20), rung(24), rung(40)]
    assert next_to_go(rungs, 1, 60, 3 * UNIT) == 1
    assert next_to_go(rungs, 1, 60, 4 * UNIT) is None


def test_of_two_that_leave_the_same_gap_the_one_goes_that_takes_more() -> None:
    rungs = [rung(10), rung(20, 3 * UNIT), rung(30)]
    assert next_to_go(rungs, 1, 40, UNIT) == 1


def test_small_files_count_as_more_than_they_take() -> None:
    assert bytes_of([rung(1, 10), rung(2, 10)]) == 2 * UNIT


def test_no_rung_is_made_that_would_go_next() -> None:
    rungs = [rung(each) for each in (10, 20, 30)]
    assert is_worth(rungs, rung(31), UNIT, 4 * UNIT)
    assert not is_worth(rungs, rung(39), UNIT, 3 * UNIT)
    assert is_worth(rungs, rung(40), UNIT, 3 * UNIT)


def test_no_rung_is_made_of_a_state_that_takes_more_than_the_share() -> None:
    assert not is_worth([], rung(10, 5 * UNIT), 5 * UNIT, 4 * UNIT)
    assert not is_worth([rung(5)], rung(10), 5 * UNIT, 4 * UNIT)


def test_a_rung_behind_which_batches_are_gone_goes_unless_a_later_one_rests_on_it() -> None:
    rungs = [rung(10, is_root=True), rung(20), rung(30, is_root=True), rung(40)]
    assert useless_count(rungs, 11) == 0
    assert useless_count(rungs, 21) == 0
    assert useless_count(rungs, 22) == 2
    assert useless_count(rungs, 41) == 2
    assert useless_count(rungs, 42) == 4


def test_a_chain_of_rungs_is_no_longer_than_it_may_be() -> None:
    assert needs_root([])
    rungs = [rung(1, 100 * UNIT, is_root=True)]
    while not needs_root(rungs):
        rungs.append(rung(len(rungs) + 1))
    assert len(rungs) == LINKS_MAX
    assert not needs_root([*rungs, rung(100, is_root=True)])


@pytest.mark.parametrize(("root_size", "length"), [(1, 8), (3, 8), (5, 11), (8, 17)])
def test_a_chain_is_short_where_a_root_takes_half_as_much_as_it(
    root_size: int, length: int
) -> None:
    rungs = [rung(1, root_size * UNIT, is_root=True)]
    while not needs_root(rungs):
        rungs.append(rung(len(rungs) + 1))
    assert len(rungs) == length
