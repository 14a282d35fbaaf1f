"""What runs in a child: one measurement, or a peer that answers requests.

    python child.py CHECKOUT measure MODULE:FUNCTION ARGUMENTS
    python child.py CHECKOUT serve MODULE ARGUMENTS

The packages of the store are imported from the checkout named, the benchmark from its own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

_LEFT_OPEN: list[object] = []


def left_open(store: object) -> None:
    """Keep a store from being closed before the process ends, as a kill would find it."""
    _LEFT_OPEN.append(store)


def _import_store(root: Path) -> None:
    """Import the store's packages from a checkout, before the benchmark finds its own."""
    sys.path[0] = str(root)
    for name in ("eventstore", "projections.snapshots"):
        file = importlib.import_module(name).__file__
        if file is None or root not in Path(file).parents:
            raise ImportError(f"{name} comes from {file}, not from {root}")
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))


def _measure(what: str, arguments: dict[str, Any]) -> None:
    module, _, function = what.partition(":")
    _say(getattr(importlib.import_module(module), function)(**arguments))


def _serve(module: str, arguments: dict[str, Any]) -> None:
    from tools.bench.peers import (  # noqa: PLC0415 - the path is set by now
        MissingPeerError,
        timed_batch,
        timed_creates,
    )

    try:
        open_peer = importlib.import_module(module).open_peer
    except MissingPeerError as error:
        _say({"missing": str(error)})
        return
    peer = open_peer(Path(arguments["directory"]), arguments["settings"])
    _say({"versions": peer.versions, "record_bytes": getattr(peer, "record_bytes", None)})
    for line in sys.stdin:
        request = json.loads(line)
        first = request["first"]
        if request["do"] == "creates":
            _say(timed_creates(peer, first, request["threads"], request["seconds"]))
        else:
            _say(timed_batch(peer, first, request["count"]))
    peer.close()


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(root: str, job: str, what: str, arguments: str) -> None:
    """Do one job."""
    _import_store(Path(root))
    {"measure": _measure, "serve": _serve}[job](what, json.loads(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # what was left open is not closed
