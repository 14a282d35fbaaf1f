"""SIGTERM and SIGINT end the driver soon, also while it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from eventstore import Verdict
from projections.snapshots import Kind
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.serving import opened
from snapledger.snapshotter.stopping import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOW_START = """
import sys, time
from snapledger.snapshotter import serving
from snapledger.snapshotter.program import main

do = serving.{step}
def slow(*arguments):
    print("starting", flush=True)
    for _ in range(600):  # a signal just before one long sleep would not end it
        time.sleep(0.1)
    return do(*arguments)
serving.{step} = slow
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", ["checked_root", "settle"])
def test_a_start_that_takes_long_ends_when_it_is_asked_to(
    place: Path, step: str, number: int
) -> None:
    with opened(str(place / "root"), "overlay", Options()) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
    command = [sys.executable, "-c", SLOW_START.format(step=step), "serve", "--root"]
    command += [str(place / "root"), "--socket", str(place / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == b"starting\n"
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == 0
            assert time.monotonic() - began < 10
            told = [json.loads(line)["message"] for line in process.stderr.read().splitlines()]
            assert told == ["stopped before it served"]
        finally:
            process.kill()
    assert sorted(os.listdir(place)) == ["root", "s.lock"]
    with opened(str(place / "root"), "overlay", Options()) as (snapshotter, _):
        assert snapshotter.store.recovery.verdict is Verdict.CLEAN
        assert snapshotter.stat("a").kind is Kind.ACTIVE


@contextmanager
def signals_kept() -> Iterator[None]:
    """Give the signals back to those that hear them."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_a_signal_interrupts_the_start_once_and_is_never_forgotten() -> None:
    with signals_kept():
        stop = Stop()
        assert not stop.is_asked(0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pytest.fail("the second signal would cut the clean-up short")
        assert stop.is_asked(0)


def test_a_signal_interrupts_nothing_once_it_serves() -> None:
    with signals_kept():
        stop = Stop()
        stop.interrupts_no_more()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_asked(30)
