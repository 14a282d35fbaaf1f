"""How a batch is shown as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from snapledger import output
from snapledger.records import event_record
from snapledger.text import format_time, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventstore import Batch, Event


def write_batch(batch: Batch, events: Iterable[Event]) -> None:
    """Write a batch, and those of its events that are to be shown, each on a line below it."""
    parts = [f"revision {batch.revision}", format_time(batch.time_ns)]
    parts += [
        f"{name}={quoted(value)}"
        for name, value in batch.metadata._asdict().items()
        if value is not None
    ]
    output.write_line("  ".join(parts))
    if batch.is_redacted:
        output.write_line("  parts of it were erased: `show` says what, when and by whom")
    for event in events:
        output.write_line(f"  {printable(event.type)}{_data_text(event)}")


def _data_text(event: Event) -> str:
    data = event_record(event)["data"]
    if not isinstance(data, dict):
        return f" {_value_text(data)}"
    twice = {f"{name}_ns" for name in data}
    return "".join(
        f" {quoted(name)}={_value_text(value)}" for name, value in data.items() if name not in twice
    )


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    return json.dumps(value, ensure_ascii=True)
