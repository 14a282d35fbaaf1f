"""The main job on real input, step by step: `tools/quickstart`.

Imports the metadata of a real containerd, runs a driver that is killed in the middle of a
transaction, opens the store again, and shows what an operator would look at. Everything is made
in a new directory below `quickstart-data` of the checkout, and kept.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from projections.snapshots import MetaStore
from tools import example_driver

_CHECKOUT = Path(__file__).parent.parent
_DATABASE = "tests/data/containerd/containerd-overlayfs-metadata.db"
_DATA = "quickstart-data"


def main() -> None:
    """Run all steps; the exit status is not 0 if one fails."""
    directory = _new_directory()
    store, snapshots = directory / "store", directory / "snapshots"

    _say("Import the database of a real containerd")
    _run("snapledger", "import-bolt", _DATABASE, store)

    _say("Run a driver that unpacks an image; it is killed in the fourth layer")
    _run_killed(sys.executable, "-m", "tools.example_driver", store, snapshots)

    _say("Open the store again")
    with MetaStore.open(_CHECKOUT / store) as reopened:
        report = reopened.recovery
        print(
            f"recovery: {report.verdict.value}; at revision {report.revision}, "
            f"{report.replayed_batches} batches replayed"
        )
        layer = _check_layers(reopened)

    _say("The tree of snapshots: three layers are committed, the fourth is still active")
    _run("snapledger", "tree", store)
    _say("The audit log of the first layer, through its rename")
    _run("snapledger", "log", store, "--key", layer)
    _say("Verify every byte, then compact")
    _run("snapledger", "check", store)
    _run("snapledger", "compact", store)
    _run("snapledger", "check", store)
    print(f"\nThe store is at {store}: try `.venv/bin/snapledger ls {store}`.")


def _check_layers(store: MetaStore) -> str:
    """Check what must be there after the kill, and return the name of the first layer."""
    names: list[str] = []
    with store.transaction() as transaction:
        for layer in example_driver.LAYERS:
            names.append(example_driver.chain_name(names[-1] if names else "", layer))
            transaction.get_info(names[-1])
        interrupted = f"extract-{len(names) + 1}"
        _, info, _ = transaction.get_info(interrupted)
    print(f"{len(names)} layers are there; {interrupted} is {info.kind}, as before the transaction")
    return names[0]


def _new_directory() -> Path:
    """Make and return a new directory, relative to the checkout."""
    for number in count(1):
        directory = Path(_DATA, str(number))
        if not (_CHECKOUT / directory).exists():
            break
    (_CHECKOUT / directory).mkdir(parents=True)
    return directory


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    print(f"$ {shlex.join(words)}", flush=True)
    # The command of this interpreter, whatever is on the PATH.
    result = subprocess.run([sys.executable, "-m", *words], cwd=_CHECKOUT, check=False)
    if result.returncode:
        sys.exit(f"quickstart: {words[0]} {words[1]} failed with status {result.returncode}")


def _run_killed(*command: object) -> None:
    result = subprocess.run([str(word) for word in command], cwd=_CHECKOUT, check=False)
    if result.returncode != -signal.SIGKILL:
        sys.exit(f"quickstart: the driver ended with status {result.returncode}, not by SIGKILL")


if __name__ == "__main__":
    main()
