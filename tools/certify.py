"""The certificate: run every proof of durability, and write down what was tried and what was lost.

`python -m tools.certify` in a checkout takes hours on two cores, as root; `--quick` takes minutes,
`--no-mutants` leaves out the mutants, `--at-once` uses what the disk leaves of the cores.
Nothing in the certificate is written by hand: each proof records its own counts, and a run in
which a test fails writes none.

The run has a part for each suite and one for the mutants; its time is that of all added up. With
`--keep FILE` what a part has recorded is kept once it has passed, and a later run of the same
source, profile and seed goes on from there.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CHECKOUT = Path(__file__).parent.parent
SUITES = (
    "tests/engine",
    "tests/schedules",
    "tests/crash",
    "tests/damage",
    "tests/kernel",
    "tests/hygiene",
    "tests/fuzz",
    "tests/examples",
    "tests/containerd",
    "tests/snapshotter",
)
"""Where a test may record a proof."""
_FAULTS = ("acknowledged_lost", "phantom", "wrong_verdict")
_TOTAL = "_total"


class Kept:
    """The parts of a run that have passed, in a file: one JSON line each.

    Parts of another source, profile or seed are forgotten.
    """

    def __init__(self, path: Path, run: dict[str, object]) -> None:
        self._path = path
        self._run = run
        self._writing = threading.Lock()
        lines = path.read_text().splitlines() if path.exists() else []
        parts = [json.loads(line) for line in lines]
        self.parts = {part["part"]: part for part in parts if part["run"] == run}

    def pass_part(self, name: str, arguments: Callable[[Path], list[str]]) -> None:
        """Run a part unless it has passed, and keep what it records; end the program if it fails.

        Args:
            name: of the part.
            arguments: given where to record, return what Python is to run.
        """
        if name in self.parts:
            click.echo(f"certify: the {name} have passed before")
            return
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            records = Path(directory, "proofs.jsonl")
            _run(*arguments(records))
            part = {
                "part": name,
                "run": self._run,
                "seconds": time.monotonic() - start,
                "records": [json.loads(line) for line in records.read_text().splitlines()],
            }
        with self._writing:
            self.parts[name] = part
            text = "".join(json.dumps(part) + "\n" for part in self.parts.values())
            self._path.write_text(text)


def run_proofs(kept: Kept, seed: int, *, quick: bool, mutants: bool, at_once: bool) -> None:
    """Run all suites, and the mutants if wanted; end the program if one of them fails."""
    profile = "quick" if quick else "deep"
    options = [f"--hypothesis-profile={profile}", f"--hypothesis-seed={seed}", "-q"]
    # What takes long is not known beforehand, and differs much.
    options += ["-n2", "--dist=worksteal", "--durations=20"]
    options += ["-m", ""]  # those with a real containerd, too

    def suite(path: str) -> Callable[[Path], list[str]]:
        return lambda records: ["-m", "pytest", *options, f"--proofs={records}", path]

    def pass_suites() -> None:
        for path in SUITES:
            kept.pass_part(path, suite(path))

    def pass_mutants() -> None:
        kept.pass_part("mutants", lambda records: ["tests/mutation/run.py", f"--proofs={records}"])

    with ThreadPoolExecutor(max_workers=2 if at_once else 1) as executor:
        ways = [pass_suites, pass_mutants] if mutants else [pass_suites]
        for done in [executor.submit(way) for way in ways]:
            done.result()


def _run(*arguments: str) -> None:
    result = subprocess.run([sys.executable, *arguments], cwd=_CHECKOUT, check=False)
    if result.returncode:
        sys.exit(f"certify: {' '.join(arguments)} failed: there is no certificate")


def summed(records: Iterable[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Return the counts of each proof, summed over its records."""
    proofs: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        counts = dict(record)
        proofs[counts.pop("proof")].update(counts)
    return dict(sorted(proofs.items()))


