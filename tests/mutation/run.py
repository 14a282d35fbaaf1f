"""Show that a test fails for each mutant: `python tests/mutation/run.py [--proofs FILE] [NAME…]`.

For each mutant a copy of the project is changed and the tests that prove durability run on it
until one fails. Exits with 1, and lists them, if mutants survive. Without a mutant all of these
tests must pass, which is seen first, unless single mutants are named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))

from mutation.mutants import MUTANTS, Mutant  # noqa: E402

COPIED = (
    *("eventstore", "projections", "tools", "tests", "docs"),
    *("pyproject.toml", "README.md", "LICENSE"),
)
# Cheap ones first: most mutants fall there.
SUITES = (
    "tests/engine",
    "tests/crash/test_exploration.py",
    "tests/hygiene",
    "tests/damage",
    "tests/proofs",
    "tests/snapshots",
    "tests/cli",
    "tests/crash",
    "tests/schedules",
    "tests/kernel",
    "tests/fuzz",
)
# Where a mutant of a part falls most likely; these go first for it.
NEAR = {
    "eventstore/proofs/": ("tests/proofs", "tests/crash/test_crash_trees.py"),
    "eventstore/tables/": (
        "tests/engine/tables",
        "tests/engine/test_contract.py",
        "tests/engine/handle/test_shown_revision.py",
    ),
    "eventstore/checkpoints/": ("tests/engine/checkpoints", "tests/engine/maintenance"),
    "eventstore/log/": (
        "tests/engine/recovery/test_recovery.py",
        "tests/engine/log/test_groups.py",
        "tests/crash/test_exploration.py",
        "tests/engine/log",
        "tests/damage",
    ),
    "eventstore/recovery/": (
        "tests/engine/recovery",
        "tests/crash/test_exploration.py",
        "tests/damage",
    ),
    "eventstore/format/": ("tests/engine/format", "tests/damage"),
    "eventstore/maintenance/": (
        "tests/engine/maintenance",
        "tests/engine/test_lifecycle.py",
        "tests/crash/test_exploration.py",
    ),
    "eventstore/backend/": (
        "tests/engine/backend",
        "tests/engine/test_failures.py",
        "tests/crash/test_exploration.py",
    ),
    "eventstore/integrity/": ("tests/damage",),
    "eventstore/directory/": ("tests/hygiene", "tests/crash/test_exploration.py"),
    "eventstore/files/": ("tests/hygiene", "tests/crash/test_local_transfers.py"),
    "eventstore/handle/": ("tests/engine/handle", "tests/engine"),
    "eventstore/testing/": (
        "tests/crash/test_wrong_domains.py",
        "tests/crash/test_wrong_projections.py",
    ),
    "projections/": ("tests/snapshots",),
    "tools/": ("tests/cli",),
}
# What takes long whatever the source is, and what changes the source itself.
IGNORED = (
    "--deselect=tests/fuzz/test_fuzz.py::test_coverage_guided_input_is_read_or_refused",
    "--ignore=tests/crash/test_exploration_catches.py",
)
SECONDS_MAX = 900
WORKERS = 2


def mutated_copy(directory: Path, mutant: Mutant | None) -> None:
    """Copy the project, with one change."""
    for name in COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, directory / name, ignore=ignored)
        else:
            shutil.copy(source, directory)
    if mutant is not None:
        path = directory / mutant.path
        text = path.read_text()
        if text.count(mutant.old) != 1:
            sys.exit(f"{mutant.name}: its passage is {text.count(mutant.old)} times in {path}")
        path.write_text(text.replace(mutant.old, mutant.new))


def failing_test(mutant: Mutant | None) -> str | None:
    """Run the suites on a copy and return what failed first; None if nothing did."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        mutated_copy(directory, mutant)
        near = [tests for part, tests in NEAR.items() if mutant and mutant.path.startswith(part)]
        ordered = dict.fromkeys((*(test for tests in near for test in tests), *SUITES))
        suites = [suite for suite in ordered if (directory / suite).exists()]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        # Else pytest leaves out the files that a later suite holds too, and all order with them.
        command += ["--keep-duplicates"]
        command += ["--tb=no", f"--basetemp={directory / 'tmp'}", *IGNORED, *suites]
        try:
            result = subprocess.run(
                command,
                cwd=directory,
                # For the processes that tests start in other directories.
                env={**os.environ, "PYTHONPATH": f"{directory}:{directory}/tools/cli"},
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "a test that did not end"
        if result.returncode == 0:
            return None
        failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERR"))]
        if result.returncode != 1 or not failed:
            sys.exit(f"{mutant}: pytest ended with {result.returncode}:\n{result.stdout[-2000:]}")
        return failed[0]


def report(mutant: Mutant) -> bool:
    """Say what caught a mutant, and whether something did."""
    start = time.monotonic()
    caught_by = failing_test(mutant)
    verdict = f"caught by {caught_by}" if caught_by else "SURVIVED"
    print(f"{mutant.name} ({time.monotonic() - start:.0f} s): {verdict}", flush=True)
    return caught_by is not None


def main() -> None:
    """Run the mutants that were asked for, or all."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; all of them if none is given")
    parser.add_argument("--proofs", type=Path, help="append the counts to this file")
    arguments = parser.parse_args()
    chosen = [m for m in MUTANTS if not arguments.names or m.name in arguments.names]
    broken = None if arguments.names else failing_test(None)
    if broken:
        sys.exit(f"the tests fail without a mutant: {broken}")
    with ThreadPoolExecutor(WORKERS) as pool:
        caught = sum(pool.map(report, chosen))
    print(f"{caught} of {len(chosen)} mutants caught")
    if arguments.proofs:
        with arguments.proofs.open("a", encoding="utf-8") as file:
            counts = {"caught": caught, "caught_total": len(chosen)}
            file.write(json.dumps({"proof": "mutants", **counts}) + "\n")
    sys.exit(caught != len(chosen))


if __name__ == "__main__":
    main()
