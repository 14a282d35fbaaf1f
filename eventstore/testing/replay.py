"""A script that runs beside the model: after each step the store must show what the model says."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from eventstore.testing.domain import C, Domain, M
from eventstore.testing.elsewhere import payloads_of
from eventstore.testing.purity import Watched, check_fold
from eventstore.testing.report import InconsistencyError, in_words
from eventstore.testing.script import Script, Transaction, Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from eventstore.store import EventStore
    from eventstore.testing.session import NotedStore, Session


class Replay(Generic[C, M]):
    """Runs a script beside the model, and remembers the model after each batch."""

    def __init__(self, domain: Domain[C, M], script: Script[C]) -> None:
        self._domain = domain
        self._script = script
        self._models: dict[bytes, M] = {}
        self._accepted: list[C] = []
        self._folds: Sequence[Watched] = ()
        self._left_by_refused = ""
        self._wrapped: tuple[EventStore, Any] | None = None
        self.log: list[bytes] = []
        self.commands = 0
        self.refused = 0

    def run(self, session: Session, folds: Sequence[Watched] = ()) -> None:
        """Run the script; the tables of these projections must then be the fold of its batches."""
        self._folds = folds
        model = self._domain.initial()
        store = session.open()
        for number, step in enumerate(self._script, 1):
            if isinstance(step, Upkeep):
                store = step.run(session, store)
            else:
                model = self._transact(store, step, model)
            self._compare(store, model, f"after step {number}")
            store.check()
        if folds:
            check_fold(store, folds)
            self.log = payloads_of(store)
        store.close()

    def _transact(self, store: NotedStore, step: Transaction[C], before: M) -> M:
        model, accepted, left = before, list(self._accepted), self._left_by_refused
        revision = store.head.revision
        with self._target(store) as transaction:
            for command in step.commands:
                shown, shown_command = repr(model), repr(command)
                wanted = self._outcome(partial(self._domain.expect, model, command))
                if repr(model) != shown:
                    raise ModelChangedError(shown, model, accepted, command)
                if repr(command) != shown_command:
                    raise CommandChangedError("expect", shown_command, accepted, command)
                emitted = self._emitted()
                found = self._outcome(partial(self._domain.execute, transaction, command))
                if repr(command) != shown_command:
                    raise CommandChangedError("execute", shown_command, accepted, command)
                if (wanted.error is None) != (found.error is None):
                    raise InconsistencyError(
                        f"the model says of {command!r}: {wanted.in_words()}; "
                        f"the store says: {found.in_words()}"
                    )
                self.commands += 1
                if wanted.error is None:
                    model = wanted.value
                    accepted.append(command)
                    continue
                self.refused += 1
                if self._emitted() > emitted:
                    left = (
                        f"; {command!r} was refused after it had emitted: its events stay in the "
                        "transaction; check first, then emit"
                    )
            if not step.commits:
                transaction.rollback()
        if not step.commits:
            return before
        head = store.head
        if head.revision > revision + 1:
            raise InconsistencyError(
                f"{step.commands!r} committed {head.revision - revision} batches: a crash between "
                "two of them would leave what the model never says"
            )
        self._models[head.digest] = model
        self._accepted, self._left_by_refused = accepted, left
        return model

    def _target(self, store: EventStore) -> AbstractContextManager[Any]:
        """Return what gives the domain that which commands are executed on."""
        wrapped = self._wrap(store)
        if self._domain.commits_by_itself:
            return nullcontext(wrapped)
        return wrapped.transaction(writable=True)  # type: ignore[no-any-return]

    def _wrap(self, store: EventStore) -> Any:
        """Wrap a store once: what is around it may be a driver, which has a start."""
        if self._wrapped is None or self._wrapped[0] is not store:
            self._wrapped = (store, self._domain.wrap(store))
        return self._wrapped[1]

    def _emitted(self) -> int:
        """Return how many events the projections were given, as far as they are watched."""
        return max((fold.applied_events for fold in self._folds), default=0)

    def _outcome(self, call: Callable[[], Any]) -> _Outcome:
        try:
            return _Outcome(call(), None)
        except self._domain.refusals as refusal:
            return _Outcome(None, refusal)

    def inspect(self, store: NotedStore) -> None:
        """Compare a recovered store with the model as it was after the script's last batch in it.

        What the exploration itself has committed after that changes nothing.
        """
        for record in reversed(list(store.raw_records())):
            if record.digest in self._models:
                self._compare(store, self._models[record.digest], "after the recovery")
                return
        if store.oldest_revision() == 1:
            self._compare(store, self._domain.initial(), "after the recovery")

    def _compare(self, store: EventStore, model: M, when: str) -> None:
        with self._wrap(store).transaction() as reader:
            observed = self._domain.observe(reader)
        if observed != model:
            raise InconsistencyError(
                f"{when}, the store shows {observed!r}; the model is {model!r}"
                f"{self._hint(store, observed, model)}"
            )

    def _hint(self, store: EventStore, observed: M, model: M) -> str:
        """Return why the domain itself, and no projection, may be wrong."""
        if repr(observed) == repr(model):
            return (
                "; they look alike: is there a NaN, which does not equal itself, or a type without "
                "__eq__?"
            )
        if model is None:
            return "; does expect return the new model?"
        if self._left_by_refused:
            return self._left_by_refused
        with self._wrap(store).transaction() as reader:
            again = self._domain.observe(reader)
        if repr(again) != repr(observed):
            return f"; observed again, it shows {again!r}: observe must depend on the store alone"
        return ""


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any
    error: Exception | None

    def in_words(self) -> str:
        return "done" if self.error is None else in_words(self.error)


class ModelChangedError(InconsistencyError):
    """`expect` has changed the model that it was given."""

    def __init__(
        self, before: str, model: object, accepted: Sequence[Any], command: object
    ) -> None:
        super().__init__(
            f"expect changed the model that it was given, at {command!r}: {before} has become "
            f"{model!r}. It must return a new model, and leave the one it was given alone"
        )
        self.accepted = accepted
        self.command = command


class CommandChangedError(InconsistencyError):
    """`expect` or `execute` has changed the command that it was given."""

    def __init__(self, who: str, before: str, accepted: Sequence[Any], command: object) -> None:
        super().__init__(
            f"{who} changed the command that it was given: {before} has become {command!r}. A "
            "command is given to both, in every run of its script: change a copy"
        )
        self.before = before
        self.accepted = accepted
        self.command = command
