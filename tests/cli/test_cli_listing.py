"""`ls` in other orders and columns, `tree` of a part, `du` by what there is."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.cli import OPTIONS, Call

from projections.snapshots import Kind, MetaStore, Usage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two chains: a < b < c (active) and x < y, with labels on some."""
    path = tmp_path_factory.mktemp("chains") / "store"
    with MetaStore.open(path, options=OPTIONS) as store, store.transaction(writable=True) as tx:
        for name, parent, size, labels in (
            ("b0", "", 10, {"image": "one", "tier": "base"}),
            ("b1", "b0", 20, {"image": "one"}),
            ("x", "", 10, {"image": "two"}),
            ("y", "x", 5, {}),
        ):
            tx.create_snapshot(Kind.ACTIVE, "work", parent, labels)
            tx.commit_active("work", name, Usage(1, size), labels)
        tx.create_snapshot(Kind.ACTIVE, "c", "b1")
    return path


def names(call: Call, store: Path, *options: str) -> list[str]:
    result = call("ls", store, *options, "--columns", "name")
    assert (result.code, result.err) == (0, "")
    title, *rows = result.out.splitlines()
    assert title == "NAME"
    return rows


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["b0", "b1", "c", "x", "y"]),
        (["--reverse"], ["y", "x", "c", "b1", "b0"]),
        (["--sort", "size"], ["c", "y", "b0", "x", "b1"]),
        (["--sort", "size", "--reverse"], ["b1", "b0", "x", "y", "c"]),
        (["--sort", "id", "-n", "2"], ["b0", "b1"]),
        (["--sort", "kind"], ["c", "b0", "b1", "x", "y"]),
        (["--limit", "0"], []),
        (["kind==committed", "--sort", "id", "--reverse", "-n", "1"], ["y"]),
    ],
)
def test_ls_lists_in_the_order_that_is_asked_for(
    options: list[str], expected: list[str], call: Call, chains: Path
) -> None:
    assert names(call, chains, *options) == expected
    records = json.loads(call("ls", chains, *options, "--json").out)["snapshots"]
    assert [record["name"] for record in records] == expected


@pytest.mark.parametrize("order", ["name", "id", "kind", "size", "created", "updated"])
@pytest.mark.parametrize("direction", [[], ["--reverse"]], ids=["upwards", "downwards"])
def test_ls_with_a_limit_lists_the_first_of_what_it_lists_without(
    order: str, direction: list[str], call: Call, chains: Path
) -> None:
    everything = names(call, chains, "--sort", order, *direction)
    for limit in range(7):
        expected = everything[:limit]
        assert names(call, chains, "--sort", order, *direction, "-n", str(limit)) == expected


@pytest.mark.parametrize("columns", ["", "size,", "labels.", "color"])
def test_ls_refuses_a_column_that_is_none(columns: str, call: Call, chains: Path) -> None:
    assert call("ls", chains, "--columns", columns).code == 2


def groups(call: Call, store: Path, *options: str) -> tuple[dict[str | None, int], dict[str, Any]]:
    document = json.loads(call("du", store, *options, "--json").out)
    return {each["group"]: each["size"] for each in document["groups"]}, document["total"]


TOTAL = {"snapshots": 5, "size": 45, "inodes": 4}


@pytest.mark.parametrize(
    ("grouping", "expected"),
    [
        ("kind", {"committed": 45, "active": 0}),
        ("labels.image", {"one": 30, "two": 10, None: 5}),
        ("label", {"image=one": 30, "tier=base": 10, "image=two": 10, None: 5}),
        ("chain", {"b0": 30, "x": 15}),
    ],
)
def test_du_sums_by_what_is_asked_for(
    grouping: str, expected: dict[str | None, int], call: Call, chains: Path
) -> None:
    assert groups(call, chains, "--by", grouping) == (expected, TOTAL)
    lines = call("du", chains, "--by", grouping).out.splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == [*map(str, expected.values()), "45"]


def test_du_counts_what_matches_a_filter(call: Call, chains: Path) -> None:
    sizes, total = groups(call, chains, "--by", "chain", "parent==x")
    assert (sizes, total["snapshots"]) == ({"x": 5}, 1)


@pytest.mark.parametrize(
    ("limit", "shown", "last", "left_out"),
    [
        ("0", 0, "total (4 groups left out)", 4),
        ("2", 2, "total (2 groups left out)", 2),
        ("3", 3, "total (1 group left out)", 1),
        ("4", 4, "total", 0),
        ("9", 4, "total", 0),
    ],
)
def test_du_shows_at_most_so_many_groups_and_the_total_of_all(
    limit: str, shown: int, last: str, left_out: int, call: Call, chains: Path
) -> None:
    everything = call("du", chains, "--by", "label").out.splitlines()
    lines = call("du", chains, "--by", "label", "-n", limit).out.splitlines()
    assert lines[:-1] == everything[: shown + 1]
    assert lines[-1] == f"45\t4\t5\t{last}"
    document = json.loads(call("du", chains, "--by", "label", "--limit", limit, "--json").out)
    assert (len(document["groups"]), document["groups_left_out"]) == (shown, left_out)
    assert document["total"] == TOTAL


