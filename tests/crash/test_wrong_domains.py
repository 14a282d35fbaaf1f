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

from eventstore import Event, Projection, TableSpec
from eventstore.testing import Depth, Domain, InconsistencyError, check_crash_replay

if TYPE_CHECKING:
    from pathlib import Path

SOME = settings(max_examples=60, derandomize=True)
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


def program_in(message: str) -> str:
    [found] = re.findall(r"\n\n((?:    .*\n|\n)+)\n", message)
    return textwrap.dedent(found)


@pytest.mark.parametrize("domain", WordsDomain.__subclasses__(), ids=lambda domain: domain.__name__)
def test_a_wrong_domain_is_told_what_is_wrong_with_it_and_its_program_fails(domain: Any) -> None:
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(domain(), settings=SOME, depth=SHALLOW)
    message = str(caught.value)
    for text in domain.says:
        assert text in message, message
    names: dict[str, Any] = {}
    with pytest.raises((AssertionError, ValueError)):
        exec(program_in(message), names)
    if "store" in names:
        names["store"].close()


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
