"""The benchmark measures all that it is for and says who is missing; how much is not tested."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tools.bench.__main__ import SECTIONS, main
from tools.bench.children import HERE, ChildFailedError, Source, measured
from tools.bench.peers import KEYS_A_THREAD, MissingPeerError, containerd, timed_creates
from tools.bench.plot import main as plot
from tools.bench.results import Section, Spread
from tools.bench.sections import reads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.bench.context import Bench
    from tools.bench.peers import Create

PEERS = {"floor", "sqlite", "sqlite-packed", "rocksdict", "lmdb", "containerd"}
MEASURED = {
    "creates": {"1_thread_us", "1_thread_cpu_us", "16_threads_mean_us"},
    "batches": {"create_and_commit_us_each", "emitted_us_each"},
    "reads": {"us", "p99_us", "p99_beside_writer_us"},
    "replay": {"cpu_us_an_event"},
    "walk": {"walk_us_each", "filter_one_hit_ms", "filter_us_a_hit"},
    "tool": {"info_cpu_s"},
    "memory": {"live_bytes_each", "reopened_bytes_each", "all_read_bytes_each", "first_read_us"},
    "growth": {"small_live_us", "large_live_us", "small_reopened_us", "large_reopened_us"},
    "checkpoints": {"1_percent_s", "all_s", "commit_p99_us", "commit_p99_beside_us"},
    "opens": {"killed_open_s", "close_s", "closed_open_s"},
    "past": {"open_s", "at_longest_s"},
    "history": {
        *("disk_of_the_past_share", "check_us_a_batch", "proof_ms", "watch_p50_ms", "log_s"),
        *("commit_p50_beside_history_ratio", "backup_again_s", "dump_above_info_mib"),
    },
}


def run(directory: Path, *arguments: str, fails: bool = False) -> tuple[dict[str, Any], str]:
    """Run it quickly; return its JSON and its text."""
    file = directory / "results.json"
    options = ["--quick", "--directory", str(directory), "--json", str(file)]
    done = CliRunner().invoke(main, [*options, *arguments], catch_exceptions=False)
    assert done.exit_code == int(fails), done.output
    assert list(directory.iterdir()) == [file], "what was measured is removed"
    results: dict[str, Any] = json.loads(file.read_text())
    return results, done.output


def assert_measured(results: dict[str, Any], name: str, who: str) -> None:
    figures = results["sections"][name]["figures"][who]
    assert figures.keys() >= MEASURED[name]
    for figure in MEASURED[name]:
        assert len(figures[figure]["samples"]) == 1, "one round"


def test_every_section_measures_what_it_is_for_and_names_who_is_missing(tmp_path: Path) -> None:
    results, text = run(tmp_path, "--without", "containerd", "--without", "floor")
    assert results["sections"].keys() == SECTIONS.keys() == MEASURED.keys()
    for name in SECTIONS:
        assert_measured(results, name, "snapledger")
    section = results["sections"]["creates"]
    for who in section["figures"]:
        assert_measured(results, "creates", who)
    assert section["missing"].keys() >= {"containerd", "floor"}
    assert section["figures"].keys() ^ section["missing"].keys() == PEERS | {"snapledger"}
    for who, reason in section["missing"].items():
        assert f"{who} is missing: {reason}" in text
    assert {ratio["to"] for ratio in section["ratios"]} >= {"sqlite 1_thread_us"}
    assert "SQLite" in results["versions"]
    assert results["machine"].keys() >= {"processor", "kernel", "file system", "Python"}


def test_containerds_own_package_does_the_same_work(tmp_path: Path) -> None:
    try:
        containerd.build(tmp_path)
    except MissingPeerError as error:
        pytest.skip(str(error))
    (tmp_path / "containerd-peer").unlink()
    results, _ = run(tmp_path, "batches")
    section = results["sections"]["batches"]
    assert section["missing"] == {}
    assert section["figures"]["containerd"].keys() >= {"create_and_commit_us_each"}
    assert section["figures"]["snapledger"].keys() >= {"import_containerd_us_each"}
    assert results["versions"].keys() >= {"Go", "containerd package"}


def test_a_missing_go_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingPeerError, match="golang-go"):
        containerd.build(tmp_path)


def test_another_checkout_is_measured_in_the_same_rounds(tmp_path: Path) -> None:
    results, _ = run(tmp_path, "reads", "--against", str(HERE))
    section = results["sections"]["reads"]
    assert section["figures"].keys() == {"snapledger", "against"}
    compared = {(ratio["of"], ratio["to"]) for ratio in section["ratios"]}
    assert ("snapledger cpu_us", "against cpu_us") in compared


def test_a_section_that_fails_says_so_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bench) -> Section:
        raise ChildFailedError("it broke")

    monkeypatch.setitem(SECTIONS, "replay", broken)
    results, text = run(tmp_path, "replay", "reads", fails=True)
    assert "FAILED: tools.bench.children.ChildFailedError: it broke" in text
    assert "it broke" in results["sections"]["replay"]["error"]
    assert_measured(results, "reads", "snapledger")


def test_a_directory_without_the_store_is_not_measured_as_one(tmp_path: Path) -> None:
    with pytest.raises(ChildFailedError, match=f"not from {tmp_path}"):
        measured(Source("empty", tmp_path), reads.read, path=str(tmp_path / "s"), rows=1, count=1)


def test_a_create_that_fails_in_a_thread_is_not_waited_for() -> None:
    class Broken:
        versions: Mapping[str, str] = {}

        @contextlib.contextmanager
        def worker(self) -> Iterator[Create]:
            yield self.create

        def create(self, number: int) -> None:
            if number % KEYS_A_THREAD == 3:
                raise OSError("the disk is gone")

        def batch(self, first: int, count: int) -> None: ...

        def close(self) -> None: ...

    with pytest.raises(OSError, match="the disk is gone"):
        timed_creates(Broken(), first=0, threads=4, seconds=60)


def test_the_plot_shows_every_participant(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    section = Section()
    for who in ("snapledger", "sqlite"):
        for micros in (100.0, 130.0):
            section.add(who, {"1_thread_us": micros, "16_threads_mean_us": micros / 4})
    about = {"processor": "fast, 2 cores", "file system": "ext4 (rw)", "Python": "CPython 3"}
    results = {"machine": about, "sections": {"creates": section.as_json()}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    arguments = [str(tmp_path / "results.json"), str(tmp_path / "picture.svg")]
    done = CliRunner().invoke(plot, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    picture = (tmp_path / "picture.svg").read_text()
    for text in ("snapledger", "sqlite", "1 thread", "16 threads", "fast, 2 cores, ext4"):
        assert text in picture


def test_ratios_are_taken_within_rounds() -> None:
    section = Section()
    for ours, theirs in ((1.0, 2.0), (10.0, 20.0), (3.0, 2.0)):
        section.add("ours", {"us": ours, "round_count": 1})
        section.add("theirs", {"us": theirs, "round_count": 2})
    section.compare_all("ours", "theirs")
    section.compare(("ours", "us"), ("nobody", "us"))
    (ratio,) = section.ratios
    assert ratio == ("ours us", "theirs us", [0.5, 0.5, 1.5])
    assert Spread.of(ratio.samples) == (0.5, 0.5, 1.0, 0.5)
