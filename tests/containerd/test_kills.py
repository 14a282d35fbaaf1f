"""The driver is killed in the middle of imports, again and again."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest
from containerd.daemons import NAME
from containerd.images import Layer, chain_id, write_images

from projections.snapshots import MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from containerd.conftest import Node

pytestmark = pytest.mark.containerd

_LAYERS = 6
_KILL_WITHIN_SECONDS = 0.2


def image_of(number: int, place: Path) -> tuple[str, list[Layer], Path]:
    """Write an archive with an image that shares its lowest layer with the others."""
    name = f"docker.io/test/round:{number}"
    layers: list[Layer] = [{"shared": b"shared"}]
    layers += [{f"etc/{number}-{n}": b"x" * 5000} for n in range(1, _LAYERS)]
    archive = place / "image.tar"
    write_images(archive, {name: layers})
    return name, layers, archive


def live(node: Node) -> dict[str, str]:
    """Return the names of snapshots by their ids, as the metadata says."""
    with MetaStore.open(node.driver.metadata, read_only=True) as store, store.transaction() as now:
        return now.id_map()


def on_disk(node: Node) -> set[str]:
    """Return the names of the directories of snapshots."""
    return {path.name for path in (node.driver.root / "snapshots").iterdir()}


def test_killed_in_the_middle_of_imports_nothing_is_lost_and_nothing_leaks(
    node: Node, place: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    rounds = 120 if deep else 15
    chance = random.Random(20)
    interrupted = 0
    for number in range(rounds):
        name, layers, archive = image_of(number, place)
        arguments = ("images", "import", "--snapshotter", NAME, archive)
        codes: list[int] = []
        importing = threading.Thread(
            target=lambda args=arguments, codes=codes: codes.append(
                node.containerd.try_ctr(*args).returncode
            )
        )
        importing.start()
        time.sleep(chance.uniform(0.0, _KILL_WITHIN_SECONDS))
        node.driver.kill()
        importing.join()
        interrupted += codes[0] != 0
        node.driver.start()
        assert live(node).keys() <= on_disk(node)
        while codes[-1] != 0:
            codes.append(node.containerd.try_ctr(*arguments).returncode)
            assert len(codes) < 100, node.containerd.log()[-4000:]
            time.sleep(0.1)
        node.containerd.wait_for_driver()
        top = node.containerd.ctr("snapshots", "--snapshotter", NAME, "info", chain_id(layers))
        assert "Committed" in top
        if number % 5 == 4:
            node.containerd.ctr("images", "rm", name)
    assert node.driver.log().count("a snapshot has no directory") == 0
    assert interrupted > rounds // 4
    node.containerd.wait_for_driver()
    for image in node.containerd.ctr("images", "ls", "--quiet").split():
        node.containerd.ctr("images", "rm", image)
    node.containerd.collect_garbage()
    assert live(node) == {}
    assert on_disk(node) == set()
    record_proof(
        "kills of the containerd driver during imports", kills=rounds, interrupted=interrupted
    )
