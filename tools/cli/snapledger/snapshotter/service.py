"""The gRPC service: messages to calls and back, and which error is which code."""

from __future__ import annotations

import errno
import logging
import time
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

from eventstore import (
    BatchTooLargeError,
    StorageFullError,
    StoreClosedError,
    StoreFailedError,
    WriterBusyError,
)
from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    Kind,
    NotFoundError,
)
from snapledger.snapshotter.proto import mount_pb2, snapshots_pb2
from snapledger.snapshotter.streaming import ended_when_idle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    from google.protobuf.message import Message

    from projections.snapshots import Info
    from snapledger.snapshotter.metadata import Snapshotter
    from snapledger.snapshotter.strategy import Mount
    from snapledger.snapshotter.telling import Counts

SERVICE = "containerd.services.snapshots.v1.Snapshots"
LIST_BLOCK = 100
"""So many snapshots at most are in each message of a List, as with containerd."""

LIST_BYTES = 1 << 20
"""So long are they at most, unless one snapshot is longer: clients refuse what passes a limit."""

LIST_IDLE_SECONDS = 60.0
"""Whoever reads nothing of a List for so long gets no more of it."""

_NS_PER_SECOND = 1_000_000_000
_log = logging.getLogger(__name__)

_KINDS = {
    Kind.VIEW: snapshots_pb2.VIEW,
    Kind.ACTIVE: snapshots_pb2.ACTIVE,
    Kind.COMMITTED: snapshots_pb2.COMMITTED,
}
_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (FailedPreconditionError, grpc.StatusCode.FAILED_PRECONDITION),
    (StorageFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (BatchTooLargeError, grpc.StatusCode.INVALID_ARGUMENT),
    (StoreFailedError, grpc.StatusCode.UNAVAILABLE),
    (StoreClosedError, grpc.StatusCode.UNAVAILABLE),
    (WriterBusyError, grpc.StatusCode.UNAVAILABLE),
)
_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
"""No space on the disk, or no descriptor left."""

_Response = TypeVar("_Response")


def code_of(error: Exception) -> grpc.StatusCode:
    """Return the code that an error of a call is answered with."""
    for error_type, code in _CODES:
        if isinstance(error, error_type):
            return code
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return grpc.StatusCode.UNKNOWN


