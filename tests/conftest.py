"""What all tests share: the profiles, quick and deep, and the record of proofs.

Processes that tests start import what the tests do: this checkout, whatever is installed.

The quick profile is for every run. `pytest --hypothesis-profile=deep` takes much longer: it widens
not only Hypothesis's searches but every test that asks for `deep`: more rounds, more images. With
`--proofs FILE` each proof appends what it has counted to the file, one JSON object a line;
`python -m tools.certify` makes the certificate of that.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).parent.parent
_PATH = [str(_ROOT), str(_ROOT / "tools/cli"), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _PATH))

# A shell that runs this in its background ignores Ctrl-C for it and all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Deadlines would make a slow machine look like a bug.
settings.register_profile(
    "quick", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", settings.get_profile("quick"), max_examples=2000)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proofs", metavar="FILE", help="append what each proof has counted to FILE")


@pytest.fixture(scope="session")
def deep(pytestconfig: pytest.Config) -> bool:
    """Whether this is the long run."""
    return bool(pytestconfig.getoption("--hypothesis-profile") == "deep")


@pytest.fixture
def record_proof(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Record the counts of a proof that has held: `record_proof("crash exploration", images=9)`."""
    path = pytestconfig.getoption("--proofs")

    def record(proof: str, **counts: int) -> None:
        if path:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"proof": proof, **counts}) + "\n")

    return record
