"""What a stage costs in syncs, on real file systems."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from kernel.mounts import loop_image

from snapledger.snapshotter.directories import Directories

if TYPE_CHECKING:
    from pathlib import Path


def synced(snapshots: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sync a stage of two directories; return the names of what was synced."""
    directories = Directories(str(snapshots))
    asked: list[str] = []
    monkeypatch.setattr(directories, "_sync", asked.append)
    with directories.stage() as stage:
        made = [directories.of(stage), f"{directories.of(stage)}/fs"]
        directories.sync_stage(made)
    return [path.removeprefix(f"{snapshots}").replace(stage, "STAGE") for path in asked]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_one_sync_is_enough_where_a_journal_keeps_the_order(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loop_image(tmp_path, kind) as image:
        assert synced(image.mount_point / "snapshots", monkeypatch) == ["/STAGE/fs"]


def test_each_directory_is_synced_on_an_ext4_without_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loop_image(tmp_path, "ext4") as image:
        image.unmount()
        subprocess.run(["tune2fs", "-O", "^has_journal", tmp_path / "image"], check=True)
        image.mount()
        assert synced(image.mount_point / "snapshots", monkeypatch) == ["/STAGE/fs", "/STAGE", ""]
