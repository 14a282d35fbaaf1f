"""How the parent starts children and talks to them.

A `Source` is a checkout whose store is measured: this one, or that of `--against`. A child runs
this package's code in a new interpreter, with the store of that source. A function is measured in a
child that ends with it, by `measured`; a peer takes part in a child that lives for many rounds, the
`Participant`, which answers each line of JSON with another.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self, cast

from tools.bench.peers import KEYS_A_THREAD, MissingPeerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.bench.results import Figures

HERE = Path(__file__).parent.parent.parent
_CHILD = Path(__file__).with_name("child.py")


class ChildFailedError(Exception):
    """A child ended without an answer; the text is what it said."""


class Source(NamedTuple):
    """A checkout whose store is measured, and what the results call it."""

    name: str
    root: Path


def measured(source: Source, function: Callable[..., Figures], **arguments: Any) -> Figures:
    """Run a function in a new process, on the store of a source; return its figures.

    The process then ends without closing anything that the function left open, as if killed.
    """
    name = f"{function.__module__}:{function.__name__}"
    command = _command(source, "measure", name, arguments)
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise ChildFailedError(f"{name}: {_last_line(done.stderr)}")
    figures: Figures = json.loads(done.stdout)
    return figures


class Participant:
    """A child that takes part in many rounds.

    Raises:
        MissingPeerError: what it needs is not installed.
        ChildFailedError: it ended without an answer.
    """

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._first = 0
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)
        self._complaints = cast("IO[bytes]", self._process.stderr)
        try:
            self.hello = self._answer()
            if "missing" in self.hello:
                raise MissingPeerError(self.hello["missing"])
        except BaseException:
            self.close()
            raise

    @classmethod
    def of_peer(
        cls, name: str, source: Source, module: str, directory: Path, settings: dict[str, Any]
    ) -> Self:
        """Start a peer of the package `peers` on a directory of its own, made for it."""
        directory.mkdir()
        arguments = {"directory": str(directory), "settings": settings}
        return cls(name, _command(source, "serve", f"tools.bench.peers.{module}", arguments))

    def creates(self, threads: int, seconds: float) -> dict[str, Any]:
        """Create by some threads for some seconds; return nanoseconds: each, wall and CPU."""
        request = {"do": "creates", "threads": threads, "seconds": seconds}
        return self._ask(request, threads * KEYS_A_THREAD)

    def batch(self, count: int) -> dict[str, Any]:
        """Create and commit `count` snapshots in one transaction; return nanoseconds."""
        return self._ask({"do": "batch", "count": count}, count)

    def _ask(self, request: dict[str, Any], keys: int) -> dict[str, Any]:
        request["first"] = self._first
        self._first += keys
        with contextlib.suppress(BrokenPipeError):  # its last words are read instead of its answer
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise ChildFailedError(f"{self.name}: {_last_line(self._complaints.read())}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end, and wait for that."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _command(source: Source, job: str, what: str, arguments: dict[str, Any]) -> list[str]:
    return [sys.executable, str(_CHILD), str(source.root), job, what, json.dumps(arguments)]


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
