"""The example driver keeps its rule: no metadata without its directory, whatever happens."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from examples import driver_work
from examples.driver_work import OPTIONS

from eventstore import NotAStoreError, StoreLockedError
from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    Kind,
    MetaStore,
    NotFoundError,
)
from tools.examples import driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.examples.driver import Root

TESTS = Path(__file__).parent.parent


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """Return a directory in memory where there is one: it outlives a killed process, too."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as directory:
        yield Path(directory)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with driver.open_root(tmp_path / "root", OPTIONS) as opened:
        yield opened


def assert_whole(root: Root) -> dict[str, str]:
    """Check that snapshots and directories are the same ones; return the names by id."""
    with root.store.transaction() as now:
        names = now.id_map()
    assert {path.name for path in root.snapshots.iterdir()} == set(names)
    return names


def make_layer(root: Root, name: str, parent: str = "") -> Path:
    directory = driver.prepare(root, f"key-{name}", parent, request_id=f"p-{name}")
    (directory / name).write_text(name)
    driver.commit(root, f"key-{name}", name, request_id=f"c-{name}")
    return directory


def test_child_begins_as_a_copy_of_its_parent_and_does_not_change_it(root: Root) -> None:
    base = make_layer(root, "base")
    (base / "link").symlink_to("nowhere")
    child = driver.prepare(root, "child", "base", request_id="r")
    assert sorted(path.name for path in child.iterdir()) == ["base", "link"]
    (child / "base").write_text("changed")
    assert (base / "base").read_text() == "base"
    assert_whole(root)


def test_committed_snapshot_has_the_usage_of_its_directory(root: Root) -> None:
    directory = driver.prepare(root, "key", request_id="r")
    (directory / "one").write_bytes(bytes(10_000))
    os.link(directory / "one", directory / "two")
    driver.commit(root, "key", "name", request_id="c")
    with root.store.transaction() as now:
        _, info, usage = now.get_info("name")
    assert info.kind is Kind.COMMITTED
    assert usage.inodes == 2
    assert 10_000 <= usage.size <= 10_000 + 2 * 4096


def test_repeated_calls_give_the_first_answer_and_change_nothing(root: Root) -> None:
    first = driver.prepare(root, "key", request_id="r1")
    (first / "file").write_text("kept")
    assert driver.prepare(root, "key", request_id="r1") == first
    assert (first / "file").read_text() == "kept"
    for _ in range(2):
        driver.commit(root, "key", "name", request_id="r2")
    for _ in range(2):
        driver.remove(root, "name", request_id="r3")
    assert len(list(root.store.watch(1, timeout=0))) == 3
    assert assert_whole(root) == {}


def test_call_that_is_repeated_after_the_commit_is_refused_and_leaves_nothing(root: Root) -> None:
    directory = driver.prepare(root, "key", request_id="r1")
    driver.commit(root, "key", "name", request_id="r2")
    with pytest.raises(AlreadyExistsError, match="'name'"):
        driver.prepare(root, "key", request_id="r1")
    driver.commit(root, "key", "name", request_id="r2")
    assert assert_whole(root) == {directory.name: "name"}
    assert len(list(root.store.watch(1, timeout=0))) == 2


def test_one_request_may_prepare_and_commit(root: Root) -> None:
    directory = driver.prepare(root, "key", request_id="r")
    for _ in range(2):
        driver.commit(root, "key", "name", request_id="r")
    assert assert_whole(root) == {directory.name: "name"}
    with pytest.raises(AlreadyExistsError):
        driver.prepare(root, "other", request_id="r")


@pytest.mark.parametrize(
    ("key", "parent", "kind"),
    [("other", "", Kind.ACTIVE), ("key", "base", Kind.ACTIVE), ("key", "", Kind.VIEW)],
)
def test_request_that_asks_for_something_else_when_repeated_is_refused(
    key: str, parent: str, kind: Kind, root: Root
) -> None:
    make_layer(root, "base")
    driver.prepare(root, "key", request_id="r1")
    with pytest.raises(AlreadyExistsError, match="r1"):
        driver.prepare(root, key, parent, request_id="r1", kind=kind)
    assert sorted(assert_whole(root).values()) == ["base", "key"]


