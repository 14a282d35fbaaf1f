"""Make one run again and show it: `python tests/schedules/replay.py WORKLOAD RECIPE`."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests")]

from schedules.runs import Recipe, made  # noqa: E402


def main() -> None:
    """Make the run that was asked for."""
    name, recipe = sys.argv[1:]
    run = made(Recipe.parse(name, recipe))
    print("\n".join(run.history))
    print(f"right: {run.steps} steps, {run.switches} switches, {run.operations} operations")


if __name__ == "__main__":
    main()
