"""Verifying leaf files: by themselves, and against the digests of the log as far as that is kept.

Memory: the digests of one span, 2 MiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.errors import CorruptionError
from eventstore.format.leaves import DIGEST_BYTES, ROW_LEAVES
from eventstore.proofs.leaf_files import LeafFile, list_leaf_files, read_roots, read_rows
from eventstore.proofs.spans import MemorySpan
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore.files.interface import FileSystem


class LeafCheck:
    """Reads the leaf files of a store, and then compares digests in the order of revisions.

    Attributes:
        sound: the files in which nothing was found wrong so far.
    """

    def __init__(self, file_system: FileSystem, path: str, store_id: bytes) -> None:
        self._file_system = file_system
        self._store_id = store_id
        self._files = list_leaf_files(file_system, path)
        self.sound: list[LeafFile] = []
        self._loaded: tuple[LeafFile, bytes] | None = None

    def damage(self) -> Iterator[Damage]:
        """Read every file, and yield what is wrong with it by itself."""
        for file in self._files:
            try:
                if list(MemorySpan(self._read(file)).roots()) != self._roots(file):
                    raise CorruptionError(file.path, 0, "a root is not that of its leaves")
            except CorruptionError as error:
                yield Damage(error.path, error.offset_bytes, 0, error.reason)
            except FileNotFoundError:
                continue  # a longer one has taken its place
            else:
                self.sound.append(file)

    def compare(self, first_revision: int, digests: Sequence[bytes]) -> Iterator[Damage]:
        """Yield the damage of files that hold other digests of revisions; of each file once.

        Args:
            first_revision: of the digests, which are of one revision after the other.
            digests: of the log, some at a time: one by one they took as long as a decoded batch.
        """
        for file in tuple(self.sound):
            start = max(first_revision, file.first_revision)
            stop = min(first_revision + len(digests), file.first_revision + file.leaf_count)
            if start >= stop:
                continue
            try:
                leaves = self._leaves_of(file)
            except (CorruptionError, FileNotFoundError):
                self.sound.remove(file)  # replaced meanwhile, or the medium goes bad
                continue
            own = slice(
                (start - file.first_revision) * DIGEST_BYTES,
                (stop - file.first_revision) * DIGEST_BYTES,
            )
            logged = b"".join(digests[start - first_revision : stop - first_revision])
            if leaves[own] != logged:
                revision = start + _common_bytes(leaves[own], logged) // DIGEST_BYTES
                self.sound.remove(file)
                reason = f"the leaf of revision {revision} is not the digest in the log"
                yield Damage(file.path, 0, 0, reason)

    def _leaves_of(self, file: LeafFile) -> bytes:
        if self._loaded is None or self._loaded[0] != file:
            self._loaded = file, self._read(file)
        return self._loaded[1]

    def _read(self, file: LeafFile) -> bytes:
        rows = range(-(-file.leaf_count // ROW_LEAVES))
        return read_rows(self._file_system, file, self._store_id, rows)

    def _roots(self, file: LeafFile) -> list[bytes]:
        return read_roots(self._file_system, file, self._store_id)


def _common_bytes(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=True))
    return next(place for place, (left, right) in pairs if left != right)
