"""What a compaction would archive and drop, without doing it.

It reads names and lengths beside a running writer, and, where a limit asks for it, headers or the
segments to be compressed. It supposes that the checkpoint with which a compaction begins is a base;
where that is a delta, a chain needs more of the log, and less is archived and dropped than is said
here. It supposes too that every checkpoint is sound and holds the same tables.
"""

from __future__ import annotations

import contextlib
import time
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.chains import CheckpointFile
from eventstore.checkpoints.loader import list_checkpoints
from eventstore.log.reader import read_own_header
from eventstore.log.segments import (
    compress,
    list_archived,
    list_segments,
    list_sources,
    open_source,
)
from eventstore.maintenance.compaction import Span, kept_count, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.log.segments import SegmentSource
    from eventstore.options import Retention


class SegmentPreview(NamedTuple):
    """What a segment holds, and what it takes now.

    Attributes:
        first_revision: of its batches.
        last_revision: of its batches.
        size_bytes: of its file: of one in the log with what was allocated for it.
    """

    first_revision: int
    last_revision: int
    size_bytes: int


class CompactionPreview(NamedTuple):
    """What a compaction would do.

    Attributes:
        checkpoint_revision: of the newest checkpoint then.
        archived: segments that would leave the log and be kept, oldest first.
        dropped: segments that would be gone for good, from log or archive, oldest first.
        first_revision: of the oldest batch that would be left.
    """

    checkpoint_revision: int
    archived: tuple[SegmentPreview, ...]
    dropped: tuple[SegmentPreview, ...]
    first_revision: int


def preview_compaction(
    file_system: FileSystem,
    path: str,
    store_id: bytes,
    retention: Retention,
    durable_revision: int,
) -> CompactionPreview:
    """Return what a compaction at a revision would do; it changes nothing.

    Raises:
        CorruptionError: a segment's header is damaged, where the age is asked for.
        FileNotFoundError: a running compaction has moved a file meanwhile.
    """
    checkpoints = list(list_checkpoints(file_system, path))
    newest = max((file.revision for file in checkpoints), default=0)
    if durable_revision > newest:
        checkpoints.append(CheckpointFile(durable_revision, None, ""))
        newest = durable_revision
    segments = list_segments(file_system, path)
    going = plan(checkpoints, [source.first_revision for source in segments]).segments
    sources = list_sources(file_system, path)
    following = {source.first_revision: after for source, after in pairwise(sources)}
    archived = list_archived(file_system, path)
    superseded = [source for source in segments if source.first_revision in going]
    candidates = [*archived, *superseded]
    dropped: Sequence[SegmentSource] = ()
    if retention.drops:
        spans = [
            _span(file_system, store_id, retention, source, following[source.first_revision])
            for source in candidates
        ]
        kept = kept_count(retention, spans, sources[-1].first_revision, time.time_ns())
        dropped = candidates[: len(candidates) - kept]
    left = [source for source in sources if source not in dropped]

    def shown(chosen: Sequence[SegmentSource]) -> tuple[SegmentPreview, ...]:
        return tuple(
            SegmentPreview(
                source.first_revision,
                following[source.first_revision].first_revision - 1,
                file_system.size_bytes(source.path),
            )
            for source in chosen
        )

    staying = [source for source in superseded if source not in dropped]
    first_revision = left[0].first_revision if left else 1
    return CompactionPreview(newest, shown(staying), shown(dropped), first_revision)


def _span(
    file_system: FileSystem,
    store_id: bytes,
    retention: Retention,
    source: SegmentSource,
    following: SegmentSource,
) -> Span:
    size_bytes = file_system.size_bytes(source.path)
    if retention.size_bytes is not None and not source.is_archived:
        with contextlib.closing(open_source(file_system, source)) as file:
            size_bytes = len(compress(_content(file.read(0, file.size_bytes()))))
    sealed_ns = 0
    if retention.age_seconds is not None:
        # The next segment was started when this one's last batch was the newest.
        with contextlib.closing(open_source(file_system, following)) as file:
            header = read_own_header(file, store_id, following.first_revision)
        sealed_ns = header.created_ns
    return Span(following.first_revision - 1, size_bytes, sealed_ns)


def _content(data: bytes) -> bytes:
    """Return a segment without what was allocated and not written."""
    return data.rstrip(b"\0")
