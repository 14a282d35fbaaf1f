"""SQLite by Python's own `sqlite3`: WAL, `synchronous=FULL`, a connection for each thread.

The tables are those that a user who knows SQL would make: labels in one of their own, an index by
parent, which the question for children needs, the audit events beside. No index by kind or by label
value, which ours has. `sqlite-packed` favours it: labels are a JSON text in the snapshot's row,
which saves two insertions; what selects by label would read every row.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from tools.bench.workload import ACTOR, CREATED_FROM, PARENT, REASON, labels_of, layer_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.bench.peers import Create

_SCHEMA = """
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, parent TEXT NOT NULL, kind TEXT NOT NULL,
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
    inodes INTEGER NOT NULL, size INTEGER NOT NULL, labels TEXT);
CREATE INDEX snapshots_by_parent ON snapshots (parent);
CREATE TABLE labels (
    snapshot INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (snapshot, key)) WITHOUT ROWID;
CREATE TABLE events (
    revision INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, actor TEXT, reason TEXT,
    type TEXT NOT NULL, data TEXT NOT NULL);
"""
_PARENT_KIND = "SELECT kind FROM snapshots WHERE name = ?"
_SNAPSHOT = """
INSERT INTO snapshots (name, parent, kind, created_ns, updated_ns, inodes, size, labels)
VALUES (?, ?, ?, ?, ?, 0, 0, ?)"""
_LABEL = "INSERT INTO labels VALUES (?, ?, ?)"
_EVENT = "INSERT INTO events (time_ns, actor, reason, type, data) VALUES (?, ?, ?, ?, ?)"
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Sqlite:
    """A database file."""

    def __init__(self, path: Path, *, packed: bool) -> None:
        self._path = path
        self._create = _create_packed if packed else _create
        self.versions: Mapping[str, str] = {"SQLite": sqlite3.sqlite_version}
        with contextlib.closing(self._connect()) as connection:
            connection.executescript(_SCHEMA)
            values = (PARENT, "", "committed", 1, 1, None)
            connection.execute(_SNAPSHOT, values)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=60)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    @contextlib.contextmanager
    def worker(self) -> Iterator[Create]:
        """Give what one thread works with: a connection of its own."""
        with contextlib.closing(self._connect()) as connection:
            yield lambda number: self._create(connection, number)

    def batch(self, first: int, count: int) -> None:
        """Not compared."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open between the runs."""


def _create(connection: sqlite3.Connection, number: int) -> None:
    with _transaction(connection):
        id_number = _insert(connection, number, None)
        labels = [(id_number, *label) for label in labels_of(number).items()]
        connection.executemany(_LABEL, labels)


def _create_packed(connection: sqlite3.Connection, number: int) -> None:
    with _transaction(connection):
        _insert(connection, number, _encode(labels_of(number)))


def _insert(connection: sqlite3.Connection, number: int, labels: str | None) -> int | None:
    """Look the parent up, insert the row and the event; return the row's id."""
    execute = connection.execute
    key, now = layer_name(CREATED_FROM + number), time.time_ns()
    if execute(_PARENT_KIND, (PARENT,)).fetchone() != ("committed",):
        raise LookupError(PARENT)
    id_number = execute(_SNAPSHOT, (key, PARENT, "active", now, now, labels)).lastrowid
    what = {"id": id_number, "key": key, "parent": PARENT, "labels": labels_of(number)}
    execute(_EVENT, (now, ACTOR, REASON, "snapshot.created", _encode(what)))
    return id_number


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def open_peer(directory: Path, settings: Mapping[str, Any]) -> Sqlite:
    """Make a database."""
    return Sqlite(directory / "snapshots.db", packed=settings["name"] == "sqlite-packed")
