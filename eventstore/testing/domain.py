"""What a user states of a domain, to have its projections checked against a plain model.

A whole check of a projection that counts words::

    from collections import Counter

    from hypothesis import strategies as st

    from eventstore import Event, Projection, TableSpec
    from eventstore.testing import Domain, check_crash_replay


    class Words(Projection):
        name = "words"
        version = 1
        tables = (TableSpec("counts"),)

        def apply(self, event, tables):
            if event.type == "word.said":
                counts, word = tables["counts"], event.data["word"]
                counts.put(word, counts.get(word, 0) + 1)


    class WordsDomain(Domain):
        projections = (Words(),)

        def commands(self):
            return st.sampled_from(["hello", "good", "bye"])

        def execute(self, transaction, command):
            transaction.emit(Event("word.said", {"word": command}))

        def initial(self):
            return Counter()

        def expect(self, model, command):
            return model + Counter([command])

        def observe(self, transaction):
            return Counter(dict(transaction.items("counts")))


    def test_words():
        check_crash_replay(WordsDomain())

A driver's metadata store is proved through its own operations: `wrap` puts it around the store::

    from hypothesis import strategies as st

    from eventstore.testing import Domain, check_crash_replay
    from projections.snapshots import Kind, MetaStore, SnapshotError, SnapshotsProjection, Usage


    class DriverDomain(Domain):
        projections = (SnapshotsProjection(),)
        refusals = (SnapshotError,)

        def wrap(self, store):
            return MetaStore(store)

        def commands(self):
            layers = st.sampled_from(["a", "b", "c"])
            return st.one_of(
                st.tuples(st.just("unpack"), layers, st.sampled_from(["", "a", "b"])),
                st.tuples(st.just("remove"), layers),
            )

        def execute(self, transaction, command):
            match command:
                case ("unpack", name, parent):
                    transaction.create_snapshot(Kind.ACTIVE, "extract", parent)
                    try:
                        transaction.commit_active("extract", name, Usage(1, 4096))
                    except SnapshotError:
                        transaction.remove("extract")
                        raise
                case ("remove", name):
                    transaction.remove(name)

        def initial(self):
            return {}

        def expect(self, model, command):
            match command:
                case ("unpack", name, parent):
                    if name in model or (parent and parent not in model):
                        raise SnapshotError
                    return {**model, name: parent}
                case ("remove", name):
                    if name not in model or name in model.values():
                        raise SnapshotError
                    return {key: model[key] for key in model if key != name}

        def observe(self, transaction):
            return {info.name: info.parent for info in transaction.walk_info()}


    def test_driver():
        check_crash_replay(DriverDomain())
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

    from eventstore.projection import Projection
    from eventstore.store import EventStore

C = TypeVar("C")
M = TypeVar("M")


class Domain(ABC, Generic[C, M]):
    """Projections, commands and a model: two ways to say what the commands do.

    A command is any value whose `repr` is Python that makes it again. A model is any value that can
    be compared, such as a dict. Change neither in place: by its `repr` the kit notices that.

    A domain that is made with arguments has such a `repr` too, as a dataclass has one: by it the
    programs that are printed, and other processes, make the same one.

    Every projection must ignore events of a type that it does not know: the stores that a crash
    leaves are used for one more batch, of an event `testing.probe`.

    Batches are also folded in another process, in which strings have other hashes, if the domain
    can be imported there: a class of a module.

    Attributes:
        projections: what the store folds its events into.
        refusals: the errors by which `execute` and `expect` refuse a command; the model must
            refuse exactly what the store refuses.
        commits_by_itself: whether `execute` is given what `wrap` returns, instead of a transaction,
            and commits: one batch at most for each command, so that a crash between two leaves
            what the model says. So the calls of a driver are commands, with their work on the disk.
    """

    projections: Sequence[Projection]
    refusals: tuple[type[Exception], ...] = (ValueError,)
    commits_by_itself: bool = False

    @abstractmethod
    def commands(self) -> SearchStrategy[C]:
        """Return a Hypothesis strategy for commands."""

    @abstractmethod
    def execute(self, transaction: Any, command: C) -> None:
        """Do a command in the store: check it, and emit its events.

        The transaction is a write transaction of what `wrap` returns, or that itself if the domain
        `commits_by_itself`. A command that is refused must leave everything as it was.
        """

    @abstractmethod
    def initial(self) -> M:
        """Return the model of an empty store."""

    @abstractmethod
    def expect(self, model: M, command: C) -> M:
        """Return the model after a command, without changing the one given."""

    @abstractmethod
    def observe(self, transaction: Any) -> M:
        """Return what the store holds, as a model; the transaction is for reading."""

    def wrap(self, store: EventStore) -> Any:
        """Return what transactions are begun on: the store itself, or one of your own around it.

        It has `transaction(writable=…)`. The store was opened with `projections`; each is wrapped
        once, when it was opened, also after a crash. For an example, a `MetaStore` around it, see
        docs/howto/prove.md.
        """
        return store


def expression_of(domain: Domain[Any, Any]) -> str | None:
    """Return Python that makes a domain again, by the name of its class; None if that is unknown.

    A class whose domains are all alike takes no argument. What another was made with says its
    `__repr__`, if it has one of its own.
    """
    kind = type(domain)
    if kind.__repr__ is not object.__repr__:
        return repr(domain)
    if inspect.signature(kind).parameters:
        return None
    return f"{kind.__qualname__}()"
