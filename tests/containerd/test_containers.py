"""A real containerd imports images, runs containers and collects garbage on the driver."""

from __future__ import annotations

import secrets
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from containerd.daemons import NAME
from containerd.images import Layer, chain_id, write_images

from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from containerd.conftest import Node

pytestmark = pytest.mark.containerd

ONE, TWO = "docker.io/test/one:1", "docker.io/test/two:1"


def import_images(node: Node, place: Path, tool: bytes) -> list[Layer]:
    """Import two images that share two layers, of which the upper removes a file of the lower."""
    layers: list[Layer] = [
        {"tool": tool, "etc/a": b"a", "etc/b": b"b"},
        {"etc/.wh.a": b"", "etc/c": b"c"},
        {"etc/d": b"d"},
    ]
    archive = place / "images.tar"
    write_images(archive, {ONE: layers[:2], TWO: layers})
    node.containerd.ctr("images", "import", "--snapshotter", NAME, archive)
    return layers


def names(node: Node) -> set[str]:
    """Return what containerd's clients call its snapshots."""
    listed = node.containerd.ctr("snapshots", "--snapshotter", NAME, "ls").splitlines()[1:]
    return {line.split()[0] for line in listed if line.strip()}


def directories(node: Node) -> set[str]:
    """Return the ids that have a directory."""
    return {path.name for path in (node.driver.root / "snapshots").iterdir()}


def remove_all(node: Node) -> None:
    """Remove images and collect garbage."""
    node.containerd.ctr("images", "rm", ONE, TWO)
    node.containerd.collect_garbage()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_for_change(path: Path) -> None:
    """Wait until something else is written to a file."""
    before = path.read_text()
    wait_for(lambda: path.read_text() not in {"", before})


def kill_driver(node: Node) -> None:
    """Crash the driver and start it anew."""
    node.driver.kill()
    node.driver.start()
    node.containerd.wait_for_driver()


def stop_driver(node: Node) -> None:
    """Restart the driver."""
    node.driver.stop()
    node.driver.start()
    node.containerd.wait_for_driver()


def kill_containerd(node: Node) -> None:
    """Crash containerd and start it anew."""
    node.containerd.kill()
    node.containerd.start()


def test_images_share_layers_and_whiteouts_hide_files(node: Node, place: Path, tool: bytes) -> None:
    layers = import_images(node, place, tool)
    assert names(node) == {chain_id(layers[:1]), chain_id(layers[:2]), chain_id(layers)}
    assert len(directories(node)) == 3
    one = node.containerd.run(ONE, "c1", "/tool", "list").split()
    two = node.containerd.run(TWO, "c2", "/tool", "list").split()
    assert set(one) >= {"/tool", "/etc/b", "/etc/c"}
    assert not {"/etc/a", "/etc/d"} & set(one)
    assert set(two) == {*one, "/etc/d"}


def test_what_a_container_wrote_is_committed_and_run_again_and_collected(
    node: Node, place: Path, tool: bytes
) -> None:
    import_images(node, place, tool)
    snapshots = ("snapshots", "--snapshotter", NAME)
    node.containerd.run(ONE, "writer", "/tool", "write", "/etc/new", "kept")
    node.containerd.ctr(*snapshots, "commit", "written", "writer")
    node.containerd.ctr("containers", "rm", "writer")
    node.containerd.ctr(*snapshots, "prepare", "again", "written")
    target = place / "mnt"
    target.mkdir()
    mount = node.containerd.ctr(*snapshots, "mounts", target, "again").split()
    subprocess.run(mount, check=True)
    try:
        run = ("run", "--rm", "--rootfs", target, "reader", "/tool", "cat", "/etc/new")
        assert node.containerd.ctr(*run) == "kept\n"
    finally:
        subprocess.run(["umount", target], check=True)
    node.containerd.ctr(*snapshots, "rm", "again")
    node.containerd.ctr(*snapshots, "rm", "written")
    remove_all(node)
    assert names(node) == set()
    wait_for(lambda: directories(node) == set())


def test_either_side_restarts_under_a_running_container(
    node: Node, place: Path, tool: bytes
) -> None:
    import_images(node, place, tool)
    counting = f"counter-{secrets.token_hex(4)}"  # runc knows all containers of the machine
    node.containerd.ctr(
        "run", "--detach", "--snapshotter", NAME, ONE, counting, "/tool", "count", "/etc/n"
    )
    with MetaStore.open(node.driver.metadata, read_only=True) as store, store.transaction() as now:
        [(counter, _)] = [
            (now.get_info(info.name)[0], info) for info in now.walk_info(kind=Kind.ACTIVE)
        ]
    written = node.driver.root / "snapshots" / counter / "fs/etc/n"
    for restart in (kill_driver, stop_driver, kill_containerd):
        restart(node)
        wait_for(written.exists)
        wait_for_change(written)
        assert "/etc/c" in node.containerd.run(TWO, f"c{time.time_ns()}", "/tool", "list")
    node.containerd.ctr("tasks", "kill", "--signal", "SIGKILL", counting)
    wait_for(lambda: "STOPPED" in node.containerd.ctr("tasks", "ls"))
    assert node.containerd.ctr("tasks", "rm", counting) == ""
    assert written.read_text().isdecimal()


def test_the_audit_log_tells_the_story_and_the_past_shows_the_tree_before(
    node: Node, place: Path, tool: bytes
) -> None:
    layers = import_images(node, place, tool)
    node.containerd.run(ONE, "c1", "/tool", "write", "/etc/x", "y")
    node.containerd.ctr("containers", "rm", "c1")
    with MetaStore.open(node.driver.metadata, read_only=True) as store, store.transaction() as now:
        before = now.revision
        tree = {(info.name, info.parent) for info in now.walk_info()}
    remove_all(node)
    with MetaStore.open(node.driver.metadata, read_only=True) as store:
        batches = list(store.event_store.batches())
        with store.at(before) as past:
            assert {(info.name, info.parent) for info in past.walk_info()} == tree
        with store.transaction() as now:
            assert list(now.walk_info()) == []
        assert store.verify().problems == ()
    assert {batch.metadata.actor for batch in batches} == {"containerd/default"}
    told = [batch.metadata.reason or "" for batch in batches]
    top, below = chain_id(layers), chain_id(layers[:2])
    assert any(
        line.startswith("prepare extract-") and line.endswith(f"on {below}") for line in told
    )
    assert any(line.startswith("commit extract-") and line.endswith(f"as {top}") for line in told)
    assert f"prepare c1 on {below}" in told
    removals = [line for line in told if line.startswith("remove ")]
    assert f"remove {top}: containerd's garbage collection or clean-up" in removals
    assert told.index(removals[0]) > told.index(f"prepare c1 on {below}")
