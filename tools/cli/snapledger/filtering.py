"""What is mentioned of filters that can be read, but match nothing whatever the store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.snapshots import Kind
from projections.snapshots.filters import (
    Column,
    Operator,
    parse_filter,
    resolve_field,
)
from snapledger import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projections.snapshots.filters import Selector

_KINDS = tuple(kind.value for kind in Kind)


def mention_useless(filters: tuple[str, ...]) -> None:
    """Mention on stderr what can't match, each once."""
    selectors = (each for text in filters for each in parse_filter(text).selectors)
    for reason in dict.fromkeys(reason for each in selectors for reason in _reasons(each)):
        output.note(reason)


def _reasons(selector: Selector) -> Iterator[str]:
    reference = resolve_field(selector.field)
    if reference is None:
        field = ".".join(selector.field)
        yield f"no snapshot has a field {field!r}: there are name, parent, kind and labels.KEY"
    elif (
        reference.column is Column.KIND
        and selector.operator is Operator.EQUAL
        and selector.value not in _KINDS
    ):
        yield f"no snapshot is of kind {selector.value!r}: there are {', '.join(_KINDS)}"
