"""Which file systems are local, told from the kernel's list of mounts.

On a network file system a lock may hold on one machine only, a mapped file may show different
bytes on two, and a sync may end at a server's cache: what the store promises can't be kept there.
A file system in user space (FUSE) is local only if it is known to be, since it may be anything.
"""

from __future__ import annotations

import re

# fmt: off
_NETWORK_TYPES = frozenset((
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf",
    "virtiofs",
))
_LOCAL_FUSE_TYPES = frozenset((
    "fuse.bindfs", "fuse.cryfs", "fuse.encfs", "fuse.exfat", "fuse.ext2", "fuse.fuse-ext2",
    "fuse.fuse-overlayfs", "fuse.fuse2fs", "fuse.gocryptfs", "fuse.lowntfs-3g", "fuse.mergerfs",
    "fuse.ntfs", "fuse.ntfs-3g", "fuse.securefs", "fuse.zfs", "fuseblk",
))
# fmt: on

_ESCAPED = re.compile(r"\\([0-7]{3})")


def mount_type(mountinfo: str, path: str) -> str | None:
    """Return the type of the file system that a path is on; None if it is not in the list.

    Args:
        mountinfo: as in /proc/self/mountinfo (proc(5)).
        path: absolute, with no links in it.
    """
    best, found = "", None
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])
        # Of two mounts on one place, the later one is seen.
        if len(point) >= len(best) and _is_below(path, point):
            best, found = point, right.split(" ")[0]
    return found


def is_network_type(kind: str) -> bool:
    """Say whether a type of file system, as the kernel calls it, is not known to be local."""
    if kind.startswith("fuse"):
        return kind not in _LOCAL_FUSE_TYPES
    return kind in _NETWORK_TYPES


def _is_below(path: str, point: str) -> bool:
    return point in ("/", path) or path.startswith(point + "/")