def test_commit_that_asks_for_another_name_when_repeated_is_refused(root: Root) -> None:
    driver.prepare(root, "key", request_id="r1")
    driver.commit(root, "key", "name", request_id="r2")
    driver.prepare(root, "key", request_id="r3")
    with pytest.raises(AlreadyExistsError, match="r2"):
        driver.commit(root, "key", "other", request_id="r2")
    with pytest.raises(AlreadyExistsError):
        driver.commit(root, "key", "key", request_id="r3")
    assert sorted(assert_whole(root).values()) == ["key", "name"]


def test_commit_keeps_the_labels_of_the_snapshot(root: Root) -> None:
    driver.prepare(root, "key", request_id="r1")
    with root.store.transaction(writable=True) as transaction:
        transaction.update_info("key", {"owner": "web"}, "labels.owner")
    driver.commit(root, "key", "name", request_id="r2")
    with root.store.transaction() as now:
        _, info, _ = now.get_info("name")
    assert info.labels["owner"] == "web"


def test_key_of_another_request_is_taken(root: Root) -> None:
    driver.prepare(root, "key", request_id="r1")
    with pytest.raises(AlreadyExistsError):
        driver.prepare(root, "key", request_id="r2")
    driver.commit(root, "key", "name", request_id="r3")
    driver.prepare(root, "key", request_id="r4")
    with pytest.raises(AlreadyExistsError):
        driver.commit(root, "key", "name", request_id="r5")
    assert len(assert_whole(root)) == 2


def test_refused_calls_leave_no_directory(root: Root) -> None:
    make_layer(root, "base")
    driver.prepare(root, "child", "base", request_id="r1")
    with pytest.raises(NotFoundError):
        driver.prepare(root, "other", "absent", request_id="r2")
    with pytest.raises(NotFoundError):
        driver.commit(root, "absent", "name", request_id="r3")
    with pytest.raises(FailedPreconditionError):
        driver.remove(root, "base", request_id="r4")
    assert len(assert_whole(root)) == 2


