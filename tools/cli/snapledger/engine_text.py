"""The engine's own events in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from eventstore import engine_events
from eventstore.copies import restoring
from eventstore.log.redaction import redactions_in
from snapledger.records import json_value
from snapledger.text import format_size, printable, quoted
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore import Event

_BATCHES_SHOWN = 20


def engine_event_text(event: Event) -> str:
    """Return what an event of the engine's own says; of one that is not known, its data."""
    data = event.data
    try:
        match event.type:
            case engine_events.DROPPED:
                return _dropped(data)
            case engine_events.ERASED:
                return _erased(event)
            case restoring.RESTORED_TYPE:
                return _restored(data)
    except (KeyError, TypeError, ValueError):
        pass  # what an older or a newer release says otherwise
    return json.dumps(json_value(data), ensure_ascii=True)


def _dropped(data: Mapping[str, Any]) -> str:
    segments = counted(int(data["segment_count"]), "segment")
    size = format_size(int(data["size_bytes"]))
    return (
        f"batches {int(data['first_revision'])} to {int(data['last_revision'])} are dropped for "
        f"good, {segments}, {size}"
    )


def _erased(event: Event) -> str:
    named = list(redactions_in([event]))
    texts = [
        f"{' '.join(quoted('.'.join(path)) for path in one.paths)} of revision {one.revision}"
        for one in named[:_BATCHES_SHOWN]
    ]
    if more := len(named[_BATCHES_SHOWN:]):
        texts.append(f"and of {counted(more, 'more batch', 'more batches')}")
    said = event.data.get("restated")
    again = ""
    if isinstance(said, dict):
        by, why = (printable(str(said.get(name) or "")) for name in ("actor", "reason"))
        again = f" (said again of revision {said.get('revision')}, which was by {by}: {why})"
    return f"erased: {', '.join(texts)}{again}"


def _restored(data: Mapping[str, Any]) -> str:
    revision, newest = int(data["revision"]), int(data["backup_revision"])
    return (
        f"to revision {revision} of a backup that was at {newest}; from here on another history "
        f"than the original's, fork {printable(str(data['fork_id']))}"
    )
