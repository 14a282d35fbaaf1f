"""Network file systems are told by the kernel's list of mounts, and refused unless allowed.

The list is a made-up one, in the form of the kernel's; the last test makes a real FUSE mount of a
network type, though one whose server has gone away.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

import pytest
from kernel.mounts import require_mounts
from support.engine import SMALL, add, balance, open_store, tree

from eventstore import StoreOptions, UnsupportedFileSystemError
from eventstore.files.local import LocalFileSystem
from eventstore.files.mounts import is_network_type, mount_type

if TYPE_CHECKING:
    from pathlib import Path

_LAZILY = 2

MOUNTINFO = r"""
22 28 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
31 28 0:27 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw,size=1612300k,mode=755
40 28 0:35 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2,addr=10.0.0.1
41 28 0:36 / /mnt/old rw,relatime - nfs server:/old rw,vers=3,local_lock=none
42 28 0:37 / /mnt/my\040share rw,relatime shared:22 master:3 - cifs //server/share rw,vers=3.1.1
43 28 0:38 / /mnt/host rw,relatime - 9p hostshare rw,access=client,trans=virtio
44 28 0:39 / /mnt/ssh rw,nosuid,nodev,relatime - fuse.sshfs user@host:/ rw,user_id=0
45 28 0:40 / /mnt/bucket rw,relatime - fuse.s3fs s3fs rw,user_id=0,group_id=0,allow_other
46 28 8:17 / /mnt/usb rw,relatime - fuseblk /dev/sdb1 rw,user_id=0,blksize=4096
47 28 0:41 / /var/lib/containers/x/merged rw,relatime - fuse.fuse-overlayfs fuse-overlayfs rw
48 28 0:42 / /mnt/what rw,relatime - fuse somebody rw,user_id=0
49 28 0:43 / /srv rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
50 40 8:33 / /home/local rw,relatime - xfs /dev/sdc1 rw,attr2
51 28 0:44 / /over rw,relatime - ext4 /dev/sdd1 rw
52 51 0:45 / /over rw,relatime - ceph 10.0.0.2:/ rw
53 28 0:46 / /mnt/vm rw,relatime - virtiofs share rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/", "ext4", False),
        ("/homeless/store", "ext4", False),
        ("/run/store", "tmpfs", False),
        ("/home", "nfs4", True),
        ("/home/me/store", "nfs4", True),
        ("/home/local/store", "xfs", False),
        ("/mnt/old/store", "nfs", True),
        ("/mnt/my share/store", "cifs", True),
        ("/mnt/host/a/b", "9p", True),
        ("/mnt/ssh/store", "fuse.sshfs", True),
        ("/mnt/bucket/store", "fuse.s3fs", True),
        ("/mnt/what/store", "fuse", True),
        ("/mnt/usb/store", "fuseblk", False),
        ("/var/lib/containers/x/merged/store", "fuse.fuse-overlayfs", False),
        ("/srv/store", "overlay", False),
        ("/over/store", "ceph", True),
        ("/mnt/vm/store", "virtiofs", True),
    ],
)
def test_the_mount_that_a_path_is_on_tells_its_type(path: str, kind: str, is_network: bool) -> None:
    assert mount_type(MOUNTINFO, path) == kind
    assert is_network_type(kind) == is_network


def test_a_list_without_the_path_tells_nothing() -> None:
    assert mount_type("", "/store") is None
    assert mount_type("not a line of mountinfo\n1 2 - x", "/store") is None


class _OnNfs(LocalFileSystem):
    def network_type(self, path: str) -> str | None:
        _ = path
        return "nfs4"


def test_a_network_file_system_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFileSystemError, match=r"nfs4.*allow_network_file_system"):
        open_store(tmp_path / "store", file_system=_OnNfs())
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_there_is_refused_and_not_touched_but_may_be_followed(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
    before = tree(tmp_path)
    with pytest.raises(UnsupportedFileSystemError, match="nfs4"):
        open_store(tmp_path / "store", file_system=_OnNfs())
    with open_store(tmp_path / "store", file_system=_OnNfs(), read_only=True) as store:
        assert balance(store) == 3
    assert tree(tmp_path) == before


def test_a_network_file_system_is_used_when_it_is_allowed(tmp_path: Path) -> None:
    options = StoreOptions(segment_bytes=SMALL.segment_bytes, allow_network_file_system=True)
    with open_store(tmp_path / "store", file_system=_OnNfs(), options=options) as store:
        add(store, 3)
        assert balance(store) == 3


def test_the_file_systems_of_this_machine_s_tests_are_local(tmp_path: Path) -> None:
    assert LocalFileSystem().network_type(str(tmp_path)) is None
    assert LocalFileSystem().network_type(str(tmp_path / "not" / "there")) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="FUSE mounts are Linux's")
def test_a_link_into_a_fuse_mount_of_a_network_type_is_told(tmp_path: Path) -> None:
    require_mounts()
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    point = tmp_path / "mounted"
    point.mkdir()
    (tmp_path / "link").symlink_to(point)
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
        arguments = (b"somebody@host:/", os.fsencode(point), b"fuse.sshfs", 0, options.encode())
        if libc.mount(*arguments) != 0:
            pytest.skip(f"FUSE can't be mounted here: {os.strerror(ctypes.get_errno())}")
    finally:
        # With its server gone, whatever reaches the file system fails at once and does not wait.
        os.close(server)
    try:
        assert LocalFileSystem().network_type(str(tmp_path / "link" / "store")) == "fuse.sshfs"
    finally:
        libc.umount2(os.fsencode(point), _LAZILY)
