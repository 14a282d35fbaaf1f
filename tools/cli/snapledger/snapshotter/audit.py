"""Who asks, as far as containerd says: the actor and the reason of each batch.

containerd calls a proxy with keys `NAMESPACE/NUMBER/KEY`, and with those labels only that begin
with `containerd.io/snapshot`. 1.6 names no namespace elsewhere, and gRPC gives no credentials of
the peer, so there is no user and no process to be named. What a user removes arrives later, when
containerd collects garbage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECT = "client"
"""The actor of calls with keys that are not containerd's."""

_IMAGE_LABELS = ("containerd.io/snapshot/cri.image-ref", "containerd.io/snapshot.ref")


class Origin(NamedTuple):
    """What a key says.

    Attributes:
        namespace: containerd's; None if the key is not containerd's.
        key: what containerd's client called it.
    """

    namespace: str | None
    key: str

    @property
    def actor(self) -> str:
        """Who asks."""
        return DIRECT if self.namespace is None else f"containerd/{self.namespace}"


def origin(key: str) -> Origin:
    """Return what a key says."""
    parts = key.split("/", 2)
    if len(parts) == 3 and parts[0] and parts[1].isdecimal() and parts[1].isascii() and parts[2]:
        return Origin(parts[0], parts[2])
    return Origin(None, key)


def of_creation(verb: str, key: str, parent: str, labels: Mapping[str, str]) -> str:
    """Return the reason of a Prepare or a View."""
    reason = f"{verb} {origin(key).key}"
    if parent:
        reason += f" on {origin(parent).key}"
    image = next((labels[label] for label in _IMAGE_LABELS if labels.get(label)), None)
    return reason if image is None else f"{reason}, for {image}"


def of_commit(key: str, name: str) -> str:
    """Return the reason of a Commit."""
    return f"commit {origin(key).key} as {origin(name).key}"


def of_removal(key: str) -> str:
    """Return the reason of a Remove: whose wish it was, containerd doesn't say."""
    found = origin(key)
    if found.namespace is None:
        return f"remove {key}"
    return f"remove {found.key}: containerd's garbage collection or clean-up"


def of_update(name: str) -> str:
    """Return the reason of an Update."""
    return f"new labels of {origin(name).key}"
