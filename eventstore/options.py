"""The options of a store: sizes, the maintenance policy and retention."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from eventstore.arguments import checked_flag, checked_whole, excerpt

BATCH_BYTES_DEFAULT = 16 * 1024 * 1024
"""The cap on an encoded batch unless the options say otherwise."""
BATCH_BYTES_LIMIT = 1024 * 1024 * 1024
"""No cap is higher; a header that states one is damaged."""
_SHARE_MAX = 1_000_000

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What becomes of sealed segments that the older of the two newest checkpoints supersedes.

    They are compressed into the archive, and dropped from it once they pass *any* limit that is
    given; with no limit, never. What is dropped is dropped by whole segments, oldest first.

    Attributes:
        age_seconds: keep segments that were sealed less than this ago: the next one had its first
            batch then.
        size_bytes: keep the newest archive files that fit into this.
        revisions: keep segments that hold any of this many newest revisions.
        archive: False drops superseded segments at once, whatever the limits are.
        checkpoint_share: past states stay, packed, so that the past is near (`EventStore.at`),
            while they take no more than this share of what archive and log take, and while there
            are batches that follow them; those go first that leave the smallest gap. 0 keeps none.
    """

    age_seconds: float | None = None
    size_bytes: int | None = None
    revisions: int | None = None
    archive: bool = True
    checkpoint_share: float = 0.2

    def __post_init__(self) -> None:
        age = self.age_seconds
        if age is not None:
            if not isinstance(age, int | float) or isinstance(age, bool):
                raise TypeError(f"age_seconds must be a number or None, not {excerpt(age)}")
            if not 0 <= age < math.inf:
                raise ValueError(f"age_seconds must be a number from 0 on, not {excerpt(age)}")
        for name in ("size_bytes", "revisions"):
            limit = getattr(self, name)
            if limit is not None:
                checked_whole(limit, name, 0)
        checked_flag(self.archive, "archive")
        share = self.checkpoint_share
        if not isinstance(share, int | float) or isinstance(share, bool):
            raise TypeError(f"checkpoint_share must be a number, not {excerpt(share)}")
        if not 0 <= share <= _SHARE_MAX:
            raise ValueError(
                f"checkpoint_share must be a number from 0 to {_SHARE_MAX}, not {excerpt(share)}"
            )

    @property
    def drops(self) -> bool:
        """Whether anything may ever be dropped."""
        limits = (self.age_seconds, self.size_bytes, self.revisions)
        return not self.archive or any(limit is not None for limit in limits)

    @classmethod
    def keep_all(cls) -> Retention:
        """Keep everything: the default, since an audit store forgets nothing unless told."""
        return cls()

    @classmethod
    def none(cls) -> Retention:
        """Keep nothing beyond what recovery needs."""
        return cls(archive=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How a store is laid out and looked after. Each may differ from one open to the next.

    Attributes:
        segment_bytes: size of a preallocated segment, 16 MiB by default, at most 1 GiB; a batch
            that needs more gets more. Two spares of this size are kept; on a full disk the last
            is there for removals, or for a checkpoint that fits into it.
        batch_bytes_max: the largest encoded batch, 16 MiB by default, at most 1 GiB. Binds
            writer and reader: it stands in the header of every segment written under it.
        checkpoint_after_bytes: write a checkpoint once this much log lies behind the newest.
        checkpoint_after_batches: the same, counted in batches.
        checkpoint_after_seconds: the same, by how long an open is estimated to take for replaying
            it.
        checkpoint_on_close: whether a clean close writes a checkpoint if there is much to replay,
            a quarter of that time, and if it is a delta or a base of no more than 200,000 rows,
            which takes a second or two; a larger base only where the next open would replay for
            longer than it takes. Then the index of the past is brought up to date too, if 1,024
            batches or more were appended since it was.
        background: whether checkpoints and compaction run by that policy. The next segment is
            prepared in the background either way.
        retention: what becomes of superseded segments.
        retired_projections: names of projections that the store holds and needs no more: unless
            they are here, no checkpoint is written that would lose their tables.
        allow_network_file_system: whether the store may be on a file system that is not known to
            be local. Its locks, mapped files and syncs may then not hold what is promised; at
            most one machine must open the store, for writing or following.
        allow_foreign_owner: whether the store may be written to although its directories belong
            to another user, who may then change under the writer's feet what it works on. What root
            makes there belongs to that user, like the store's directory.
        require_actor: whether every write transaction must say who acts.
        salted: whether each batch gets 16 random bytes, which go with whatever is erased of it.
            Without them, who has the digest of a batch and guesses all that was erased can tell
            that the guess is right. They take 18 bytes a batch, which no archive compresses.
    """

    segment_bytes: int = 16 * _MIB
    batch_bytes_max: int = BATCH_BYTES_DEFAULT
    checkpoint_after_bytes: int = 64 * _MIB
    checkpoint_after_batches: int = 100_000
    checkpoint_after_seconds: float = 1.0
    checkpoint_on_close: bool = True
    background: bool = True
    retention: Retention = field(default_factory=Retention)
    retired_projections: tuple[str, ...] = ()
    allow_network_file_system: bool = False
    allow_foreign_owner: bool = False
    require_actor: bool = False
    salted: bool = False

    def __post_init__(self) -> None:
        checked_whole(self.segment_bytes, "segment_bytes", 4096, 1024 * _MIB)
        checked_whole(self.batch_bytes_max, "batch_bytes_max", 1024, BATCH_BYTES_LIMIT)
        checked_whole(self.checkpoint_after_bytes, "checkpoint_after_bytes", 1)
        checked_whole(self.checkpoint_after_batches, "checkpoint_after_batches", 1)
        seconds = self.checkpoint_after_seconds
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise TypeError(f"checkpoint_after_seconds must be a number, not {excerpt(seconds)}")
        if not 0 < seconds < math.inf:
            raise ValueError(
                f"checkpoint_after_seconds must be a number above 0, not {excerpt(seconds)}"
            )
        checked_flag(self.checkpoint_on_close, "checkpoint_on_close")
        checked_flag(self.background, "background")
        checked_flag(self.allow_network_file_system, "allow_network_file_system")
        checked_flag(self.allow_foreign_owner, "allow_foreign_owner")
        checked_flag(self.require_actor, "require_actor")
        checked_flag(self.salted, "salted")
        if not isinstance(self.retired_projections, tuple):
            raise TypeError(
                "retired_projections must be a tuple of names, not "
                f"{excerpt(self.retired_projections)}"
            )
        if not isinstance(self.retention, Retention):
            raise TypeError(f"retention must be a Retention, not {excerpt(self.retention)}")


def checked_options(options: StoreOptions | None) -> StoreOptions:
    """Return the options of a store, the usual ones if none are given.

    Raises:
        TypeError: something else is given.
    """
    if options is None:
        return StoreOptions()
    if not isinstance(options, StoreOptions):
        raise TypeError(f"options must be a StoreOptions, not {excerpt(options)}")
    return options
