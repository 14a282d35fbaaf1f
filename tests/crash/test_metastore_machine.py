"""The metadata store against a plain dictionary, whatever happens to it.

A Hypothesis state machine over the simulated file system: all operations in transactions that
commit or roll back, readers held open across commits, past states, followers, checkpoints,
compaction, retention, restarts, and crashes in the midst of any of them. After every step all
invariants of tables and indexes are checked, and what everyone sees is compared.

The quick profile runs it every time, `--hypothesis-profile=deep` for minutes.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventstore import CompactedError, EventStore, EventStoreError, Retention
from eventstore.tables.journal import Journal
from eventstore.testing import SMALL, STORE_PATH, Session, SimulatedFileSystem
from eventstore.testing.handles import SimulatedFile
from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    SnapshotError,
    SnapshotsProjection,
    Usage,
    projection,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from projections.snapshots import Intent, Request, SnapshotTransaction


class Row(NamedTuple):
    id: str
    kind: Kind
    parent: str
    labels: dict[str, str]
    usage: Usage


Rows = dict[str, Row]


class Model:
    """containerd's snapshots as a dictionary; with open intents, and requests that were made.

    Intents have the ids that they have reserved; requests the key that they made, and its id.
    """

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.last_id = 0
        self.intents: dict[int, str | None] = {}
        self.last_intent = 0
        self.requests: dict[str, tuple[str, str]] = {}

    def copy(self) -> Model:
        copied = Model()
        copied.rows, copied.last_id = dict(self.rows), self.last_id
        copied.intents, copied.last_intent = dict(self.intents), self.last_intent
        copied.requests = dict(self.requests)
        return copied

    def begin(self, *, reserves_id: bool) -> None:
        self.last_intent += 1
        self.last_id += reserves_id
        self.intents[self.last_intent] = str(self.last_id) if reserves_id else None

    def create(
        self,
        kind: Kind,
        key: str,
        parent: str,
        labels: dict[str, str],
        intent: int | None = None,
    ) -> None:
        if kind is Kind.COMMITTED:
            raise InvalidArgumentError
        if parent:
            self.require_parent(parent, InvalidArgumentError)
        if key in self.rows:
            raise AlreadyExistsError
        if not key:
            raise InvalidArgumentError
        reserved = None if intent is None else self.intents.pop(intent)
        self.last_id += reserved is None
        row_id = str(self.last_id) if reserved is None else reserved
        self.rows[key] = Row(row_id, kind, parent, kept(labels), Usage())

    def commit(
        self, key: str, name: str, usage: Usage, labels: dict[str, str], parent: str
    ) -> None:
        if name in self.rows:
            raise AlreadyExistsError
        if key not in self.rows:
            raise NotFoundError
        row = self.rows[key]
        if row.kind is not Kind.ACTIVE:
            raise FailedPreconditionError
        if (parent and row.parent and parent != row.parent) or (parent and parent == name):
            raise InvalidArgumentError
        if parent and parent == key:
            raise NotFoundError
        if parent and not row.parent:
            self.require_parent(parent, FailedPreconditionError)
        if not name:
            raise InvalidArgumentError
        del self.rows[key]
        self.rows[name] = Row(row.id, Kind.COMMITTED, row.parent or parent, kept(labels), usage)

    def update(self, name: str, labels: dict[str, str], paths: list[str]) -> None:
        if name not in self.rows:
            raise NotFoundError
        row = self.rows[name]
        wanted = dict(row.labels) if paths else dict(labels)
        for path in paths:
            if path == "labels":
                wanted = dict(labels)
            elif path.startswith("labels."):
                label = path.removeprefix("labels.")
                wanted[label] = labels.get(label, "")
            else:
                raise InvalidArgumentError
        self.rows[name] = row._replace(labels=kept(wanted))

    def remove(self, key: str) -> None:
        if key not in self.rows:
            raise NotFoundError
        if any(row.parent == key for row in self.rows.values()):
            raise FailedPreconditionError
        del self.rows[key]

    def require_parent(self, parent: str, wrong_kind: type[SnapshotError]) -> None:
        if parent not in self.rows:
            raise NotFoundError
        if self.rows[parent].kind is not Kind.COMMITTED:
            raise wrong_kind


def kept(labels: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if value}


def rows_of(tx: SnapshotTransaction) -> Rows:
    found = {}
    for info in tx.walk_info():
        snapshot_id, same, usage = tx.get_info(info.name)
        assert same == info
        found[info.name] = Row(snapshot_id, info.kind, info.parent, dict(info.labels), usage)
    assert tx.id_map() == {row.id: name for name, row in found.items()}
    return found


NAMES = st.sampled_from(["a", "b", "c", "d", "e", "layer/1", "layer/2", "layer"])
KINDS = st.sampled_from([Kind.ACTIVE, Kind.ACTIVE, Kind.ACTIVE, Kind.VIEW, Kind.COMMITTED])
PARENTS = st.one_of(st.just(""), NAMES)
LABELS = st.dictionaries(
    st.sampled_from(["x", "y", "gc.root"]), st.sampled_from(["", "1", "2", "long" * 60]), max_size=2
)
PATHS = st.lists(st.sampled_from(["labels", "labels.x", "labels.y", "kind"]), max_size=2)
USAGES = st.builds(Usage, st.integers(0, 9), st.integers(0, 9))

OPERATIONS = st.one_of(
    st.tuples(st.just("create"), KINDS, NAMES, PARENTS, LABELS),
    st.tuples(st.just("create"), st.just(Kind.ACTIVE), NAMES, st.just(""), LABELS),
    st.tuples(st.just("commit"), NAMES, NAMES, USAGES, LABELS, st.one_of(st.just(""), PARENTS)),
    st.tuples(st.just("commit"), NAMES, NAMES, USAGES, LABELS, st.just("")),
    st.tuples(st.just("update"), NAMES, LABELS, PATHS),
    st.tuples(st.just("remove"), NAMES),
)
BATCHES = st.lists(OPERATIONS, min_size=1, max_size=5)
RETENTIONS = st.sampled_from(
    [Retention(), Retention(), Retention(revisions=4), Retention(size_bytes=900), Retention.none()]
)


def in_store(tx: SnapshotTransaction, operation: tuple[Any, ...]) -> None:
    match operation:
        case ("create", kind, key, parent, labels):
            tx.create_snapshot(kind, key, parent, labels)
        case ("commit", key, name, usage, labels, parent):
            tx.commit_active(key, name, usage, labels, parent)
        case ("update", name, labels, paths):
            tx.update_info(name, labels, *paths)
        case ("remove", key):
            tx.remove(key)


def create_for(tx: SnapshotTransaction, intent: Intent, key: str, parent: str) -> None:
    tx.create_snapshot(Kind.ACTIVE, key, parent, intent=intent)


def in_model(model: Model, operation: tuple[Any, ...]) -> None:
    name, *arguments = operation
    getattr(model, name)(*arguments)


def outcome(call: Callable[..., None], *arguments: Any) -> type[SnapshotError] | None:
    try:
        call(*arguments)
    except SnapshotError as error:
        return type(error)
    return None


class MetaStoreMachine(RuleBasedStateMachine):
    """Drives store and model side by side."""

    tried: ClassVar[Counter[str]] = Counter()
    """Over all scripts of a search."""

    @initialize()
    def make(self) -> None:
        self.tried["scripts"] += 1
        self.options = SMALL
        self.may_have_dropped = False
        self.model = Model()
        self.attempted: Model | None = None
        self.models: dict[int, Model] = {0: Model()}
        self.readers: list[tuple[SnapshotTransaction, int]] = []
        self.followers: list[MetaStore] = []
        self.begin_on(SimulatedFileSystem(keep_steps=False))

    def begin_on(self, file_system: SimulatedFileSystem) -> None:
        self.file_system = file_system
        self.session = Session.over(file_system, (SnapshotsProjection(),), self.options)
        self.store = MetaStore(self.session.open())

    @property
    def revision(self) -> int:
        return max(self.models)

    def run(self, batch: list[tuple[Any, ...]], *, commits: bool) -> Model:
        """Stretch a transaction; return the model after it, noted before the commit."""
        after = self.model.copy()
        emits = False
        with self.store.transaction(writable=True, actor="machine") as tx:
            for operation in batch:
                wanted = outcome(in_model, after, operation)
                assert outcome(in_store, tx, operation) is wanted, operation
                emits = emits or wanted is None
            assert rows_of(tx) == after.rows
            if not commits:
                tx.rollback()
            elif emits:
                self.attempted = after
        return after

    def forget_attempt(self) -> None:
        self.attempted = None

    @rule(batch=BATCHES)
    def commit(self, batch: list[tuple[Any, ...]]) -> None:
        before = self.revision
        self.forget_attempt()
        self.run(batch, commits=True)
        if self.attempted is not None:
            self.model = self.models[before + 1] = self.attempted

    @rule(batch=BATCHES)
    def roll_back(self, batch: list[tuple[Any, ...]]) -> None:
        self.run(batch, commits=False)

    def note(self, after: Model) -> None:
        self.model = self.models[self.revision + 1] = after

    @precondition(lambda self: len(self.readers) < 3)
    @rule()
    def hold_a_reader(self) -> None:
        reader = self.store.transaction()
        assert reader.revision == self.revision
        self.readers.append((reader, reader.revision))

    @precondition(lambda self: self.readers)
    @rule()
    def end_a_reader(self) -> None:
        self.readers.pop(0)[0].rollback()

    @rule(data=st.data())
    def look_at_the_past(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, self.revision))
        try:
            tx = self.store.at(revision)
        except CompactedError:
            assert self.may_have_dropped
            return
        assert rows_of(tx) == self.models[revision].rows

    @rule(name=NAMES, label=st.sampled_from(["1", "2"]))
    def walk_with_filters(self, name: str, label: str) -> None:
        rows = self.model.rows
        wanted = {
            f'name=="{name}"': [n for n in rows if n == name],
            f'parent=="{name}"': [n for n, row in rows.items() if row.parent == name],
            "kind==committed": [n for n, row in rows.items() if row.kind is Kind.COMMITTED],
            f"labels.x=={label}": [n for n, row in rows.items() if row.labels.get("x") == label],
        }
        with self.store.transaction() as tx:
            for text, names in wanted.items():
                assert [info.name for info in tx.walk_info(text)] == sorted(names), text

    @rule(name=NAMES)
    def read_history(self, name: str) -> None:
        entries = list(self.store.history(name))
        assert [entry.revision for entry in entries] == sorted(e.revision for e in entries)
        if name in self.model.rows and not self.may_have_dropped:
            assert self.model.rows[name].id in {entry.id for entry in entries}

    @rule()
    def watch(self) -> None:
        oldest = self.store.event_store.oldest_revision()
        found = [batch.revision for batch in self.store.watch(oldest, timeout=0)]
        assert found == list(range(oldest, self.revision + 1))
        assert oldest == 1 or self.may_have_dropped

    @rule()
    def checkpoint(self) -> None:
        assert self.store.checkpoint() == self.revision

    @rule()
    def compact(self) -> None:
        self.note_dropping()
        self.store.compact()

    @rule()
    def verify(self) -> None:
        report = self.store.verify()
        assert report.is_sound, report
        assert report.revision == self.revision

    @rule(retention=RETENTIONS)
    def reopen(self, retention: Retention) -> None:
        self.check_readers()
        self.store.close()
        self.readers = []
        self.options = replace(SMALL, retention=retention)
        self.session.options = self.options
        self.store = MetaStore(self.session.open())
        assert self.store.recovery.torn_tail is None

    @precondition(lambda self: len(self.followers) < 2)
    @rule()
    def follow(self) -> None:
        follower = EventStore.open(
            STORE_PATH, (SnapshotsProjection(),), read_only=True, file_system=self.file_system
        )
        self.followers.append(MetaStore(follower))

    @rule(
        batch=BATCHES,
        kind=st.sampled_from(["commit", "checkpoint", "compact", "close"]),
        calls=st.integers(0, 60),
        seed=st.integers(0, 1000),
        is_kill=st.booleans(),
    )
    def crash(
        self, batch: list[tuple[Any, ...]], kind: str, calls: int, seed: int, is_kill: bool
    ) -> None:
        """Lose the process, or the power too, at some call of an operation; then recover."""
        self.check_readers()
        acknowledged = self.revision
        self.forget_attempt()
        calls = calls % 4 if kind == "commit" else calls
        self.file_system.cut_power(after_calls=calls)
        with contextlib.suppress(OSError, EventStoreError):
            if kind == "commit":
                self.run(batch, commits=True)
                acknowledged += self.attempted is not None
            elif kind == "compact":
                self.note_dropping()
                self.store.compact()
            elif kind == "checkpoint":
                self.store.checkpoint()
        with contextlib.suppress(OSError, EventStoreError):
            self.store.close()
        self.readers, self.followers = [], []
        after = (
            self.file_system.after_kill()
            if is_kill
            else self.file_system.after_power_cut(Random(seed))
        )
        self.begin_on(after)
        found = self.store.recovery.revision
        self.tried["crashes"] += 1
        self.tried["acknowledged_lost"] += max(acknowledged - found, 0)
        self.tried["phantom"] += max(found - self.revision - bool(self.attempted), 0)
        assert found in ({acknowledged} | ({self.revision + 1} if self.attempted else set()))
        if found > self.revision:
            assert self.attempted is not None
            self.model = self.models[found] = self.attempted

    def note_dropping(self) -> None:
        self.may_have_dropped |= self.options.retention != Retention()

    def check_readers(self) -> None:
        for reader, revision in self.readers:
            assert rows_of(reader) == self.models[revision].rows

    @invariant()
    def tables_hold_their_invariants(self) -> None:
        self.tried["steps"] += 1
        self.store.check()

    @invariant()
    def everyone_sees_what_the_model_says(self) -> None:
        with self.store.transaction() as tx:
            assert tx.revision == self.revision
            assert rows_of(tx) == self.model.rows
        assert {each.number: each.id for each in self.store.intents()} == self.model.intents
        for request_id, (_, result) in self.model.requests.items():
            request = self.store.find_request(request_id)
            assert request is not None
            assert request.result == result
        self.check_readers()
        for follower in self.followers:
            with follower.transaction() as tx:
                assert tx.revision == self.revision
                assert rows_of(tx) == self.model.rows
            follower.check()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for follower in self.followers:
                follower.close()
            self.store.close()
            assert self.file_system.open_files == 0


class WorkMachine(MetaStoreMachine):
    """The same, with a driver's intents and requests besides."""

    @rule(
        step=st.sampled_from(["leave", "reserve", "abort", "create", "request", "request"]),
        number=st.integers(0, 2),
        key=NAMES,
        parent=PARENTS,
    )
    def tie_work_to_the_store(self, step: str, number: int, key: str, parent: str) -> None:
        """Leave or end an intent, or make a request."""
        if step == "request":
            self.make_a_request(f"r{number}", key)
        elif step in ("leave", "reserve"):
            self.leave_an_intent(key, reserves_id=step == "reserve")
        elif self.model.intents:
            self.end_an_intent(key, parent, aborts=step == "abort")

    def leave_an_intent(self, key: str, *, reserves_id: bool) -> None:
        after = self.model.copy()
        after.begin(reserves_id=reserves_id)
        with self.store.intent("work", key, reserve_id=reserves_id) as intent:
            pass  # there is no handler, so it stays open
        assert (intent.number, intent.id) == list(after.intents.items())[-1]
        self.note(after)

    def end_an_intent(self, key: str, parent: str, *, aborts: bool) -> None:
        intent, after = self.store.intents()[0], self.model.copy()
        if aborts:
            del after.intents[intent.number]
            self.store.abort(intent)
            self.note(after)
            return
        wanted = outcome(after.create, Kind.ACTIVE, key, parent, {}, intent.number)
        with self.store.transaction(writable=True) as tx:
            assert outcome(create_for, tx, intent, key, parent) is wanted
        if wanted is None:
            self.note(after)

    def make_a_request(self, request_id: str, key: str) -> None:
        after = self.model.copy()
        made: list[Request] = []
        known = after.requests.get(request_id)
        wanted: type[SnapshotError] | None = None
        if known is None:
            wanted = outcome(after.create, Kind.ACTIVE, key, "", {})
        elif known[0] != key:
            wanted = FailedPreconditionError

        def make() -> None:
            made.append(
                self.store.once(request_id, key, lambda tx: tx.create_snapshot(Kind.ACTIVE, key).id)
            )

        assert outcome(make) is wanted
        for request in made:
            assert request.is_repeat == (known is not None)
            if known is None:
                after.requests[request_id] = (key, request.result)
                assert after.rows[key].id == request.result
                self.note(after)


