"""Which segments a store has, in the log and in the archive, and how to open either.

An archived segment is the same bytes up to the end of its records, compressed with gzip, so that
the standard tools can read it. It is opened as a file that unpacks what is read, and everything
above reads it with the same scanner: `open_source` for who reads it through, and must know that all
of it is whole; `open_places` for who reads a few records here and there, and checks those.
"""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError, FormatVersionError
from eventstore.files.failures import is_unreadable, unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.archive import (
    PREFIX_BYTES,
    header_bytes,
    pack_archive,
    raw_decompressor,
    stream_decompressor,
    unpack_block,
    unpack_blocks,
)
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.names import ARCHIVE_NAME, WAL_NAME, parse_archive_name, parse_segment_name
from eventstore.format.segment import (
    SEGMENT_BYTES_LIMIT,
    SEGMENT_HEADER_BYTES,
    unpack_segment_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.files.interface import File, FileSystem
    from eventstore.format.archive import Blocks

_SALVAGE_SLICE_BYTES = 4096
_SALVAGED_BYTES = 64 * 1024 * 1024
_SALVAGED_RATIO = 64
"""What is unpacked of a damaged archive file: so much, or so many times its size if that is more.

A segment of the default size takes 16 MiB, and one of batches that hold more than the same byte
over and over is compressed less than that. Without a bound, a megabyte of nonsense takes minutes.
"""
_PACKED_SLICE_BYTES = 64 * 1024
_PART_BYTES = 1024 * 1024
_BACKLOG_BYTES = 2 * 1024 * 1024
"""How far back can be read without beginning again."""
_HEAD_BYTES = 4096
"""Of a packed block: the first bytes of a segment are in there."""
_BLOCKS_KEPT = 4
"""How many unpacked blocks a file that is read here and there keeps."""


class SegmentSource(NamedTuple):
    """Where a segment can be read.

    Attributes:
        first_revision: as its name states.
        path: of the file.
        is_archived: whether it is compressed.
    """

    first_revision: int
    path: str
    is_archived: bool


class ReadOnlyFile:
    """The half of a file that refuses to be changed."""

    __slots__ = ()

    path: str

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Refuse."""
        raise TypeError(f"{self.path}: the file is open for reading only")

    def truncate(self, size_bytes: int) -> None:
        """Refuse."""
        raise TypeError(f"{self.path}: the file is open for reading only")

    def sync(self) -> None:
        """Do nothing: there is nothing to write."""


class MemoryFile(ReadOnlyFile):
    """Bytes as a read-only file."""

    __slots__ = ("_data", "path")

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self._data = data

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends."""
        return self._data[offset_bytes : offset_bytes + size_bytes]

    def size_bytes(self) -> int:
        """Return the file's length."""
        return len(self._data)

    def close(self) -> None:
        """Do nothing: the memory is freed with the object."""


class UnpackedFile(ReadOnlyFile):
    """An archived segment, unpacked as it is read, so that memory holds a part of it only.

    It is meant to be read forwards. Who goes back further than the part that is kept begins again.
    """

    __slots__ = ("_inflate", "_kept", "_packed", "_parts", "_size_bytes", "_start_bytes", "path")

    def __init__(self, packed: File, inflate: Callable[[File], Iterator[bytes]]) -> None:
        """Go through the whole stream once; the file belongs to this one from here on.

        Raises:
            CorruptionError: it can't be decompressed, or to more than a segment can hold.
        """
        self.path = packed.path
        self._packed = packed
        self._inflate = inflate
        self._size_bytes = sum(map(len, inflate(packed)))
        self._rewind()

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends."""
        end = min(offset_bytes + size_bytes, self._size_bytes)
        if offset_bytes < self._start_bytes:
            self._rewind()
        while self._start_bytes + len(self._kept) < end:
            self._kept += next(self._parts)
            passed = offset_bytes - _BACKLOG_BYTES - self._start_bytes
            if passed > 0:
                passed = min(passed, len(self._kept))
                del self._kept[:passed]
                self._start_bytes += passed
        start = offset_bytes - self._start_bytes
        return bytes(memoryview(self._kept)[start : max(start, end - self._start_bytes)])

    def size_bytes(self) -> int:
        """Return the length of what is unpacked."""
        return self._size_bytes

    def close(self) -> None:
        """Release the packed file; does nothing the second time."""
        self._packed.close()

    def _rewind(self) -> None:
        self._start_bytes = 0
        self._kept = bytearray()
        self._parts = self._inflate(self._packed)


class BlockFile(ReadOnlyFile):
    """An archived segment of which only the blocks that are read are unpacked."""

    __slots__ = ("_blocks", "_kept", "_packed", "path")

    def __init__(self, packed: File, blocks: Blocks) -> None:
        """Take over the packed file."""
        self.path = packed.path
        self._packed = packed
        self._blocks = blocks
        self._kept: dict[int, bytes] = {}

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends.

        Raises:
            CorruptionError: a block can't be unpacked.
        """
        end = min(offset_bytes + size_bytes, self._blocks.size_bytes)
        if offset_bytes >= end:
            return b""
        block_bytes = self._blocks.block_bytes
        first, last = offset_bytes // block_bytes, (end - 1) // block_bytes
        parts = [self._block(number, block_bytes) for number in range(first, last)]
        parts.append(self._block(last, end - last * block_bytes))
        start = offset_bytes - first * block_bytes
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        return whole[start : start + end - offset_bytes]

    def size_bytes(self) -> int:
        """Return the length of what is unpacked."""
        return self._blocks.size_bytes

    def close(self) -> None:
        """Release the packed file; does nothing the second time."""
        self._packed.close()

    def _block(self, number: int, size_bytes: int) -> bytes:
        """Return a block, or as much of it as is needed and perhaps more.

        The first time no more is unpacked than that: who looks up one record, or the header, needs
        no other. Who comes again for more gets all of it.
        """
        kept = self._kept.get(number)
        if kept is not None and len(kept) >= size_bytes:
            return kept
        block = self._unpacked(number, size_bytes if kept is None else self._blocks.block_bytes)
        if kept is None and len(self._kept) >= _BLOCKS_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[number] = block
        return block

    def _unpacked(self, number: int, size_bytes: int) -> bytes:
        """Return a block, or its first bytes."""
        start, end = self._blocks.starts[number : number + 2]
        left_bytes = self._blocks.size_bytes - number * self._blocks.block_bytes
        packed_bytes = min(end - start, max(_HEAD_BYTES, 2 * size_bytes))
        try:
            return unpack_block(self._packed.read(start, packed_bytes), min(size_bytes, left_bytes))
        except MalformedError as error:
            raise CorruptionError(self.path, start, error.reason) from error


def list_segments(file_system: FileSystem, store_path: str) -> list[SegmentSource]:
    """Return the segments in the log directory, in order."""
    directory = join(store_path, WAL_NAME)
    return [
        SegmentSource(first_revision, join(directory, name), is_archived=False)
        for name in _names(file_system, directory)
        if (first_revision := parse_segment_name(name)) is not None
    ]


def list_archived(file_system: FileSystem, store_path: str) -> list[SegmentSource]:
    """Return the archived segments, in order."""
    directory = join(store_path, ARCHIVE_NAME)
    return [
        SegmentSource(first_revision, join(directory, name), is_archived=True)
        for name in _names(file_system, directory)
        if (first_revision := parse_archive_name(name)) is not None
    ]


def list_sources(file_system: FileSystem, store_path: str) -> list[SegmentSource]:
    """Return every segment of archive and log, in order, each once.

    A segment that is in both, because compaction was cut short or runs just now, is read from the
    log.
    """
    # The log first: a segment that compaction moves meanwhile is then in both, and never in none.
    in_log = list_segments(file_system, store_path)
    sources = {source.first_revision: source for source in list_archived(file_system, store_path)}
    sources.update((source.first_revision, source) for source in in_log)
    return [sources[first_revision] for first_revision in sorted(sources)]


def open_source(file_system: FileSystem, source: SegmentSource) -> File:
    """Open a segment for reading, wherever it is.

    Raises:
        CorruptionError: it is archived and can't be decompressed.
        FileNotFoundError: it was moved or dropped since it was listed.
    """
    if not source.is_archived:
        return file_system.open(source.path)
    return _unpacked(file_system, source.path, inflated)


def open_places(file_system: FileSystem, source: SegmentSource) -> File:
    """Open a segment for reading here and there: of an archived one only that is unpacked.

    What is not read may be damaged. An archive file of version 1 has one block, and is read
    through as by `open_source`.

    Raises:
        CorruptionError: it is archived, and its header is damaged or it can't be decompressed.
        FormatVersionError: it is archived in a newer format.
        FileNotFoundError: it was moved or dropped since it was listed.
    """
    file = file_system.open(source.path)
    if not source.is_archived:
        return file
    try:
        blocks = _blocks_of(file)
        return UnpackedFile(file, inflated) if blocks is None else BlockFile(file, blocks)
    except BaseException:
        file.close()
        raise


@contextlib.contextmanager
def opened_source(
    file_system: FileSystem,
    source: SegmentSource,
    is_damage: Callable[[OSError], bool] = is_unreadable,
) -> Iterator[File]:
    """Open a segment for reading, and close it in the end.

    Raises:
        CorruptionError: it can't be decompressed, or an error means damage.
        FileNotFoundError: it was moved or dropped since it was listed.
    """
    with unreadable_is_damage(source.path, is_damage):
        file = open_source(file_system, source)
        try:
            yield file
        finally:
            file.close()


def open_readable_part(file_system: FileSystem, source: SegmentSource) -> tuple[File, str | None]:
    """Open a segment as far as it can be read, to salvage what is in it.

    Of a damaged archive file, or one whose segment header is damaged, that is what comes before the
    damage, up to a bound, and perhaps some bytes of nonsense, which the checksums of records tell
    apart.

    Returns:
        the file, and what is wrong with it as a whole, if something is.
    """
    try:
        file = open_source(file_system, source)
    except CorruptionError as error:
        return _unpacked(file_system, source.path, _salvaged), error.reason
    if not source.is_archived or _has_header(file):
        return file, None
    file.close()
    return _unpacked(file_system, source.path, _salvaged), None


def _has_header(file: File) -> bool:
    try:
        unpack_segment_header(file.read(0, SEGMENT_HEADER_BYTES))
    except MalformedError:
        return False
    except NewerVersionError:  # which whoever reads on will say
        return True
    return True


def compress(data: bytes) -> bytes:
    """Return bytes as an archive file holds them."""
    return pack_archive(data)


def inflated(file: File) -> Iterator[bytes]:
    """Yield what an archive file holds, in parts.

    Raises:
        CorruptionError: it is not one whole gzip stream, or holds more than any segment.
        FormatVersionError: it has a newer format.
    """
    _blocks_of(file)
    decompressor = stream_decompressor()
    offset_bytes, left_bytes = 0, SEGMENT_BYTES_LIMIT
    while not decompressor.eof:
        packed = decompressor.unconsumed_tail
        if not packed:
            packed = file.read(offset_bytes, _PACKED_SLICE_BYTES)
            offset_bytes += len(packed)
        try:
            part = decompressor.decompress(packed, _PART_BYTES)
        except zlib.error as error:
            reason = f"the archive file can't be decompressed: {error}"
            raise CorruptionError(file.path, 0, reason) from error
        left_bytes -= len(part)
        if left_bytes < 0:
            raise CorruptionError(file.path, 0, "the archive file holds more than any segment")
        if part:
            yield part
        elif not packed:
            break
    is_whole = decompressor.eof and not decompressor.unused_data
    if not is_whole or offset_bytes < file.size_bytes():
        raise CorruptionError(file.path, 0, "the archive file is not one whole gzip stream")


def _blocks_of(file: File) -> Blocks | None:
    """Return where the blocks of an archive file are; None for one of version 1.

    Raises:
        CorruptionError: its header is damaged.
        FormatVersionError: it has a newer format.
    """
    try:
        return unpack_blocks(file.read(0, header_bytes(file.read(0, PREFIX_BYTES))))
    except MalformedError as error:
        raise CorruptionError(file.path, error.offset_bytes, error.reason) from error
    except NewerVersionError as error:
        raise FormatVersionError(file.path, error.found_version, error.known_version) from error


def _salvaged(file: File) -> Iterator[bytes]:
    """Yield what can be decompressed, whatever the header and the checksum of the stream say."""
    decompressor = raw_decompressor()
    offset_bytes = header_bytes(file.read(0, PREFIX_BYTES))
    bound = max(_SALVAGED_BYTES, _SALVAGED_RATIO * file.size_bytes())
    left_bytes = min(SEGMENT_BYTES_LIMIT, bound)
    while left_bytes > 0 and (packed := file.read(offset_bytes, _SALVAGE_SLICE_BYTES)):
        offset_bytes += len(packed)
        before = decompressor.copy()
        try:
            part = decompressor.decompress(packed)
        except zlib.error:
            # A call that meets an error gives nothing of what comes before it.
            with contextlib.suppress(zlib.error):
                yield from (before.decompress(packed[at : at + 1]) for at in range(len(packed)))
            break
        left_bytes -= len(part)
        yield part
        if decompressor.eof:
            break


def _unpacked(
    file_system: FileSystem, path: str, inflate: Callable[[File], Iterator[bytes]]
) -> UnpackedFile:
    file = file_system.open(path)
    try:
        return UnpackedFile(file, inflate)
    except BaseException:
        file.close()
        raise


def _names(file_system: FileSystem, directory: str) -> list[str]:
    return file_system.list_directory(directory) if file_system.is_directory(directory) else []
