"""The mutants still fit the source; `run.py` shows that tests catch them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutation.mutants import MUTANTS, Mutant

CHECKOUT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_passage_that_a_mutant_replaces_is_there_once(mutant: Mutant) -> None:
    assert (CHECKOUT / mutant.path).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new


def test_names_of_mutants_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
