"""A root of containerd's overlay snapshotter is taken over, used, and given back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from containerd.daemons import NAME, Containerd, Driver, Overlayd, build, ended
from containerd.images import Layer, write_images

from projections.snapshots import Kind, MetaStore
from projections.snapshots.exporter import export_containerd

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.containerd

IMAGE = "docker.io/test/kept:1"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command and return what became of it."""
    command = [sys.executable, "-m", "snapledger.snapshotter", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def of_database(path: Path, place: Path) -> dict[str, dict[str, Any]]:
    """Return all that containerd's own code reads in a metadata.db, by name; a copy is read."""
    copy = place / "copy.db"
    copy.write_bytes(path.read_bytes())
    lines = subprocess.run(
        [build("boltcheck"), copy], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {line["Name"]: line for line in map(json.loads, lines)}


def of_store(path: Path) -> dict[str, dict[str, Any]]:
    """Return the same of a store."""
    with MetaStore.open(path, read_only=True) as store, store.transaction() as now:
        return {
            info.name: {
                "ID": now.get_info(info.name)[0],
                "Name": info.name,
                "Parent": info.parent,
                "Kind": str(info.kind).capitalize(),
                "Created": info.created_ns,
                "Updated": info.updated_ns,
                "Labels": dict(info.labels) or None,
                "Inodes": now.get_info(info.name)[2].inodes,
                "Size": now.get_info(info.name)[2].size,
            }
            for info in now.walk_info()
        }


def test_a_root_is_taken_over_and_given_back_name_by_name(place: Path, tool: bytes) -> None:
    root, socket = place / "root", place / "s.sock"
    layers: list[Layer] = [{"tool": tool}, {"etc/a": b"a", "etc/b": b"b"}, {"etc/.wh.a": b""}]
    write_images(place / "image.tar", {IMAGE: layers})
    overlayd, driver = Overlayd(root, socket), Driver(root, socket)
    containerd = Containerd(place / "containerd", socket)
    with ended(containerd, overlayd, driver):
        overlayd.start()
        containerd.start()
        containerd.ctr("images", "import", "--snapshotter", NAME, place / "image.tar")
        containerd.run(IMAGE, "first", "/tool", "write", "/etc/first", "1")
        assert "containerd has it open" in run("take-over", "--root", root).stderr
        assert "take-over" in run("serve", "--root", root, "--socket", place / "o").stderr
        containerd.stop()
        overlayd.stop()
        before = of_database(root / "metadata.db", place)
        directories = {path.name for path in (root / "snapshots").iterdir()}
        taken = run("take-over", "--root", root)
        assert taken.returncode == 0, taken.stderr
        assert of_store(root / "metadata") == before
        assert not (root / "metadata.db").exists()

        driver.start()
        containerd.start()
        assert {path.name for path in (root / "snapshots").iterdir()} == directories
        listed = containerd.run(IMAGE, "second", "/tool", "list").split()
        assert "/etc/b" in listed
        assert "/etc/a" not in listed
        assert "another snapledger-snapshotter" in run("give-back", "--root", root).stderr
        containerd.stop()
        driver.stop()
        ours = of_store(root / "metadata")
        assert len(ours) == len(before) + 1
        given = run("give-back", "--root", root)
        assert given.returncode == 0, given.stderr
        assert of_database(root / "metadata.db", place) == ours

        overlayd.start()
        containerd.start()
        assert "/etc/b" in containerd.run(IMAGE, "third", "/tool", "list").split()
        for name in ("first", "second", "third"):
            containerd.ctr("containers", "rm", name)
        containerd.ctr("images", "rm", IMAGE)
        containerd.collect_garbage()
        assert list((root / "snapshots").iterdir()) == []
        containerd.stop()
        overlayd.stop()
        again = run("take-over", "--root", root)
        assert again.returncode == 0, again.stderr


def test_the_root_of_the_built_in_snapshotter_is_taken_over_with_containerds_metadata(
    place: Path, tool: bytes
) -> None:
    layers: list[Layer] = [{"tool": tool}, {"etc/a": b"a", "etc/b": b"b"}, {"etc/.wh.a": b""}]
    write_images(place / "image.tar", {IMAGE: layers})
    containerd = Containerd(place / "containerd", place / "s.sock")
    root = place / "containerd/root/io.containerd.snapshotter.v1.overlayfs"
    driver = Driver(root, place / "s.sock")
    with ended(containerd, driver):
        containerd.start()
        containerd.ctr("images", "import", "--snapshotter", "overlayfs", place / "image.tar")
        kept = ("run", "--snapshotter", "overlayfs", IMAGE, "kept")
        containerd.ctr(*kept, "/tool", "write", "/etc/kept", "1")
        rename = ("rename-snapshotter", "--database", containerd.database)
        names = ("--from", "overlayfs", "--to", NAME)
        assert "containerd has it open" in run(*rename, *names).stderr
        listed = containerd.ctr("snapshots", "--snapshotter", "overlayfs", "ls")
        containerd.stop()

        taken = run("take-over", "--root", root)
        assert taken.returncode == 0, taken.stderr
        renamed = run(*rename, *names)
        assert renamed.returncode == 0, renamed.stderr
        containerd.disable("io.containerd.snapshotter.v1.overlayfs")
        driver.start()
        containerd.start()
        driver.stop()
        driver.start()
        containerd.wait_for_driver()
        assert containerd.ctr("snapshots", "--snapshotter", NAME, "ls") == listed
        containerd.collect_garbage()
        assert containerd.ctr("snapshots", "--snapshotter", NAME, "ls") == listed
        assert f'"Snapshotter": "{NAME}"' in containerd.ctr("containers", "info", "kept")
        assert "/etc/b" in containerd.run(IMAGE, "new", "/tool", "list").split()
        for name in ("kept", "new"):
            containerd.ctr("containers", "rm", name)
        containerd.ctr("images", "rm", IMAGE)
        containerd.collect_garbage()
        assert containerd.ctr("snapshots", "--snapshotter", NAME, "ls").split() == [
            "KEY",
            "PARENT",
            "KIND",
        ]
        assert list((root / "snapshots").iterdir()) == []


def test_containerds_own_code_reads_and_changes_a_database_of_the_longest_keys(place: Path) -> None:
    with MetaStore.open(place / "store") as store:
        with store.transaction(writable=True) as tx:
            for number in range(60):
                for length in (1, 3_500, 30_000):
                    tx.create_snapshot(Kind.ACTIVE, f"{number}-".ljust(length, "k"))
        with store.transaction() as now:
            export_containerd(now, place / "exported.db")
    assert of_database(place / "exported.db", place) == of_store(place / "store")
