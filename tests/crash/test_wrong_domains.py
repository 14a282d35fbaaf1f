"""The kit tells a domain that is wrong itself, and what it prints says what to do.

Each domain here counts words rightly; its model, its commands or its errors are at fault.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from eventstore import Event, Projection, ReentrantUseError, TableSpec
from eventstore.testing import Depth, Domain, InconsistencyError, check_crash_replay

if TYPE_CHECKING:
    from pathlib import Path

SOME = settings(max_examples=60, derandomize=True)
FEW = settings(max_examples=15, derandomize=True)
SHALLOW = Depth(crash_points=1, images=1, double_crashes=0, double_crashes_after_kill=0)


class Words(Projection):
    """Counts words; a sound fold."""

    name = "words"
    version = 1
    tables: Any = (TableSpec("counts"),)

    def apply(self, event: Event, tables: Any) -> None:
        if event.type == "word.said":
            counts, word = tables["counts"], event.data["word"]
            counts.put(word, counts.get(word, 0) + 1)


class WordsDomain(Domain[str, Any]):
    """Words are said; the model is a counter of them."""

    projections: Any = (Words(),)
    says: tuple[str, ...] = ()

    def commands(self) -> st.SearchStrategy[str]:
        return st.sampled_from(["hello", "good", "bye"])

    def execute(self, transaction: Any, command: str) -> None:
        transaction.emit(Event("word.said", {"word": command}))

    def initial(self) -> Any:
        return Counter()

    def expect(self, model: Any, command: str) -> Any:
        return model + Counter([command])

    def observe(self, transaction: Any) -> Any:
        return Counter(dict(transaction.items("counts")))


class ChangesItsModel(WordsDomain):
    says = (
        "expect changes the model in place",
        "Counter() has become Counter({'hello': 1})",
        "return a new model, and leave the one it was given alone",
    )

    def expect(self, model: Any, command: str) -> Any:
        model[command] += 1
        return model


class ChangesItsModelAndReturnsNothing(WordsDomain):
    says = ChangesItsModel.says

    def expect(self, model: Any, command: str) -> Any:
        model[command] += 1


class ChangesItsModelLater(WordsDomain):
    says = ("expect changes the model in place", "at 'hello': Counter({'hello': 1}) has become")

    def expect(self, model: Any, command: str) -> Any:
        if command not in model:
            return model + Counter([command])
        model[command] += 1
        return model


class ChangesItsModelBeforeItRefuses(WordsDomain):
    says = ("expect changes the model in place", "at 'bye': Counter() has become")

    def expect(self, model: Any, command: str) -> Any:
        if command == "bye":
            model[command] += 1
            raise ValueError("no farewell")
        return super().expect(model, command)

    def execute(self, transaction: Any, command: str) -> None:
        if command == "bye":
            raise ValueError("no farewell")
        super().execute(transaction, command)


class ForgetsToReturnItsModel(WordsDomain):
    says = ("the model is None; does expect return the new model?",)

    def expect(self, model: Any, command: str) -> Any:
        _ = model + Counter([command])


class RefusesWithoutAWord(WordsDomain):
    says = (
        "the store says: ValueError without a text, raised in execute, ",
        "test_wrong_domains.py:",
    )

    def execute(self, transaction: Any, command: str) -> None:
        raise ValueError


class ChecksWithoutAWord(WordsDomain):
    says = ("AssertionError without a text, raised in check, ", "Checked.check raised this")

    class Checked(Words):
        def check(self, tables: Any) -> None:
            if tables["counts"].get("bye", 0) > 1:
                raise AssertionError

    projections = (Checked(),)


class ObservesAnotherThingEachTime(WordsDomain):
    says = ("; observed again, it shows", "observe must depend on the store alone")
    times = 0

    def observe(self, transaction: Any) -> Any:
        type(self).times += 1
        return self.times


class ChangesItsCommand(WordsDomain):
    says = (
        "a command is changed in place",
        "execute changed the command that it was given: ['hello'] has become []",
    )

    def commands(self) -> Any:
        return st.builds(list, st.just(["hello"]))

    def execute(self, transaction: Any, command: Any) -> None:
        super().execute(transaction, command.pop())

    def expect(self, model: Any, command: Any) -> Any:
        return super().expect(model, command[0])


class ChangesItsCommandInTheModel(WordsDomain):
    says = ("expect changed the command that it was given: ['hello'] has become []",)

    def commands(self) -> Any:
        return st.builds(list, st.just(["hello"]))

    def execute(self, transaction: Any, command: Any) -> None:
        super().execute(transaction, command[0])

    def expect(self, model: Any, command: Any) -> Any:
        return super().expect(model, command.pop())


class EmitsBeforeItRefuses(WordsDomain):
    says = (
        "'bye' was refused after it had emitted: its events stay in the transaction; check first",
    )

    def execute(self, transaction: Any, command: str) -> None:
        super().execute(transaction, command)
        if command == "bye":
            raise ValueError("no farewell")

    def expect(self, model: Any, command: str) -> Any:
        if command == "bye":
            raise ValueError("no farewell")
        return super().expect(model, command)


class ReadsOtherTablesEachTime(WordsDomain):
    says = (
        "a projection does not always state the same tables",
        "Fickle.tables is ['counts'] and, read again, ['counts', 'more']",
    )

    class Fickle(Words):
        times = 0

        @property
        def tables(self) -> Any:  # type: ignore[override]
            type(self).times += 1
            more = (TableSpec("more"),) if self.times % 2 == 0 else ()
            return (TableSpec("counts"), *more)

    projections = (Fickle(),)


class EmitsInApply(WordsDomain):
    says = (
        "Chatty.apply has called the transaction that applies its event: apply only folds",
        "what follows from an event is emitted by whoever emits that",
    )

    class Chatty(Words):
        transaction: Any = None

        def apply(self, event: Event, tables: Any) -> None:
            super().apply(event, tables)
            if self.transaction is not None and event.type == "word.said":
                self.transaction.emit(Event("word.counted", {}))

    projections = (Chatty(),)

    def execute(self, transaction: Any, command: str) -> None:
        self.projections[0].transaction = transaction
        try:
            super().execute(transaction, command)
        finally:
            self.projections[0].transaction = None


WRONG = WordsDomain.__subclasses__()


def program_in(message: str) -> str:
    [found] = re.findall(r"\n\n((?:    .*\n|\n)+)\n", message)
    return textwrap.dedent(found)


@pytest.mark.parametrize("domain", WRONG, ids=lambda domain: domain.__name__)
def test_a_wrong_domain_is_told_what_is_wrong_with_it_and_its_program_fails(domain: Any) -> None:
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(domain(), settings=SOME, depth=SHALLOW)
    message = str(caught.value)
    for text in domain.says:
        assert text in message, message
    names: dict[str, Any] = {}
    with pytest.raises((AssertionError, ValueError, ReentrantUseError)):
        exec(program_in(message), names)
    if "store" in names:
        names["store"].close()


class SaysTwice(WordsDomain):
    """A domain whose commands commit by themselves, in two batches each."""

    commits_by_itself = True

    def execute(self, transaction: Any, command: str) -> None:
        for _ in range(2):
            with transaction.transaction(writable=True) as tx:
                super().execute(tx, command)

    def expect(self, model: Any, command: str) -> Any:
        return model + Counter([command, command])


def test_a_command_that_commits_two_batches_by_itself_is_found_out() -> None:
    with pytest.raises(InconsistencyError, match="committed 2 batches: a crash between two"):
        check_crash_replay(SaysTwice(), settings=FEW, depth=SHALLOW)


class MaySay(WordsDomain):
    """A domain of which one class makes different ones: it forgets words after so many."""

    def __init__(self, most: int) -> None:
        self.most = most

    def expect(self, model: Any, command: str) -> Any:
        return model if model.total() == self.most else super().expect(model, command)


def test_each_check_of_one_process_shows_its_own_smallest_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for most in (3, 1, 2, 0, 3):
        with pytest.raises(InconsistencyError) as caught:
            # Settings as a user's, which have a database.
            check_crash_replay(MaySay(most), settings=settings(max_examples=60), depth=SHALLOW)
        message = str(caught.value)
        assert program_in(message).count("domain.execute") == most + 1, message
        assert "does not always fail" not in message
    assert not (tmp_path / ".hypothesis" / "examples").exists()


class AddsUp(Projection):
    """Adds so many for each word."""

    name = "sum"
    version = 1
    tables: Any = (TableSpec("sums"),)

    def __init__(self, step: int) -> None:
        self.step = step

    def apply(self, event: Event, tables: Any) -> None:
        if event.type == "word.said":
            tables["sums"].put("all", tables["sums"].get("all", 0) + self.step)


class Untold(WordsDomain):
    """Domains of one class that fold differently; nothing says which one this is."""

    def __init__(self, step: int = 1, model_step: int | None = None) -> None:
        self.step = step
        self.model_step = step if model_step is None else model_step
        self.projections = (AddsUp(step),)

    def initial(self) -> Any:
        return 0

    def expect(self, model: Any, command: str) -> Any:
        return model + self.model_step

    def observe(self, transaction: Any) -> Any:
        return transaction.get("sums", "all", 0)


class Told(Untold):
    def __repr__(self) -> str:
        return f"Told(step={self.step}, model_step={self.model_step})"


def test_domains_of_one_class_are_told_apart_by_their_repr(
    caplog: pytest.LogCaptureFixture,
) -> None:
    checked = check_crash_replay(Told(3), settings=FEW, depth=SHALLOW)
    assert checked.other_process == "folded in other processes with the same result"
    assert caplog.records == []
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(Told(3, 4), settings=FEW, depth=SHALLOW)
    message = str(caught.value)
    assert message.startswith("Told(step=3, model_step=4): the store and the model disagree")
    names: dict[str, Any] = {}
    with pytest.raises(AssertionError, match=r"^3$"):
        exec(program_in(message), names)
    names["store"].close()


def test_a_domain_of_which_nothing_says_what_it_was_made_with_is_told_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    checked = check_crash_replay(Untold(3), settings=FEW, depth=SHALLOW)
    assert "Untold takes arguments, and nothing says which" in checked.other_process
    assert ["give it a __repr__" in record.getMessage() for record in caplog.records] == [True]
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(Untold(3, 4), settings=FEW, depth=SHALLOW)
    message = str(caught.value)
    assert "This can't be run as it stands: Untold takes arguments" in message
    with pytest.raises(AttributeError):
        exec(program_in(message), {})


class Opaque(WordsDomain):
    """Its commands are shown by their address."""

    class Say:
        word = "hello"

    def commands(self) -> Any:
        return st.builds(self.Say)

    def execute(self, transaction: Any, command: Any) -> None:
        super().execute(transaction, command.word)

    def expect(self, model: Any, command: Any) -> Any:
        return model


def test_a_command_whose_repr_is_no_python_is_told_that_the_program_can_not_be_run() -> None:
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(Opaque(), settings=SOME, depth=SHALLOW)
    message = str(caught.value)
    assert re.search(
        r"can't be run: `domain.execute\(tx, <.*Say object at .*>\)` is no Py", message
    )
    assert "an expression that makes it again" in message


class MostlyRefuses(WordsDomain):
    def execute(self, transaction: Any, command: str) -> None:
        if command != "bye":
            raise ValueError(command)
        super().execute(transaction, command)

    def expect(self, model: Any, command: str) -> Any:
        if command != "bye":
            raise ValueError(command)
        return super().expect(model, command)


class SaysNothing(WordsDomain):
    def execute(self, transaction: Any, command: str) -> None:
        pass

    def expect(self, model: Any, command: str) -> Any:
        return model


def test_a_check_that_tried_little_warns(caplog: pytest.LogCaptureFixture) -> None:
    checked = check_crash_replay(MostlyRefuses(), settings=FEW, depth=SHALLOW)
    assert 0.5 < checked.refused_share < 1
    [line] = [record.getMessage() for record in caplog.records]
    assert f"{checked.refused} of {checked.commands} commands were refused" in line
    caplog.clear()
    checked = check_crash_replay(SaysNothing(), settings=FEW, depth=SHALLOW)
    assert (checked.batches, checked.refused_share) == (0, 0.0)
    [line] = [record.getMessage() for record in caplog.records]
    assert "have committed 0 batches only" in line
    caplog.clear()
    checked = check_crash_replay(WordsDomain(), settings=FEW, depth=SHALLOW)
    assert checked.refused == 0
    assert checked.commands >= checked.batches > 10
    assert caplog.records == []