class Service:
    """The calls of containerd's snapshots service."""

    def __init__(
        self,
        snapshotter: Snapshotter,
        counts: Counts,
        on_failure: Callable[[], object],
        lists: ThreadPoolExecutor,
    ) -> None:
        """Serve a snapshotter.

        Args:
            snapshotter: that does the work.
            counts: of calls.
            on_failure: called when the store has failed and must be opened anew.
            lists: answers List: its clients may pause, and must hold up no other call.
        """
        self._snapshotter = snapshotter
        self._counts = counts
        self._on_failure = on_failure
        self._lists = lists

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return what a gRPC server is given: by the name of each method what answers it."""
        unary: dict[str, tuple[Callable[[Any], Message], type[Message]]] = {
            "Prepare": (self._prepare, snapshots_pb2.PrepareSnapshotRequest),
            "View": (self._view, snapshots_pb2.ViewSnapshotRequest),
            "Mounts": (self._mounts, snapshots_pb2.MountsRequest),
            "Commit": (self._commit, snapshots_pb2.CommitSnapshotRequest),
            "Remove": (self._remove, snapshots_pb2.RemoveSnapshotRequest),
            "Stat": (self._stat, snapshots_pb2.StatSnapshotRequest),
            "Update": (self._update, snapshots_pb2.UpdateSnapshotRequest),
            "Usage": (self._usage, snapshots_pb2.UsageRequest),
            "Cleanup": (self._cleanup, snapshots_pb2.CleanupRequest),
        }
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answered(name, call),
                request_deserializer=request.FromString,
                response_serializer=_serialized,
            )
            for name, (call, request) in unary.items()
        }

        def answer_list(
            request: Any, context: grpc.ServicerContext
        ) -> Iterator[snapshots_pb2.ListSnapshotsResponse]:
            return self._list(request, context)

        # So gRPC is told of a method's own threads; without, all calls would share some.
        vars(answer_list)["experimental_thread_pool"] = self._lists
        handlers["List"] = grpc.unary_stream_rpc_method_handler(
            answer_list,
            request_deserializer=snapshots_pb2.ListSnapshotsRequest.FromString,
            response_serializer=_serialized,
        )
        return handlers

    def _answered(
        self, name: str, call: Callable[[Any], _Response]
    ) -> Callable[[Any, grpc.ServicerContext], _Response]:
        """Return a call that is counted, and whose errors become codes."""

        def answer(request: Any, context: grpc.ServicerContext) -> _Response:
            began = time.perf_counter()
            try:
                response = call(request)
            except Exception as error:
                self._refuse(name, request, error, time.perf_counter() - began, context)
            self._counts.add(name, "OK", time.perf_counter() - began)
            return response

        return answer

    def _refuse(
        self,
        name: str,
        request: Any,
        error: Exception,
        seconds: float,
        context: grpc.ServicerContext,
    ) -> NoReturn:
        code = code_of(error)
        self._counts.add(name, code.name, seconds)
        details = {"call": name, "key": _key(request), "code": code.name, "error": str(error)}
        if code is grpc.StatusCode.UNKNOWN:
            _log.error("a call failed", extra=details, exc_info=error)
        else:
            _log.info("a call was refused", extra=details)
        if isinstance(error, StoreFailedError):
            self._on_failure()
        context.abort(code, str(error) or type(error).__name__)

    def _prepare(self, request: Any) -> snapshots_pb2.PrepareSnapshotResponse:
        return snapshots_pb2.PrepareSnapshotResponse(mounts=self._create(Kind.ACTIVE, request))

    def _view(self, request: Any) -> snapshots_pb2.ViewSnapshotResponse:
        return snapshots_pb2.ViewSnapshotResponse(mounts=self._create(Kind.VIEW, request))

    def _create(self, kind: Kind, request: Any) -> list[mount_pb2.Mount]:
        labels = dict(request.labels)
        return _mounts(self._snapshotter.create(kind, request.key, request.parent, labels))

    def _mounts(self, request: Any) -> snapshots_pb2.MountsResponse:
        return snapshots_pb2.MountsResponse(mounts=_mounts(self._snapshotter.mounts(request.key)))

    def _commit(self, request: Any) -> Empty:
        labels = dict(request.labels)
        self._snapshotter.commit(request.key, request.name, labels, request.parent)
        return _EMPTY

    def _remove(self, request: Any) -> Empty:
        self._snapshotter.remove(request.key)
        return _EMPTY

    def _stat(self, request: Any) -> snapshots_pb2.StatSnapshotResponse:
        return snapshots_pb2.StatSnapshotResponse(info=_info(self._snapshotter.stat(request.key)))

    def _update(self, request: Any) -> snapshots_pb2.UpdateSnapshotResponse:
        paths = tuple(request.update_mask.paths)
        info = self._snapshotter.update(request.info.name, dict(request.info.labels), paths)
        return snapshots_pb2.UpdateSnapshotResponse(info=_info(info))

    def _usage(self, request: Any) -> snapshots_pb2.UsageResponse:
        usage = self._snapshotter.usage(request.key)
        return snapshots_pb2.UsageResponse(size=usage.size, inodes=usage.inodes)

    def _cleanup(self, request: Any) -> Empty:
        _ = request
        self._snapshotter.cleanup()
        return _EMPTY

    def _list(
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[snapshots_pb2.ListSnapshotsResponse]:
        """Answer in blocks; all are read at once, so that no client keeps a transaction open."""
        began = time.perf_counter()
        try:
            infos = self._snapshotter.list(tuple(request.filters))
        except Exception as error:
            self._refuse("List", request, error, time.perf_counter() - began, context)
        with ended_when_idle(context.cancel, LIST_IDLE_SECONDS) as note_read:
            for block in _blocks(infos):
                yield snapshots_pb2.ListSnapshotsResponse(info=block)
                note_read()
        self._counts.add("List", "OK", time.perf_counter() - began)


_EMPTY = Empty()


def _serialized(message: Any) -> bytes:
    return message.SerializeToString()  # type: ignore[no-any-return]


def _key(request: Any) -> str:
    """Return what a request is about."""
    info = getattr(request, "info", None)
    return str(getattr(request, "key", "") or getattr(info, "name", ""))


def _mounts(mounts: Iterable[Mount]) -> list[mount_pb2.Mount]:
    return [
        mount_pb2.Mount(type=mount.type, source=mount.source, options=mount.options)
        for mount in mounts
    ]


def _blocks(infos: Iterable[Info]) -> Iterator[list[snapshots_pb2.Info]]:
    """Give snapshots in blocks that are neither too many nor too long for one message."""
    block: list[snapshots_pb2.Info] = []
    size = 0
    for message in map(_info, infos):
        more = message.ByteSize()
        if len(block) == LIST_BLOCK or (block and size + more > LIST_BYTES):
            yield block
            block, size = [], 0
        block.append(message)
        size += more
    if block:
        yield block


def _info(info: Info) -> snapshots_pb2.Info:
    return snapshots_pb2.Info(
        name=info.name,
        parent=info.parent,
        kind=_KINDS[info.kind],
        created_at=_time(info.created_ns),
        updated_at=_time(info.updated_ns),
        labels=dict(info.labels),
    )


def _time(nanoseconds: int) -> Timestamp:
    seconds, nanos = divmod(nanoseconds, _NS_PER_SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)
