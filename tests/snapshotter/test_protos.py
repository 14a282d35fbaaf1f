"""The compiled messages are those of the `.proto` files, and these those of containerd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from snapledger.snapshotter.proto import mount_pb2, snapshots_pb2
from tools.protos import compile_protos

if TYPE_CHECKING:
    from pathlib import Path


def test_compiled_messages_are_current(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    compile_protos(f"--descriptor_set_out={tmp_path / 'set'}")
    files = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    assert len(files) == 2
    for module in (mount_pb2, snapshots_pb2):
        compiled = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        [source] = [file for file in files if file.name == compiled.name]
        assert _without_json_names(source) == _without_json_names(compiled)


def _without_json_names(file: FileDescriptorProto) -> str:
    """Return a description; the names in JSON are told in one of the two forms only."""
    for message in file.message_type:
        for each in (message, *message.nested_type):
            for field in each.field:
                field.ClearField("json_name")
    return str(file)


def test_fields_have_containerds_numbers() -> None:
    def numbers(message: str) -> dict[str, int]:
        fields = snapshots_pb2.DESCRIPTOR.message_types_by_name[message].fields
        return {field.name: field.number for field in fields}

    mount = {field.name: field.number for field in mount_pb2.Mount.DESCRIPTOR.fields}
    assert mount == {"type": 1, "source": 2, "target": 3, "options": 4}
    assert numbers("CommitSnapshotRequest") == {
        "snapshotter": 1,
        "name": 2,
        "key": 3,
        "labels": 4,
        "parent": 5,
    }
    assert dict(snapshots_pb2.Kind.items()) == {
        "UNKNOWN": 0,
        "VIEW": 1,
        "ACTIVE": 2,
        "COMMITTED": 3,
    }
    [service] = snapshots_pb2.DESCRIPTOR.services_by_name.values()
    assert service.full_name == "containerd.services.snapshots.v1.Snapshots"
    assert len(service.methods) == 10
