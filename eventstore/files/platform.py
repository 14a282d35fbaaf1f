"""What differs between operating systems, and what is asked of the whole process.

A sync reaches stable storage: fdatasync on Linux, F_FULLFSYNC on macOS.
"""

from __future__ import annotations

import fcntl
import os
import sys
import weakref
from types import MethodType
from typing import TYPE_CHECKING

from eventstore.errors import UnsupportedPlatformError
from eventstore.files.mounts import is_network_type, mount_type

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What is registered with os.register_at_fork stays for ever, so that is done once. No more than the
# function of each method, which does not keep the object.
_in_forked_child: weakref.WeakKeyDictionary[object, list[Callable[[Any], None]]] = (
    weakref.WeakKeyDictionary()
)


def _call_in_forked_child() -> None:
    for owner, functions in list(_in_forked_child.items()):
        for function in functions:
            function(owner)


os.register_at_fork(after_in_child=_call_in_forked_child)


def run_in_forked_child(method: Callable[[], None]) -> None:
    """Have a method run in every child that this process forks, while its object is there."""
    if not isinstance(method, MethodType):
        raise TypeError("what is to run in a forked child must be a method of an object")
    _in_forked_child.setdefault(method.__self__, []).append(method.__func__)


def machine() -> str:
    """Return the name of the processor's kind; the module `platform` takes longer to import."""
    return os.uname().machine


def require_known_platform() -> None:
    """Raise `UnsupportedPlatformError` where no sync is known to reach stable storage."""
    if not (sys.platform.startswith("linux") or sys.platform == "darwin"):
        raise UnsupportedPlatformError(
            f"no durable sync is known for {sys.platform}: use Linux or macOS"
        )


if sys.platform == "darwin":  # pragma: no cover
    import ctypes
    import platform
    import struct

    _MNT_LOCAL = 0x1000

    def sync_descriptor(descriptor: int) -> None:
        """Return once content and length of a file are on stable storage."""
        # fsync on macOS stops at the drive's cache (Apple's fsync(2) says so).
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)

    def network_type(path: str) -> str | None:
        """Return the type of the network file system that a path is on; None for a local one."""
        # struct statfs of sys/mount.h, with 64-bit inodes: f_flags at 64, f_fstypename at 72.
        libc = ctypes.CDLL(None)
        statfs = libc.statfs if platform.machine() == "arm64" else libc["statfs$INODE64"]
        while not os.path.exists(path):
            path = os.path.dirname(path)
        block = ctypes.create_string_buffer(4096)
        if statfs(os.fsencode(path), block) != 0:
            return None
        is_local = struct.unpack_from("=I", block, 64)[0] & _MNT_LOCAL
        return None if is_local else block.raw[72:88].rstrip(b"\0").decode()

else:

    def sync_descriptor(descriptor: int) -> None:
        """Return once content and length of a file are on stable storage."""
        os.fdatasync(descriptor)

    def network_type(path: str) -> str | None:
        """Return the type of the network file system that a path is on; None for a local one."""
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                kind = mount_type(file.read(), path)
        except FileNotFoundError:
            return None  # no /proc, as in a bare chroot: nothing is known
        return kind if kind is not None and is_network_type(kind) else None
