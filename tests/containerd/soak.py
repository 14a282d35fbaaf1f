"""The driver under churn for an hour: does its memory stay flat, and its descriptors few?

`python -m containerd.soak [MINUTES] [CLIENTS]`, as root, with tests, tools/cli and the checkout on
the PYTHONPATH. Clients prepare, commit and remove, again and again, while the driver writes its
checkpoints and compacts on its own. Every ten seconds its memory and its descriptors are looked at;
what is compared are the medians of the last three quarters of the time: the first one fills what is
bounded (pools, caches, index). Prints what was seen and what the store has come to, and exits with
1 if memory went on growing, or if `snapledger check` finds fault with the store.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from containerd.daemons import Driver, ended
from containerd.measure import load

GROWTH_MAX = 1.1
"""How much larger the last quarter's median of memory may be than the second's."""

_LOAD_SECONDS = 60.0
_SAMPLE_SECONDS = 10.0


class Watched:
    """Looks at a process every few seconds, in a thread, while the block runs."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, name="samples")
        self.memory_mib: list[float] = []
        self.descriptors: list[int] = []

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *of_error: object) -> None:
        self._ends.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ends.wait(_SAMPLE_SECONDS):
            resident_pages = int(Path(self._proc, "statm").read_text().split()[1])
            self.memory_mib.append(resident_pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            self.descriptors.append(len(os.listdir(self._proc / "fd")))


def quarters(samples: list[Any]) -> list[float]:
    """Return the medians of the four quarters of what was seen."""
    size = len(samples) // 4
    return [statistics.median(samples[at * size : (at + 1) * size]) for at in range(4)]


def _tool(verb: str, metadata: Path) -> int:
    command: list[str | Path] = [sys.executable, "-m", "snapledger", verb, metadata]
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Run the load, and say what became of memory, descriptors and store."""
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        driver = Driver(Path(name, "root"), Path(name, "socket"), "--log-level=info")
        with ended(driver):
            driver.start()
            assert driver.process is not None
            cycles = 0.0
            with Watched(driver.process.pid) as seen:
                for number in range(minutes):
                    found = load(driver, _LOAD_SECONDS, f"soak/{number}", clients)
                    cycles += found["cycles_per_second"] * _LOAD_SECONDS
        memory, descriptors = quarters(seen.memory_mib), quarters(seen.descriptors)
        exit_codes = [_tool(verb, driver.metadata) for verb in ("stats", "check")]
    print(f"{minutes} minutes, {clients} clients, {cycles:,.0f} cycles")
    print(f"memory by quarters, MiB: {', '.join(f'{each:.0f}' for each in memory)}")
    print(f"most memory, MiB: {max(seen.memory_mib):.0f}")
    print(f"descriptors by quarters: {', '.join(f'{each:.0f}' for each in descriptors)}")
    sys.exit(any(exit_codes) or memory[3] > GROWTH_MAX * memory[1])


if __name__ == "__main__":
    main()
