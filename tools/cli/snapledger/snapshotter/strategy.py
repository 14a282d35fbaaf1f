"""What the directory of a snapshot holds, and how a snapshot is mounted.

A strategy fills a new directory, and says which mounts make a snapshot of directories. It knows
neither metadata nor gRPC, and when a directory is renamed or removed is not its business.

Layout and mount options are those of containerd's own snapshotters, so that a root can be taken
over from them, and given back.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

from projections.snapshots import InvalidArgumentError, Kind, NotFoundError
from snapledger.snapshotter.copying import copy_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from projections.snapshots import Snapshot

UID_MAPPING = "containerd.io/snapshot/uidmapping"
GID_MAPPING = "containerd.io/snapshot/gidmapping"
"""The labels that say who root of a user namespace is outside: `0:HOST:SIZE`, comma-separated."""

_INDEX_PARAMETER = "/sys/module/overlay/parameters/index"
_UID_MAP = "/proc/self/uid_map"
_INITIAL_NAMESPACE = ("0", "0", "4294967295")
_USERXATTR_SINCE = (5, 11)
_MAPPING = re.compile("([0-9]{1,10}):([0-9]{1,10}):([0-9]{1,10})")
_OWNER_MAX = 2**32 - 2
"""The next number means to the kernel that an owner stays as it is."""

_SHOWN_CHARACTERS = 80
_TREE_MODE = 0o755
_WORK_MODE = 0o711


class Mount(NamedTuple):
    """One mount, as containerd makes it."""

    type: str
    source: str
    options: tuple[str, ...]


class Strategy(Protocol):
    """How snapshots are kept in directories."""

    name: str

    def fill(
        self, directory: str, kind: Kind, parent_id: str | None, labels: Mapping[str, str]
    ) -> list[str]:
        """Fill a new directory; return it and what must be synced, the last change last.

        Raises:
            InvalidArgumentError: a label can't be right.
            NotFoundError: the parent's directory has gone.
            OSError: it can't be made.
        """

    def mounts(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        """Return what makes the snapshot's tree."""

    def content(self, snapshot_id: str) -> str:
        """Return the directory that holds what the snapshot takes."""

    def needs_directory(self, kind: Kind, parent: str) -> bool:
        """Return whether a snapshot of that kind and parent is lost without its directory."""


