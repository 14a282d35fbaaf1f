"""`python -m tools.bench [SECTION...]`: run sections, and print or keep what they find."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tools.bench.children import HERE, Source
from tools.bench.context import Bench, Sizes
from tools.bench.machine import commit_of, load, machine
from tools.bench.results import Section
from tools.bench.sections import (
    batches,
    checkpoints,
    creates,
    growth,
    history,
    memory,
    opens,
    past,
    reads,
    replay,
    tool,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "creates": creates.run,
    "batches": batches.run,
    "reads": reads.run,
    "replay": replay.run,
    "walk": walk.run,
    "tool": tool.run,
    "memory": memory.run,
    "growth": growth.run,
    "checkpoints": checkpoints.run,
    "opens": opens.run,
    "past": past.run,
    "history": history.run,
}


@click.command(epilog=f"Sections, all of them by default: {', '.join(SECTIONS)}.")
@click.argument("sections", nargs=-1, type=click.Choice(list(SECTIONS)), metavar="[SECTION]...")
@click.option("--directory", default=".", help="On the disk to measure; default: here.")
@click.option("--snapshots", default=1_000_000, show_default=True, help="In the large store.")
@click.option("--rounds", type=int, help="Rounds of what is short; 10 by default.")
@click.option("--large-rounds", type=int, help="Rounds of what is long; 2 by default.")
@click.option("--against", type=click.Path(exists=True), help="Another checkout, in turns.")
@click.option("--without", multiple=True, metavar="PEER", help="Leave a peer out; repeatable.")
@click.option("--json", "json_file", type=click.Path(), help="Write all of it to this file.")
@click.option("--quick", is_flag=True, help="Only show that it runs: the numbers say nothing.")
def main(
    sections: tuple[str, ...],
    directory: str,
    snapshots: int,
    rounds: int | None,
    large_rounds: int | None,
    against: str | None,
    without: tuple[str, ...],
    json_file: str | None,
    quick: bool,
) -> None:
    """Measure the store on this machine, and its peers beside it; see the package's docstring."""
    sizes = Sizes.quick() if quick else Sizes(snapshots=snapshots)
    sizes = replace(sizes, rounds=rounds or sizes.rounds)
    sizes = replace(sizes, large_rounds=large_rounds or sizes.large_rounds)
    sources = [Source("snapledger", HERE)]
    if against:
        sources.append(Source("against", Path(against).resolve()))
    results = _about(Path(directory), sources, sizes, quick)
    _show(results)
    failed = False
    with tempfile.TemporaryDirectory(prefix="bench-", dir=directory) as path:
        bench = Bench(Path(path).resolve(), sizes, sources, without)
        for name in sections or SECTIONS:
            section = run_section(bench, name)
            failed = failed or section.error is not None
            results["versions"] |= section.versions
            results["sections"][name] = section.as_json()
            if json_file:  # after each, so that a run that is cut keeps what it has
                Path(json_file).write_text(json.dumps(results, indent=1) + "\n")
    click.echo(f"\nversions: {_joined(results['versions'])}")
    if failed:
        raise SystemExit(1)


def run_section(bench: Bench, name: str) -> Section:
    """Run one section in a directory of its own, and print it.

    One that fails says so, and the others go on.
    """
    click.echo(f"\n{name}")
    start, before = time.monotonic(), load()
    try:
        with bench.section(name):
            section = SECTIONS[name](bench)
    except Exception as error:
        section = Section()
        section.error = "".join(traceback.format_exception_only(error)).strip()
    for line in section.lines():
        click.echo(line)
    click.echo(f"  took {time.monotonic() - start:.0f} s; load before {before}, after {load()}")
    return section


def _about(directory: Path, sources: list[Source], sizes: Sizes, quick: bool) -> dict[str, Any]:
    return {
        "quick": quick,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(directory),
        "load": load(),
        "sources": {source.name: commit_of(source.root) for source in sources},
        "sizes": {name: getattr(sizes, name) for name in Sizes.__slots__},
        "versions": {},
        "sections": {},
    }


def _show(results: dict[str, Any]) -> None:
    for name, value in {**results["machine"], "load": results["load"]}.items():
        click.echo(f"{name}: {value}")
    click.echo(f"sources: {_joined(results['sources'])}")


def _joined(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "none"


if __name__ == "__main__":
    # A run that is told to end ends its children, and removes what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