def source() -> str:
    """Return the commit of the checkout, and whether anything in it was changed since."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=_CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip()


def render(
    proofs: dict[str, Counter[str]],
    *,
    seed: int,
    commit: str,
    command: str,
    took_seconds: float,
) -> str:
    """Return the certificate as Markdown."""
    lines = [
        "# Certificate",
        "",
        "What was done to stores, and what became of what they had acknowledged. Made by",
        f"`{command}`; do not edit.",
        "",
        f"- {time.strftime('%Y-%m-%d', time.gmtime())}, seed {seed}, source {commit}, "
        f"{took_seconds / 60:.0f} minutes",
        f"- Python {platform.python_version()}, {platform.system()} {platform.release()}",
        "",
        "| proof | tried | acknowledged lost | phantom | wrong verdict |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    if "mutants" not in proofs:
        lines.append("| mutants | not run | n/a | n/a | n/a |")
    for proof, counts in proofs.items():
        tried = ", ".join(
            _described(name, counts)
            for name in counts
            if name not in _FAULTS and not name.endswith(_TOTAL)
        )
        faults = " | ".join(str(counts[name]) if name in counts else "n/a" for name in _FAULTS)
        lines.append(f"| {proof} | {tried} | {faults} |")
    lines += [
        "",
        "*Acknowledged lost*: transactions that had been acknowledged and were not there after",
        "recovery. *Phantom*: contents that no transaction had written. *Wrong verdict*: clean,",
        "torn or corrupt where the decision table of `eventstore/FORMAT.md` says another. *n/a*:",
        "the proof is not about that; it holds if its test passed. A run in which a count is not 0",
        "fails, and writes no certificate.",
        "",
        "Crash exploration: an *operation* is a call of the file system, and the states that they",
        "leave are the *crash points*. *Images* are what power cuts there may leave of the medium.",
        "*Recoveries* are stores opened after a crash: for images that differ, for *kills* (the",
        "process dies, the machine goes on) and for *double crashes* (the power is cut while it",
        "recovers). *Verified*: recovered stores that were then read byte by byte.",
        "",
    ]
    return "\n".join(lines)


def _described(name: str, counts: Counter[str]) -> str:
    total = f" of {counts[name + _TOTAL]:,}" if name + _TOTAL in counts else ""
    return f"{counts[name]:,}{total} {name.replace('_', ' ')}"


@click.command()
@click.option("--quick", is_flag=True, help="The quick profile of every proof.")
@click.option("--mutants/--no-mutants", default=True, help="They take long.")
@click.option("--seed", default=0, help="Of everything that is drawn; default: the time.")
@click.option("--output", default="CERTIFICATE.md", type=click.Path(path_type=Path))
@click.option("--at-once", is_flag=True, help="Run suites and mutants side by side.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Keep here what has passed, and go on from what was kept; needs --seed.",
)
def main(
    quick: bool, mutants: bool, seed: int, output: Path, at_once: bool, keep: Path | None
) -> None:
    """Run every proof of durability and write the certificate."""
    if keep is not None and not seed:
        raise click.UsageError("--keep needs --seed, by which a later run is known to go on")
    seed = seed or time.time_ns() // 1_000_000_000
    commit = source()
    options = [*(["--quick"] if quick else []), *([] if mutants else ["--no-mutants"])]
    command = " ".join(("python -m tools.certify", *options, f"--seed {seed}"))
    with tempfile.TemporaryDirectory() as directory:
        run = {"commit": commit, "quick": quick, "seed": seed}
        kept = Kept(keep or Path(directory, "kept.jsonl"), run)
        run_proofs(kept, seed, quick=quick, mutants=mutants, at_once=at_once)
    parts = [part for name, part in kept.parts.items() if mutants or name != "mutants"]
    found = summed(record for part in parts for record in part["records"])
    took_seconds = sum(part["seconds"] for part in parts)
    text = render(found, seed=seed, commit=commit, command=command, took_seconds=took_seconds)
    output.write_text(text)
    click.echo(f"written to {output}")


if __name__ == "__main__":
    main()
