"""The README's example runs as it stands, its links lead somewhere, and it stays short."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.documentation import README, examples

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WORDS_MAX = 900


def test_readme_example_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = examples(README)
    assert "MetaStore.open" in example.code
    monkeypatch.chdir(tmp_path)
    exec(compile(example.code.replace("/var/lib", str(tmp_path)), "README.md", "exec"), {})
    expected = r"[0-9a-f]{32}:1:[0-9a-f]{64}\n(1 .* puller snapshot\.\w+\n){2}"
    assert re.fullmatch(expected, capsys.readouterr().out)


def test_readme_is_read_in_minutes() -> None:
    # All of it counts: code, headings, tables and links too.
    assert len(README.read_text().split()) <= WORDS_MAX


def test_each_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []
