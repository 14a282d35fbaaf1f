"""Fixtures of the tests on the real kernel."""

from __future__ import annotations

import os
import random

import pytest

_SEED_VARIABLE = "KERNEL_SEED"


@pytest.fixture
def kernel_seed() -> int:
    """The seed of all random choices but the scheduler's; printed, for a run to be repeated."""
    seed = int(os.environ.get(_SEED_VARIABLE) or random.randrange(1 << 30))
    print(f"{_SEED_VARIABLE}={seed}")
    return seed
