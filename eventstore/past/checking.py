"""Comparing the index of a segment with the segment, while a verification reads that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.files.content import read_file
from eventstore.files.failures import is_unreadable
from eventstore.files.paths import join
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.names import INDEX_NAME, index_name
from eventstore.log.reader import start_of
from eventstore.log.segments import MemoryFile
from eventstore.past.growing import GrowingIndex
from eventstore.past.packed import PackedIndex
from eventstore.past.terms import Terms
from eventstore.reports import Damage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.event import Batch
    from eventstore.files.interface import FileSystem
    from eventstore.format.segment import SegmentHeader
    from eventstore.log.reader import Record
    from eventstore.projection import Projection

_REMEDY = "it costs time, and no answer is wrong by it: remove it, and it is made anew"


class IndexCheck:
    """Takes in the records of a segment, and says in the end what is wrong with its index.

    A missing index is nothing wrong. Of one that holds keys of other projections than are given
    only the checksums are compared.
    """

    def __init__(
        self,
        file_system: FileSystem,
        path: str,
        header: SegmentHeader,
        projections: Sequence[Projection],
    ) -> None:
        """Read the index of a segment, if there is one."""
        self._path = join(path, INDEX_NAME, index_name(header.first_revision))
        self._problem: str | None = None
        self._packed: bytes | None = None
        self._last_revision = 0
        self._made: GrowingIndex | None = None
        try:
            packed = read_file(file_system, self._path)
            index = PackedIndex(lambda: MemoryFile(self._path, packed))
            for _ in index.postings():
                pass
            index.anchors(0, index.last_revision)
        except (FileNotFoundError, NewerVersionError):
            return
        except MalformedError as error:
            self._problem = error.reason
            return
        except OSError as error:
            if not is_unreadable(error):
                raise
            self._problem = f"can't be read: {error.strerror}"
            return
        terms = Terms(header.store_id, projections)
        if terms.declared == index.header.projections:
            self._packed, self._last_revision = packed, index.last_revision
            self._made = GrowingIndex(terms, header, start_of(header))

    def add(self, record: Record, batch: Batch | None) -> None:
        """Take in the next record of the segment, and the batch in it if there is one."""
        if self._made is None or record.revision > self._last_revision:
            return
        if batch is None:  # which the verification says
            self._made = None
        else:
            self._made.add(record, batch)

    def damage(self) -> Damage | None:
        """Return what is wrong with the index, if something is."""
        if self._made is not None and self._made.pack() != self._packed:
            self._problem = "the index differs from what its segment holds"
        if self._problem is None:
            return None
        return Damage(self._path, 0, 0, f"{self._problem}: {_REMEDY}")
