"""The driver's load beside containerd's overlay snapshotter behind the same kind of socket.

`python -m containerd.measure [ROUNDS] [SECONDS]`, as root, with tests, tools/cli and the checkout
on the PYTHONPATH, on an idle machine. Rounds are interleaved; what is printed are medians, and the
ratios of each round's pair. TMPDIR says on which file system. Processor time is that of the server,
with its part of the Stats, for each cycle.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from containerd.daemons import Driver, Overlayd, build, ended

from snapledger.snapshotter.directories import file_system_of, keeps_order

CLIENTS = 8
_UNITS = {
    "cycles_per_second": "cycles/s",
    "P50": "ms",
    "P99": "ms",
    "stat_p50": "ms",
    "processor_ms": "ms",
}
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

Measured = dict[str, float]


def load(
    server: Driver | Overlayd, seconds: float, prefix: str, clients: int = CLIENTS
) -> Measured:
    """Put load on a server's socket and return what was measured."""
    command: list[str | Path] = [build("load"), server.socket, str(clients), str(seconds), prefix]
    before = processor_seconds(server)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: Measured = json.loads(done.stdout)
    cycles = measured["cycles_per_second"] * seconds
    measured["processor_ms"] = (processor_seconds(server) - before) / cycles * 1000
    return measured


def processor_seconds(server: Driver | Overlayd) -> float:
    """Return the processor time of a server up to now, its kernel's part too; see proc(5)."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(status[11]) + int(status[12])) / _TICKS_PER_SECOND


def compare(place: Path, rounds: int, seconds: float, *, removes_later: bool) -> None:
    """Measure both in turns and print the comparison."""
    ours = Driver(
        place / "ours",
        place / "ours.sock",
        *(["--async-remove"] if removes_later else []),
        *os.environ.get("DRIVER_OPTIONS", "").split(),
        "--log-level=info",
    )
    theirs = Overlayd(
        place / "theirs", place / "theirs.sock", *(["async"] if removes_later else [])
    )
    servers: dict[str, Driver | Overlayd] = {"ours": ours, "theirs": theirs}
    found: dict[str, list[Measured]] = {name: [] for name in servers}
    with ended(ours, theirs):
        ours.start()
        theirs.start()
        for number in range(rounds + 1):
            order = ["ours", "theirs"] if number % 2 else ["theirs", "ours"]
            for name in order:
                measured = load(servers[name], seconds, f"round/{number}")
                if number > 0:  # the first warms up
                    found[name].append(measured)
    when = "later" if removes_later else "at once"
    disk = file_system_of(str(place)) + (" in order" if keeps_order(str(place)) else "")
    print(f"removal {when}, on {disk}, load {os.getloadavg()[0]:.1f}")
    for key, unit in _UNITS.items():
        pairs = zip(found["ours"], found["theirs"], strict=True)
        ratios = [one[key] / other[key] for one, other in pairs]
        values = [statistics.median(each[key] for each in found[name]) for name in found]
        print(
            f"  {key:18} {values[0]:8.2f} {values[1]:8.2f} {unit:8} "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Compare with removal at once and later."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    with ExitStack() as stack:
        for removes_later in (False, True):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="load-"))
            compare(Path(directory), rounds, seconds, removes_later=removes_later)


if __name__ == "__main__":
    main()
