"""The examples of the documentation, as its pages show them.

A page is a program: its ```python blocks run in order, in one namespace, in an empty directory;
`/var/lib` is a directory there. A block ```output right behind one says what that prints; `…`
stands for what differs from run to run. A block that can't be run has a line before it, which the
site does not show, that says why: `% not run: REASON`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))

_BLOCK = re.compile(
    r"(?:^% not run:(?P<reason>.*)\n)?^```python\n(?P<code>.*?)^```$"
    r"(?:\n\n?^```output\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


class Example(NamedTuple):
    """A block of Python.

    Attributes:
        code: the program, or a part of one.
        output: what it prints; None if the page does not say.
        line: where in the page the code begins.
        reason: why it is not run; None if it is.
    """

    code: str
    output: str | None
    line: int
    reason: str | None


def examples(page: Path) -> list[Example]:
    """Return the blocks of Python that a page shows, in order."""
    text = page.read_text()
    return [
        Example(
            found["code"],
            found["output"],
            text.count("\n", 0, found.start("code")) + 1,
            None if found["reason"] is None else found["reason"].strip(),
        )
        for found in _BLOCK.finditer(text)
    ]


def name_of(page: Path) -> str:
    """Return what a page is called in a report."""
    return str(page.relative_to(ROOT))


def prints(stated: str, printed: str) -> bool:
    """Return whether a program has printed what its page states."""
    pattern = ".*?".join(re.escape(part) for part in stated.split("…"))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None
