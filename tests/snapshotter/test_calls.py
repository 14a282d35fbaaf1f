"""The ten calls: what they answer, and with which code they refuse."""

from __future__ import annotations

import errno
import functools
import os
import stat
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from projections.snapshots import Kind
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.proto.snapshots_pb2 import ACTIVE, COMMITTED, VIEW
from snapledger.snapshotter.service import code_of
from snapledger.snapshotter.strategy import GID_MAPPING, UID_MAPPING

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotter.conftest import Served

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Return the code and the text that a call is refused with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    answer: Any = caught.value  # a call too, which the types of grpcio don't tell
    return answer.code(), answer.details()


def chain(served: Served, length: int) -> str:
    """Commit layers one on the other and return the name of the last."""
    parent = ""
    for number in range(1, length + 1):
        served.client.prepare(f"k/{number}/active", parent)
        served.client.commit(f"k/{number}/active", f"layer-{number}")
        parent = f"layer-{number}"
    return parent


def test_a_base_snapshot_is_a_bind_mount_that_may_be_written_to(served: Served) -> None:
    [mount] = served.client.prepare("a")
    assert (mount.type, list(mount.options)) == ("bind", ["rw", "rbind"])
    assert mount.source == str(served.root / "snapshots/1/fs")
    assert list(served.client.mounts("a")) == [mount]


def test_an_active_snapshot_is_an_overlay_of_its_parents_nearest_first(served: Served) -> None:
    [mount] = served.client.prepare("top", chain(served, 3))
    snapshots = served.root / "snapshots"
    options = [option for option in mount.options if option != "index=off"]
    assert (mount.type, mount.source) == ("overlay", "overlay")
    assert options == [
        f"workdir={snapshots}/4/work",
        f"upperdir={snapshots}/4/fs",
        f"lowerdir={snapshots}/3/fs:{snapshots}/2/fs:{snapshots}/1/fs",
    ]
    has_index = os.path.exists("/sys/module/overlay/parameters/index")
    assert ("index=off" in mount.options) == has_index


def test_views_can_only_be_read(served: Served) -> None:
    top = chain(served, 2)
    snapshots = served.root / "snapshots"
    [none] = served.client.view("view-of-none")
    [one] = served.client.view("view-of-one", "layer-1")
    [two] = served.client.view("view-of-two", top)
    assert (none.type, list(none.options)) == ("bind", ["ro", "rbind"])
    assert (one.source, list(one.options)) == (f"{snapshots}/1/fs", ["ro", "rbind"])
    assert two.type == "overlay"
    assert not [option for option in two.options if option.startswith(("upperdir", "workdir"))]


def test_modes_are_explicit_whatever_the_umask(served: Served) -> None:
    umask = os.umask(0o077)
    try:
        served.client.prepare("a")
    finally:
        os.umask(umask)

    def mode(path: str) -> int:
        return stat.S_IMODE(os.stat(served.root / "snapshots" / path).st_mode)

    assert (mode("1"), mode("1/fs"), mode("1/work")) == (0o700, 0o755, 0o711)


@needs_root
def test_the_parents_owner_is_the_childs(served: Served) -> None:
    served.client.prepare("a")
    os.chown(served.root / "snapshots/1/fs", 1234, 4321)
    served.client.commit("a", "base")
    served.client.prepare("b", "base")
    status = os.stat(served.root / "snapshots/2/fs")
    assert (status.st_uid, status.st_gid) == (1234, 4321)


@needs_root
def test_mapped_root_owns_the_upper_directory(served: Served) -> None:
    labels = {UID_MAPPING: "0:5000:65536", GID_MAPPING: "1000:1:1,0:6000:65536"}
    served.client.prepare("a", labels=labels)
    status = os.stat(served.root / "snapshots/1/fs")
    assert (status.st_uid, status.st_gid) == (5000, 6000)
    bad = {UID_MAPPING: "1:5000:10", GID_MAPPING: "0:0:1"}
    code, text = refused(lambda: served.client.prepare("b", labels=bad))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "maps no root" in text
    assert served.directories() == {"1"}


