"""What the numbers were measured on: the machine, its load, and the versions of everything."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path


def machine(directory: Path) -> dict[str, str]:
    """Describe the machine, the interpreter and the file system of a directory."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimised = "yes" if "--enable-optimizations" in flags else "no"
    link_time = "yes" if "--with-lto" in flags else "no"
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(directory),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Python built with optimisations (PGO)": optimised,
        "Python built with link-time optimisation": link_time,
        "switch interval": f"{sys.getswitchinterval() * 1000:g} ms",
    }


def load() -> str:
    """Return the load of the last 1, 5 and 15 minutes."""
    return ", ".join(f"{average:.2f}" for average in os.getloadavg())


def commit_of(root: Path) -> str:
    """Return the commit that a checkout is at, and whether it was changed."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(directory: Path) -> str:
    """Return type and options of the mount that a directory is on."""
    path = directory.resolve()
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    found = [mount for mount in mounts if path.is_relative_to(mount[1])]
    if not found:
        return "unknown"
    _, _, kind, options, *_ = max(found, key=lambda mount: len(mount[1]))
    return f"{kind} ({options})"
