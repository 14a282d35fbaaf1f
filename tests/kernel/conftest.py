"""Fixtures of the tests on the real kernel."""

from __future__ import annotations

import random

import pytest


@pytest.fixture
def kernel_seed(pytestconfig: pytest.Config) -> int:
    """The seed of all random choices but the scheduler's: Hypothesis's option, or printed."""
    seed = int(pytestconfig.getoption("--hypothesis-seed") or random.randrange(1 << 30))
    print(f"--hypothesis-seed={seed}")
    return seed
