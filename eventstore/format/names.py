"""The names of a store's files and directories: how each is built, and how it is read.

No other module builds or parses a file name.
"""

from __future__ import annotations

import re

LOCK_NAME = "LOCK"
WAL_NAME = "wal"
CHECKPOINTS_NAME = "checkpoints"
ARCHIVE_NAME = "archive"
TORN_NAME = "torn"
INDEX_NAME = "index"
TREE_NAME = "tree"
LADDER_NAME = "ladder"
DURABLE_NAME = "durable"
MAKING_NAME = "MAKING"
REQUEST_NAME = "compact.request"
ANSWER_NAME = "compact.answer"
ERASING_NAME = "ERASING"
TEMPORARY_SUFFIX = ".tmp"
_SPARE = "spare-"
_DETACHED_SUFFIX = ".detached.jsonl"
DAMAGED_SUFFIX = ".damaged"
DIRECTORY_NAMES = (
    WAL_NAME,
    CHECKPOINTS_NAME,
    ARCHIVE_NAME,
    INDEX_NAME,
    TORN_NAME,
    TREE_NAME,
    LADDER_NAME,
)

_SEGMENT_NAME = re.compile(r"([0-9]{20})\.log")
_CHECKPOINT_NAME = re.compile(r"([0-9]{20})\.ckpt")
_DELTA_NAME = re.compile(r"([0-9]{20})-([0-9]{20})\.delta")
_RUNG_NAME = re.compile(r"([0-9]{20})(?:-([0-9]{20}))?\.rung")
_ARCHIVE_NAME = re.compile(r"([0-9]{20})\.log\.gz")
_INDEX_NAME = re.compile(r"([0-9]{20})\.index")
_LEAVES_NAME = re.compile(r"([0-9]{20})-([1-9][0-9]{0,4})\.leaves")


def segment_name(first_revision: int) -> str:
    """Return the file name of the segment that starts with a revision."""
    return f"{first_revision:020d}.log"


def checkpoint_name(revision: int, previous: int | None = None) -> str:
    """Return the file name of the checkpoint at a revision.

    Args:
        revision: of the checkpoint.
        previous: of the one that it continues, if it is a delta; None for a base.
    """
    if previous is not None:
        return f"{revision:020d}-{previous:020d}.delta"
    return f"{revision:020d}.ckpt"


def rung_name(revision: int, previous: int | None) -> str:
    """Return the file name of the rung at a revision.

    Args:
        revision: of the rung.
        previous: of the one that it is packed against, if there is one.
    """
    return f"{revision:020d}.rung" if previous is None else f"{revision:020d}-{previous:020d}.rung"


def archive_name(first_revision: int) -> str:
    """Return the file name of the archived segment that starts with a revision."""
    return f"{first_revision:020d}.log.gz"


def index_name(first_revision: int) -> str:
    """Return the file name of the index of the segment that starts with a revision."""
    return f"{first_revision:020d}.index"


def leaves_name(first_revision: int, count: int) -> str:
    """Return the file name of so many leaves of the tree, from that of a revision on."""
    return f"{first_revision:020d}-{count}.leaves"


def spare_name(number: int) -> str:
    """Return the temporary name of a preallocated file that is no segment yet."""
    return f"{_SPARE}{number}{TEMPORARY_SUFFIX}"


def is_spare_name(name: str) -> bool:
    """Say whether a file is one that was preallocated and is no segment yet."""
    return name.startswith(_SPARE) and name.endswith(TEMPORARY_SUFFIX)


def damaged_name(name: str) -> str:
    """Return the name under which a file is set aside that can't be used."""
    return name + DAMAGED_SUFFIX


def torn_name(revision: int, offset_bytes: int, taken: int = 0) -> str:
    """Return the file name for bytes cut where a record of `revision` would have started.

    Args:
        revision: that the record would have had.
        offset_bytes: where it would have started.
        taken: how many names for that place are taken by earlier cuts.
    """
    return f"{revision:020d}-{offset_bytes}.torn{'+' * taken}"


def beside(path: str) -> str:
    """Return the path of the file next to a new store, for batches that have no place in it."""
    return path + _DETACHED_SUFFIX


def parse_segment_name(name: str) -> int | None:
    """Return the first revision that a segment's name states; None for another name."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def parse_checkpoint_name(name: str) -> int | None:
    """Return the revision that a base checkpoint's name states; None for another name."""
    match = _CHECKPOINT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def parse_delta_name(name: str) -> tuple[int, int] | None:
    """Return the revisions that a delta's name states, its own first; None for another name."""
    match = _DELTA_NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def parse_rung_name(name: str) -> tuple[int, int | None] | None:
    """Return the revisions that a rung's name states, its own first; None for another name."""
    match = _RUNG_NAME.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), None if match[2] is None else int(match[2])


def parse_archive_name(name: str) -> int | None:
    """Return the first revision that an archive file's name states; None for another name."""
    match = _ARCHIVE_NAME.fullmatch(name)
    return int(match[1]) if match else None


def parse_index_name(name: str) -> int | None:
    """Return the first revision that an index's name states; None for another name."""
    match = _INDEX_NAME.fullmatch(name)
    return int(match[1]) if match else None


def parse_leaves_name(name: str) -> tuple[int, int] | None:
    """Return first revision and count that a leaf file's name states; None for another name."""
    match = _LEAVES_NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None
