"""Leaf files on disk: which there are, reading a row, and writing a span so that none is lost.

A file never changes. The last span of a tree grows: it is written anew, longer, under another name,
and only then the shorter file is removed. So at any moment, and after any crash, some file holds
all leaves that any file held before.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError, FormatVersionError, StorageFullError
from eventstore.files.content import write_temporary
from eventstore.files.failures import is_full, unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.leaves import (
    DIGEST_BYTES,
    LEAVES_HEADER_BYTES,
    SPAN_LEAVES,
    check_leaves_header,
    leaves_bytes,
    pack_leaves,
    roots_place,
    row_place,
    unpack_part,
)
from eventstore.format.names import TEMPORARY_SUFFIX, TREE_NAME, leaves_name, parse_leaves_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore.files.interface import File, FileSystem


class LeafFile(NamedTuple):
    """A leaf file by its name.

    Attributes:
        path: of the file.
        first_revision: of its first leaf.
        leaf_count: how many leaves it holds.
    """

    path: str
    first_revision: int
    leaf_count: int


class Parts(NamedTuple):
    """What a leaf file is made of.

    Attributes:
        digests: of the batches, one after the other.
        roots: of the full tiles, one after the other.
    """

    digests: bytes
    roots: bytes


def list_leaf_files(file_system: FileSystem, store_path: str) -> list[LeafFile]:
    """Return every leaf file, in order; of those that begin alike the longest last."""
    directory = join(store_path, TREE_NAME)
    if not file_system.exists(directory):
        return []  # of a store that no release with a tree has opened for writing
    found = []
    for name in file_system.list_directory(directory):
        stated = parse_leaves_name(name)
        if stated is not None:
            found.append(LeafFile(join(directory, name), *stated))
    return sorted(found, key=lambda file: file[1:])


def read_roots(file_system: FileSystem, leaf_file: LeafFile, store_id: bytes) -> list[bytes]:
    """Return the roots of the full tiles of a file, whose header and length are checked.

    Raises:
        CorruptionError: it is damaged, or not the one that its name states.
        FormatVersionError: it has a newer format.
        FileNotFoundError: a longer one has taken its place.
    """
    path, first_revision, count = leaf_file
    with _opened(file_system, path) as file:
        header = file.read(0, LEAVES_HEADER_BYTES)
        check_leaves_header(header, store_id, first_revision, count)
        if file.size_bytes() != leaves_bytes(count):
            raise MalformedError(0, "the file has another length than its leaves take")
        roots = _part(file, roots_place(count), store_id)
    return [roots[at : at + DIGEST_BYTES] for at in range(0, len(roots), DIGEST_BYTES)]


def read_rows(
    file_system: FileSystem, leaf_file: LeafFile, store_id: bytes, rows: Sequence[int]
) -> bytes:
    """Return digests of some rows of a file, one after the other; raises as `read_roots` does."""
    with _opened(file_system, leaf_file.path) as file:
        places = [row_place(leaf_file.leaf_count, row) for row in rows]
        return b"".join(_part(file, place, store_id) for place in places)


def write_leaf_file(
    file_system: FileSystem, store_path: str, store_id: bytes, first_revision: int, parts: Parts
) -> LeafFile:
    """Write the leaves of a span durably, then remove every other file of that span.

    The order is what no crash may break: content, sync, name, sync of the directory; the file is
    then read back, and only after that the files it replaces are removed. Until their removal
    is durable there are two, of which a reader takes the longer.

    Raises:
        StorageFullError: there is no space; what was there stays.
        CorruptionError: the file can't be read back, and what was there stays too.
    """
    directory = join(store_path, TREE_NAME)
    count = len(parts.digests) // DIGEST_BYTES
    written = LeafFile(join(directory, leaves_name(first_revision, count)), first_revision, count)
    temporary = written.path + TEMPORARY_SUFFIX
    data = pack_leaves(store_id, first_revision, parts.digests, parts.roots)
    try:
        write_temporary(file_system, temporary, data)
    except OSError as error:
        with contextlib.suppress(OSError):
            file_system.remove(temporary)
        if is_full(error):
            raise StorageFullError(
                f"{temporary}: no space for leaves of the tree; nothing was lost",
                "free some space and compact again",
            ) from error
        raise
    file_system.rename(temporary, written.path)
    file_system.sync_directory(directory)
    with _opened(file_system, written.path) as file:
        if file.read(0, file.size_bytes()) != data:
            raise CorruptionError(written.path, 0, "the leaves differ from what was written")
    replaced = [
        other.path
        for other in list_leaf_files(file_system, store_path)
        if other.first_revision == first_revision and other.leaf_count != count
    ]
    for path in replaced:
        file_system.remove(path)
    if replaced:
        file_system.sync_directory(directory)
    return written


def span_start(number: int) -> int:
    """Return the first revision of a span."""
    return number * SPAN_LEAVES + 1


def _part(file: File, place: tuple[int, int], store_id: bytes) -> bytes:
    return unpack_part(file.read(*place), place, store_id)


@contextlib.contextmanager
def _opened(file_system: FileSystem, path: str) -> Iterator[File]:
    """Open a leaf file; what is malformed in it is damage of this file."""
    try:
        with unreadable_is_damage(path), contextlib.closing(file_system.open(path)) as file:
            yield file
    except MalformedError as error:
        raise CorruptionError(path, error.offset_bytes, error.reason) from error
    except NewerVersionError as error:
        raise FormatVersionError(path, error.found_version, error.known_version) from error
