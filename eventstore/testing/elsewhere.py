"""A fold in another process, where strings have other hashes, and the time zone is another.

The order of a set of strings depends on `PYTHONHASHSEED`, which differs from process to process. A
fold that depends on it gives the same tables as often as one likes in this process, and others
after the next start. So batches are folded once more in a child process with another seed, which
imports the domain by its module and name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from eventstore.format.codec import decode_batch, pack, unpack
from eventstore.testing.domain import expression_of
from eventstore.testing.oracle import folded
from eventstore.testing.report import InconsistencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.projection import Projection
    from eventstore.store import EventStore
    from eventstore.testing.domain import Domain

_SECONDS_MAX = 120
_SEEDS_OF_ONE_STORE = 8
_TIME_ZONE = "ELSE-13:07"  # that nobody lives in; POSIX, so that no database of zones is needed
_READY = b"the domain was imported\n"

# Set in such a child, before it imports the domain.
is_child = False

_PROGRAM = """
import os, sys
sys.path[:] = {path!r}
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
from eventstore.testing import elsewhere
elsewhere.is_child = True
import {module}
domain = eval({expression!r}, vars(sys.modules[{module!r}]))
elsewhere.answer(domain.projections, answers)
"""


class NotImportableError(Exception):
    """A domain can't be made in another process; the message says why."""


def refuse_in_child() -> None:
    """Refuse a check while a child imports the domain: it would start a child, and so on.

    Raises:
        NotImportableError: this process is such a child.
    """
    if is_child:
        raise NotImportableError(
            "its module calls the check whenever it is imported: put the call into a function, "
            "or under `if __name__ == '__main__':`"
        )


def check_hash_seed(domain: Domain[Any, Any], store: EventStore) -> None:
    """Fold the batches of a store in processes with other hash seeds, and compare the tables.

    Raises:
        InconsistencyError: they differ; names the table and the row.
        NotImportableError: the domain can't be made in another process.
    """
    refuse_in_child()
    payloads = payloads_of(store)
    for seed in range(_SEEDS_OF_ONE_STORE):
        problem = problems_elsewhere(domain, [payloads], str(seed))[0]
        if problem is not None:
            raise InconsistencyError(problem)


def payloads_of(store: EventStore) -> list[bytes]:
    """Return the events of each batch of a store, packed."""
    return [
        pack([list(batch.metadata), [[e.type, e.version, e.data] for e in batch.events]])
        for batch in store.batches()
    ]


def problems_elsewhere(
    domain: Domain[Any, Any], logs: Sequence[Sequence[bytes]], seed: str
) -> list[str | None]:
    """Fold logs of batches here and in another process; return for each how the tables differ.

    Raises:
        NotImportableError: the domain can't be made in another process.
    """
    kind = type(domain)
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        place = "a function" if "<locals>" in kind.__qualname__ else "the program that was started"
        raise NotImportableError(
            f"{kind.__qualname__} is defined in {place}, where another process does not find it: "
            "define it in a module to have that done too"
        )
    expression = expression_of(domain)
    if expression is None:
        raise NotImportableError(
            f"{kind.__qualname__} takes arguments, and nothing says which it was made with: give "
            "it a __repr__ that makes it again, as that of a dataclass does"
        )
    program = _PROGRAM.format(path=sys.path, module=kind.__module__, expression=expression)
    child = subprocess.run(  # noqa: S603 - this very interpreter, and names of this process
        [sys.executable, "-c", program],
        input=pack([list(log) for log in logs]),
        env={**os.environ, "PYTHONHASHSEED": seed, "TZ": _TIME_ZONE},
        capture_output=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    if not child.stdout.startswith(_READY):
        raise NotImportableError(_last_words(child))
    if child.returncode:
        raise InconsistencyError(
            f"in another process, with another PYTHONHASHSEED: {_last_words(child)}"
        )
    answers: list[Any] = unpack(child.stdout[len(_READY) :])
    here = [_plain_tables(domain.projections, log) for log in logs]
    return [_difference(mine, theirs) for mine, theirs in zip(here, answers, strict=True)]


def answer(projections: Sequence[Projection], answers: Any) -> None:
    """Be the child: fold the logs on stdin, and write their tables."""
    answers.write(_READY)
    answers.flush()
    logs = unpack(sys.stdin.buffer.read())
    answers.write(pack([_plain_tables(projections, log) for log in logs]))
    answers.flush()


def _last_words(child: subprocess.CompletedProcess[bytes]) -> str:
    lines = child.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the process ended with {child.returncode}"


def _plain_tables(projections: Sequence[Projection], log: Sequence[bytes]) -> list[Any]:
    """Return the rows of each table as a checkpoint would hold them, with how they are shown."""
    events = (event for payload in log for event in decode_batch(payload)[1])
    tables = folded(projections, events)
    return [
        [spec.name, pack(key), pack(spec.encode(value)), repr(key), repr(value)]
        for projection in projections
        for spec in projection.tables
        for key, value in tables[spec.name].items()
    ]


def _difference(here: list[Any], there: list[Any]) -> str | None:
    mine, theirs = _by_row(here), _by_row(there)
    for table, key in sorted({*mine, *theirs}):
        left, right = mine.get((table, key)), theirs.get((table, key))
        if left is None or right is None or unpack(left[0]) != unpack(right[0]):
            shown_key = (left or right or [b"", ""])[1]
            shown = [each[2] if each else "missing" for each in (left, right)]
            return (
                f"table {table!r}, row {shown_key}: {shown[0]} here, {shown[1]} in a process with "
                "another PYTHONHASHSEED and TZ: apply depends on the order of a set, on hash(), on "
                "the time zone or on something else that is not the same in every process; sort "
                "what a set holds"
            )
    return None


def _by_row(rows: list[Any]) -> dict[tuple[str, bytes], list[Any]]:
    return {
        (table, key): [value, shown_key, shown_value]
        for table, key, value, shown_key, shown_value in rows
    }
