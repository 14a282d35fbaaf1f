"""The first questions to an index, before it is made: by what the packed rows must hold.

To make an index all rows are decoded, which takes 3.5 µs each: more than who asks once should pay.
Where `TableSpec.texts` says which texts a row with an entry must hold, the rows that may have it
are found by the bytes of these texts, in 0.1 µs a row. They are candidates, as those that an index
gives, and as complete: wherever a text is packed, its bytes in UTF-8 stand one after the other.

Each such question counts as many rows as it gave, and a sixteenth of those it passed. Once that is
as many as there are, the index has been earned and is made: so whoever goes on asking has waited no
more than twice as long as for the index alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from eventstore.format.codec import text_bytes
from eventstore.tables.packed import TOMBSTONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eventstore.tables.packed import PackedRows

_PASSED_SHARE = 16


class Held(Protocol):
    """The rows that are looked at, as their table keeps them."""

    def row_count_about(self) -> int:
        """Return how many rows there are, or down to half as many."""

    def holding(self, parts: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """Return the changed keys, and the numbers of packed rows, whose values hold all parts."""


def parts_of(texts: Iterable[str]) -> list[bytes]:
    """Return the bytes that a row which holds some texts holds, longest first.

    Raises:
        UnicodeEncodeError: no row can hold them.
    """
    return sorted({text_bytes(text) for text in texts if text}, key=len, reverse=True)


def cost(source: Held, found: tuple[list[Any], list[int]]) -> int:
    """Return what a question has cost, as a number of rows decoded."""
    return sum(map(len, found)) + source.row_count_about() // _PASSED_SHARE + 1


def rows_holding(
    rows: dict[Any, Any], packed: PackedRows | None, parts: Sequence[bytes]
) -> tuple[list[Any], list[int]]:
    """Return the keys among changed rows, and the numbers of packed ones, that hold all parts.

    What is not kept packed is taken for a row that does.

    Args:
        rows: changed ones; the writer may be at work on them.
        packed: those below, also where a changed one lies over.
        parts: bytes.
    """
    found = [(key, value) for key, value in list(rows.items()) if value is not TOMBSTONE]
    for part in parts:  # in a loop over all rows, this would take twice as long
        found = [row for row in found if type(row[1]) is not bytes or part in row[1]]
    numbers = packed.numbers_holding(parts) if packed is not None else ()
    return [key for key, _ in found], list(numbers)
