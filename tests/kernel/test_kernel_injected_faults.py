"""Faults at the Nth call of one kind, injected into a process by strace.

A call that changes something fails, or the process is killed when it is about to make it. N goes
over all the calls that the sequence of commits, rolls, checkpoints and compactions makes (in the
quick profile, over one at random). Then the store is judged, and a sequence without faults goes on
in it.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from kernel.oracle import Oracle
from kernel.processes import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CALLS = ("fdatasync", "fsync", "ftruncate", "mkdir", "mkdirat", "pwrite64", "renameat", "unlinkat")
_FAULTS = [
    *((call, "signal=SIGKILL") for call in _CALLS),
    *((call, "error=EIO") for call in _CALLS),
    *((call, "error=ENOSPC") for call in ("mkdir", "mkdirat", "pwrite64", "renameat")),
    *((call, "error=EINTR") for call in ("fdatasync", "fsync", "ftruncate", "pwrite64")),
]


def _require_strace(directory: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("strace is a tool of Linux")
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(directory / "trial"),
        "-e",
        "inject=mkdir:error=EIO",
    ]
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:  # as in a container that may not trace
        pytest.skip(f"strace can't inject faults here: {done.stderr.strip()}")


class _Sequences:
    """Runs the sequence of a worker, under strace or not, and has the oracle judge it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started = 0
        self.oracle = Oracle()
        self.met = 0

    def count_calls(self) -> dict[str, int]:
        """Return how often a thread makes each call in a sequence without a fault."""
        trace, _ = self._run_traced(f"trace={','.join(_CALLS)}")
        by_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE))
        never_made = {*_CALLS} - {name for _, name in by_thread}
        assert not never_made, f"a sequence must meet each call, but never made {never_made}"
        return {
            call: max(count for (_, name), count in by_thread.items() if name == call)
            for call in _CALLS
        }

    def run(self, call: str, fault: str, number: int) -> None:
        """Stretch one in which the Nth call of each thread meets a fault; then one that goes on."""
        trace, code = self._run_traced(f"trace={call}", f"inject={call}:{fault}:when={number}")
        self.met += "(INJECTED)" in trace or code == -signal.SIGKILL
        self._run([], fault_ns=None)
        shutil.rmtree(self._directory / "store")

    def _run_traced(self, *expressions: str) -> tuple[str, int]:
        self.oracle.begin_store()
        trace = self._directory / "trace"
        command = ["strace", "-f", "-qq", "-o", str(trace)]
        for expression in expressions:
            command += ["-e", expression]
        code = self._run([*command, "--"], fault_ns=time.monotonic_ns())
        return trace.read_text(), code

    def _run(self, under: list[str], *, fault_ns: int | None) -> int:
        self._started += 1
        store, report = self._directory / "store", self._directory / f"report-{self._started}"
        worker = WorkerProcess("sequence", store, report, under=under)
        code = worker.wait()
        self.oracle.judge(store, [worker], "all", self._started, fault_ns=fault_ns)
        return code


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How often each call is made; skips where strace does not work."""
    directory = tmp_path_factory.mktemp("counted")
    _require_strace(directory)
    return _Sequences(directory).count_calls()


@pytest.mark.parametrize(("call", "fault"), _FAULTS)
def test_an_injected_fault_loses_no_acknowledged_batch(
    call: str,
    fault: str,
    calls: dict[str, int],
    tmp_path: Path,
    deep: bool,
    kernel_seed: int,
    record_proof: Callable[..., None],
) -> None:
    sequences = _Sequences(tmp_path)
    numbers = list(range(1, calls[call] + 1))
    if not deep:
        numbers = random.Random(kernel_seed).sample(numbers, len(numbers))
    for number in numbers:
        sequences.run(call, fault, number)
        # How often a thread makes a call differs: the last ones may not come to pass.
        if sequences.met and not deep:
            break
    sequences.oracle.require_nothing_wrong()
    assert sequences.met > 0
    record_proof("injected by strace", faults=sequences.met, **sequences.oracle.counts())
