"""What a reading of a store finds wrong, and what it has to say beside that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.reports import PROBLEMS_MAX, Damage

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from eventstore.errors import CorruptionError


class Problems:
    """Damage in the order in which it was found, each once, up to a number.

    Attributes:
        more: how many there are beside those kept.
        remarks: what is worth a line and is no damage.
    """

    def __init__(self) -> None:
        # A dictionary, because the same thing can be found in two ways.
        self._found: dict[Damage, None] = {}
        self.more = 0
        self.remarks: list[str] = []

    @property
    def found(self) -> tuple[Damage, ...]:
        """Those kept."""
        return tuple(self._found)

    def add(self, problem: Damage | None) -> None:
        """Add one, if it is one."""
        if problem is None or problem in self._found:
            return
        if len(self._found) < PROBLEMS_MAX:
            self._found[problem] = None
        else:
            self.more += 1

    def add_all(self, problems: Iterable[Damage]) -> None:
        """Add some."""
        for problem in problems:
            self.add(problem)

    def add_error(self, error: CorruptionError) -> Damage:
        """Add what was raised, and return it."""
        problem = Damage(error.path, error.offset_bytes, 0, error.reason)
        self.add(problem)
        return problem

    def add_with_consequence(self, problem: Damage) -> None:
        """Add one in place of the same without what follows from it."""
        self._found = {
            one: None
            for one in self._found
            if one.path != problem.path or not problem.reason.startswith(one.reason)
        }
        self.add(problem)

    def pass_over(self, paths: Container[str]) -> None:
        """Forget what is wrong with some files."""
        self._found = {one: None for one in self._found if one.path not in paths}
