"""Recorded runs of containerd's own storage package replay here with the same results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eventstore import StoreOptions
from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    SnapshotError,
    Usage,
    storage,
)

RECORDINGS = Path(__file__).parent.parent / "data" / "conformance" / "storage.jsonl"
OPTIONS = StoreOptions(segment_bytes=16 * 1024, background=False)
ERRORS = {
    NotFoundError: "not_found",
    AlreadyExistsError: "already_exists",
    InvalidArgumentError: "invalid_argument",
    FailedPreconditionError: "failed_precondition",
}


def info_fields(info: Any) -> dict[str, Any]:
    return {
        "name": info.name,
        "parent": info.parent,
        "kind": str(info.kind),
        "labels": dict(info.labels),
    }


def usage_fields(usage: Usage) -> dict[str, int]:
    return {"inodes": usage.inodes, "size": usage.size}


def create(step: dict[str, Any]) -> Any:
    kind = Kind.parse(step["kind"])
    snapshot = storage.create_snapshot(kind, step["key"], step["parent"], step["labels"])
    return {
        "id": snapshot.id,
        "kind": str(snapshot.kind),
        "parent_ids": list(snapshot.parent_ids),
    }


def get_snapshot(step: dict[str, Any]) -> Any:
    snapshot = storage.get_snapshot(step["key"])
    return {
        "id": snapshot.id,
        "kind": str(snapshot.kind),
        "parent_ids": list(snapshot.parent_ids),
    }


def commit(step: dict[str, Any]) -> Any:
    usage = Usage(**step["usage"])
    return storage.commit_active(
        step["key"], step["name"], usage, step["labels"], step.get("parent", "")
    )


def remove(step: dict[str, Any]) -> Any:
    snapshot_id, kind = storage.remove(step["key"])
    return {"id": snapshot_id, "kind": str(kind)}


def get_info(step: dict[str, Any]) -> Any:
    snapshot_id, info, usage = storage.get_info(step["key"])
    return {"id": snapshot_id, "info": info_fields(info), "usage": usage_fields(usage)}


def update(step: dict[str, Any]) -> Any:
    return info_fields(storage.update_info(step["name"], step["labels"], *step["fieldpaths"]))


def walk(step: dict[str, Any]) -> Any:
    found: list[Any] = []
    storage.walk_info(lambda info: found.append(info_fields(info)), *step["filters"])
    return found


def id_map(step: dict[str, Any]) -> Any:
    return storage.id_map()


OPERATIONS = {
    "create": create,
    "get_snapshot": get_snapshot,
    "commit": commit,
    "remove": remove,
    "get_info": get_info,
    "update": update,
    "walk": walk,
    "id_map": id_map,
}


class UndoError(Exception):
    """Raised to leave a transaction without committing."""


def replay_transaction(store: MetaStore, steps: list[dict[str, Any]]) -> None:
    begin, *operations, end = steps
    try:
        with store.transaction_context(begin["writable"]):
            for step in operations:
                expected = {name: step[name] for name in ("error", "result") if name in step}
                try:
                    outcome = {"result": OPERATIONS[step["op"]](step)}
                except SnapshotError as error:
                    outcome = {"error": ERRORS[type(error)]}
                assert outcome == expected, step
            if not end["commit"]:
                raise UndoError
    except UndoError:
        pass


@pytest.mark.parametrize(
    "recording",
    RECORDINGS.read_text().splitlines(),
    ids=lambda line: f"seed-{json.loads(line)['seed']}",
)
def test_recorded_run_gives_the_same_results(recording: str, tmp_path: Path) -> None:
    steps = json.loads(recording)["steps"]
    path = tmp_path / "store"
    store = MetaStore.open(path, options=OPTIONS)
    pending: list[dict[str, Any]] = []
    try:
        for step in steps:
            if step["op"] == "reopen":
                store.check()
                store.close()
                store = MetaStore.open(path, options=OPTIONS)
                continue
            pending.append(step)
            if step["op"] == "end":
                replay_transaction(store, pending)
                pending = []
        assert pending == []
        store.check()
        report = store.verify()
        assert report.is_sound, report
    finally:
        store.close()
