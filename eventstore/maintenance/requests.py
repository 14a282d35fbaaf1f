"""A compaction that another process asks for: a file that background maintenance looks for.

Whoever wants one puts `compact.request` into the store's directory, with a random token in it. The
process that has the store open looks once a second; it compacts, by its own retention, renames
`compact.answer` with that token into place, and then removes the request. So whoever asks sees
either the answer, or his request, or neither, where an open has cleared both away: then he asks
again.

Nothing here is synced: after a power cut the next open removes what is left, and whoever asked is
gone too. Who may write into the directory, which has mode 0700, may ask for this and no more; what
is not a regular file is left alone.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import EventStoreError
from eventstore.files.content import read_file
from eventstore.files.failures import is_no_file
from eventstore.files.paths import join
from eventstore.format.names import ANSWER_NAME, REQUEST_NAME, TEMPORARY_SUFFIX
from eventstore.format.request import (
    REQUEST_BYTES_MAX,
    Answer,
    pack_answer,
    pack_request,
    unpack_answer,
    unpack_request,
)
from eventstore.reports import CompactionReport

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from eventstore.files.interface import FileSystem

_logger = logging.getLogger("eventstore")

_LOOK_SECONDS = 0.02
_CHECKPOINT = "checkpoint_revision"
_COUNTS = ("archived", "dropped", "checkpoints_removed", "freed_bytes")


class Answered(NamedTuple):
    """What another process has done.

    Attributes:
        report: of its compaction.
        checkpoint_revision: of its newest checkpoint; None where an older release has answered.
    """

    report: CompactionReport
    checkpoint_revision: int | None


class RequestDesk:
    """Where the holder of a store's lock finds requests, and answers them."""

    def __init__(self, file_system: FileSystem, path: str) -> None:
        self._file_system = file_system
        self._request_path = join(path, REQUEST_NAME)
        self._answer_path = join(path, ANSWER_NAME)
        self._is_incomplete = False

    def token(self) -> str | None:
        """Return the token of the request that is there; None if there is none.

        What is no request is removed, unless it may be one that is being written: at the second
        look.
        """
        if not self._file_system.is_file(self._request_path):
            self._is_incomplete = False
            return None
        try:
            data = read_file(self._file_system, self._request_path, REQUEST_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        token = unpack_request(data)
        if token is None and self._is_incomplete:
            self._remove_request()
        self._is_incomplete = token is None
        return token

    def answer(
        self, token: str, report: CompactionReport | Exception, checkpoint_revision: int = 0
    ) -> None:
        """Say what came of a request, and then remove it.

        Args:
            token: of the request.
            report: of the compaction, or why there was none.
            checkpoint_revision: of the newest checkpoint.
        """
        if isinstance(report, CompactionReport):
            counts = {name: getattr(report, name) for name in _COUNTS}
            answer = Answer(token, {**counts, _CHECKPOINT: checkpoint_revision}, None)
        else:
            answer = Answer(token, {}, f"{type(report).__name__}: {report}")
        temporary = self._answer_path + TEMPORARY_SUFFIX
        if self._file_system.exists(temporary):
            self._file_system.remove(temporary)
        _write(self._file_system, temporary, pack_answer(answer))
        try:
            self._file_system.rename(temporary, self._answer_path)
        except OSError as error:
            if not is_no_file(error):
                raise
            # Whoever asked sees what is in the way; to compact again would change nothing.
            _logger.warning("%s: no answer: something else is there", self._answer_path)
            self._file_system.remove(temporary)
        self._remove_request()

    def _remove_request(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._file_system.remove(self._request_path)


class CompactionRequest:
    """A compaction that is asked of the process that has a store open: a context manager.

    Leaving it withdraws what was not answered.
    """

    def __init__(self, file_system: FileSystem, path: str) -> None:
        self._file_system = file_system
        self._path = path
        self._request_path = join(path, REQUEST_NAME)
        self._answer_path = join(path, ANSWER_NAME)
        self._token = secrets.token_hex(16)

    def wait(self, seconds: float) -> Answered | None:
        """Ask, unless that was done, and return what was done; None if nobody has answered yet.

        Where another request is there, it is waited for first.

        Raises:
            EventStoreError: the other process could not do it, and why; or nobody could answer.
        """
        deadline = time.monotonic() + seconds
        while True:
            if not self._file_system.exists(self._request_path):
                # The answer comes before the request goes: looked for in the other order.
                answer = self._answer()
                if answer is not None:
                    return self._report(answer)
                if self._is_answer_blocked():
                    raise EventStoreError(
                        f"{self._answer_path}: something else is in the place of the answer",
                        "remove it, and ask again",
                    )
                with contextlib.suppress(FileExistsError):
                    _write(self._file_system, self._request_path, pack_request(self._token))
            if time.monotonic() >= deadline:
                return None
            time.sleep(_LOOK_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What an open clears away meanwhile is gone as well.
        with contextlib.suppress(FileNotFoundError):
            if self._content(self._request_path) == pack_request(self._token):
                self._file_system.remove(self._request_path)
        with contextlib.suppress(FileNotFoundError):
            if self._answer() is not None:
                self._file_system.remove(self._answer_path)

    def _is_answer_blocked(self) -> bool:
        files, path = self._file_system, self._answer_path
        return files.exists(path) and not files.is_file(path)

    def _answer(self) -> Answer | None:
        answer = unpack_answer(self._content(self._answer_path))
        return answer if answer is not None and answer.token == self._token else None

    def _report(self, answer: Answer) -> Answered:
        if answer.error is not None:
            raise EventStoreError(
                f"{self._path}: the process that has the store open could not compact it: "
                f"{answer.error}"
            )
        report = CompactionReport(**{name: answer.counts.get(name, 0) for name in _COUNTS})
        return Answered(report, answer.counts.get(_CHECKPOINT))

    def _content(self, path: str) -> bytes:
        if not self._file_system.is_file(path):
            return b""
        return read_file(self._file_system, path, REQUEST_BYTES_MAX + 1)


def _write(file_system: FileSystem, path: str, data: bytes) -> None:
    """Make a file with a content, which is not synced: see above."""
    file = file_system.create(path)
    try:
        file.write(0, data)
    finally:
        file.close()
