"""Real file systems on loop devices and in memory, and the cut of their power.

The cut is the shutdown ioctl of ext4 and xfs without flushing the log: from that moment the file
system gives nothing more to its device. What was written but not synced, and names whose directory
was not synced, are gone after the next mount, unless the kernel had written them by itself.

Mounts are made in a mount namespace of the tests' own, so that none is left behind, even when the
tests are killed. Images are unmounted and removed all the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHUTDOWN_REQUEST = 0x8004587D  # FS_IOC_SHUTDOWN, which xfs calls XFS_IOC_GOINGDOWN
_SHUTDOWN_WITHOUT_LOG_FLUSH = struct.pack("I", 2)
_IMAGE_BYTES = {"ext4": 64 << 20, "xfs": 320 << 20}  # sparse; mkfs.xfs takes no less than 300 MB
_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
_CLONE_NEWNS = 0x00020000
_UNMOUNT_ATTEMPTS = 100


def require_mounts(*tools: str) -> None:
    """Skip the test unless this process may mount, and has the tools."""
    if not sys.platform.startswith("linux"):
        pytest.skip("loop mounts and their power cut are those of Linux")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    for tool in ("mount", "umount", *tools):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if (refusal := _enter_own_namespace()) is not None:
        pytest.skip(f"this root may not make a mount namespace: {refusal}")


class LoopImage:
    """A file system in a file."""

    def __init__(self, directory: Path, kind: str, size_bytes: int | None = None) -> None:
        """Make it and mount it; skip the test where the kernel refuses such mounts."""
        require_mounts(_MAKE[kind][0])
        self.mount_point = directory / "mounted"
        self.mount_point.mkdir()
        self._image = directory / "image"
        self._kind = kind
        with self._image.open("wb") as file:
            file.truncate(size_bytes or _IMAGE_BYTES[kind])
        _run(*_MAKE[kind], str(self._image))
        if (refusal := _loop_refusal(kind)) is not None:
            pytest.skip(f"this machine mounts no {kind} image: {refusal}")
        self._is_mounted = False
        self.mount()

    def mount(self, option: str = "rw") -> None:
        """Mount it; the kernel replays the journal."""
        options = ["-t", self._kind, "-o", f"loop,{option}"]
        _run("mount", *options, str(self._image), str(self.mount_point))
        self._is_mounted = True

    def unmount(self) -> None:
        """Unmount it; whoever had files open there must have ended."""
        if self._is_mounted:
            _unmount(self.mount_point)
            self._is_mounted = False

    def cut_power(self) -> int:
        """Let nothing more reach the device; return a time just before."""
        descriptor = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            cut_ns = time.monotonic_ns()
            fcntl.ioctl(descriptor, _SHUTDOWN_REQUEST, _SHUTDOWN_WITHOUT_LOG_FLUSH)
        finally:
            os.close(descriptor)
        return cut_ns

    def remove(self) -> None:
        """Leave nothing behind, mounted or not."""
        self.unmount()
        self._image.unlink()
        self.mount_point.rmdir()


@contextlib.contextmanager
def loop_image(directory: Path, kind: str, size_bytes: int | None = None) -> Iterator[LoopImage]:
    image = LoopImage(directory, kind, size_bytes)
    try:
        yield image
    finally:
        image.remove()


@contextlib.contextmanager
def memory_file_system(directory: Path, size_bytes: int) -> Iterator[Path]:
    """A tmpfs of a size."""
    require_mounts()
    mount_point = directory / "memory"
    mount_point.mkdir()
    mounted = _try_run(
        "mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(mount_point)
    )
    if mounted is not None:
        pytest.skip(f"this machine mounts no tmpfs: {mounted}")
    try:
        yield mount_point
    finally:
        _unmount(mount_point)
        mount_point.rmdir()


@functools.cache
def _enter_own_namespace() -> str | None:
    """Keep what is mounted from now on to this process and its children; say if it can't be."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        return os.strerror(ctypes.get_errno())
    return _try_run("mount", "--make-rprivate", "/")


@functools.cache
def _loop_refusal(kind: str) -> str | None:
    """Say why the kernel mounts no image of a kind, as in a container without the right to."""
    with tempfile.TemporaryDirectory() as directory:
        image, mount_point = Path(directory) / "image", Path(directory) / "mounted"
        mount_point.mkdir()
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES[kind])
        _run(*_MAKE[kind], str(image))
        refusal = _try_run("mount", "-t", kind, "-o", "loop", str(image), str(mount_point))
        if refusal is None:
            _unmount(mount_point)
        return refusal


def _unmount(mount_point: Path) -> None:
    for _ in range(_UNMOUNT_ATTEMPTS):
        refusal = _try_run("umount", str(mount_point))
        if refusal is None:
            return
        time.sleep(0.05)  # a killed process may still be letting go of its files
    _run("umount", "--lazy", str(mount_point))
    raise AssertionError(f"{mount_point} could only be detached, because of: {refusal}")


def _try_run(*command: str) -> str | None:
    """Stretch a command; return why it failed, if it did."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def _run(*command: str) -> None:
    refusal = _try_run(*command)
    if refusal is not None:
        raise AssertionError(f"{' '.join(command)}: {refusal}")
