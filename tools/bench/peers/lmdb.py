"""LMDB by `lmdb`: every sync on, one environment for all threads; its own lock makes writers wait.

Three databases: snapshots by name, the parents' links as containerd's storage keeps them, events by
revision.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tools.bench.peers import MissingPeerError
from tools.bench.peers.records import event_of, record_of
from tools.bench.workload import CREATED_FROM, PARENT, layer_name

try:
    import lmdb
except ImportError as error:
    raise MissingPeerError(f"not installed: {error}") from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.bench.peers import Create

_MAP_BYTES = 4 * 1024 * 1024 * 1024
_PARENT = PARENT.encode()


class Lmdb:
    """An environment with its three databases."""

    def __init__(self, path: Path) -> None:
        self._environment = lmdb.open(str(path), map_size=_MAP_BYTES, max_dbs=3)
        self._snapshots = self._environment.open_db(b"snapshots")
        self._parents = self._environment.open_db(b"parents")
        self._events = self._environment.open_db(b"events")
        engine = ".".join(str(part) for part in lmdb.version())
        self.versions: Mapping[str, str] = {"LMDB": engine, "lmdb (PyPI)": lmdb.__version__}
        with self._environment.begin(write=True) as transaction:
            transaction.put(_PARENT, record_of(0, 0), db=self._snapshots)

    @contextlib.contextmanager
    def worker(self) -> Iterator[Create]:
        """Give what one thread works with."""
        yield self._create

    def _create(self, number: int) -> None:
        key = layer_name(CREATED_FROM + number)
        name = key.encode()
        with self._environment.begin(write=True) as transaction:
            if transaction.get(_PARENT, db=self._snapshots) is None:
                raise LookupError(PARENT)
            id_number = transaction.stat(self._events)["entries"] + 1
            revision = id_number.to_bytes(8, "big")
            record = record_of(number, id_number)
            if not transaction.put(name, record, overwrite=False, db=self._snapshots):
                raise FileExistsError(key)
            transaction.put(_PARENT + b"\0" + revision, name, db=self._parents)
            event = event_of(number, id_number, key)
            transaction.put(revision, event, append=True, db=self._events)

    def batch(self, first: int, count: int) -> None:
        """Not compared."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()


def open_peer(directory: Path, _settings: Mapping[str, Any]) -> Lmdb:
    """Make an environment."""
    return Lmdb(directory / "lmdb")
