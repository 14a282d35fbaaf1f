"""Stops the engine before any statement, as an interrupt or a failed allocation may.

A call is put before every statement of some modules' functions, handlers and `finally` blocks
included. A tracer could do that as well, but only once: it is unset when it raises, so the second
interrupt, which comes while the first one is being handled, could not be placed.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import threading
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_TICK = "_tick"


class _Ticks(ast.NodeTransformer):
    """Puts a call before each statement in a function."""

    def __init__(self) -> None:
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if self._depth:
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(node, field, None)
                if isinstance(statements, list):
                    setattr(node, field, [new for old in statements for new in _ticking(old)])
        return node


def _ticking(statement: ast.stmt) -> list[ast.stmt]:
    tick = ast.Expr(ast.Call(ast.Name(_TICK, ast.Load()), [], []))
    return [ast.fix_missing_locations(ast.copy_location(tick, statement)), statement]


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions and methods that a module defines."""
    owners = [module, *(member for _, member in inspect.getmembers(module, inspect.isclass))]
    for owner in owners:
        for member in vars(owner).values():
            found = member.fget if isinstance(member, property) else member
            found = getattr(found, "__func__", found)
            found = inspect.unwrap(found) if callable(found) else found
            if isinstance(found, FunctionType) and found.__code__.co_filename == module.__file__:
                yield found


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


@contextlib.contextmanager
def ticking(modules: list[ModuleType], tick: Callable[[], object]) -> Iterator[None]:
    """Call `tick` before each statement of these modules' functions, while the block runs."""
    before: list[tuple[FunctionType, CodeType]] = []
    try:
        for module in modules:
            path = str(module.__file__)
            tree = _Ticks().visit(ast.parse(Path(path).read_text(encoding="utf-8")))
            whole = compile(tree, path, "exec")
            codes = {code.co_qualname: code for code in _codes(whole)}
            setattr(module, _TICK, tick)
            for function in _functions(module):
                before.append((function, function.__code__))
                function.__code__ = codes[function.__code__.co_qualname]
        yield
    finally:
        for function, code in before:
            function.__code__ = code


class Stopper:
    """Raises an error at some ticks of the thread that arms it, counted from then on.

    Attributes:
        count: of the ticks so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._at: tuple[int, ...] = ()
        self._error: type[BaseException] = KeyboardInterrupt
        self._thread = 0

    def arm(self, *at: int, error: type[BaseException]) -> None:
        """Raise the error at these ticks from now on; at none to disarm."""
        self.count, self._at, self._error = 0, at, error
        self._thread = threading.get_ident()

    def __call__(self) -> None:
        if self._at and threading.get_ident() == self._thread:
            self.count += 1
            if self.count in self._at:
                raise self._error
