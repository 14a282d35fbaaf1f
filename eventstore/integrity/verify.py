"""Verify a store: read it all, change nothing, say everything that is wrong.

Works without the lock, beside a running writer: it judges only what was durable when it started.
*Quick* reads what an open reads, the checkpoints by their checksums and the log after the newest
one, and headers and lengths of the segments before that in the log. It says how many it left
unread: damage in those is met by no open, but by a compaction and by who looks at the past. *Full*
reads every byte: every record and its place in the digest chain, from the oldest archived segment
to the tail, the SHA-256 of each checkpoint, the leaves of the tree, and the indexes of the past,
which it makes again and compares; it replays the log, compares the tables with those in each
checkpoint, and has each projection check them where the replay ends.

`eventstore.integrity.verification` is one such reading, and `eventstore.integrity.comparison` what
compares the tables. Of the replay of a long log another process may do the later part, see
`eventstore.integrity.later`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.arguments import checked_whole
from eventstore.directory.contents import require_files, require_remains
from eventstore.errors import OvertakenError
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute
from eventstore.integrity.replay import ReadAgainError
from eventstore.integrity.verification import Verification
from eventstore.projection import checked_projections

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.projection import Projection
    from eventstore.reports import VerifyReport

_ATTEMPTS = 5


def verify_store(
    path: str | os.PathLike[str],
    projections: Sequence[Projection],
    *,
    quick: bool = False,
    on_batch: Callable[[int], object] = lambda revision: None,
    file_system: FileSystem | None = None,
    processes: int = 1,
) -> VerifyReport:
    """Verify the store at a path.

    Args:
        path: of the store.
        projections: to replay the log with, for the comparison with the checkpoints.
        quick: leave out what takes long.
        on_batch: called with each revision that was read, for progress.
        file_system: that the store is on; the local one unless given.
        processes: with 2 or more, the later part of a long log, on a local file system, is replayed
            by a second process, which `multiprocessing` spawns: so the projections must be such
            as can be pickled, and the program's main module one that can be imported.

    Raises:
        ChildProcessError: the second process was killed.
        ProjectionError: one of the projections is none, or they do not fit together.
        OvertakenError: a writer erases, or compacts, faster than the store can be read.
        NotAStoreError: there is no store, it is still being made, or an open would say that it
            is none.
        FormatVersionError: a file has a newer format.
    """
    known = checked_projections(projections)
    checked_whole(processes, "processes", 1)
    uses_two = processes > 1 and file_system is None
    file_system = file_system or local_file_system()
    directory = absolute(path)
    require_remains(file_system, directory)
    require_files(file_system, directory)
    return verify_files(
        file_system, directory, known, quick=quick, on_batch=on_batch, uses_two=uses_two
    )


def verify_files(
    file_system: FileSystem,
    directory: str,
    projections: Sequence[Projection],
    *,
    quick: bool = False,
    on_batch: Callable[[int], object] = lambda revision: None,
    asks_projections: bool = True,
    uses_two: bool = False,
) -> VerifyReport:
    """Verify what is known to be a store, with checked projections; see `verify_store`.

    Without `asks_projections` their own checks, which say nothing of the bytes, are left out. With
    `uses_two` there may be a second process, if the file system is the local one.
    """
    for attempt in range(_ATTEMPTS):
        verification = Verification(
            file_system,
            directory,
            projections,
            on_batch,
            quick=quick,
            asks_projections=asks_projections,
            uses_two=uses_two and attempt == 0,
        )
        try:
            report = verification.run()
        except ReadAgainError:
            continue
        except FileNotFoundError:
            # A running writer's compaction has moved a file between listing and opening it.
            if attempt == _ATTEMPTS - 1 and not verification.was_overtaken():
                raise
        else:
            if report.is_sound or not verification.was_overtaken():
                return report
        finally:
            verification.stop()
    raise OvertakenError(
        f"{directory}: a writer has removed files while they were read, {_ATTEMPTS} times",
        "verify again when it has less to erase or to compact",
    )
