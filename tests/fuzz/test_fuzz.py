"""No bytes, however made, bring a reader to anything but its documented errors."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fuzz.targets import TARGETS
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = {
    name: [path.read_bytes() for path in sorted((HERE / "corpus" / name).iterdir())]
    for name in TARGETS
}
SECONDS, DEEP_SECONDS = 1, 120
USUALLY_GUIDED = ("sealed_segment",)
"""What one fuzzer finds in a second, the mutated inputs do as well: this shows that it runs."""
MEMORY_MIB = 1024


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "guided" in metafunc.fixturenames:
        is_deep = metafunc.config.getoption("--hypothesis-profile") == "deep"
        metafunc.parametrize("guided", TARGETS if is_deep else USUALLY_GUIDED)


@pytest.mark.parametrize("target", TARGETS)
def test_every_input_of_the_corpus_is_read_or_refused(target: str) -> None:
    assert CORPUS[target]
    for data in CORPUS[target]:
        TARGETS[target](data)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 64)))
        data[start:end] = draw(st.binary(max_size=64))
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS)
@given(draws=st.data())
def test_mutated_input_is_read_or_refused(target: str, draws: st.DataObject) -> None:
    TARGETS[target](draws.draw(mutated(CORPUS[target])))


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not there: it has packages for Linux on x86-64 and some Pythons only",
)
def test_coverage_guided_input_is_read_or_refused(
    guided: str, tmp_path: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    grown = tmp_path / "grown"
    grown.mkdir()
    seconds = DEEP_SECONDS if deep else SECONDS
    options = (f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_MIB}", "-timeout=10")
    # The child of a shell: what memory a process has used is counted from what its parent had,
    # through an exec too, and the tests before this one have had much.
    command: list[str | Path] = [
        "sh",
        "-c",
        '"$@" || exit "$?"',
        "sh",
        sys.executable,
        HERE / "run.py",
        guided,
    ]
    command += [*options, grown, HERE / "corpus" / guided]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    executions = int(re.findall(r"^Done (\d+) runs", result.stderr, re.MULTILINE)[-1])
    assert executions > 100
    record_proof(f"fuzz: {guided}", executions=executions)
