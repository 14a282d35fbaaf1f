"""A domain of registers, and the model of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedules.history import Logged

from eventstore import Event, Projection, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from schedules.history import Change, Query

    from eventstore import Batch, EventStore, WritableTable

KEYS = ("a", "b", "c", "d")


class Registers(Projection):
    """Registers that can be set and unset, and in a second table how many are set."""

    name, version = "registers", 1
    tables = (TableSpec("registers"), TableSpec("counts"))

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        registers, counts = tables["registers"], tables["counts"]
        match event.type:
            case "set":
                key = event.data["key"]
                if key not in registers:
                    counts.put("set", counts.get("set", 0) + 1)
                registers.put(key, event.data["value"])
            case "unset":
                registers.delete(event.data["key"])
                counts.put("set", counts["set"] - 1)


class RegistersModel:
    """The same, as a dictionary."""

    def initial(self) -> dict[str, int]:
        return {}

    def after(self, state: dict[str, int], change: Change) -> dict[str, int]:
        match change:
            case ("set", key, value):
                return {**state, key: value}
            case ("unset", key):
                return {name: value for name, value in state.items() if name != key}
        raise ValueError(change)

    def answer(self, state: dict[str, int], query: Query) -> Any:
        match query:
            case ("get", key):
                return state.get(key)
            case ("rows", start, stop):
                return [
                    (key, state[key])
                    for key in sorted(state)
                    if (start is None or start <= key) and (stop is None or key < stop)
                ]
            case ("count",):
                return len(state)
            case ("may", "set", _, _):
                return True
            case ("may", "unset", key):
                return key in state
        raise ValueError(query)


class RegistersDomain:
    """Registers in the bare engine."""

    projections = (Registers(),)
    model = RegistersModel()

    def front(self, store: EventStore) -> EventStore:
        return store

    def perform(self, tx: Any, change: Change, note_bytes: int) -> bool:
        data: dict[str, Any] = {"key": change[1], "note": "n" * note_bytes}
        if change[0] == "set":
            data["value"] = change[2]
        elif tx.get("registers", change[1]) is None:
            return False
        tx.emit(Event(change[0], data))
        return True

    def ask(self, tx: Any, query: Query) -> Any:
        match query:
            case ("get", key):
                return tx.get("registers", key)
            case ("rows", start, stop):
                return list(tx.items("registers", start, stop))
            case ("count",):
                return tx.get("counts", "set", 0)
        raise ValueError(query)

    def draw_query(self, random: Random) -> Query:
        draw = random.random()
        if draw < 0.5:
            return ("get", random.choice(KEYS))
        if draw < 0.7:
            return ("rows", None, None)
        return ("rows", *sorted(random.sample(KEYS, 2))) if draw < 0.85 else ("count",)

    def draw_change(self, random: Random) -> Change:
        key = random.choice(KEYS)
        return ("unset", key) if random.random() < 0.3 else ("set", key, random.randrange(1000))

    def everything(self) -> list[Query]:
        return [("rows", None, None), ("count",)]

    def logged(self, batch: Batch) -> Logged:
        changes = tuple(
            (event.type, event.data["key"], *([event.data["value"]] if event.type == "set" else []))
            for event in batch.events
        )
        return Logged(batch.revision, batch.metadata.request_id, changes)


REGISTERS = RegistersDomain()
