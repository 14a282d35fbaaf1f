"""`snapledger` gives the metastore's names, and imports it only when one is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import projections.snapshots
import snapledger

STAR = """
import sys
import snapledger.program
assert "eventstore" not in sys.modules
from snapledger import *
from projections import snapshots
print(all(globals()[name] is getattr(snapshots, name) for name in snapshots.__all__))
"""


def test_public_names_are_those_of_the_metastore() -> None:
    assert snapledger.__all__ == projections.snapshots.__all__
    assert set(snapledger.__all__) <= set(dir(snapledger))
    for name in snapledger.__all__:
        assert getattr(snapledger, name) is getattr(projections.snapshots, name)


def test_other_names_of_the_metastore_are_not_there() -> None:
    with pytest.raises(AttributeError, match="'snapledger' has no attribute 'metastore'"):
        _ = snapledger.metastore  # type: ignore[attr-defined]


def test_star_import_gives_the_names_and_the_program_does_without_them() -> None:
    done = subprocess.run([sys.executable, "-c", STAR], check=False, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
