"""`python -m tools.bench.plot RESULTS.json PICTURE.svg`: a run's durable creates, as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

_PANELS = {"1_thread_us": "1 thread: median of a create", "16_threads_mean_us": "16 threads: mean"}
_OURS, _OTHERS, _WHISKERS = "#e08a6d", "#c3ccd4", "#777777"


@click.command()
@click.argument("results", type=click.Path(exists=True, path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
def main(results: Path, picture: Path) -> None:
    """Draw the medians of the section `creates`, with the quartiles over the rounds."""
    try:
        from matplotlib import pyplot  # noqa: PLC0415 - only who draws needs it
    except ImportError as error:
        raise click.ClickException(f"{error}: install the extra `bench`") from error
    # Text stays text, and the same numbers give the same file.
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "snapledger"}):
        draw(json.loads(results.read_text()), picture)


def draw(results: dict[str, Any], picture: Path) -> None:
    """Draw a panel for each number of threads."""
    from matplotlib import pyplot  # noqa: PLC0415

    figures = dict(results["sections"]["creates"]["figures"])
    figures.pop("against", None)  # of interest to who changes the store, not to who reads the docs
    chart, panels = pyplot.subplots(1, len(_PANELS), figsize=(9, 3.2), sharey=True)
    for panel, (figure, title) in zip(panels, _PANELS.items(), strict=True):
        _bars(panel, {who: found[figure] for who, found in figures.items()})
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("µs, less is better; whiskers: quartiles of the rounds", fontsize=8)
    about = results["machine"]
    where = f"{about['processor']}, {about['file system'].split()[0]}, {about['Python']}"
    chart.suptitle(f"A durable create with its audit event. {where}", fontsize=10)
    chart.tight_layout()
    chart.savefig(picture, format="svg", metadata={"Date": None})
    pyplot.close(chart)


def _bars(panel: Any, spreads: dict[str, dict[str, float]]) -> None:
    names = list(spreads)[::-1]
    medians = [spreads[name]["median"] for name in names]
    below = [spreads[name]["median"] - spreads[name]["lower_quartile"] for name in names]
    above = [spreads[name]["upper_quartile"] - spreads[name]["median"] for name in names]
    colors = [_OURS if name == "snapledger" else _OTHERS for name in names]
    panel.barh(names, medians, xerr=(below, above), color=colors, ecolor=_WHISKERS, capsize=2)
    for name, median in zip(names, medians, strict=True):
        panel.annotate(f" {median:,.0f}", (0, name), va="center", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
