"""Go's golang.org/x/mod/sumdb as a process that is asked: nothing of it is ours."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess


class ForeignError(Exception):
    """The other implementation has refused what it was given."""


class Foreign:
    """Asks the other implementation, one line of JSON at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, operation: str, **arguments: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"Op": operation} | {name: _plain(each) for name, each in arguments.items()}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "Error" in answer:
            raise ForeignError(answer["Error"])
        return {name: _raw(name, each) for name, each in answer.items()}


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _raw(name: str, value: Any) -> Any:
    if name in ("Proof", "Tiles"):
        return [b64decode(each) for each in value]
    return b64decode(value) if name == "Root" else value
