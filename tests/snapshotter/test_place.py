"""One driver serves a root and a socket, and only in safe places."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.place import PlaceError, checked_root, checked_socket, clear_socket
from snapledger.snapshotter.program import group
from snapledger.snapshotter.serving import bound, opened

if TYPE_CHECKING:
    from pathlib import Path

    from snapshotter.conftest import Served

ADVICE = "give --root a directory on a local file system"
IN_PROC = os.strerror(errno.EACCES if os.geteuid() else errno.ENOENT)


def test_a_second_driver_is_refused_the_root_and_the_socket(served: Served, place: Path) -> None:
    with pytest.raises(PlaceError, match="another snapledger-snapshotter"):
        opened(str(served.root), "overlay", Options()).__enter__()
    with pytest.raises(PlaceError, match="another snapledger-snapshotter"):
        bound(str(place / "s")).__enter__()
    assert served.client.list() == []


def test_a_driver_that_is_refused_the_root_takes_its_socket_along(
    served: Served, place: Path
) -> None:
    with (
        pytest.raises(PlaceError, match="another snapledger-snapshotter"),
        bound(str(place / "s2")),
        opened(str(served.root), "overlay", Options()),
    ):
        pass
    assert not os.path.lexists(place / "s2")
    assert served.client.list() == []


def test_a_driver_leaves_the_socket_that_another_one_has_put_in_the_place_of_its_own(
    place: Path,
) -> None:
    address = str(place / "s")
    with socket.socket(socket.AF_UNIX) as other:
        with bound(address) as server:
            assert server.is_reachable()
            os.unlink(address)
            assert not server.is_reachable()
            other.bind(address)
            assert not server.is_reachable()
        assert os.path.lexists(address)


def test_the_socket_is_the_owners(served: Served, place: Path) -> None:
    mode = os.stat(place / "s").st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_socket_that_another_program_listens_on_is_left_alone(place: Path) -> None:
    address = str(place / "other")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(address)
        other.listen()
        with pytest.raises(PlaceError, match="another process listens"):
            clear_socket(address)
    clear_socket(address)
    assert not os.path.lexists(address)


def test_what_is_no_socket_is_not_removed(place: Path) -> None:
    (place / "file").write_text("x")
    with pytest.raises(PlaceError, match="no socket"):
        clear_socket(str(place / "file"))


def test_unsafe_places_are_refused(place: Path) -> None:
    with pytest.raises(PlaceError, match="107 bytes"):
        checked_socket(str(place / ("x" * 100)))
    with pytest.raises(PlaceError, match="no such directory"):
        checked_socket(str(place / "none/s"))
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    with pytest.raises(PlaceError, match="others may write"):
        checked_socket(str(place / "open/s"))
    with pytest.raises(PlaceError, match="others may write"):
        checked_root(str(place / "open"))
    for name in ("a,b", "a:b", "a\\b"):
        with pytest.raises(PlaceError, match="can't be mounted"):
            checked_root(str(place / name))


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("{place}/file", f"it is no directory: {ADVICE}"),
        ("{place}/dangling", f"it is no directory: {ADVICE}"),
        ("{place}/file/root", f"it can't be made: Not a directory: {ADVICE}"),
        ("/proc/snapledger", f"it can't be made: {IN_PROC}: {ADVICE}"),
        (
            "/proc",
            f"its lock file /proc/snapshotter.lock can't be opened: {IN_PROC}: "
            "choose a directory on a local file system that you may write to",
        ),
    ],
)
def test_a_root_that_cant_be_one_is_refused_in_a_line_that_says_what_to_do(
    place: Path, root: str, said: str
) -> None:
    (place / "file").write_text("x")
    (place / "dangling").symlink_to("none")
    path = root.format(place=place)
    command = [sys.executable, "-m", "snapledger.snapshotter", "serve", "--root", path]
    done = subprocess.run(
        [*command, "--socket", str(place / "s")], check=False, capture_output=True, text=True
    )
    assert done.stderr == f"snapledger-snapshotter: {path}: {said}\n"
    assert done.returncode == 1
    assert (place / "file").read_text() == "x"


@pytest.mark.parametrize("command", ["take-over", "give-back"])
@pytest.mark.parametrize("root", ["none", "none/deep/down", "empty", "file", "dangling"])
def test_nothing_is_made_where_there_is_no_root_to_take_over_or_give_back(
    command: str, root: str, place: Path
) -> None:
    (place / "empty").mkdir()
    (place / "file").write_text("x")
    (place / "dangling").symlink_to("none")
    before = {*place.rglob("*")}
    done = CliRunner().invoke(group, [command, "--root", str(place / root)])
    assert isinstance(done.exception, PlaceError)
    assert f"{place / root}: " in str(done.exception)
    assert "metadata.db" in str(done.exception)
    assert {*place.rglob("*")} == before


def test_a_root_of_containerds_own_snapshotter_is_refused(place: Path) -> None:
    (place / "root").mkdir()
    (place / "root/metadata.db").write_bytes(b"")
    with pytest.raises(PlaceError, match="take-over"):
        opened(str(place / "root"), "overlay", Options()).__enter__()
    assert os.listdir(place / "root") == ["snapshotter.lock", "metadata.db"] or set(
        os.listdir(place / "root")
    ) == {"snapshotter.lock", "metadata.db"}
