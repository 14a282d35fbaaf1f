"""The reading verbs of the operator's tool: how long each takes on the store of the history.

Their time is that which passes, from the start of the interpreter to its end; their memory is the
most that the process ever had, of those that stream, above that of `info`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tools.bench.workload import REF_LABEL, layer_name

if TYPE_CHECKING:
    from tools.bench.children import Source
    from tools.bench.results import Figures


def timed(source: Source, path: str, count: int) -> Figures:
    """Run each verb once on a store of `count` snapshots; return seconds, and MiB."""
    name, last = layer_name(0), layer_name(count - 1)
    label = f'labels."{REF_LABEL}"=={count - 1}'
    verbs = {
        "info": ("info", path, name),
        "log": ("log", path, "-n", "20"),
        "log_since": ("log", path, "--since", "1h", "--reverse", "-n", "20"),
        "log_actor": ("log", path, "--actor", "gc", "-n", "20"),
        "log_type": ("log", path, "--type", "removed", "-n", "20"),
        "log_key": ("log", path, name),
        "show": ("show", path, str(count)),
        "diff": ("diff", path, f"{count * 9 - 84}..{count * 9}"),
        "ls": ("ls", path, "-n", "20"),
        "ls_sort": ("ls", path, "--sort", "size", "-n", "20"),
        "ls_label": ("ls", path, label),
        "tree_key": ("tree", path, last),
        "stats": ("stats", path),
    }
    streamed = {
        "log_all": ("log", path),
        "ls_all": ("ls", path),
        "tree_all": ("tree", path),
        "dump": ("dump", path),
    }
    figures: Figures = {}
    for verb, arguments in verbs.items():
        figures[f"{verb}_s"], of_info = _run(source, arguments)
    _, of_info = _run(source, verbs["info"])
    for verb, arguments in streamed.items():
        _, memory = _run(source, arguments)
        figures[f"{verb}_above_info_mib"] = memory - of_info
    return figures


def _run(source: Source, arguments: tuple[str, ...]) -> tuple[float, float]:
    """Return how long a command took, and how much memory it had at the most, in MiB."""
    root = str(source.root)
    search = os.pathsep.join((root, os.path.join(root, "tools/cli")))
    command = [sys.executable, "-m", "snapledger", *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": search}, cwd=root, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds, usage.ru_maxrss / 1024