@pytest.mark.parametrize(
    "mapping",
    [
        "0:99999999999999999999:1",
        "0:4294967296:1",
        "0:4294967295:1",  # which means: leave the owner as it is
        "0:5:1,junk",
        f"0:{'9' * 5000}:1",
        f"{'0' * 5000}:1:1",
        "0:1:4294967297",
        "0:\u0663:1",
        "\u0660:3:1",
        "0:\u00b2:1",
        "0:+3:1",
        "0: 3:1",
        "0:3:1\n",
        "0:-1:1",
        "0:3:0",
        "0:3",
        "0:3:1:1",
        ":::",
        ",",
        "0:1_0:1",
    ],
)
def test_a_mapping_that_is_none_is_an_invalid_argument(served: Served, mapping: str) -> None:
    for one, other in ((UID_MAPPING, GID_MAPPING), (GID_MAPPING, UID_MAPPING)):
        prepare = functools.partial(
            served.client.prepare, "a", labels={one: mapping, other: "0:0:1"}
        )
        code, text = refused(prepare)
        assert (code, text[:6]) == (grpc.StatusCode.INVALID_ARGUMENT, "label ")
        assert len(text) < 400
    assert served.directories() == set()


@needs_root
def test_the_highest_owner_that_there_can_be_is_set(served: Served) -> None:
    labels = {UID_MAPPING: "0:4294967294:4294967295", GID_MAPPING: "1:0:1,0:0:1"}
    served.client.prepare("a", labels=labels)
    status = os.stat(served.root / "snapshots/1/fs")
    assert (status.st_uid, status.st_gid) == (4294967294, 0)


def test_stat_tells_what_is_known(served: Served) -> None:
    served.client.prepare("a", labels={"containerd.io/snapshot/x": "1", "empty": ""})
    active = served.client.stat("a")
    assert (active.name, active.parent, active.kind) == ("a", "", ACTIVE)
    assert dict(active.labels) == {"containerd.io/snapshot/x": "1"}
    served.client.commit("a", "base", {"l": "2"})
    committed = served.client.stat("base")
    assert (committed.kind, dict(committed.labels)) == (COMMITTED, {"l": "2"})
    assert committed.created_at.ToNanoseconds() > active.created_at.ToNanoseconds() > 0
    served.client.view("v", "base")
    assert (served.client.stat("v").kind, served.client.stat("v").parent) == (VIEW, "base")


