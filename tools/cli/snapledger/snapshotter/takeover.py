"""A root of containerd's overlay snapshotter becomes ours, and back.

The directories stay as they are, under the same ids. To take over, `metadata.db` is imported and
then renamed, so that containerd can't open an old state by mistake; to give back, one is written
anew, and our store is renamed. Each can be called again after it was cut short.
"""

from __future__ import annotations

import os

from snapledger.snapshotter.place import PlaceError

METADATA = "metadata"
SNAPSHOTS = "snapshots"
DATABASE = "metadata.db"
TAKEN = "metadata.db.taken-over"


def refuse_foreign(root: str) -> None:
    """Refuse a root that containerd's own snapshotter would use too.

    Raises:
        PlaceError: there is a metadata.db.
    """
    if os.path.lexists(f"{root}/{DATABASE}"):
        raise PlaceError(
            f"{root}: it has a {DATABASE}, so it is of containerd's own snapshotter: "
            "`snapledger-snapshotter take-over` makes it ours"
        )
