"""A second domain is checked with the public kit; and the kit finds what is wrong with others.

`LedgerDomain` is all that a user writes: projections, commands and a model.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from support.ledger import Account, Ledger, Totals, balances, deposit, open_account, total, transfer

import eventstore.testing as kit
from eventstore import Event, Projection, TableSpec
from eventstore.testing import Depth, Domain, InconsistencyError, check_crash_replay
from eventstore.testing import domain as domain_module

if TYPE_CHECKING:
    from eventstore import ReadTransaction, WriteTransaction


class Pay(NamedTuple):
    source: str
    target: str
    amount: int


class LedgerDomain(Domain[Pay, dict[str, int]]):
    """Payments between three accounts; those from "bank" bring money in."""

    projections: tuple[Projection, ...] = (Ledger(), Totals())

    def commands(self) -> st.SearchStrategy[Pay]:
        names = st.sampled_from(["bank", "ann", "bob"])
        return st.builds(Pay, names, st.sampled_from(["ann", "bob"]), st.integers(1, 9))

    def execute(self, transaction: WriteTransaction, command: Pay) -> None:
        for name in ("ann", "bob"):
            if transaction.get("accounts", name) is None:
                open_account(transaction, name)
        if command.source == "bank":
            deposit(transaction, command.target, command.amount)
        else:
            transfer(transaction, *command)

    def initial(self) -> dict[str, int]:
        return {"ann": 0, "bob": 0, "bank": 0}

    def expect(self, model: dict[str, int], command: Pay) -> dict[str, int]:
        source, target, amount = command
        if source != "bank" and model[source] < amount:
            raise ValueError("not enough")
        paid = {**model, source: model[source] - amount}
        return {**paid, target: paid[target] + amount}

    def observe(self, transaction: ReadTransaction) -> dict[str, int]:
        return {**self.initial(), **balances(transaction), "bank": -total(transaction)}


def test_ledger_agrees_with_its_model_whatever_crashes(deep: bool) -> None:
    check_crash_replay(LedgerDomain(), settings=None if deep else settings(max_examples=25))


class Bug(LedgerDomain):
    """A domain that must be found out, and what its report must show."""

    shows: tuple[str, ...] = ()
    is_pure = True


class ForgetfulCheckpoint(Bug):
    class Projected(Ledger):
        tables = (TableSpec("accounts", encode=list, decode=lambda _, row: Account(row[0])),)

    projections = (Projected(), Totals())
    shows = (
        "domain.execute(tx, Pay(source='bank', target='ann', amount=1))",
        "was put, and a read gives Account(owner='', balance=0",
        "TableSpec.decode must give back",
    )


class ImpureFold(Bug):
    is_pure = False

    class Projected(Totals):
        applied = 0

        def apply(self, event: Event, tables: Any) -> None:
            ImpureFold.Projected.applied += 1
            if ImpureFold.Projected.applied > 40 and event.type == "money.deposited":
                event = Event(event.type, {**event.data, "amount": 2 * event.data["amount"]})
            super().apply(event, tables)

    projections = (Ledger(), Projected())
    shows = ("domain.execute(tx, Pay(source='bank'",)


class FoldThatIsWrongOnce(Bug):
    is_pure = False

    class Projected(Totals):
        applied = 0

        def apply(self, event: Event, tables: Any) -> None:
            if event.type == "money.deposited":
                FoldThatIsWrongOnce.Projected.applied += 1
                if FoldThatIsWrongOnce.Projected.applied == 20:
                    event = Event(event.type, {**event.data, "amount": 2 * event.data["amount"]})
            super().apply(event, tables)

    projections = (Ledger(), Projected())
    shows = ("domain.execute(tx, Pay(source='bank'", "does not always fail")


class RefusesTooMuch(Bug):
    def execute(self, transaction: WriteTransaction, command: Pay) -> None:
        if command.amount > 5:
            raise ValueError("too much")
        super().execute(transaction, command)

    shows = ("amount=6", "the store says: too much")


class BrokenInvariant(Bug):
    class Projected(Projection):
        name = "projected"
        version = 1
        tables = (TableSpec("seen"),)

        def apply(self, event: Event, tables: Any) -> None:
            tables["seen"].put(event.type, event.data.get("amount", 0))

        def check(self, tables: Any) -> None:
            if tables["seen"].get("money.deposited", 0) > 5:
                raise AssertionError("more than five at once")

    projections = (Ledger(), Totals(), Projected())
    shows = ("amount=6", "more than five at once")


class BrokenModel(Bug):
    def expect(self, model: dict[str, int], command: Pay) -> dict[str, int]:
        if command.amount > 5:
            raise KeyError("a bug of the model")
        return super().expect(model, command)

    is_pure = False
    shows = ("amount=6", "The model itself fails", "KeyError('a bug of the model')")


FEW = settings(max_examples=8)
REPEATABLE = settings(max_examples=80, database=None, derandomize=True)
SHALLOW = Depth(crash_points=1, images=1, double_crashes=0, double_crashes_after_kill=0)


@pytest.mark.parametrize("domain", Bug.__subclasses__())
def test_smallest_script_is_shown_for_a_domain_that_is_wrong(domain: type[Bug]) -> None:
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(domain(), settings=REPEATABLE, depth=SHALLOW)
    message = str(caught.value)
    # What is wrong only once may be so after a command or in a recovery.
    told = "disagree after" if domain.is_pure else "disagree "
    assert message.startswith(f"{domain.__name__}: the store and the model {told}")
    for text in domain.shows:
        assert text in message, message
    if "does not always fail" not in message:
        assert message.count("domain.execute") <= 4, message
    if domain.is_pure:
        script = textwrap.dedent(message.split("\n\n", 1)[1].rsplit("\n\n", 1)[0])
        names: dict[str, Any] = {}
        try:
            with pytest.raises((AssertionError, ValueError)):
                exec(script, names)
        finally:
            names["store"].close()


WITHOUT_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None
import eventstore.testing
print(eventstore.testing.explore.__name__)
try:
    eventstore.testing.check_crash_replay
except ImportError as error:
    print(error)
"""


def test_kit_but_for_one_function_needs_no_hypothesis() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HYPOTHESIS], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "explore",
        "checking a domain needs Hypothesis: pip install '.[testing]' in a checkout",
    ]


def test_every_public_name_of_the_kit_says_what_it_is() -> None:
    for name in kit.__all__:
        value = getattr(kit, name)
        if isinstance(value, type | FunctionType):
            assert value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kit.nothing


def test_examples_in_the_documentation_run() -> None:
    # Each follows "::" and ends with the next line that is not indented.
    examples = re.findall(r"::\n((?:\n|    .*\n)+)", f"{domain_module.__doc__}\n")
    for example, test in zip(examples, ("test_words", "test_driver"), strict=True):
        names: dict[str, Any] = {"__name__": "example"}
        exec(textwrap.dedent(example), names)
        # Fewer than by default: the example of a driver is a large one.
        names["check_crash_replay"] = partial(check_crash_replay, settings=FEW)
        names[test]()
