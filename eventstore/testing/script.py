"""Scripts: steps that Hypothesis draws, how each is run, and the same as a Python program."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Generic

from eventstore.testing.domain import C, Domain, M

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eventstore.store import EventStore
    from eventstore.testing.session import Session

_OPEN = "EventStore.open(path, domain.projections)"


@dataclass(frozen=True, slots=True)
class Transaction(Generic[C]):
    """A step: commands in one transaction, committed or rolled back."""

    commands: tuple[C, ...]
    commits: bool


@dataclass(frozen=True, slots=True)
class Upkeep:
    """A step: something that must not change what the store shows."""

    code: str
    run: Callable[[Session, EventStore], EventStore] = field(repr=False, compare=False)


def _checkpoint(session: Session, store: EventStore) -> EventStore:
    _ = session
    store.checkpoint()
    return store


def _compact(session: Session, store: EventStore) -> EventStore:
    _ = session
    store.compact()
    return store


def _reopen(session: Session, store: EventStore) -> EventStore:
    store.close()
    return session.open()


CHECKPOINT = Upkeep("store.checkpoint()", _checkpoint)
COMPACT = Upkeep("store.compact()", _compact)
REOPEN = Upkeep(f"store.close(); store = {_OPEN}", _reopen)

Script = list[Transaction[C] | Upkeep]


def program(domain: Domain[C, M], script: Script[C]) -> str:
    """Return a script as a program that asserts at its end what the model says."""
    body = list(_steps(domain, script))
    commands = [
        command for step in script if isinstance(step, Transaction) for command in step.commands
    ]
    suppress = (
        ["from contextlib import suppress"] if any("suppress" in line for line in body) else []
    )
    return "\n".join(
        (
            "import tempfile",
            *suppress,
            "",
            *_imports(domain, commands),
            "from eventstore import EventStore",
            "",
            f"domain = {type(domain).__name__}()",
            "path = tempfile.mkdtemp()",
            f"store = {_OPEN}",
            *body,
            "store.check()",
            "store.close()",
        )
    )


def _imports(domain: Domain[C, M], commands: list[C]) -> Iterator[str]:
    """Yield what makes the names of the domain and its commands known."""
    types = {type(domain), *_types_in(commands)}
    for each in sorted(types, key=lambda each: (each.__module__, each.__qualname__)):
        if each.__module__ == "builtins":
            continue
        if "." in each.__qualname__ or each.__module__ == "__main__":
            yield f"# import {each.__qualname__} here"
        else:
            yield f"from {each.__module__} import {each.__name__}"


def _types_in(value: object) -> set[type]:
    """Return the types of a value and of what it holds."""
    found = {type(value)}
    held: Iterable[object] = ()
    if isinstance(value, dict):
        held = (*value, *value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        held = value
    elif is_dataclass(value):
        held = [getattr(value, each.name) for each in fields(value)]
    return found.union(*map(_types_in, held))


def _steps(domain: Domain[C, M], script: Script[C]) -> Iterator[str]:
    model = domain.initial()
    for step in script:
        if isinstance(step, Upkeep):
            yield step.code
            continue
        after = model
        yield "with store.transaction(writable=True) as tx:"
        for command in step.commands:
            try:
                after = domain.expect(after, command)
            except domain.refusals:
                yield f"    with suppress(*domain.refusals): domain.execute(tx, {command!r})"
            except Exception as error:
                yield f"    # The model itself fails on {command!r}: {error!r}"
                yield "    pass"
                return
            else:
                yield f"    domain.execute(tx, {command!r})"
        if not step.commits:
            yield "    tx.rollback()"
        elif not step.commands:
            yield "    pass"
        model = after if step.commits else model
    yield "with store.transaction() as tx:"
    yield f"    assert domain.observe(tx) == {model!r}, domain.observe(tx)"