@pytest.mark.parametrize("grouping", ["", "labels.", "parent"])
def test_du_refuses_a_grouping_that_is_none(grouping: str, call: Call, chains: Path) -> None:
    assert call("du", chains, "--by", grouping).code == 2


def test_du_by_chain_sums_chains_of_any_length_in_any_order_of_names(
    call: Call, tmp_path: Path
) -> None:
    chance = random.Random(7)
    names = [f"{number:02}" for number in range(60)]
    chance.shuffle(names)
    roots: dict[str, str] = {}
    sums: dict[str, dict[str, Any]] = {}
    with (
        MetaStore.open(tmp_path / "store", options=OPTIONS) as metastore,
        metastore.transaction(writable=True) as tx,
    ):
        for size, name in enumerate(names):
            # A chain of thirty, then others that begin anywhere.
            parents = (
                names[size - 1 : size] if size < 30 else chance.sample(names[size // 2 : size], 1)
            )
            parent = "" if size % 30 == 0 else parents[0]
            roots[name] = roots.get(parent, name)
            labels = {"odd": str(size % 2)}
            tx.create_snapshot(Kind.ACTIVE, "extract", parent)
            tx.commit_active("extract", name, Usage(1, size), labels)
            group = sums.setdefault(
                roots[name], {"group": roots[name], "snapshots": 0, "size": 0, "inodes": 0}
            )
            for field, value in (("snapshots", 1), ("size", size), ("inodes", 1)):
                group[field] += value
    expected = sorted(sums.values(), key=lambda group: -group["size"])
    assert len(expected) == 2
    document = json.loads(call("du", tmp_path / "store", "--by", "chain", "--json").out)
    assert document["groups"] == expected
    assert document["total"] == {"snapshots": 60, "size": 60 * 59 // 2, "inodes": 60}
    chosen = call("du", tmp_path / "store", "labels.odd~=/[1]/", "--by", "chain", "--json").out
    odd = {
        root: sum(n for n, name in enumerate(names) if n % 2 and roots[name] == root)
        for root in sums
    }
    assert {each["group"]: each["size"] for each in json.loads(chosen)["groups"]} == odd


def test_du_of_a_store_without_snapshots_is_a_total(call: Call, tmp_path: Path) -> None:
    MetaStore.open(tmp_path / "store", options=OPTIONS).close()
    assert call("du", tmp_path / "store").out.splitlines()[1:] == ["0\t0\t0\ttotal"]
    assert json.loads(call("du", tmp_path / "store", "--json").out)["groups"] == []
    assert json.loads(call("ls", tmp_path / "store", "--json").out)["snapshots"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [(0, "b0"), (1, "b1"), (2, "c"), (0, "x"), (1, "y")]),
        (["--depth", "0"], [(0, "b0"), (0, "x")]),
        (["b0", "--depth", "1"], [(0, "b0"), (1, "b1")]),
        (["b1"], [(0, "b1"), (1, "c")]),
        (["y"], [(0, "y")]),
    ],
)
def test_tree_shows_the_part_that_is_asked_for(
    arguments: list[str], expected: list[tuple[int, str]], call: Call, chains: Path
) -> None:
    document = json.loads(call("tree", chains, *arguments, "--json").out)
    assert [(each["depth"], each["name"]) for each in document["snapshots"]] == expected


@pytest.fixture(scope="module")
def bush(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store in which 12 of the snapshots below "top" have two below them, opened anew."""
    path = tmp_path_factory.mktemp("bush") / "store"
    parents = {"top": "", "other": ""}
    parents |= {f"twig-{number:02}": "top" for number in range(12)}
    parents |= {
        f"leaf-{number:02}-{side}": f"twig-{number:02}" for number in range(12) for side in "ab"
    }
    with MetaStore.open(path, options=OPTIONS) as store, store.transaction(writable=True) as tx:
        for name, parent in parents.items():
            tx.create_snapshot(Kind.ACTIVE, "work", parent)
            tx.commit_active("work", name, Usage())
    with MetaStore.open(path, options=OPTIONS) as store, store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.VIEW, "view", "twig-03")
    return path


@pytest.mark.parametrize("depth", [[], ["--depth", "0"], ["--depth", "1"], ["--depth", "2"]])
def test_tree_of_a_key_is_its_part_of_the_whole_tree(
    depth: list[str], call: Call, bush: Path
) -> None:
    whole = call("tree", bush, *depth).out.splitlines()
    assert whole[0].startswith("other")
    assert whole[1].startswith("top")
    assert call("tree", bush, "top", *depth).out.splitlines() == whole[1:]
    documents = [
        json.loads(call("tree", bush, *key, *depth, "--json").out)["snapshots"]
        for key in ((), ("top",))
    ]
    assert documents[1] == documents[0][1:]


def test_tree_of_a_key_is_deep_where_its_branches_are(call: Call, bush: Path) -> None:
    lines = call("tree", bush, "top").out.splitlines()
    assert len(lines) == 1 + 12 + 24 + 1
    assert [line.split("  (")[0] for line in lines[10:15]] == [
        "  twig-03",
        "    leaf-03-a",
        "    leaf-03-b",
        "    view",
        "  twig-04",
    ]


def test_tree_of_a_key_that_is_not_there_fails(call: Call, chains: Path) -> None:
    assert (call("tree", chains, "gone").code, call("tree", chains, "gone").out) == (1, "")