def test_store_and_model_agree_whatever_happens(record_proof: Callable[..., None]) -> None:
    MetaStoreMachine.tried.clear()
    # A script takes some 40 ms, so there may be more of them than of other examples.
    profile = settings.get_profile(settings.get_current_profile_name())
    searched = settings(max_examples=2 * profile.max_examples, stateful_step_count=50)
    run_state_machine_as_test(MetaStoreMachine, settings=searched)
    record_proof("state machine of the metadata store", **MetaStoreMachine.tried)


def test_intents_and_requests_agree_with_the_model_too() -> None:
    profile = settings.get_profile(settings.get_current_profile_name())
    searched = settings(max_examples=profile.max_examples // 2, stateful_step_count=50)
    run_state_machine_as_test(WorkMachine, settings=searched)


def forget_old_values(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Journal.record

    def record(journal: Journal, table: Any, key: Any, old: Any) -> None:
        sound(journal, table, key, old)
        journal.newest.undo.clear()

    monkeypatch.setattr(Journal, "record", record)


def count_children_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def delete(tables: Any, name: str) -> None:
        tables[projection.SNAPSHOTS].delete(name)

    monkeypatch.setattr(projection, "_delete", delete)


def index_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_labels", lambda name, row: ())


def leave_usage_out_of_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = projection.encode_row
    monkeypatch.setattr(projection, "encode_row", lambda row: (*sound(row)[:-2], 0, 0))


def acknowledge_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_only(file: SimulatedFile) -> None:
        if not file.path.endswith(".log"):
            sound(file)

    sound = SimulatedFile.sync
    monkeypatch.setattr(SimulatedFile, "sync", write_only)


@pytest.mark.parametrize(
    "break_something",
    [
        forget_old_values,
        count_children_that_are_gone,
        index_no_labels,
        leave_usage_out_of_checkpoints,
        acknowledge_before_the_sync,
    ],
)
def test_machine_finds_what_is_broken(
    break_something: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_something(monkeypatch)
    searched = settings(
        max_examples=200,
        stateful_step_count=50,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        print_blob=False,
    )
    with pytest.raises((AssertionError, EventStoreError)):
        run_state_machine_as_test(MetaStoreMachine, settings=searched)
