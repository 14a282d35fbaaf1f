"""A Commit whose answer was lost succeeds when it comes again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from snapshotter.test_calls import refused

if TYPE_CHECKING:
    from snapshotter.conftest import Served

KEY = "default/1/extract"


def revision(served: Served) -> int:
    with served.snapshotter.store.transaction() as now:
        return now.revision


def test_the_same_commit_again_changes_nothing(served: Served) -> None:
    served.client.prepare(KEY)
    served.client.commit(KEY, "default/2/layer")
    before = revision(served)
    served.client.commit(KEY, "default/2/layer")
    assert revision(served) == before


def test_a_commit_under_another_number_renames_what_nobody_has_seen(served: Served) -> None:
    served.client.prepare(KEY)
    served.client.commit(KEY, "default/2/layer", {"kept": "1"})
    for number in (4, 7):
        served.client.commit(KEY, f"default/{number}/layer", {"kept": "1"})
    [[info]] = served.client.list()
    assert (info.name, dict(info.labels)) == ("default/7/layer", {"kept": "1"})
    [mount] = served.client.view("v", "default/7/layer")
    assert mount.source.endswith("snapshots/1/fs")
    [entry] = list(served.snapshotter.store.history("default/7/layer"))[-1:]
    assert entry.metadata.actor == "containerd/default"
    assert entry.metadata.reason == "commit extract as layer, asked for again"


def test_a_commit_under_another_name_is_refused(served: Served) -> None:
    served.client.prepare(KEY)
    served.client.commit(KEY, "default/2/layer")
    assert refused(lambda: served.client.commit(KEY, "default/2/other"))[0] is NOT_FOUND
    assert refused(lambda: served.client.commit(KEY, "other/2/layer"))[0] is NOT_FOUND
    assert refused(lambda: served.client.commit(KEY, "plain"))[0] is NOT_FOUND


def test_what_has_children_keeps_its_name(served: Served) -> None:
    served.client.prepare(KEY)
    served.client.commit(KEY, "default/2/layer")
    served.client.prepare("child", "default/2/layer")
    assert refused(lambda: served.client.commit(KEY, "default/4/layer"))[0] is NOT_FOUND
    assert served.client.stat("default/2/layer").name == "default/2/layer"


def test_a_commit_of_what_was_removed_since_is_refused(served: Served) -> None:
    served.client.prepare(KEY)
    served.client.commit(KEY, "default/2/layer")
    served.client.remove("default/2/layer")
    assert refused(lambda: served.client.commit(KEY, "default/2/layer"))[0] is NOT_FOUND
    served.client.prepare("another")
    served.client.commit("another", "default/2/layer")
    assert refused(lambda: served.client.commit(KEY, "default/2/layer"))[0] is EXISTS


def test_a_key_that_is_used_again_is_not_taken_for_the_first(served: Served) -> None:
    served.client.prepare("k")
    served.client.commit("k", "first")
    served.client.view("k")
    assert refused(lambda: served.client.commit("k", "first"))[0] is EXISTS
    assert refused(lambda: served.client.commit("k", "second"))[0] is PRECONDITION


NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("call", ["prepare", "view"])
def test_a_prepare_again_is_refused_since_containerd_never_repeats_a_key(
    served: Served, call: str
) -> None:
    getattr(served.client, call)(KEY)
    assert refused(lambda: getattr(served.client, call)(KEY))[0] is EXISTS
