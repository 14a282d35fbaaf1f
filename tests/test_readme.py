"""The README's examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
OUTPUTS = {
    "MetaStore.open": r"[0-9a-f]{32}:1:[0-9a-f]{64}\n(1 .* puller snapshot\.\w+\n){2}",
    "class Ledger": r"500 → 380\n",
    "class WordsDomain": r"Checked\(scripts=\d+, .*\)\n",
}


def test_the_readme_has_an_example_for_each_expected_output() -> None:
    assert len(EXAMPLES) == len(OUTPUTS)


@pytest.mark.parametrize("mark", OUTPUTS)
def test_readme_example_runs_and_prints_what_it_says(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = [text for text in EXAMPLES if mark in text]
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace("/var/lib", str(tmp_path)), "README.md", "exec"), {})
    assert re.fullmatch(OUTPUTS[mark], capsys.readouterr().out)


def test_the_ledger_of_the_readme_takes_under_40_lines() -> None:
    [example] = [text for text in EXAMPLES if "class Ledger" in text]
    assert len(example.splitlines()) < 40
