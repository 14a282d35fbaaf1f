"""Show that a test fails for each mutant: `python tests/mutation/run.py [NAME…]`.

For each mutant a copy of the project is changed and the tests that prove durability run on it
until one fails. Exits with 1, and lists them, if mutants survive. Without a mutant all of these
tests must pass, which is seen first, unless single mutants are named.

`catching.json` beside this says which test caught each mutant in an earlier run. That test goes
first, so that a run takes a tenth of the time; where it passes or is gone, all of them run.
`--save-catching` writes what this run has found into that file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))

from mutation.mutants import MUTANTS, Mutant  # noqa: E402

CATCHING = Path(__file__).parent / "catching.json"
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
    "tests/snapshotter",
    "tests/crash",
    "tests/schedules",
    "tests/kernel",
    "tests/fuzz",
)
# Where a mutant of a part falls most likely; these go first for it.
_COPIES = (
    "tests/engine/copies",
    "tests/damage/test_damage_backup.py",
    "tests/crash/test_copies_crash.py",
)
_LADDER = (
    "tests/engine/maintenance/test_ladder.py",
    "tests/engine/checkpoints/test_rungs.py",
    "tests/crash/test_exploration.py",
)
NEAR = {
    "eventstore/copies/": _COPIES,
    "eventstore/format/manifest.py": _COPIES,
    "eventstore/format/jsonlines.py": _COPIES,
    "tools/cli/snapledger/snapshotter/": ("tests/snapshotter",),
    "eventstore/proofs/": ("tests/proofs", "tests/crash/test_crash_trees.py"),
    "eventstore/tables/": (
        "tests/engine/tables",
        "tests/engine/test_contract.py",
        "tests/engine/handle/test_shown_revision.py",
    ),
    "eventstore/checkpoints/rung": _LADDER,
    "eventstore/format/rung.py": _LADDER,
    "eventstore/maintenance/ladder.py": _LADDER,
    "eventstore/maintenance/climbing.py": _LADDER,
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
    "eventstore/integrity/": ("tests/engine/integrity", "tests/damage"),
    "eventstore/directory/": ("tests/hygiene", "tests/crash/test_exploration.py"),
    "eventstore/files/": (
        "tests/hygiene",
        "tests/engine/handle/test_watch.py",
        "tests/crash/test_local_transfers.py",
    ),
    "eventstore/past/": (
        "tests/engine/handle/test_index_of_the_past.py",
        "tests/engine/handle/test_history.py",
    ),
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
SECONDS_MAX = 1800
SECONDS_OF_A_TEST_MAX = 300
NO_SUCH_TEST = 4
"""How pytest ends where a test that was named is not there."""


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


def failing_test(mutant: Mutant | None, known: str | None = None) -> str | None:
    """Run the suites on a copy and return what failed first; None if nothing did.

    Args:
        mutant: the change; None for none.
        known: the test that has caught it before, which runs first.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        mutated_copy(directory, mutant)
        if known is not None and (directory / known.partition("::")[0]).exists():
            failed = first_failure(directory, [known])
            if failed is not None:
                return failed
        near = [tests for part, tests in NEAR.items() if mutant and mutant.path.startswith(part)]
        ordered = dict.fromkeys((*(test for tests in near for test in tests), *SUITES))
        return first_failure(
            directory, [suite for suite in ordered if (directory / suite).exists()]
        )


def first_failure(directory: Path, tests: list[str]) -> str | None:
    """Run tests on a copy and return the first that failed; None if none did, or none is there."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    # Else pytest leaves out the files that a later suite holds too, and all order with them.
    command += ["--keep-duplicates"]
    command += ["--tb=no", f"--basetemp={directory / 'tmp'}", *IGNORED, *tests]
    command += ["-o", f"faulthandler_timeout={SECONDS_OF_A_TEST_MAX}"]
    command += ["-o", "faulthandler_exit_on_timeout=true"]
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
    if "Timeout (" in result.stderr:
        return endless_test(directory, result.stderr)
    if result.returncode == 0 or (len(tests) == 1 and result.returncode == NO_SUCH_TEST):
        return None
    failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERR"))]
    if result.returncode != 1 or not failed:
        sys.exit(f"{tests}: pytest ended with {result.returncode}:\n{result.stdout[-2000:]}")
    return failed[0].partition(" ")[2].partition(" - ")[0]


def endless_test(directory: Path, traceback: str) -> str:
    """Return which test did not end, by the traceback of its process."""
    where = re.compile(rf'File "{re.escape(str(directory))}/(tests/[^"]+)", line \d+ in (test_\w+)')
    found = where.search(traceback)
    return f"{found[1]}::{found[2]}" if found else "a test that did not end"


def main() -> None:
    """Run the mutants that were asked for, or all."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; all of them if none is given")
    parser.add_argument("--proofs", type=Path, help="append the counts to this file")
    parser.add_argument("--workers", type=int, default=2, help="how many run at once")
    parser.add_argument("--save-catching", action="store_true", help="into catching.json")
    arguments = parser.parse_args()
    chosen = [m for m in MUTANTS if not arguments.names or m.name in arguments.names]
    broken = None if arguments.names else failing_test(None)
    if broken:
        sys.exit(f"the tests fail without a mutant: {broken}")
    known: dict[str, str] = json.loads(CATCHING.read_text(encoding="utf-8"))
    writing = threading.Lock()

    def is_caught(mutant: Mutant) -> bool:
        start = time.monotonic()
        caught_by = failing_test(mutant, known.get(mutant.name))
        verdict = f"caught by {caught_by}" if caught_by else "SURVIVED"
        print(f"{mutant.name} ({time.monotonic() - start:.0f} s): {verdict}", flush=True)
        if caught_by is not None and "::" in caught_by and arguments.save_catching:
            with writing:
                known[mutant.name] = caught_by
                save(known)
        return caught_by is not None

    with ThreadPoolExecutor(arguments.workers) as pool:
        caught = sum(pool.map(is_caught, chosen))
    print(f"{caught} of {len(chosen)} mutants caught")
    if arguments.proofs:
        with arguments.proofs.open("a", encoding="utf-8") as file:
            counts = {"caught": caught, "caught_total": len(chosen)}
            file.write(json.dumps({"proof": "mutants", **counts}) + "\n")
    sys.exit(caught != len(chosen))


def save(known: dict[str, str]) -> None:
    """Write which test has caught each mutant that there is still."""
    names = {mutant.name for mutant in MUTANTS}
    kept = {name: test for name, test in sorted(known.items()) if name in names}
    text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    CATCHING.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
