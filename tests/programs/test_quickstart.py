"""The newcomer's command does its job, in a copy of the project and without its set-up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
COPIED = ("eventstore", "projections", "tools", "tests/data/containerd")


def test_quickstart_recovers_from_its_kill_and_shows_what_happened(tmp_path: Path) -> None:
    for name in COPIED:
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "tools.quickstart"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{tmp_path}/tools/cli"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "imported  20 snapshots" in done.stdout
    assert "in the middle of its transaction: SIGKILL" in done.stdout
    assert "recovery: clean; at revision 8, 8 batches replayed" in done.stdout
    assert "3 layers are there; extract-4 is active" in done.stdout
    _, log = done.stdout.split("The audit log of the first layer")
    assert "snapshot.created id=23 kind=active key=extract-1" in log
    assert 'reason="unpack layer 1 of web:1.4"' in log
    assert "snapshot.committed id=23 key=extract-1 name=sha256:" in log
    assert log.count("\nsound\n") == 2
    assert (tmp_path / "quickstart-data/1/store/checkpoints").is_dir()
