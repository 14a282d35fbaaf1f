"""containerd's own storage package, on bbolt: a small program in Go, `main.go`, built on demand.

It needs Debian's `golang-go` and `golang-github-containerd-containerd-dev`. These have containerd
1.6 or 1.7, where the package is `snapshots/storage`; in 2.0 it became `core/snapshots/storage`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.bench.peers import MissingPeerError

_SOURCE = Path(__file__).with_name("main.go")
_GO_PATH = Path("/usr/share/gocode")
_PACKAGE = "golang-github-containerd-containerd-dev"


def build(directory: Path) -> tuple[Path, dict[str, str]]:
    """Build the program; return it, and the version of the package.

    Raises:
        MissingPeerError: Go or the package is missing, or they don't fit.
    """
    if shutil.which("go") is None:
        raise MissingPeerError("not installed: go (Debian: golang-go)")
    if not (_GO_PATH / "src/github.com/containerd/containerd").is_dir():
        raise MissingPeerError(f"not installed: containerd's packages (Debian: {_PACKAGE})")
    program = directory / "containerd-peer"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(_GO_PATH), "GOFLAGS": ""}
    environment.setdefault("HOME", str(directory))  # where Go keeps what it has compiled
    command = ["go", "build", "-o", str(program), str(_SOURCE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingPeerError(f"could not be built: {done.stderr.strip()}")
    return program, {"containerd package": _package_version()}


def _package_version() -> str:
    command = ["dpkg-query", "--show", "--showformat=${Version}", _PACKAGE]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
