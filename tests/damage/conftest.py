"""Thousands of damaged stores are opened here: what each recovery logs is switched off."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from eventstore.backend import follower
from eventstore.recovery import scan

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def quiet_and_quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log errors only, and let readers look again without waiting for a writer."""
    logger = logging.getLogger("eventstore")
    level = logger.level
    logger.setLevel(logging.ERROR)
    monkeypatch.setattr(follower, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(scan, "_TAIL_LOOK_SECONDS", 0.0)
    yield
    logger.setLevel(level)