def test_update_changes_what_the_mask_says(served: Served) -> None:
    served.client.prepare("a", labels={"x": "1", "y": "1"})
    assert dict(served.client.update("a", {"x": "2"}, "labels.x").labels) == {"x": "2", "y": "1"}
    assert dict(served.client.update("a", {"z": "3"}, "labels").labels) == {"z": "3"}
    assert dict(served.client.update("a", {"w": "4"}).labels) == {"w": "4"}
    code, _ = refused(lambda: served.client.update("a", {}, "parent"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_list_comes_in_blocks_of_a_hundred(served: Served) -> None:
    for number in range(203):
        served.client.prepare(f"k{number:03d}", labels={"odd": str(number % 2)})
    blocks = served.client.list()
    assert [len(block) for block in blocks] == [100, 100, 3]
    assert [info.name for block in blocks for info in block] == [f"k{n:03d}" for n in range(203)]
    odd = served.client.list('labels."odd"==1', "name==k000")
    assert len([info for block in odd for info in block]) == 102
    code, _ = refused(lambda: served.client.list("name=="))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert served.client.list("name==none") == []


def test_list_comes_in_messages_that_any_client_takes(served: Served) -> None:
    labels = {f"label-{number}": "x" * 4_000 for number in range(250)}
    for number in range(6):
        served.client.prepare(f"k/{number}", "", labels)
    for number in range(6, 9):
        served.client.prepare(f"k/{number}")
    blocks = served.client.list()
    assert max(sum(info.ByteSize() for info in block) for block in blocks) < 1_200_000
    assert [info.name for block in blocks for info in block] == [f"k/{n}" for n in range(9)]


def test_a_snapshot_has_a_mebibyte_of_labels_at_most(served: Served) -> None:
    client = served.client
    full = {f"{number:06}": "x" * 4_090 for number in range(256)}
    over = {**full, "a": "b"}
    assert sum(len(key) + len(value) for key, value in full.items()) == 1 << 20
    client.prepare("a", "", full)
    client.prepare("b")
    client.commit("b", "base", full)
    client.update("a", full, "labels")
    for call in (
        lambda: client.prepare("c", "", over),
        lambda: client.view("c", "base", over),
        lambda: client.commit("a", "c", over),
        lambda: client.update("a", over),
        lambda: client.update("a", over, "labels"),
        lambda: client.update("base", over, "labels.a"),
    ):
        code, text = refused(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "1048578 bytes: at most 1048576" in text
    assert served.directories() == {"1", "2"}
    assert {info.name: dict(info.labels) for [info] in client.list()} == {"a": full, "base": full}


def test_a_request_may_be_as_long_as_containerd_sends_one(served: Served) -> None:
    labels = {f"{number:06}": "x" * 4_090 for number in range(3 * 1024)}
    code, text = refused(lambda: served.client.prepare("a", "", labels))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "12582912 bytes: at most 1048576" in text


def test_longer_labels_of_an_import_can_be_changed_but_not_grow(served: Served) -> None:
    labels = {f"{number:06}": "x" * 4_090 for number in range(300)}
    with served.snapshotter.store.transaction(writable=True) as transaction:
        transaction.create_snapshot(Kind.ACTIVE, "a", "", labels)
    assert len(served.client.update("a", {}, "labels.000000").labels) == 299
    code, _ = refused(lambda: served.client.update("a", {"new": "x"}, "labels.new"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(served.client.stat("a").labels) == 299


def test_usage_is_measured_while_active_and_kept_when_committed(served: Served) -> None:
    served.client.prepare("a")
    upper = served.root / "snapshots/1/fs"
    empty = served.client.usage("a")
    (upper / "file").write_bytes(b"x" * 10_000)
    os.link(upper / "file", upper / "link")
    (upper / "directory").mkdir()
    filled = served.client.usage("a")
    assert (empty[0], filled[0]) == (1, 3)
    assert filled[1] - empty[1] >= 10_000
    served.client.commit("a", "base")
    (upper / "later").write_bytes(b"x")
    assert served.client.usage("base") == filled
    served.client.view("v", "base")
    assert served.client.usage("v") == (0, 0)


def test_removal_takes_the_directory_along(served: Served) -> None:
    served.client.prepare("a")
    (served.root / "snapshots/1/fs/file").write_bytes(b"x")
    served.client.remove("a")
    assert served.directories() == set()


@pytest.mark.parametrize("options", [Options(remove_asynchronously=True)], indirect=True)
def test_removal_can_leave_the_directory_to_cleanup(served: Served) -> None:
    served.client.prepare("a")
    served.client.prepare("b")
    served.client.remove("a")
    assert served.directories() == {"1", "2"}
    served.client.cleanup()
    assert served.directories() == {"2"}


@pytest.mark.parametrize("options", [Options(sync_contents=True)], indirect=True)
def test_contents_can_be_synced_at_commit(served: Served) -> None:
    served.client.prepare("a")
    served.client.commit("a", "base")
    assert served.client.stat("base").kind == COMMITTED


def test_cleanup_leaves_what_is_foreign_or_in_flight(served: Served) -> None:
    snapshots = served.root / "snapshots"
    (snapshots / "new-0123").mkdir()
    (snapshots / "notes").mkdir()
    with served.snapshotter._directories.stage() as stage:
        served.client.cleanup()
        assert served.directories() == {"notes", stage}
        served.snapshotter._directories.discard(stage)


def test_errors_have_containerds_codes(served: Served) -> None:
    top = chain(served, 2)
    client = served.client
    client.prepare("busy")
    expected = {
        grpc.StatusCode.NOT_FOUND: [
            lambda: client.stat("none"),
            lambda: client.prepare("x", "none"),
            lambda: client.commit("none", "y"),
            lambda: client.remove("none"),
            lambda: client.mounts("none"),
            lambda: client.usage("none"),
            lambda: client.update("none", {}),
        ],
        grpc.StatusCode.ALREADY_EXISTS: [
            lambda: client.prepare("busy"),
            lambda: client.view("busy", top),
            lambda: client.commit("busy", top),
            lambda: client.commit("none", top),
        ],
        grpc.StatusCode.INVALID_ARGUMENT: [
            lambda: client.prepare("x", "busy"),
            lambda: client.prepare("x", labels={"k": "v" * 5000}),
        ],
        grpc.StatusCode.FAILED_PRECONDITION: [
            lambda: client.remove("layer-1"),
            lambda: client.commit("layer-1", "y"),
            lambda: client.mounts("layer-1"),
        ],
    }
    for code, calls in expected.items():
        for call in calls:
            assert refused(call)[0] is code
    assert "remove" in refused(lambda: client.remove("layer-1"))[1]
    assert served.directories() == {"1", "2", "3"}


def test_a_full_disk_is_said_to_be_one(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(served.snapshotter._strategy, "fill", full)
    code, text = refused(lambda: served.client.prepare("a"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "No space left" in text
    assert served.directories() == set()


def test_the_parent_given_at_commit_becomes_the_parent(served: Served) -> None:
    chain(served, 1)
    served.client.prepare("a")
    served.client.commit("a", "named", parent="layer-1")
    assert served.client.stat("named").parent == "layer-1"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE])
def test_what_the_system_has_run_out_of_is_told_as_that(number: int) -> None:
    error = OSError(number, os.strerror(number))
    assert code_of(error) is grpc.StatusCode.RESOURCE_EXHAUSTED
