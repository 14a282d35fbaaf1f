"""RocksDB by `rocksdict`: one write batch a transaction, written with a synced log.

It is favoured: threads write without a lock of ours, so that RocksDB groups their syncs. A real
driver would need one, or transactions, which `rocksdict` has not: nothing here keeps two threads
from making the same key, or a parent from being removed between look-up and write.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
from typing import TYPE_CHECKING, Any

from tools.bench.peers import MissingPeerError
from tools.bench.peers.records import event_of, record_of
from tools.bench.workload import CREATED_FROM, PARENT, layer_name

try:
    import rocksdict
except ImportError as error:
    raise MissingPeerError(f"not installed: {error}") from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.bench.peers import Create

_PARENT = b"s" + PARENT.encode()


class Rocksdict:
    """A database; the first byte of a key says what it is of: snapshots, parents' links, events."""

    def __init__(self, path: Path) -> None:
        self._database = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
        self._synced = rocksdict.WriteOptions()
        self._synced.sync = True
        self._database.put(_PARENT, record_of(0, 0), write_opt=self._synced)
        self._ids = itertools.count(1)
        self.versions: Mapping[str, str] = {
            "RocksDB": _engine_version(path / "LOG"),
            "rocksdict": importlib.metadata.version("rocksdict"),
        }

    @contextlib.contextmanager
    def worker(self) -> Iterator[Create]:
        """Give what one thread works with."""
        yield self._create

    def _create(self, number: int) -> None:
        database = self._database
        key = layer_name(CREATED_FROM + number)
        name = key.encode()
        if database.get(_PARENT) is None:
            raise LookupError(PARENT)
        if database.get(b"s" + name) is not None:
            raise FileExistsError(key)
        id_number = next(self._ids)
        revision = id_number.to_bytes(8, "big")
        batch = rocksdict.WriteBatch(raw_mode=True)
        batch.put(b"s" + name, record_of(number, id_number))
        batch.put(b"p" + _PARENT + b"\0" + revision, name)
        batch.put(b"e" + revision, event_of(number, id_number, key))
        database.write(batch, self._synced)

    def batch(self, first: int, count: int) -> None:
        """Not compared."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _engine_version(log: Path) -> str:
    """Return what the engine says of itself in its log: `rocksdict` doesn't tell."""
    for line in log.read_text(errors="replace").splitlines():
        if "RocksDB version:" in line:
            return line.rpartition(":")[2].strip()
    return "unknown"


def open_peer(directory: Path, _settings: Mapping[str, Any]) -> Rocksdict:
    """Make a database."""
    return Rocksdict(directory / "rocksdb")
