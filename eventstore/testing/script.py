"""Scripts: steps that Hypothesis draws, how each is run, and the same as a Python program."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Generic

from eventstore.testing.domain import C, Domain, M, expression_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from eventstore.testing.session import NotedStore, Session


@dataclass(frozen=True, slots=True)
class Transaction(Generic[C]):
    """A step: commands in one transaction, committed or rolled back."""

    commands: tuple[C, ...]
    commits: bool


@dataclass(frozen=True, slots=True)
class Upkeep:
    """A step: something that must not change what the store shows.

    Attributes:
        code: the same as Python, with `{engine}` for the event store, `{open}` for opening it.
        run: does it, and returns the event store to go on with.
    """

    code: str
    run: Callable[[Session, NotedStore], NotedStore] = field(repr=False, compare=False)


def _checkpoint(session: Session, store: NotedStore) -> NotedStore:
    _ = session
    store.checkpoint()
    return store


def _compact(session: Session, store: NotedStore) -> NotedStore:
    _ = session
    store.compact()
    return store


def _reopen(session: Session, store: NotedStore) -> NotedStore:
    store.close()
    return session.open()


CHECKPOINT = Upkeep("{engine}.checkpoint()", _checkpoint)
COMPACT = Upkeep("{engine}.compact()", _compact)
REOPEN = Upkeep("{engine}.close(); {open}", _reopen)

_FLOATS = re.compile(r"\b(?:nan|inf)\b")
"""What `repr` makes of floats that are no Python."""

Script = list[Transaction[C] | Upkeep]


def program(domain: Domain[C, M], script: Script[C], *, elsewhere: bool = False) -> str:
    """Return a script as a program that asserts at its end what the model says.

    Args:
        domain: whose.
        script: the steps.
        elsewhere: whether it also folds its batches in processes with other hash seeds.
    """
    engine, opening = _opening(domain)
    steps, model = _steps(domain, script, engine)
    body = [line.replace("{open}", opening) for line in steps]
    commands = [
        command for step in script if isinstance(step, Transaction) for command in step.commands
    ]
    floats = ["from math import inf, nan"] if _FLOATS.search(repr((commands, model))) else []
    suppress = (
        ["from contextlib import suppress"] if any("suppress" in line for line in body) else []
    )
    checks = ("check_fold", "check_hash_seed") if elsewhere else ("check_fold",)
    return "\n".join(
        (
            "import tempfile",
            *suppress,
            *floats,
            "",
            *_imports(domain, [*commands, model]),
            "from eventstore import EventStore",
            f"from eventstore.testing import {', '.join(checks)}, watched",
            "",
            f"domain = {_made(domain)}",
            "projections = watched(domain.projections)",
            "path = tempfile.mkdtemp()",
            opening,
            *body,
            f"{engine}.check()",
            f"check_fold({engine}, projections)",
            *([f"check_hash_seed(domain, {engine})"] if elsewhere else []),
            f"{engine}.close()",
        )
    )


def _opening(domain: Domain[C, M]) -> tuple[str, str]:
    """Return what a program calls the event store, and the line by which it opens that."""
    if type(domain).wrap is Domain.wrap:
        return "store", "store = EventStore.open(path, projections)"
    return "engine", "engine = EventStore.open(path, projections); store = domain.wrap(engine)"


def _target(domain: Domain[C, M]) -> str:
    """Return what a program executes commands on."""
    return "store" if domain.commits_by_itself else "tx"


def _in_transaction(domain: Domain[C, M], lines: Iterable[str]) -> Iterator[str]:
    """Yield lines as they stand in one transaction, unless each command commits by itself."""
    if domain.commits_by_itself:
        yield from lines
    else:
        yield "with store.transaction(writable=True) as tx:"
        yield from (f"    {line}" for line in lines)


def no_python(text: str) -> str:
    """Return why a program can't be run, and what to do; nothing if it is Python.

    Only what a `repr` of the domain's has put into it can be the reason.
    """
    try:
        ast.parse(text)
    except SyntaxError as error:
        line = text.splitlines()[(error.lineno or 1) - 1].strip()
        return (
            f"This can't be run: `{line}` is no Python. The repr of a command, and of a model, "
            "must be an expression that makes it again, as that of a dataclass is"
        )
    return ""


def projections_program(domain: Domain[C, M], check: str) -> str:
    """Return a program that tries the projections of a domain by a function of the kit."""
    return "\n".join(
        (
            *_imports(domain, []),
            f"from eventstore.testing import {check}",
            "",
            f"domain = {_made(domain)}",
            f"{check}(domain.projections)",
        )
    )


def changed_command_program(
    domain: Domain[C, M], accepted: Sequence[C], command: C, before: str
) -> str:
    """Return a program that fails since `expect` or `execute` changes its command.

    Args:
        domain: whose.
        accepted: the commands that were done before.
        command: the one that is changed, as it is now.
        before: its `repr` as it was.
    """
    _, opening = _opening(domain)
    target = _target(domain)
    executed = [f"domain.execute({target}, {each!r})" for each in accepted]
    executed.append(f"with suppress(*domain.refusals): domain.execute({target}, command)")
    unchanged = "assert repr(command) == before, f'{before} has become {command!r}'"
    return "\n".join(
        (
            "import tempfile",
            "from contextlib import suppress",
            "",
            *_imports(domain, [*accepted, command]),
            "from eventstore import EventStore",
            "",
            f"domain = {_made(domain)}",
            "projections, path = domain.projections, tempfile.mkdtemp()",
            opening,
            "model = domain.initial()",
            *(f"model = domain.expect(model, {each!r})" for each in accepted),
            f"command = {before}",
            "before = repr(command)",
            "with suppress(*domain.refusals): domain.expect(model, command)",
            unchanged,
            *_in_transaction(domain, executed),
            unchanged,
        )
    )


def changed_model_program(domain: Domain[C, M], accepted: Sequence[C], command: C) -> str:
    """Return a program that fails since `expect` changes the model that it is given.

    Args:
        domain: whose.
        accepted: the commands that lead to that model.
        command: with which `expect` changes it.
    """
    return "\n".join(
        (
            "from contextlib import suppress",
            "",
            *_imports(domain, [*accepted, command]),
            "",
            f"domain = {_made(domain)}",
            "model = domain.initial()",
            *(f"model = domain.expect(model, {each!r})" for each in accepted),
            "before = repr(model)",
            "with suppress(*domain.refusals):",
            f"    domain.expect(model, {command!r})",
            "assert repr(model) == before, f'{before} has become {model!r}'",
        )
    )


def _made(domain: Domain[C, M]) -> str:
    """Return what a program makes the domain by; where that is unknown, a line that says so."""
    name = type(domain).__name__
    return expression_of(domain) or f"...  # {name}(…), with the arguments of the one checked"


def not_made(domain: Domain[C, M]) -> str:
    """Return why no program can make a domain, and what to do; nothing if one can."""
    if expression_of(domain) is not None:
        return ""
    return (
        f"This can't be run as it stands: {type(domain).__name__} takes arguments, and nothing "
        "says which it was made with. Give it a __repr__ that makes it again, as that of a "
        "dataclass does"
    )


def _imports(domain: Domain[C, M], values: list[object]) -> Iterator[str]:
    """Yield what makes the names of the domain, its commands and its model known."""
    types = {type(domain), *_types_in(values)}
    if type(domain).__repr__ is not object.__repr__:
        types.update(_types_in([*vars(domain).values()]))
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


def _steps(domain: Domain[C, M], script: Script[C], engine: str) -> tuple[list[str], object]:
    """Return the lines of a script, and the model after it; None if the model itself fails."""
    lines: list[str] = []
    model = domain.initial()
    for step in script:
        if isinstance(step, Upkeep):
            lines.append(step.code.replace("{engine}", engine))
            continue
        try:
            body, after = _commands(domain, step, model)
        except _ModelFailedError as failure:
            lines.extend(_in_transaction(domain, failure.lines))
            return lines, None
        lines.extend(_in_transaction(domain, body))
        model = after if step.commits else model
    lines.append("with store.transaction() as tx:")
    lines.append(f"    assert domain.observe(tx) == {model!r}, domain.observe(tx)")
    return lines, model


def _commands(domain: Domain[C, M], step: Transaction[C], model: M) -> tuple[list[str], M]:
    """Return the lines of a transaction, and the model after its commands."""
    lines: list[str] = []
    for command in step.commands:
        executed = f"domain.execute({_target(domain)}, {command!r})"
        try:
            model = domain.expect(model, command)
        except domain.refusals:
            lines.append(f"with suppress(*domain.refusals): {executed}")
        except Exception as error:
            failed = [f"# The model itself fails on {command!r}: {error!r}", "pass"]
            raise _ModelFailedError([*lines, *failed]) from error
        else:
            lines.append(executed)
    if not step.commits:
        lines.append("tx.rollback()")
    return lines or ["pass"], model


class _ModelFailedError(Exception):
    """`expect` has failed; with the lines up to there."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines
