"""Leftovers: what Cleanup and a start remove, what they leave, and what they say of it."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from projections.snapshots import FailedPreconditionError, Kind
from snapledger.snapshotter.directories import Directories
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.serving import opened
from snapledger.snapshotter.takeover import give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from snapshotter.conftest import Served

LATER = Options(remove_asynchronously=True)
FOREIGN = ("4242", "20261129", "007", "٣", "0", "99999999999999999999999", "backup")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def told(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    """Return the names of the directories that the log tells of, and forget them."""
    found = [vars(each)["name_on_disk"] for each in caplog.records if each.levelname == level]
    caplog.clear()
    return found


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "snapshots").iterdir()}


@pytest.mark.parametrize("options", [LATER], indirect=True)
def test_cleanup_removes_the_removed_and_leaves_numbers_that_were_never_given(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for name in FOREIGN:
        (served.root / "snapshots" / name / "precious").mkdir(parents=True)
    served.client.prepare("a")
    served.client.prepare("b")
    served.client.remove("a")
    with caplog.at_level("INFO", "snapledger.snapshotter.leftovers"):
        served.client.cleanup()
        [removal] = [vars(each)["why"] for each in caplog.records if each.levelname == "INFO"]
        assert removal.startswith("a was removed at revision 3 by client")
        assert sorted(told(caplog, "WARNING")) == sorted(FOREIGN)
        served.client.cleanup()
        assert told(caplog, "WARNING") == [], "each is told once"
    assert served.directories() == {"2", *FOREIGN}
    for name in FOREIGN:
        assert (served.root / "snapshots" / name / "precious").is_dir()


def test_a_number_that_something_has_already_is_given_to_no_snapshot(served: Served) -> None:
    snapshots = served.root / "snapshots"
    (snapshots / "1/precious").mkdir(parents=True)
    (snapshots / "2").mkdir()
    (snapshots / "3").write_text("a file")
    [mount] = served.client.prepare("a")
    assert mount.source == f"{snapshots}/4/fs"
    served.client.cleanup()
    served.client.remove("a")
    assert served.directories() == {"1", "2", "3"}
    assert os.listdir(snapshots / "1") == ["precious"]
    assert os.listdir(snapshots / "2") == []


@contextmanager
def immutable(directory: Path) -> Iterator[None]:
    """Put a file there that not even root may remove."""
    (directory / "f").write_text("x")
    done = subprocess.run(["chattr", "+i", directory / "f"], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip("the file system has no immutable files")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", directory / "f"], check=True)


@contextmanager
def mounted(directory: Path) -> Iterator[None]:
    """Mount something there."""
    (directory / "m").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", directory / "m"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory / "m"], check=True)


@needs_root
@pytest.mark.parametrize("strategy", ["overlay", "native"])
@pytest.mark.parametrize("options", [Options(), LATER], ids=["at once", "later"])
def test_what_is_mounted_inside_a_directory_is_not_emptied_when_that_is_removed(
    place: Path, strategy: str, options: Options
) -> None:
    root, precious = place / "root", place / "elsewhere"
    (precious / "sub").mkdir(parents=True)
    (precious / "sub/file").write_text("precious")
    with opened(str(root), strategy, options) as (snapshotter, _):
        [mount] = snapshotter.create(Kind.ACTIVE, "a", "", {})
        inside = Path(mount.source) / "mnt/a b"
        inside.mkdir(parents=True)
        subprocess.run(["mount", "--bind", precious, inside], check=True)
        try:
            snapshotter.remove("a")
            snapshotter.cleanup()
            with opened(str(place / "other"), strategy, options):
                pass  # elsewhere nothing is in the way
            assert len(names(root)) == 1
        finally:
            left = names(root).pop()
            inside = root / "snapshots" / left / inside.relative_to(root / "snapshots/1")
            subprocess.run(["umount", inside], check=True)
        assert (precious / "sub/file").read_text() == "precious"
        snapshotter.cleanup()
        assert names(root) == set()


@needs_root
@pytest.mark.parametrize("hold", [immutable, mounted])
def test_what_cant_be_removed_is_told_and_keeps_nobody_from_starting(
    place: Path,
    hold: Callable[[Path], AbstractContextManager[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = place / "root"
    with opened(str(root), "overlay", LATER) as (snapshotter, _):
        for key in ("a", "b", "c"):
            snapshotter.create(Kind.ACTIVE, key, "", {})
        snapshotter.remove("a")
        snapshotter.remove("b")
    with hold(root / "snapshots/1/fs"):
        with opened(str(root), "overlay", LATER) as (snapshotter, settled):
            assert (settled.removed, settled.stuck) == (("2",), ("1",))
            [record] = [each for each in caplog.records if each.levelname == "WARNING"]
            assert vars(record)["path"] == f"{root}/snapshots/1"
            assert "Errno" in vars(record)["error"]
            assert "next Cleanup or start" in vars(record)["advice"]
            snapshotter.cleanup()
            assert names(root) == {"1", "3"}
        give_back(str(root))
        assert (root / "metadata.db").exists()
        os.rename(root / "metadata.db", root / "old")
        [kept] = root.glob("metadata.given-back-*")
        os.rename(kept, root / "metadata")
    with opened(str(root), "overlay", LATER) as (snapshotter, settled):
        assert settled.removed == ("1",)
    assert names(root) == {"3"}


def test_cleanup_tries_again_what_the_start_could_not_remove(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place / "root"
    with opened(str(root), "overlay", LATER) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        snapshotter.remove("a")
    (root / "snapshots/new-1").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(Directories, "_remove_tree", refuse(errno.EBUSY))
        driver = opened(str(root), "overlay", LATER)
        snapshotter, settled = driver.__enter__()
    assert (set(settled.stuck), settled.removed) == ({"1", "new-1"}, ())
    snapshotter.cleanup()
    assert names(root) == set()
    driver.__exit__(None, None, None)


def refuse(number: int) -> Callable[..., None]:
    """Return what fails with an error of the system."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/what/it/was")

    return fail


@pytest.mark.parametrize("number", [errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTEMPTY])
def test_a_stage_that_cant_get_its_name_is_kept_and_its_snapshot_told_as_missing(
    place: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = place / "root"
    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        [created] = snapshotter.store.history("a")
    stage = str(created.metadata.request_id)
    os.rename(root / "snapshots/1", root / "snapshots" / stage)
    with monkeypatch.context() as patched:
        patched.setattr(Directories, "_rename", refuse(number))
        with opened(str(root), "overlay", Options()) as (snapshotter, settled):
            assert (settled.missing, settled.unnamed) == (("1",), (stage,))
            snapshotter.cleanup()
        errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert errors == [
            "a prepared directory can't get its name: the next start tries again",
            "a snapshot has no directory",
        ]
        with pytest.raises(FailedPreconditionError, match=f"{stage} can't get"):
            give_back(str(root))
    assert names(root) == {stage}
    with opened(str(root), "overlay", Options()) as (_, settled):
        assert settled.renamed == ("1",)
