"""What an error of the operating system means: a full disk, a limit, a bad medium, no file."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import TYPE_CHECKING

from eventstore.errors import (
    CorruptionError,
    ForeignOwnerError,
    StoreFailedError,
    SystemLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What Linux says where a file system has found its own structures damaged.
_DAMAGED = (errno.EUCLEAN,) if sys.platform == "linux" else ()
_NO_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)
_LIMITS = {
    errno.EMFILE: "this process has as many files open as it may: close some, or raise the limit "
    "(`ulimit -n`, LimitNOFILE of systemd)",
    errno.ENFILE: "this machine has as many files open as it may: close some, or raise the limit "
    "(the kernel's fs.file-max)",
    errno.EFBIG: "the file would be longer than this process may write one: raise the limit "
    "(`ulimit -f`, LimitFSIZE of systemd), or use a file system that takes such files",
}
_NO_PLACE = (
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOENT),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)
_UNREADABLE = (errno.EIO, errno.EBADMSG, *_NO_FILE, *_DAMAGED)


def is_full(error: OSError) -> bool:
    """Say whether an error means that there is no space, or no quota, left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_unreadable(error: OSError) -> bool:
    """Say whether an error means that the medium has lost what is asked for.

    A bad sector, or damage that the file system itself has found; or something that is no file
    in the place of one.
    """
    return error.errno in _UNREADABLE


def is_no_file(error: OSError) -> bool:
    """Say whether an error means that something else is in the place of a regular file."""
    return error.errno in _NO_FILE


def is_no_place(error: OSError) -> bool:
    """Say whether an error means that a path can't be used, whatever is or was there.

    It leads nowhere, in a circle, through what is no directory, or to where nobody, or not this
    user, may make something.
    """
    return error.errno in _NO_PLACE


def is_gone(error: OSError) -> bool:
    """Say whether an error means that an open store is no longer at its path (`guarded`)."""
    return error.errno == errno.ESTALE


def gone_error(error: OSError) -> StoreFailedError:
    """Return what to tell whoever uses a handle whose store is no longer at its path."""
    return StoreFailedError(
        f"{error.filename}: {error.strerror}; this handle acknowledges nothing more: close it"
    )


def raise_if_gone(error: Exception) -> None:
    """Raise `gone_error` if an error means that an open store is no longer at its path."""
    if isinstance(error, OSError) and is_gone(error):
        raise gone_error(error) from error


def raise_if_limit(error: OSError, path: str) -> None:
    """Raise `SystemLimitError` if an error of the system means one."""
    if error.errno in _LIMITS and not isinstance(error, SystemLimitError):
        raise SystemLimitError(f"{path}: {_LIMITS[error.errno]}", error.errno) from error


@contextlib.contextmanager
def limits_are_told(path: str) -> Iterator[None]:
    """Raise `SystemLimitError` in the place of an error of the system that means one."""
    try:
        yield
    except OSError as error:
        raise_if_limit(error, path)
        raise


@contextlib.contextmanager
def unreadable_is_damage(
    path: str, is_damage: Callable[[OSError], bool] = is_unreadable
) -> Iterator[None]:
    """Raise `CorruptionError` in the place of an error that means damage of a file.

    Raises:
        ForeignOwnerError: this user may not read it, which is no damage.
    """
    try:
        yield
    except PermissionError as error:
        raise ForeignOwnerError(
            f"{path}: this user may not read it: give it back to the owner of the store (chown), "
            "or open the store as a user who may"
        ) from error
    except OSError as error:
        if not is_damage(error):
            raise
        raise CorruptionError(path, 0, f"can't be read: {error.strerror}") from error
