"""The mutants still fit the source; `run.py` shows that tests catch them."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from mutation.mutants import MUTANTS, Mutant
from mutation.run import CATCHING, NEAR, SUITES

CHECKOUT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_changes_one_passage_and_is_still_python(mutant: Mutant) -> None:
    text = (CHECKOUT / mutant.path).read_text()
    assert text.count(mutant.old) == 1
    mutated = text.replace(mutant.old, mutant.new)
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(text))


def test_names_of_mutants_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_tests_that_go_first_are_there() -> None:
    for path in {*SUITES, *(path for paths in NEAR.values() for path in paths)}:
        assert (CHECKOUT / path).exists(), path
    known = json.loads(CATCHING.read_text(encoding="utf-8"))
    assert known
    for name, test in known.items():
        assert name in {mutant.name for mutant in MUTANTS}
        assert (CHECKOUT / test.partition("::")[0]).exists(), test
