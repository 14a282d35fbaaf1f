"""How much a snapshot's labels may take.

`List` answers in messages, and a client takes none that is longer than its limit: 16 MiB with
containerd, 4 MiB with gRPC's own. So one snapshot must fit, or nobody could list any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.snapshots import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS_BYTES_MAX = 1 << 20


def check_size(labels: Mapping[str, str], *, before: Mapping[str, str] | None = None) -> None:
    """Refuse labels that take too much together.

    An import may have brought more: those may stay, and change, but not grow.

    Raises:
        InvalidArgumentError: keys and values take more than is allowed, and than before.
    """
    taken = _size_bytes(labels)
    if taken > LABELS_BYTES_MAX and (before is None or taken > _size_bytes(before)):
        raise InvalidArgumentError(
            f"the labels of a snapshot would take {taken} bytes: at most {LABELS_BYTES_MAX} are "
            "allowed, of keys and values together"
        )


def _size_bytes(labels: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in labels.items())
