"""A regular expression of a filter can't hang a walk, nor take the memory of the process."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.snapshots import content, names

from projections.snapshots import InvalidArgumentError, Kind, MetaStore
from projections.snapshots.model import KEY_BYTES_MAX
from projections.snapshots.regexps import PATTERN_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS_MAX = 10
"""Far more than a linear engine takes here, and far less than a backtracking one."""


@pytest.fixture
def with_long_names(store: MetaStore) -> Iterator[MetaStore]:
    with store.transaction(writable=True) as tx:
        for end in ("!", "b", "é"):
            filler = "a" * (KEY_BYTES_MAX - 10)
            tx.create_snapshot(Kind.ACTIVE, filler + end, labels={"l": "a" * 4000 + end})
    began = time.process_time()
    yield store
    assert time.process_time() - began < SECONDS_MAX


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("^(a+)+$", 0),
        ("^(a|aa)+$", 0),
        ("^(a|a)*$", 0),
        ("^(a*)*b$", 1),
        ("^(.*.*.*.*)*!$", 1),
        ("(.*a){20}é", 1),
        ("(a?){500}a{500}", 3),
        ("((((a*)*)*)*)*c", 0),
        ("(?:(?:a{0,30}){0,30})b$", 1),
        (r"(\w+\s?)+$", 1),
    ],
)
@pytest.mark.parametrize("field", ["name", "labels.l"])
def test_catastrophic_pattern_does_not_hang_a_walk(
    with_long_names: MetaStore, pattern: str, found: int, field: str
) -> None:
    with with_long_names.transaction() as tx:
        assert len(names(tx, f'{field}~="{pattern}"'.replace("\\", "\\\\"))) == found


HUGE = [
    "[ab]{0,990}" * 80,
    "(x{0,100}){0,10}" * 200,
    "(((x{9}){9}){9})" * 200,
    r"\pL{0,1000}" * 300,
    "(?i)[^b]{900}" * 200,
    "(a|b)" * PATTERN_BYTES_MAX,
    "x" * 10_000_000,
    "é" * (PATTERN_BYTES_MAX // 2 + 1),
]


@pytest.mark.parametrize("pattern", HUGE, ids=lambda pattern: pattern[:12])
def test_huge_pattern_is_refused_and_the_transaction_goes_on(
    with_long_names: MetaStore, pattern: str
) -> None:
    with with_long_names.transaction(writable=True) as tx:
        before = content(tx)
        with pytest.raises(
            InvalidArgumentError, match="position 6: expected a regular expr"
        ) as caught:
            tx.walk_info("kind==view", f'name~="{pattern}"'.replace("\\", "\\\\"))
        assert len(str(caught.value)) < 1000
        assert content(tx) == before


def test_deeply_nested_pattern_is_harmless(with_long_names: MetaStore) -> None:
    with with_long_names.transaction() as tx:
        assert len(names(tx, f'name~="{"(" * 2000 + ")" * 2000}"')) == 3
        assert names(tx, f'name~="{"(" * 1300 + "c" + ")*" * 1300}x"') == []


REFUSING_IN_LITTLE_MEMORY = """
import resource
from projections.snapshots import InvalidArgumentError, parse_filters
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
refused = 0
for pattern in ("[ab]{0,990}" * 80, "(x{0,100}){0,10}" * 200, "x" * 1_000_000):
    for field in ("name", "parent", "labels.a"):
        try:
            parse_filters(f'{field}~="{pattern}"')
        except InvalidArgumentError:
            refused += 1
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(refused, used)
"""


def test_huge_patterns_are_refused_within_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSING_IN_LITTLE_MEMORY],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    refused, used = map(int, done.stdout.split())
    kib = 1 if sys.platform != "darwin" else 1024
    assert refused == 9
    assert used / kib < 32 * 1024
