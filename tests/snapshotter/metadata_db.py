"""The like of containerd's own metadata, its `meta.db`."""

from __future__ import annotations

from projections.snapshots.boltfile import Bucket
from projections.snapshots.boltwriter import NewBucket


def plain(bucket: Bucket) -> object:
    """Return all that is in a bucket."""
    entries = {key: plain(value) if isinstance(value, Bucket) else value for key, value in bucket}
    return entries, bucket.sequence


def containerds_metadata(name: bytes) -> NewBucket:
    """Return the like of a meta.db in which a snapshotter has a name, and others nearly so."""
    reference = b"containerd.io/gc.ref.snapshot."
    labels = NewBucket({reference + name: b"sha256:a", reference + b"overlayfs2": b"sha256:b"})
    further = NewBucket({reference + name + b"/x": b"sha256:c"})
    keys = NewBucket({b"overlayfs": NewBucket({b"name": b"default/1/overlayfs"})}, 7)
    return NewBucket(
        {
            b"v1": NewBucket(
                {
                    b"default": NewBucket(
                        {
                            b"snapshots": NewBucket({name: keys, b"native": NewBucket({})}),
                            b"containers": NewBucket(
                                {
                                    b"c": NewBucket({b"snapshotter": name, b"image": b"overlayfs"}),
                                    b"d": NewBucket({b"snapshotter": b"native", b"labels": labels}),
                                }
                            ),
                            b"leases": NewBucket(
                                {b"l": NewBucket({b"snapshots": NewBucket({name: keys})})}
                            ),
                            b"images": NewBucket({b"overlayfs": NewBucket({b"labels": further})}),
                        }
                    ),
                    b"version": b"\x03",
                }
            )
        }
    )
