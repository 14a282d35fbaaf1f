"""The tutorial builds the driver that is tested, and no other."""

from __future__ import annotations

import ast

from support.documentation import ROOT, examples

PAGE = ROOT / "docs" / "tutorial" / "index.md"
DRIVER = ROOT / "tools" / "examples" / "driver.py"
NOT_BUILT = {"main"}
"""Of the driver: how it is called from a shell."""
NOT_DRIVER = {"unpack"}
"""Of the page: how it is tried."""


def definitions(source: str) -> dict[str, str]:
    """Return each function and class of a program as it is written, by name."""
    lines = source.splitlines()
    return {
        node.name: "\n".join(
            lines[
                min([node.lineno, *(each.lineno for each in node.decorator_list)])
                - 1 : node.end_lineno
            ]
        )
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def test_tutorial_builds_the_driver_of_the_examples() -> None:
    built = definitions("\n".join(example.code for example in examples(PAGE)))
    driver = definitions(DRIVER.read_text())
    for name in NOT_BUILT:
        driver.pop(name)
    for name in NOT_DRIVER:
        built.pop(name)
    assert built == driver
