"""The domain of snapshots: `MetaStore`, with look-ups, walks along its indexes and ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from schedules.history import Logged

from projections.snapshots import Kind, MetaStore, SnapshotsProjection, Usage
from projections.snapshots.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)

if TYPE_CHECKING:
    from random import Random

    from schedules.history import Change, Query

    from eventstore import Batch, EventStore

REFUSALS = (AlreadyExistsError, FailedPreconditionError, InvalidArgumentError, NotFoundError)
ACTIVE = ("x", "y")
COMMITTED = ("base", "layer")
LABELS = ("red", "blue")


class Row(NamedTuple):
    """A snapshot."""

    id: int
    kind: str
    parent: str
    label: str


class State(NamedTuple):
    """All snapshots, and the last id that was given."""

    rows: dict[str, Row]
    last_id: int


class SnapshotsModel:
    """What the operations amount to, as far as they are used here."""

    def initial(self) -> State:
        return State({}, 0)

    def after(self, state: State, change: Change) -> State:
        rows = dict(state.rows)
        match change:
            case ("create", key, parent, label):
                rows[key] = Row(state.last_id + 1, "active", parent, label)
                return State(rows, state.last_id + 1)
            case ("commit", key, name, label):
                row = rows.pop(key)
                rows[name] = row._replace(kind="committed", label=label)
            case ("label", key, label):
                rows[key] = rows[key]._replace(label=label)
            case ("remove", key):
                del rows[key]
        return state._replace(rows=rows)

    def answer(self, state: State, query: Query) -> Any:
        match query:
            case ("may", *change):
                return self._may(state.rows, tuple(change))
            case ("info", key):
                return tuple(state.rows[key]) if key in state.rows else None
            case ("walk", column, value):
                return [
                    key for key, row in sorted(state.rows.items()) if getattr(row, column) == value
                ]
            case ("ids",):
                return {row.id: key for key, row in state.rows.items()}
        raise ValueError(query)

    def _may(self, rows: dict[str, Row], change: Change) -> bool:
        match change:
            case ("create", key, parent, _):
                is_parent = parent in rows and rows[parent].kind == "committed"
                return key not in rows and (not parent or is_parent)
            case ("commit", key, name, _):
                return key in rows and rows[key].kind == "active" and name not in rows
            case ("label", key, _):
                return key in rows
            case ("remove", key):
                return key in rows and all(row.parent != key for row in rows.values())
        raise ValueError(change)


class SnapshotsDomain:
    """Snapshots in a `MetaStore`."""

    projections = (SnapshotsProjection(),)
    model = SnapshotsModel()

    def front(self, store: EventStore) -> MetaStore:
        return MetaStore(store)

    def perform(self, tx: Any, change: Change, note_bytes: int) -> bool:
        try:
            match change:
                case ("create", key, parent, label):
                    labels = {"color": label, "note": "n" * note_bytes}
                    tx.create_snapshot(Kind.ACTIVE, key, parent, labels)
                case ("commit", key, name, label):
                    tx.commit_active(key, name, Usage(1, 1), {"color": label})
                case ("label", key, label):
                    tx.update_info(key, {"color": label}, "labels.color")
                case ("remove", key):
                    tx.remove(key)
        except REFUSALS:
            return False
        return True

    def ask(self, tx: Any, query: Query) -> Any:
        match query:
            case ("info", key):
                try:
                    id_text, info, _ = tx.get_info(key)
                except NotFoundError:
                    return None
                return int(id_text), str(info.kind), info.parent, info.labels["color"]
            case ("walk", "label", value):
                return [info.name for info in tx.walk_info(f"labels.color=={value}")]
            case ("walk", column, value):
                return [info.name for info in tx.walk_info(f'{column}=="{value}"')]
            case ("ids",):
                return {int(number): key for number, key in tx.id_map().items()}
        raise ValueError(query)

    def draw_query(self, random: Random) -> Query:
        draw = random.random()
        if draw < 0.4:
            return ("info", random.choice(ACTIVE + COMMITTED))
        if draw < 0.6:
            return ("walk", "label", random.choice(LABELS))
        if draw < 0.75:
            return ("walk", "parent", random.choice(COMMITTED))
        return ("walk", "kind", random.choice(("active", "committed"))) if draw < 0.9 else ("ids",)

    def draw_change(self, random: Random) -> Change:
        label = random.choice(LABELS)
        match random.randrange(5):
            case 0 | 1:
                return ("create", random.choice(ACTIVE), random.choice(("", *COMMITTED)), label)
            case 2:
                return ("commit", random.choice(ACTIVE), random.choice(COMMITTED), label)
            case 3:
                return ("label", random.choice(ACTIVE + COMMITTED), label)
            case _:
                return ("remove", random.choice(ACTIVE + COMMITTED))

    def everything(self) -> list[Query]:
        keys = ACTIVE + COMMITTED
        return [
            ("ids",),
            *(("info", key) for key in keys),
            *(("walk", "label", label) for label in LABELS),
            *(("walk", "kind", kind) for kind in ("active", "committed")),
        ]

    def logged(self, batch: Batch) -> Logged:
        return Logged(batch.revision, batch.metadata.request_id, None)


SNAPSHOTS = SnapshotsDomain()
