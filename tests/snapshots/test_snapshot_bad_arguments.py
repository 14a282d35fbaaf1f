"""A bad argument gets a clear error and changes nothing, and the same transaction goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import content, content_of, create_committed, files_of

from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    SnapshotTransaction,
    Usage,
)
from projections.snapshots.model import KEY_BYTES_MAX, LABEL_PAIR_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.snapshots import OpenStore

    Call = Callable[[SnapshotTransaction], Any]

USAGE = Usage(1, 1)
LONG_KEY = "é" * (KEY_BYTES_MAX // 2) + "x"


class Text(str):
    """A text that lies about itself when it is printed."""

    __slots__ = ()

    def __str__(self) -> str:
        return "a lie"


@pytest.fixture
def prepared(store: MetaStore) -> MetaStore:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base", labels={"a": "1"})
        create_committed(tx, "other")
        tx.create_snapshot(Kind.ACTIVE, "child", "base")
        tx.create_snapshot(Kind.ACTIVE, "solo")
        tx.create_snapshot(Kind.VIEW, "view", "base")
    return store


# Each operation with one key, as `BAD_KEYS` and `NOT_TEXTS` try it.
TAKING_A_KEY: dict[str, Callable[[SnapshotTransaction, Any], Any]] = {
    "create": lambda tx, key: tx.create_snapshot(Kind.ACTIVE, key),
    "commit": lambda tx, key: tx.commit_active("solo", key, USAGE),
}
NAMING_A_SNAPSHOT: dict[str, Callable[[SnapshotTransaction, Any], Any]] = {
    "create on": lambda tx, key: tx.create_snapshot(Kind.ACTIVE, "new", key),
    "commit of": lambda tx, key: tx.commit_active(key, "new", USAGE),
    "commit on": lambda tx, key: tx.commit_active("solo", "new", USAGE, parent=key),
    "get_info": lambda tx, key: tx.get_info(key),
    "get_snapshot": lambda tx, key: tx.get_snapshot(key),
    "update_info": lambda tx, key: tx.update_info(key, {}),
    "remove": lambda tx, key: tx.remove(key),
}
WITH_LABELS: dict[str, Callable[[SnapshotTransaction, Any], Any]] = {
    "create": lambda tx, labels: tx.create_snapshot(Kind.ACTIVE, "new", "", labels),
    "commit": lambda tx, labels: tx.commit_active("solo", "new", USAGE, labels),
    "update": lambda tx, labels: tx.update_info("base", labels),
    "update of all": lambda tx, labels: tx.update_info("base", labels, "labels"),
}

NOT_TEXTS = [None, 0, 5, 1.5, True, b"base", ["base"], [], {}, object()]
BAD_KEYS = {
    "empty": ("", "empty"),
    "too long": (LONG_KEY, "32769 bytes: at most 32768"),
    "NUL": ("a\0b", "NUL"),
    "lone surrogate": ("a\udcffb", "lone surrogate"),
}
BAD_LABELS = {
    "a list": ([("a", "b")], "mapping"),
    "a text": ("ab", "mapping"),
    "a number": (5, "mapping"),
    "an empty list": ([], "mapping"),
    "number as key": ({1: "x"}, "must be str"),
    "number as value": ({"x": 1}, "must be str"),
    "None as value": ({"x": None}, "must be str"),
    "bytes": ({b"x": b"y"}, "must be str"),
    "surrogate in a key": ({"\udcff": "x"}, "lone surrogate"),
    "surrogate in a value": ({"x": "\udcff"}, "lone surrogate"),
    "empty key": ({"": "x"}, "empty key"),
    "too long": ({"é": "x" * (LABEL_PAIR_BYTES_MAX - 1)}, "4097 bytes.* at most 4096"),
    "one of two": ({"fine": "x", "bad": 1}, "must be str"),
}
BAD_USAGES = {
    "None": (None, "usage"),
    "a number": (5, "usage"),
    "one part": ((1,), "usage"),
    "three parts": ((1, 2, 3), "usage"),
    "a text": ("12", "usage"),
    "negative inodes": (Usage(-1, 0), "inodes must be a whole number"),
    "negative size": (Usage(0, -1), "size must be a whole number"),
    "bool": (Usage(True, 0), "inodes must be a whole number"),
    "float": (Usage(0, 1.0), "size must be a whole number"),  # type: ignore[arg-type]
    "64 bits": (Usage(0, 2**63), "size must be a whole number"),
    "huge": (Usage(10**5000, 0), "inodes must be a whole number"),
    "text parts": (("1", "2"), "inodes must be a whole number"),
}
BAD_FIELD_PATHS = ["", "label", "Labels", "labelsx", "name", "kind", ".labels", 5, None, ["labels"]]
BAD_FILTERS = [
    None,
    0,
    b"",
    [],
    ["name==base"],
    b"name==base",
    "name=base",
    "name==",
    "\0",
    "\udcff",
]


def cases() -> list[Any]:
    found: list[tuple[str, Call, type[Exception], str]] = []

    def add(name: str, call: Callable[..., Any], error: type[Exception], message: str) -> None:
        found.append((name, call, error, message))

    for name, take in TAKING_A_KEY.items():
        for what, (key, message) in BAD_KEYS.items():
            add(
                f"{name}: {what}", lambda tx, f=take, k=key: f(tx, k), InvalidArgumentError, message
            )
        add(f"{name}: taken", lambda tx, f=take: f(tx, "base"), AlreadyExistsError, "'base'")
    for name, call in {**TAKING_A_KEY, **NAMING_A_SNAPSHOT}.items():
        for value in NOT_TEXTS:
            add(
                f"{name}: {type(value).__name__}",
                lambda tx, f=call, v=value: f(tx, v),
                InvalidArgumentError,
                "must be a str, not ",
            )
    for name, call in NAMING_A_SNAPSHOT.items():
        for key in ("nowhere", LONG_KEY, "base\0", "\udcff"):
            add(
                f"{name}: {key[:9]!a}",
                lambda tx, f=call, k=key: f(tx, k),
                NotFoundError,
                "does not exist",
            )
    for name, call in WITH_LABELS.items():
        for what, (labels, message) in BAD_LABELS.items():
            add(
                f"{name}: labels: {what}",
                lambda tx, f=call, v=labels: f(tx, v),
                InvalidArgumentError,
                message,
            )
    for what, (usage, message) in BAD_USAGES.items():
        add(
            f"commit: usage: {what}",
            lambda tx, v=usage: tx.commit_active("solo", "new", v),
            InvalidArgumentError,
            message,
        )
    for path in BAD_FIELD_PATHS:
        for paths in ((path,), ("labels", path), (path, "labels.a")):
            add(
                f"update: {paths}",
                lambda tx, v=paths: tx.update_info("base", {"a": "2"}, *v),
                InvalidArgumentError,
                "field path",
            )
    for text in BAD_FILTERS:
        add(
            f"walk: {text!a}",
            lambda tx, v=text: tx.walk_info("kind==active", v),
            InvalidArgumentError,
            "filter",
        )
    kinds: tuple[Any, ...] = (Kind.COMMITTED, "committed", "bogus", "", None, 1, [])
    for kind in kinds:
        add(
            f"create: kind {kind!r}",
            lambda tx, v=kind: tx.create_snapshot(v, "new"),
            InvalidArgumentError,
            "kind .* can't be created",
        )
    refused: tuple[tuple[str, Call, type[Exception], str], ...] = (
        ("create on itself", create_on("new"), NotFoundError, "'new'"),
        ("create on active", create_on("solo"), InvalidArgumentError, "'solo' is active"),
        ("create on view", create_on("view"), InvalidArgumentError, "'view' is view"),
        ("commit on itself", commit_on("new"), InvalidArgumentError, "its own parent"),
        ("commit on its key", commit_on("solo"), NotFoundError, "the one being committed"),
        ("commit on active", commit_on("child"), FailedPreconditionError, "'child' is active"),
        ("commit on view", commit_on("view"), FailedPreconditionError, "'view' is view"),
        (
            "commit on another",
            lambda tx: tx.commit_active("child", "new", USAGE, parent="other"),
            InvalidArgumentError,
            "has parent 'base'",
        ),
        (
            "commit of a view",
            lambda tx: tx.commit_active("view", "new", USAGE),
            FailedPreconditionError,
            "only an active snapshot",
        ),
        (
            "commit of a committed one",
            lambda tx: tx.commit_active("base", "new", USAGE),
            FailedPreconditionError,
            "'base' is committed",
        ),
        (
            "commit under its key",
            lambda tx: tx.commit_active("solo", "solo", USAGE),
            AlreadyExistsError,
            "'solo'",
        ),
        ("remove", lambda tx: tx.remove("base"), FailedPreconditionError, "'child' for one"),
        (
            "get_snapshot of a committed one",
            lambda tx: tx.get_snapshot("base"),
            FailedPreconditionError,
            "'base' is committed",
        ),
    )
    found += refused
    return [
        pytest.param(call, error, message, id=f"{number} {name}".replace("\0", "0"))
        for number, (name, call, error, message) in enumerate(found)
    ]


def create_on(parent: str) -> Call:
    return lambda tx: tx.create_snapshot(Kind.ACTIVE, "new", parent)


def commit_on(parent: str) -> Call:
    return lambda tx: tx.commit_active("solo", "new", USAGE, parent=parent)


CASES = cases()


@pytest.mark.parametrize(("call", "error", "message"), CASES)
def test_bad_argument_is_refused_and_changes_nothing(
    prepared: MetaStore, call: Call, error: type[Exception], message: str
) -> None:
    tx = prepared.transaction(writable=True)
    tx.create_snapshot(Kind.ACTIVE, "before")
    before = content(tx)
    files = files_of_store(prepared)
    with pytest.raises(error, match=message) as caught:
        call(tx)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 400, "a message is to be read"
    str(caught.value).encode()
    assert content(tx) == before
    assert files_of_store(prepared) == files
    prepared.check()
    tx.rollback()


def files_of_store(store: MetaStore) -> dict[str, str]:
    return files_of(Path(store.path))


def test_transaction_goes_on_after_every_refusal(
    prepared: MetaStore, open_store: OpenStore
) -> None:
    revision = prepared.stats()["revision"]
    with prepared.transaction(writable=True) as tx:
        first = tx.create_snapshot(Kind.ACTIVE, "first")
        for case in CASES:
            call, error, _ = case.values
            with pytest.raises(error):
                call(tx)
        last = tx.create_snapshot(Kind.ACTIVE, "last")
        expected = content(tx)
    assert int(last.id) == int(first.id) + 1, "a refusal takes no id"
    assert content_of(prepared) == expected
    assert prepared.stats()["revision"] == revision + 1
    [batch] = prepared.event_store.batches(revision + 1)
    assert [event.data["key"] for event in batch.events] == ["first", "last"]
    prepared.close()
    assert content_of(open_store()) == expected


def test_transaction_of_refusals_only_writes_nothing(prepared: MetaStore) -> None:
    revision, files = prepared.stats()["revision"], files_of_store(prepared)
    with prepared.transaction(writable=True) as tx:
        for case in CASES:
            call, error, _ = case.values
            with pytest.raises(error):
                call(tx)
    assert tx.receipt is None
    assert prepared.stats()["revision"] == revision
    assert files_of_store(prepared) == files


def test_rows_of_a_checkpoint_refuse_the_same(prepared: MetaStore, open_store: OpenStore) -> None:
    prepared.checkpoint()
    prepared.close()
    with open_store().transaction(writable=True) as tx:
        for case in CASES:
            call, error, message = case.values
            with pytest.raises(error, match=message):
                call(tx)


# What is allowed, at the limits.


@pytest.mark.parametrize("key", ["x" * KEY_BYTES_MAX, "é" * (KEY_BYTES_MAX // 2)])
def test_key_at_the_limit_works_everywhere(
    prepared: MetaStore, open_store: OpenStore, key: str
) -> None:
    with prepared.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, key)
        tx.commit_active(key, key[:-1] + "y", USAGE)
        tx.create_snapshot(Kind.VIEW, key, key[:-1] + "y")
        tx.update_info(key, {"a": "1"}, "labels.a")
        expected = content(tx)
    prepared.checkpoint()
    prepared.close()
    reopened = open_store()
    assert content_of(reopened) == expected
    with reopened.transaction(writable=True) as tx:
        assert tx.remove(key)[1] is Kind.VIEW
        assert tx.remove(key[:-1] + "y")[1] is Kind.COMMITTED


@pytest.mark.parametrize(
    "labels",
    [
        {"é": "x" * (LABEL_PAIR_BYTES_MAX - 2)},
        {"x" * (LABEL_PAIR_BYTES_MAX - 1): "y"},
        {f"key {number}": "x" * 4000 for number in range(50)},
        {"NUL\0": "a\0b", "tab\t": "\n", "emoji 🙂": "\U0010ffff"},
    ],
    ids=["long value", "long key", "many", "odd characters"],
)
def test_labels_at_the_limit_are_kept(
    store: MetaStore, open_store: OpenStore, labels: dict[str, str]
) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "a", labels=labels)
        tx.create_snapshot(Kind.ACTIVE, "b")
        tx.update_info("b", labels)
        tx.create_snapshot(Kind.ACTIVE, "c")
        tx.commit_active("c", "d", USAGE, labels)
    store.close()
    with open_store().transaction() as tx:
        assert [info.labels for info in tx.walk_info()] == [labels] * 3


def test_usage_at_the_limit_is_kept(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "a")
        tx.commit_active("a", "b", Usage(2**63 - 1, 2**63 - 1))
        assert tx.get_info("b")[2] == Usage(2**63 - 1, 2**63 - 1)


@pytest.mark.parametrize("kind", [Kind.ACTIVE, Kind.VIEW])
def test_kind_may_be_given_by_its_text(store: MetaStore, kind: Kind) -> None:
    with store.transaction(writable=True) as tx:
        snapshot = tx.create_snapshot(str(kind), "a")  # type: ignore[arg-type]
        assert snapshot.kind is kind
        assert tx.get_info("a")[1].kind is kind


def test_texts_of_a_subclass_are_kept_as_plain_texts(
    store: MetaStore, open_store: OpenStore
) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, Text("key"), labels={Text("a"): Text("1")})
        tx.commit_active(Text("key"), Text("name"), USAGE, {Text("b"): Text("2")})
        tx.create_snapshot(Kind.ACTIVE, Text("child"), Text("name"))
        tx.update_info(Text("child"), {Text("c"): Text("3")}, Text("labels.c"))
        tx.create_snapshot(Kind.ACTIVE, "late")
        tx.commit_active(Text("late"), "later", USAGE, parent=Text("name"))
        infos = list(tx.walk_info())
        assert [(info.name, info.parent, info.labels) for info in infos] == [
            ("child", "name", {"c": "3"}),
            ("later", "name", {}),
            ("name", "", {"b": "2"}),
        ]
        texts = [
            text
            for info in infos
            for text in (info.name, info.parent, *info.labels, *info.labels.values())
        ]
        assert {type(text) for text in texts} == {str}
        tx.remove(Text("child"))
        expected = content(tx)
    store.close()
    assert content_of(open_store()) == expected


def test_store_directory_is_private(store: MetaStore, tmp_path: Path) -> None:
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "store").rglob("*")} == {0}
