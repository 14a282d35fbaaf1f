"""`snapledger du`: what snapshots take, by kind, label or chain."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

import click

from projections.snapshots.walk import plain_rows
from snapledger import output
from snapledger.arguments import (
    at_option,
    filters_argument,
    json_option,
    limit_option,
    store_argument,
)
from snapledger.filtering import mention_useless
from snapledger.reading import snapshots_at
from snapledger.text import label_text, printable
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from projections.snapshots import SnapshotTransaction
    from projections.snapshots.projection import PlainRow
    from snapledger.arguments import Moment

T = TypeVar("T")

_OF_A_LABEL = "labels."
_NONE = "(none)"
"""In the place of the group of those that have none."""
_EXAMPLE = """\b
Example: which images take how much:
  snapledger du STORE --by labels.image"""


class Sum:
    """What the snapshots of a group take together."""

    __slots__ = ("inodes", "size", "snapshots")

    def __init__(self) -> None:
        self.snapshots = self.size = self.inodes = 0

    def add(self, inodes: int, size: int, snapshots: int = 1) -> None:
        """Count what a snapshot takes, or several."""
        self.snapshots += snapshots
        self.size += size
        self.inodes += inodes

    def record(self) -> dict[str, int]:
        """Return the sums as JSON has them."""
        return {"snapshots": self.snapshots, "size": self.size, "inodes": self.inodes}

    def cells(self) -> tuple[str, str, str]:
        """Return the sums as cells of a table."""
        return str(self.size), str(self.inodes), str(self.snapshots)


def checked_grouping(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """Return what to group by."""
    if text in ("kind", "label", "chain") or (
        text.startswith(_OF_A_LABEL) and len(text) > len(_OF_A_LABEL)
    ):
        return text
    message = f"{text!a} is none of kind, label, labels.KEY and chain"
    raise click.BadParameter(message, ctx=context, param=parameter)


@click.command("du", epilog=_EXAMPLE)
@store_argument
@filters_argument
@click.option(
    "--by",
    "grouping",
    metavar="WHAT",
    callback=checked_grouping,
    default="kind",
    show_default=True,
    help="kind; label, each pair of key and value, so that a snapshot counts in several groups; "
    "labels.KEY, the value of one label; chain, the snapshot without a parent that all of a group "
    "are built on.",
)
@at_option
@limit_option
@json_option
def command(
    store: str,
    filters: tuple[str, ...],
    grouping: str,
    moment: Moment | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show what the snapshots that match any FILTER, or all, take, largest group first.

    Sizes are in bytes, of committed snapshots: what an active one takes is known to its driver
    only. A snapshot's size is what it adds to its parent. The last line is the total, in which
    each snapshot counts once, also those of groups that --limit leaves out. FILTER is as of ls.

    JSON: revision, by, total {snapshots, size, inodes}, groups_left_out, groups [group (null: those
    that have none), snapshots, size, inodes].
    """
    with snapshots_at(store, moment) as transaction:
        mention_useless(filters)
        total, sums = _summed(transaction, filters, grouping)
        revision = transaction.revision
    largest = sorted(sums.items(), key=lambda item: (-item[1].size, item[0] is None, item[0] or ""))
    left_out = len(largest[limit:]) if limit is not None else 0
    largest = largest[:limit]
    if as_json:
        head = {"revision": revision, "by": grouping, "total": total.record()}
        head["groups_left_out"] = left_out
        groups = ({"group": group, **each.record()} for group, each in largest)
        output.write_json_list(head, "groups", groups)
    else:
        title = grouping if grouping.startswith(_OF_A_LABEL) else grouping.upper()
        titles = ("SIZE", "INODES", "SNAPSHOTS", printable(title))
        # A label is printable by what makes it one text of two.
        shown = str if grouping == "label" else printable
        rows = [(*each.cells(), _NONE if name is None else shown(name)) for name, each in largest]
        rows.append((*total.cells(), _total_title(left_out)))
        output.write_table(titles, rows, titles[:-1], titles[1:3])


def _summed(
    transaction: SnapshotTransaction, filters: tuple[str, ...], grouping: str
) -> tuple[Sum, dict[str | None, Sum]]:
    """Return the total and the sums of the groups.

    First by groups that share no snapshot, so that each is counted once and the total is theirs.
    """
    if grouping == "chain":
        sums = _summed_chains(transaction, filters)
        return _sum_of(sums), sums
    found = plain_rows(transaction, filters)
    if grouping == "label":
        of_labels = _summed_by(found, lambda plain: tuple(plain[3].items()))
        return _sum_of(of_labels), _summed_labels(of_labels)
    if grouping == "kind":
        sums = _summed_by(found, lambda plain: plain[2])
    else:
        key = grouping[len(_OF_A_LABEL) :]
        sums = _summed_by(found, lambda plain: plain[3].get(key))
    return _sum_of(sums), sums


def _summed_by(
    found: Iterable[tuple[str, PlainRow]], group_of: Callable[[PlainRow], T]
) -> dict[T, Sum]:
    sums: dict[T, Sum] = defaultdict(Sum)
    for _, plain in found:
        sums[group_of(plain)].add(*plain[6:])
    return sums


def _sum_of(sums: Mapping[T, Sum]) -> Sum:
    total = Sum()
    for each in sums.values():
        total.add(each.inodes, each.size, each.snapshots)
    return total


def _summed_labels(sums: Mapping[tuple[tuple[str, str], ...], Sum]) -> dict[str | None, Sum]:
    """Return the sums by each label, of those by all labels of a snapshot."""
    by_label: dict[str | None, Sum] = defaultdict(Sum)
    for labels, each in sums.items():
        for group in [label_text(*label) for label in labels] or (None,):
            by_label[group].add(each.inodes, each.size, each.snapshots)
    return by_label


def _summed_chains(
    transaction: SnapshotTransaction, filters: tuple[str, ...]
) -> dict[str | None, Sum]:
    """Return the sums by the first of each snapshot's ancestors.

    Each name is looked up once: from there on a snapshot is its place in the order of names.
    """
    found = [(name, plain[1], *plain[6:]) for name, plain in plain_rows(transaction)]
    names = [row[0] for row in found]
    places = dict(zip(names, range(len(names)), strict=True))
    roots = _roots([places[row[1]] if row[1] else place for place, row in enumerate(found)])
    chosen: Iterable[int] = range(len(names))
    if filters:
        chosen = (places[name] for name, _ in plain_rows(transaction, filters))
    sums: dict[int, Sum] = defaultdict(Sum)
    for place in chosen:
        sums[roots[place]].add(*found[place][2:])
    return {names[root]: each for root, each in sums.items()}


def _roots(parents: list[int]) -> list[int]:
    """Return the first ancestor of each of some nodes, by their parents; a root is its own.

    Each round goes up twice as far as the one before it.
    """
    higher = [parents[each] for each in parents]
    while higher != parents:
        parents, higher = higher, [higher[each] for each in higher]
    return parents


def _total_title(groups_left_out: int) -> str:
    return f"total ({counted(groups_left_out, 'group')} left out)" if groups_left_out else "total"
