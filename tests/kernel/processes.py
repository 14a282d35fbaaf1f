"""Starting and killing the workers, none of which may be left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kernel import reports

if TYPE_CHECKING:
    from collections.abc import Sequence

_TESTS = Path(__file__).parent.parent
_WAIT_SECONDS = 60.0


class WorkerProcess:
    """A worker, and what it has told."""

    def __init__(
        self,
        role: str,
        store: Path,
        report: Path,
        *,
        author: str = "a",
        retention: str = "all",
        seed: int = 0,
        under: Sequence[str] = (),
    ) -> None:
        """Start it, as an argument of the command `under` if one is given."""
        self._name = report.name
        self._reader = reports.ReportReader(report)
        self._unheard: list[reports.Line] = []
        arguments = [role, str(store), str(report), author]
        options = ["--retention", retention, "--seed", str(seed)]
        # The worker ends when this end of the pipe is closed, which the kernel does at the latest.
        stdin, self._leash = os.pipe()
        self._process = subprocess.Popen(
            [*under, sys.executable, "-m", "kernel.worker", *arguments, *options],
            cwd=_TESTS.parent,
            env={**os.environ, "PYTHONPATH": f"{_TESTS.parent}:{_TESTS}"},
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.close(stdin)

    def hear(self) -> list[reports.Line]:
        """Return what it has told since the last call."""
        lines, self._unheard = [*self._unheard, *self._reader.read_on()], []
        return sorted(lines)

    def wait_until_told(self, kind: str) -> None:
        """Return once it has told that, or has ended after telling why it could not."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not any(line.kind in (kind, reports.FAILED) for line in self._unheard):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the worker never told {kind!r}: {self.kill()}")
            time.sleep(0.002)
            self._unheard.extend(self._reader.read_on())

    def wait(self) -> int:
        """Return the exit code once the worker has ended by itself."""
        self._finish()
        return self._process.returncode

    def kill(self) -> str:
        """End it with SIGKILL, and return what it had to say on stderr."""
        self._unheard.append(reports.Line(time.monotonic_ns(), self._name, reports.KILLED, []))
        self._process.send_signal(signal.SIGKILL)
        return self._finish()

    def _finish(self) -> str:
        _, complaints = self._process.communicate(timeout=_WAIT_SECONDS)
        if self._leash >= 0:
            os.close(self._leash)
            self._leash = -1
        return complaints.decode()
