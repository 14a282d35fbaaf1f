"""The operator's tool: the CPU that `snapledger info` takes on a store of 100,000."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

from tools.bench.children import measured
from tools.bench.results import Section
from tools.bench.workload import layer_name

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures


def run(bench: Bench) -> Section:
    """Let the sources take turns."""
    section = Section()
    for _ in range(bench.sizes.rounds):
        for source in bench.sources:
            path = str(bench.prepared(source, bench.sizes.middle)[0])
            root = str(source.root)
            section.add(source.name, measured(source, informed, path=path, root=root))
    bench.compare_sources(section)
    return section


def informed(path: str, root: str) -> Figures:
    """Run the command, and one that does nothing but start."""
    return {
        "info_cpu_s": _cpu_seconds(root, "info", path, layer_name(0)),
        "version_cpu_s": _cpu_seconds(root, "--version"),
    }


def _cpu_seconds(root: str, *arguments: str) -> float:
    search = os.pathsep.join((root, os.path.join(root, "tools/cli")))
    command = [sys.executable, "-m", "snapledger", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": search}
    subprocess.run(command, env=environment, cwd=root, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
