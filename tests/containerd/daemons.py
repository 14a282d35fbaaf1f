"""The programs that the tests run: the driver, containerd, and what is built with Go.

Everything is started by a handle, and ended by it.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOCODE = Path("/usr/share/gocode")
NAME = "ledger"
"""The name of our snapshotter in containerd's configuration."""

_GO = Path(__file__).parent / "go"
_BUILT = Path(__file__).parent.parent.parent / "build" / "go"
_START_SECONDS = 60.0
_END_SECONDS = 30.0


@functools.cache
def build(program: str, *, is_test: bool = False) -> Path:
    """Build a Go program of the tests, which Go's own cache makes quick the second time."""
    built = _BUILT / program
    _BUILT.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GOCODE),
        "GOCACHE": str(_BUILT / "cache"),
        "GOFLAGS": "-buildvcs=false",
        "CGO_ENABLED": "0",
    }
    verb = ["test", "-c"] if is_test else ["build", "-ldflags", "-s -w"]
    command: list[str | Path] = ["go", *verb, "-o", built, "."]
    subprocess.run(command, cwd=_GO / program, env=environment, check=True)
    return built


class Driver:
    """The driver on a root and a socket."""

    def __init__(self, root: Path, socket: Path, *options: str) -> None:
        self.root = root
        self.socket = socket
        self.options = options
        self._log = root.parent / f"{root.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def metadata(self) -> Path:
        """Where its store is."""
        return self.root / "metadata"

    def log(self) -> str:
        """Return all that it has logged."""
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        """Start, and return when it serves."""
        command: list[str | Path] = [sys.executable, "-m", "snapledger.snapshotter", "serve"]
        command += ["--root", self.root, "--socket", self.socket, *self.options]
        served = self.log().count('"message": "serving"')
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        _wait_until(
            lambda: self.log().count('"message": "serving"') > served, self.process, self._log
        )

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End it as the service manager does; its exit code must be 0."""
        if self.process is None:
            return
        self.process.terminate()
        exit_code = self.process.wait(_END_SECONDS)
        self.process = None
        assert exit_code == 0, self.log()


class Overlayd:
    """containerd's own overlay snapshotter behind a socket."""

    def __init__(self, root: Path, socket: Path, *options: str) -> None:
        self._command: list[str | Path] = [build("overlayd"), root, socket, *options]
        self.socket = socket
        self._log = root.parent / f"{root.name}.overlayd.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it listens."""
        self.socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log)
        _wait_until(self.socket.exists, self.process, self._log)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(_END_SECONDS)
            self.process = None


class Containerd:
    """A containerd of the tests' own, whose proxy snapshotter is at a socket."""

    def __init__(self, directory: Path, socket: Path) -> None:
        self._directory = directory
        self._address = directory / "containerd.sock"
        self._log = directory / "containerd.log"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(exist_ok=True)
        (directory / "config.toml").write_text(f"""
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{self._address}"
[proxy_plugins]
  [proxy_plugins.{NAME}]
    type = "snapshot"
    address = "{socket}"
""")

    def disable(self, plugin: str) -> None:
        """Start without a plugin from now on."""
        path = self._directory / "config.toml"
        path.write_text(
            path.read_text().replace("disabled_plugins = [", f'disabled_plugins = ["{plugin}", ')
        )

    @property
    def database(self) -> Path:
        """Containerd's own metadata."""
        return self._directory / "root/io.containerd.metadata.v1.bolt/meta.db"

    def log(self) -> str:
        """Return all that it has logged."""
        return self._log.read_text()

    def start(self) -> None:
        """Start, and return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["containerd", "--config", self._directory / "config.toml"],
                stdout=log,
                stderr=log,
            )
        _wait_until(lambda: self.try_ctr("version").returncode == 0, self._process, self._log)

    def stop(self) -> None:
        """End it; containers go on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_END_SECONDS)
            self._process = None

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def try_ctr(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ctr and return what became of it."""
        return subprocess.run(
            ["ctr", "--address", self._address, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ctr(self, *arguments: str | Path) -> str:
        """Run ctr, which must succeed, and return what it prints."""
        done = self.try_ctr(*arguments)
        assert done.returncode == 0, f"ctr {arguments}: {done.stderr}\n{self.log()[-4000:]}"
        return done.stdout

    def run(self, image: str, container: str, *command: str) -> str:
        """Run a container to its end and return what it prints; its snapshot stays."""
        return self.ctr("run", "--snapshotter", NAME, image, container, *command)

    def wait_for_driver(self) -> None:
        """Wait until calls reach a driver that was started anew: containerd waits up to 3 s.

        There must be a snapshot, else containerd asks nothing.
        """
        until = time.monotonic() + _START_SECONDS
        while self.try_ctr("snapshots", "--snapshotter", NAME, "ls").returncode != 0:
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)

    def kill_tasks(self) -> None:
        """End all containers, which would outlive containerd."""
        for task in self.try_ctr("tasks", "ls", "--quiet").stdout.split():
            self.try_ctr("tasks", "rm", "--force", task)

    def collect_garbage(self) -> None:
        """Collect garbage now: the removal of a lease asks for it, and waits."""
        self.ctr("leases", "create", "--id", "collecting")
        self.ctr("leases", "delete", "--sync", "collecting")


@contextmanager
def ended(*running: Driver | Overlayd | Containerd) -> Iterator[None]:
    """End them all at the end of the block, in order."""
    try:
        yield
    finally:
        for each in running:
            each.stop()


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)
