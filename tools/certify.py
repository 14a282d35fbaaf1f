"""The certificate: run every proof of durability, and write down what was tried and what was lost.

`python -m tools.certify` in a checkout takes over an hour on two cores, as root; `--quick` takes
minutes, `--no-mutants` leaves out the last half an hour.
Nothing in the certificate is written by hand: each proof records its own counts, and a run in
which a test fails writes none.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import click

_CHECKOUT = Path(__file__).parent.parent
_SUITES = ("tests/crash", "tests/damage", "tests/kernel", "tests/hygiene", "tests/fuzz")
_FAULTS = ("acknowledged_lost", "phantom", "wrong_verdict")
_TOTAL = "_total"


def run_proofs(proofs: Path, seed: int, *, quick: bool, mutants: bool) -> None:
    """Run all suites, and the mutants if wanted; end the program if one of them fails."""
    profile = "quick" if quick else "deep"
    options = [f"--hypothesis-profile={profile}", f"--hypothesis-seed={seed}", "-q"]
    # What takes long is not known beforehand, and differs much.
    options += ["-n2", "--dist=worksteal", "--durations=20"]
    _run("-m", "pytest", *options, f"--proofs={proofs}", *_SUITES)
    if mutants:
        _run("tests/mutation/run.py", f"--proofs={proofs}")


def _run(*arguments: str) -> None:
    result = subprocess.run([sys.executable, *arguments], cwd=_CHECKOUT, check=False)
    if result.returncode:
        sys.exit(f"certify: {' '.join(arguments)} failed: there is no certificate")


def read_proofs(path: Path) -> dict[str, Counter[str]]:
    """Return the counts of each proof, summed over its records."""
    proofs: dict[str, Counter[str]] = defaultdict(Counter)
    for line in path.read_text().splitlines():
        record = json.loads(line)
        proofs[record.pop("proof")].update(record)
    return dict(sorted(proofs.items()))


def render(proofs: dict[str, Counter[str]], *, seed: int, command: str, took_seconds: float) -> str:
    """Return the certificate as Markdown."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=_CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
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
@click.option("--mutants/--no-mutants", default=True, help="They take half an hour.")
@click.option("--seed", default=0, help="Of everything that is drawn; default: the time.")
@click.option("--output", default="CERTIFICATE.md", type=click.Path(path_type=Path))
def main(quick: bool, mutants: bool, seed: int, output: Path) -> None:
    """Run every proof of durability and write the certificate."""
    start = time.monotonic()
    seed = seed or time.time_ns() // 1_000_000_000
    options = [*(["--quick"] if quick else []), *([] if mutants else ["--no-mutants"])]
    command = " ".join(("python -m tools.certify", *options, f"--seed {seed}"))
    with tempfile.TemporaryDirectory() as directory:
        proofs = Path(directory, "proofs.jsonl")
        run_proofs(proofs, seed, quick=quick, mutants=mutants)
        found = read_proofs(proofs)
    took_seconds = time.monotonic() - start
    output.write_text(render(found, seed=seed, command=command, took_seconds=took_seconds))
    click.echo(f"written to {output}")


if __name__ == "__main__":
    main()
