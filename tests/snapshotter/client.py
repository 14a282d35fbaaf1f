"""A client of the snapshots service, as containerd's proxy is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from snapledger.snapshotter.proto import snapshots_pb2 as messages
from snapledger.snapshotter.service import SERVICE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_SECONDS = 30.0


class Client:
    """The ten calls; an error is a `grpc.RpcError`."""

    def __init__(self, socket: Path, *options: tuple[str, int]) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def prepare(
        self,
        key: str,
        parent: str = "",
        labels: Mapping[str, str] | None = None,
        *,
        timeout: float = _SECONDS,
    ) -> Any:
        request = messages.PrepareSnapshotRequest(key=key, parent=parent, labels=labels)
        answer = self._call("Prepare", request, messages.PrepareSnapshotResponse, timeout)
        return answer.mounts

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> Any:
        request = messages.ViewSnapshotRequest(key=key, parent=parent, labels=labels)
        return self._call("View", request, messages.ViewSnapshotResponse).mounts

    def mounts(self, key: str) -> Any:
        return self._call("Mounts", messages.MountsRequest(key=key), messages.MountsResponse).mounts

    def commit(
        self, key: str, name: str, labels: Mapping[str, str] | None = None, parent: str = ""
    ) -> None:
        request = messages.CommitSnapshotRequest(key=key, name=name, labels=labels, parent=parent)
        self._call("Commit", request, Empty)

    def remove(self, key: str) -> None:
        self._call("Remove", messages.RemoveSnapshotRequest(key=key), Empty)

    def stat(self, key: str) -> Any:
        request = messages.StatSnapshotRequest(key=key)
        return self._call("Stat", request, messages.StatSnapshotResponse).info

    def update(self, name: str, labels: Mapping[str, str], *paths: str) -> Any:
        request = messages.UpdateSnapshotRequest(
            info=messages.Info(name=name, labels=labels), update_mask=FieldMask(paths=paths)
        )
        return self._call("Update", request, messages.UpdateSnapshotResponse).info

    def list(self, *filters: str) -> list[list[Any]]:
        """Return the blocks of the answer."""
        return [list(block.info) for block in self.listing(*filters)]

    def listing(self, *filters: str) -> Any:
        """Begin a List, and return what yields its messages."""
        call = self._channel.unary_stream(
            f"/{SERVICE}/List",
            request_serializer=messages.ListSnapshotsRequest.SerializeToString,
            response_deserializer=messages.ListSnapshotsResponse.FromString,
        )
        return call(messages.ListSnapshotsRequest(filters=filters), timeout=_SECONDS)

    def usage(self, key: str) -> tuple[int, int]:
        """Return inodes and size."""
        answer = self._call("Usage", messages.UsageRequest(key=key), messages.UsageResponse)
        return answer.inodes, answer.size

    def cleanup(self) -> None:
        self._call("Cleanup", messages.CleanupRequest(), Empty)

    def _call(self, name: str, request: Any, response: Any, timeout: float = _SECONDS) -> Any:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request, wait_for_ready=True, timeout=timeout)