class Overlay:
    """Each snapshot keeps what differs from its parent: `fs`, and `work` for the kernel."""

    name = "overlay"

    def __init__(self, snapshots: str) -> None:
        """Use the directories below `snapshots`; an option that the kernel lacks is left out."""
        self._snapshots = snapshots
        self._options = [
            *(["index=off"] if os.path.exists(_INDEX_PARAMETER) else []),
            *(["userxattr"] if needs_userxattr() else []),
        ]

    def fill(
        self, directory: str, kind: Kind, parent_id: str | None, labels: Mapping[str, str]
    ) -> list[str]:
        """Make `fs`, owned as the labels say or else as the parent's, and `work` to write in."""
        upper, work = f"{directory}/fs", f"{directory}/work"
        _make(upper, _TREE_MODE)
        owner = mapped_root(labels)
        if owner is None and parent_id is not None:
            owner = _owner(self._upper(parent_id))
        if owner is not None and owner != (os.geteuid(), os.getegid()):
            os.chown(upper, *owner, follow_symlinks=False)
        if kind is not Kind.ACTIVE:
            return [directory, upper]
        _make(work, _WORK_MODE)
        return [directory, upper, work]

    def mounts(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        """Return a bind mount where one directory is all, else an overlay, nearest parent first."""
        parents = snapshot.parent_ids
        read_only = snapshot.kind is Kind.VIEW
        if not parents:
            return (_bind(self._upper(snapshot.id), read_only=read_only),)
        if read_only and len(parents) == 1:
            return (_bind(self._upper(parents[0]), read_only=True),)
        options = list(self._options)
        if not read_only:
            work = f"{self._snapshots}/{snapshot.id}/work"
            options += [f"workdir={work}", f"upperdir={self._upper(snapshot.id)}"]
        options.append(f"lowerdir={':'.join(map(self._upper, parents))}")
        return (Mount("overlay", "overlay", tuple(options)),)

    def content(self, snapshot_id: str) -> str:
        """Return `fs`."""
        return self._upper(snapshot_id)

    def needs_directory(self, kind: Kind, parent: str) -> bool:
        """Return True, even of a view, whose directory is empty: containerd's has it too."""
        _ = kind, parent
        return True

    def _upper(self, snapshot_id: str) -> str:
        return f"{self._snapshots}/{snapshot_id}/fs"


class Native:
    """Each snapshot is a whole tree, copied from its parent, shared by reflinks where those are."""

    name = "native"

    def __init__(self, snapshots: str) -> None:
        """Use the directories below `snapshots`."""
        self._snapshots = snapshots

    def fill(
        self, directory: str, kind: Kind, parent_id: str | None, labels: Mapping[str, str]
    ) -> list[str]:
        """Copy the parent with owners, modes, times, links, devices and extended attributes."""
        _ = labels
        os.chmod(directory, _TREE_MODE)
        if parent_id is not None and kind is Kind.ACTIVE:
            source = self.content(parent_id)
            try:
                copy_tree(source, directory)
            except OSError as error:
                if os.path.isdir(source):
                    raise
                raise NotFoundError(f"the directory of parent {parent_id} has gone") from error
        return [directory]

    def mounts(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        """Return a bind mount of the snapshot's tree; of the parent's for a view of one."""
        of_parent = snapshot.kind is Kind.VIEW and snapshot.parent_ids
        source = self.content(snapshot.parent_ids[0] if of_parent else snapshot.id)
        access = "ro" if snapshot.kind is Kind.VIEW else "rw"
        return (Mount("bind", source, ("rbind", access)),)

    def content(self, snapshot_id: str) -> str:
        """Return the whole directory."""
        return f"{self._snapshots}/{snapshot_id}"

    def needs_directory(self, kind: Kind, parent: str) -> bool:
        """Return whether it is more than a view of a parent, which is mounted from that one's."""
        return kind is not Kind.VIEW or not parent


STRATEGIES = {strategy.name: strategy for strategy in (Overlay, Native)}


def mapped_root(labels: Mapping[str, str]) -> tuple[int, int] | None:
    """Return user and group outside of root in the user namespace that labels describe.

    Raises:
        InvalidArgumentError: there is one label without the other, or it maps no root.
    """
    users, groups = labels.get(UID_MAPPING), labels.get(GID_MAPPING)
    if not users and not groups:
        return None
    return _mapped_zero(users or "", UID_MAPPING), _mapped_zero(groups or "", GID_MAPPING)


def _mapped_zero(mapping: str, label: str) -> int:
    said = f"label {label}: {mapping[:_SHOWN_CHARACTERS]!r}"
    root: int | None = None
    for part in mapping.split(","):
        numbers = _MAPPING.fullmatch(part)
        if numbers is None:
            raise InvalidArgumentError(f"{said} is not CONTAINER:HOST:SIZE")
        inside, outside, size = map(int, numbers.groups())
        if max(inside, outside) > _OWNER_MAX or size > _OWNER_MAX + 1:
            raise InvalidArgumentError(f"{said}: users and groups are from 0 to {_OWNER_MAX}")
        if inside == 0 and size > 0 and root is None:
            root = outside
    if root is None:
        raise InvalidArgumentError(f"{said} maps no root")
    return root


def needs_userxattr() -> bool:
    """Return whether overlays must keep their marks in `user.` attributes: in a user namespace."""
    try:
        with open(_UID_MAP, encoding="ascii") as file:
            in_namespace = tuple(file.readline().split()) != _INITIAL_NAMESPACE
    except OSError:
        return False
    release = os.uname().release.split("-")[0].split(".")
    return in_namespace and tuple(map(int, release[:2])) >= _USERXATTR_SINCE


def _bind(source: str, *, read_only: bool) -> Mount:
    return Mount("bind", source, ("ro" if read_only else "rw", "rbind"))


def _make(path: str, mode: int) -> None:
    os.mkdir(path, mode)
    os.chmod(path, mode)  # whatever the umask takes away


def _owner(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"the directory of the parent has gone: {path}") from error
    return status.st_uid, status.st_gid
