"""How a batch is shown as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from eventstore.engine_events import is_engine_event
from eventstore.event import FIELDS_TYPE
from projections.snapshots import intents, requests
from snapledger import output
from snapledger.engine_text import engine_event_text
from snapledger.records import json_value
from snapledger.text import format_time, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eventstore import Batch, Event

_BYTES_SHOWN = 8
_NS_PER_SECOND = 1_000_000_000
_TIME_NS_END = 253_402_300_800 * _NS_PER_SECOND
"""The year 10000, which is no date of Python's."""


def write_batch(batch: Batch, events: Iterable[Event], *, names_show: bool = True) -> None:
    """Write a batch, and those of its events that are to be shown, each on a line below it.

    Args:
        batch: to be written.
        events: of it.
        names_show: whether `show` is named, which says what was erased.
    """
    parts = [f"revision {batch.revision}", format_time(batch.time_ns)]
    parts += [
        f"{name}={quoted(value)}"
        for name, value in batch.metadata._asdict().items()
        if value is not None
    ]
    output.write_line("  ".join(parts))
    if batch.fields:
        output.write_line(f"  {FIELDS_TYPE}{data_text(batch.fields)}")
    if batch.is_redacted:
        where = ": `show` says what, when and by whom" if names_show else ", see below"
        output.write_line(f"  parts of it were erased{where}")
    for event in events:
        if event.type != FIELDS_TYPE or event is not batch.events[0]:
            output.write_line(f"  {printable(event.type)}{_event_text(batch, event)}")


def _event_text(batch: Batch, event: Event) -> str:
    data = event.data
    if is_engine_event(event):
        return f"  {engine_event_text(event)}"
    if not isinstance(data, dict):
        return f" {_value_text(data)}"
    if event.type in (*intents.FIELDS, *requests.FIELDS):
        told = _worth_saying(batch, data)
        of_driver = told.pop("data", None)
        if not isinstance(of_driver, dict):
            return data_text(told)
        return f"{data_text(told)} data={{{data_text(of_driver).strip()}}}"
    return data_text(data)


def _worth_saying(batch: Batch, data: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is empty, and what the line of the batch has said: who, why and when."""
    said = batch.metadata._asdict()
    return {
        name: value
        for name, value in data.items()
        if value is not None
        and value != {}
        and (name not in said or said[name] != value)
        and not (name == "time_ns" and _is_about(value, batch.time_ns))
        and not (name == "revision" and value == batch.revision)
        and not (name == "expired_to" and value == 0)
    }


def _is_about(time_ns: Any, of_batch_ns: int) -> bool:
    return isinstance(time_ns, int) and abs(of_batch_ns - time_ns) < _NS_PER_SECOND


def data_text(data: Mapping[Any, Any]) -> str:
    """Return data as a person reads it: times as times, digests in hex; JSON has all of it."""
    return "".join(
        f" {quoted(str(name))}={_value_text(value)}" for name, value in map(_timed, data.items())
    )


def _timed(field: tuple[Any, Any]) -> tuple[str, Any]:
    """Return a field whose name says that it is a time as one, where that is possible."""
    name, value = str(field[0]), field[1]
    if name.endswith("_ns") and type(value) is int and 0 <= value < _TIME_NS_END:
        return name.removesuffix("_ns"), format_time(value)
    return name, value


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        shown = value[:_BYTES_SHOWN].hex()
        return f"{shown}…" if len(value) > _BYTES_SHOWN else shown or '""'
    return json.dumps(json_value(value), ensure_ascii=True)