@pytest.mark.parametrize("is_replaced", [False, True])
def test_parent_that_is_removed_while_it_is_copied_is_no_parent(
    is_replaced: bool, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_layer(root, "base")
    copy_tree = driver.copy_tree

    def remove_and_copy(source: Path, target: Path) -> None:
        monkeypatch.undo()
        driver.remove(root, "base", request_id="r1")
        if is_replaced:
            make_layer(root, "base")
            source = root.snapshots / "2"
        copy_tree(source, target)

    monkeypatch.setattr(driver, "copy_tree", remove_and_copy)
    with pytest.raises(FailedPreconditionError if is_replaced else NotFoundError):
        driver.prepare(root, "child", "base", request_id="r2")
    assert len(assert_whole(root)) == is_replaced


def test_transaction_that_fails_after_its_rename_leaves_its_id_to_the_next(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_file = driver.sync_file

    def fail(path: Path) -> None:
        if path == root.snapshots:
            raise OSError("no sync")
        sync_file(path)

    monkeypatch.setattr(driver, "sync_file", fail)
    with pytest.raises(OSError, match="no sync"):
        driver.prepare(root, "key", request_id="r1")
    [stray] = root.snapshots.iterdir()
    (stray / "file").write_text("stray")
    monkeypatch.undo()
    assert driver.prepare(root, "key", request_id="r2") == stray
    assert list(stray.iterdir()) == []
    assert_whole(root)


def test_directory_goes_only_after_everybody_sees_that_the_snapshot_has_gone(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_layer(root, "base")
    seen = []

    def look(path: Path) -> None:
        with root.store.transaction() as now:
            seen.append((path, now.id_map()))

    monkeypatch.setattr(driver, "remove_tree", look)
    driver.remove(root, "base", request_id="r")
    assert seen == [(directory, {})]


def test_open_removes_directories_without_metadata(tmp_path: Path) -> None:
    with driver.open_root(tmp_path, OPTIONS) as root:
        make_layer(root, "base")
        (root.snapshots / "new-abc").mkdir()
        (root.snapshots / "7" / "etc").mkdir(parents=True)
    with driver.open_root(tmp_path, OPTIONS) as root:
        assert root.strays == ("7", "new-abc")
        assert list(assert_whole(root).values()) == ["base"]


def test_open_reports_metadata_without_directories_and_forgets_nothing(tmp_path: Path) -> None:
    with driver.open_root(tmp_path, OPTIONS) as root:
        shutil.rmtree(make_layer(root, "base"))
    with driver.open_root(tmp_path, OPTIONS) as root:
        assert root.missing == ("base",)
        with pytest.raises(subprocess.CalledProcessError):
            driver.prepare(root, "child", "base", request_id="r")
        driver.remove(root, "base", request_id="r2")
        assert assert_whole(root) == {}


def test_snapshots_without_a_store_are_refused_and_kept(tmp_path: Path) -> None:
    with driver.open_root(tmp_path, OPTIONS) as root:
        directory = make_layer(root, "base")
    shutil.rmtree(tmp_path / "metadata")
    with pytest.raises(NotAStoreError), driver.open_root(tmp_path, OPTIONS):
        pass
    assert (directory / "base").read_text() == "base"


def test_second_driver_of_a_root_is_refused_before_it_removes_anything(root: Root) -> None:
    (root.snapshots / "new-abc").mkdir()
    with pytest.raises(StoreLockedError), driver.open_root(root.snapshots.parent, OPTIONS):
        pass
    assert (root.snapshots / "new-abc").is_dir()


def test_threads_that_repeat_one_call_get_one_snapshot(root: Root) -> None:
    make_layer(root, "base")
    barrier = threading.Barrier(4)

    def call(_: int) -> Path:
        barrier.wait()
        return driver.prepare(root, "key", "base", request_id="r")

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(call, range(4)))) == 1
    assert len(assert_whole(root)) == 2


def run_work(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.driver_work", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_at_any_line_the_driver_goes_on_when_the_calls_are_repeated(
    fast_path: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    step = 1 if deep else 7
    with run_work("kill", fast_path, random.randrange(1, step + 1), step) as done:
        assert done.wait(600) == 0
    kills = 0
    for answers in fast_path.glob("*.answers"):
        answered = len(answers.read_text().splitlines())
        path = answers.with_suffix("")
        with driver.open_root(path, OPTIONS) as root:
            assert root.missing == ()
            assert_whole(root)
        driver_work.work(path, answered, lambda _: None)
        with driver.open_root(path, OPTIONS) as root:
            assert root.strays == ()
            assert sorted(assert_whole(root).values()) == ["layer-1", "layer-2"]
            with root.store.transaction() as now:
                names = {name: key for key, name in now.id_map().items()}
            layer = root.snapshots / names["layer-2"] / "etc"
            assert {file.name: file.read_text() for file in layer.iterdir()} == {
                "base": "base",
                "top": "top",
            }
        kills += 1
    assert kills > 100 / step
    record_proof("example driver killed at a line", kills=kills)


def test_killed_driver_with_threads_leaks_no_directory_and_loses_no_snapshot(
    fast_path: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    rounds = 200 if deep else 3
    for number in range(rounds):
        path = fast_path / str(number)
        with run_work("churn", path) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(random.randrange(1, 60))]
            os.kill(process.pid, signal.SIGKILL)
            said += process.stdout.readlines()
        words = [line.split() for line in said]
        removed = {name for verb, name, *_ in words if verb == "removing"}
        with driver.open_root(path, OPTIONS) as root:
            assert root.missing == ()
            names = {name: key for key, name in assert_whole(root).items()}
            for verb, name, *parents in words:
                if verb == "committed" and name not in removed:
                    directory = root.snapshots / names[name]
                    assert {file.name for file in directory.iterdir()} >= {name, *parents}
                    assert (directory / name).read_text() == name
            root.store.check()
    record_proof("example driver killed", kills=rounds)


def test_program_makes_one_call_at_a_time_and_says_what_is_wrong(tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tools.examples.driver", str(tmp_path / "root"), *arguments],
            cwd=TESTS.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    assert call("prepare", "key").stdout == f"{tmp_path}/root/snapshots/1\n"
    assert call("commit", "key", "name").returncode == 0
    assert call("prepare", "top", "name").returncode == 0
    refused = call("remove", "name")
    assert refused.returncode == 1
    assert refused.stderr.startswith("driver: snapshot 'name' has children")
    assert call("commit", "key").returncode == 2
    with MetaStore.open(tmp_path / "root" / "metadata", read_only=True) as store:
        assert [entry.metadata.reason for entry in store.history("key")] == [
            "prepare key",
            "commit key",
        ]
