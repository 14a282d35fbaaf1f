"""containerd's own suite for snapshotters, through its proxy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from containerd.daemons import build

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.containerd

_RESULT = re.compile(r"^    --- (PASS|FAIL|SKIP): TestSnapshotter/(\S+)", re.MULTILINE)


@pytest.mark.parametrize("strategy", ["overlay", "native"])
def test_containerds_suite_passes(place: Path, strategy: str) -> None:
    suite = build("suite", is_test=True)
    driver = place / "driver"
    driver.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m snapledger.snapshotter serve --root "$1" '
        f'--socket "$2" --strategy {strategy} --log-level error\n'
    )
    driver.chmod(0o755)
    done = subprocess.run(
        [suite, "-test.root", "-test.v"],
        env={**os.environ, "STRATEGY": strategy, "SNAPSHOTTER": str(driver), "TMPDIR": str(place)},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    results = {name: result for result, name in _RESULT.findall(done.stdout)}
    failed = [name for name, result in results.items() if result == "FAIL"]
    assert done.returncode == 0, f"{failed}\n{done.stdout[-8000:]}\n{done.stderr[-4000:]}"
    assert [name for name, result in results.items() if result == "SKIP"] == ["Rename"]
    assert list(results.values()).count("PASS") == 20
