"""Crash images: what a medium may hold once the power is back.

Every undecided change of every file and directory that could be reached gets a *fate*: which
ranges of its bytes arrived, none for a change that was dropped. A file's changes may also have
arrived in another order, which matters where they overlap. An image is one choice of fates for
all changes; on it everything is durable.

`crash_images` gives all images of a medium while they are few. Beyond a limit it gives a sample:
first the extremes (all changes kept, all dropped, each one dropped or kept alone, the newest one
torn), then random choices, the same ones for the same seed.
"""

from __future__ import annotations

from functools import cache
from itertools import islice, pairwise, permutations, product
from math import factorial, prod
from typing import TYPE_CHECKING, NamedTuple

from eventstore.testing.medium import (
    Change,
    DirectoryNode,
    EntryChange,
    FileNode,
    Medium,
    Standing,
    overwritten,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

SECTOR_BYTES = 512
_BYTE_CUTS_MAX = 1024
"""A longer write is cut at every sector, and at some bytes only."""
_BYTE_CUTS_SPREAD = 32
_SECTORS_SCATTERED_MAX = 4
_PERMUTED_CHANGES_MAX = 3
_ATTEMPTS_PER_IMAGE = 4
_EXTREMES_DRAWN = 12
_REORDERED = 0.3


class Fate(NamedTuple):
    """What became of a change.

    Attributes:
        kept: the ranges of its bytes that arrived, from and to, counted from its start.
        extends: whether the file got the length that the change gives it, whatever arrived.
    """

    kept: tuple[tuple[int, int], ...]
    extends: bool = False


DROPPED = Fate(())


class Pending(NamedTuple):
    """An undecided change: the node, its place among the node's changes, and the change."""

    node: int
    place: int
    change: Change | EntryChange


class CrashImage(NamedTuple):
    """One medium that a power cut may leave.

    Attributes:
        medium: with everything on it durable.
        fates: what became of each pending change, for `describe`.
    """

    medium: Medium
    fates: tuple[tuple[Pending, Fate], ...]

    def describe(self) -> str:
        """Return what became of each change, in words."""
        return "; ".join(_describe(*fate) for fate in self.fates) or "nothing was pending"


def pending_changes(medium: Medium) -> list[Pending]:
    """Return the undecided changes of all nodes that some image may hold, the newest last."""
    found: list[Pending] = []
    for number in sorted(_reachable(medium)):
        node = medium.nodes[number]
        changes: Sequence[Change | EntryChange] = node.changes
        found.extend(
            Pending(number, place, change)
            for place, change in enumerate(changes)
            if not isinstance(change, Change) or change.standing is not Standing.CERTAIN
        )
    return found


def crash_images(
    medium: Medium, limit: int, random: Random, *, newest: int | None = None
) -> Iterator[CrashImage]:
    """Yield the images that a power cut may leave, each choice once.

    Args:
        medium: as it is when the power goes.
        limit: give a sample of that many if there are more.
        random: for the sample.
        newest: the node that the operation in flight changes: its last change is torn most.
    """
    space = _Space(medium)
    if space.size <= limit:
        choices = space.all_choices()
    else:
        chosen = space.sampled_choices(random, newest)
        choices = islice(_distinct(chosen, limit * _ATTEMPTS_PER_IMAGE), limit)
    yield from map(space.image, choices)


def draw_image(medium: Medium, random: Random, *, newest: int | None = None) -> CrashImage:
    """Return one image: an extreme one or a random one; arguments as for `crash_images`."""
    space = _Space(medium)
    choices = space.sampled_choices(random, newest)
    return space.image(next(islice(choices, random.randrange(_EXTREMES_DRAWN), None)))


def possible_fates(pending: Pending, medium: Medium) -> list[Fate]:
    """Return what may become of one change, whatever becomes of the others."""
    change = pending.change
    if isinstance(change, EntryChange) or change.data is None:
        return [Fate(((0, 1),)), DROPPED]
    size = len(change.data)
    if not size:
        return [DROPPED]
    fates = [Fate(((0, size),)), DROPPED]
    if change.offset_bytes + size > len(medium.file(pending.node).durable):
        fates.append(Fate((), extends=True))
    fates.extend(_torn(change.offset_bytes % SECTOR_BYTES, size))
    return fates


Order = dict[int, tuple[int, ...]]
"""For a file whose changes arrived in another order: their places in the order of arrival."""

Choice = tuple[tuple[Fate, ...], Order]


class _Space:
    """All choices that there are for one medium."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._pending = pending_changes(medium)
        self._fates = [possible_fates(each, medium) for each in self._pending]
        self._overlapping = _overlapping(medium, self._pending)
        orders = prod(factorial(len(places)) for places in self._overlapping.values())
        self.size = prod(map(len, self._fates)) * orders

    def image(self, choice: Choice) -> CrashImage:
        fates, order = choice
        decided = tuple(zip(self._pending, fates, strict=True))
        return CrashImage(_settled(self._medium, decided, order), decided)

    def all_choices(self) -> Iterator[Choice]:
        numbers = list(self._overlapping)
        arrivals = (permutations(places) for places in self._overlapping.values())
        for arrival in product(*arrivals):
            order = dict(zip(numbers, arrival, strict=True))
            for choice in product(*self._fates):
                yield choice, order

    def sampled_choices(self, random: Random, newest: int | None) -> Iterator[Choice]:
        """Yield the extremes, then random choices without end."""
        fates = self._fates
        kept = tuple(each[0] for each in fates)
        dropped = tuple(DROPPED for _ in fates)
        yield kept, {}
        yield dropped, {}
        places = list(range(len(fates)))
        random.shuffle(places)
        in_flight = max((i for i in places if self._pending[i].node == newest), default=None)
        for place in places:
            yield _with(kept, place, DROPPED), {}
            yield _with(dropped, place, fates[place][0]), {}
            if in_flight is not None:
                yield _with(kept, in_flight, random.choice(fates[in_flight])), {}
        while True:
            choice = [_random_fate(each, random) for each in fates]
            if in_flight is not None and random.random() < 0.5:
                choice[in_flight] = random.choice(fates[in_flight])
            yield tuple(choice), self._random_order(random)

    def _random_order(self, random: Random) -> Order:
        if random.random() > _REORDERED:
            return {}
        return {
            number: tuple(random.sample(places, len(places)))
            for number, places in self._overlapping.items()
        }


def _with(choice: tuple[Fate, ...], place: int, fate: Fate) -> tuple[Fate, ...]:
    return (*choice[:place], fate, *choice[place + 1 :])


def _random_fate(fates: list[Fate], random: Random) -> Fate:
    draw = random.random()
    if draw < 0.4:
        return fates[0]
    return DROPPED if draw < 0.65 else random.choice(fates)


def _distinct(choices: Iterator[Choice], attempts: int) -> Iterator[Choice]:
    seen = set()
    for choice, order in islice(choices, attempts):
        key = (choice, tuple(order.items()))
        if key not in seen:
            seen.add(key)
            yield choice, order


@cache
def _torn(offset_bytes: int, size: int) -> tuple[Fate, ...]:
    """Return the fates in which a part of a write arrived; the offset counts from its sector."""
    cuts = set(range(1, size))
    if size > _BYTE_CUTS_MAX:
        first = SECTOR_BYTES - offset_bytes
        cuts = {1, size - 1, *range(first, size, SECTOR_BYTES)}
        cuts.update(range(first + 1, size, size // _BYTE_CUTS_SPREAD))
    fates = []
    for cut in sorted(cuts):
        fates += [Fate(((0, cut),)), Fate(((cut, size),))]
    return (*fates, *_scattered_sectors(offset_bytes, size))


def _scattered_sectors(offset_bytes: int, size: int) -> Iterator[Fate]:
    """Yield the fates in which some sectors arrived and others, between them, did not."""
    first = SECTOR_BYTES - offset_bytes
    bounds = [0, *range(first, size, SECTOR_BYTES), size]
    sectors = list(pairwise(bounds))
    if not 2 < len(sectors) <= _SECTORS_SCATTERED_MAX:
        return
    for chosen in product((False, True), repeat=len(sectors)):
        ranges = tuple(sector for sector, is_kept in zip(sectors, chosen, strict=True) if is_kept)
        if 0 < len(ranges) < len(sectors):
            yield Fate(ranges)


def _overlapping(medium: Medium, pending: list[Pending]) -> Order:
    """Return the places of the undecided changes of each file that has few and overlapping ones."""
    found: Order = {}
    for number in {each.node for each in pending}:
        node = medium.nodes[number]
        if not isinstance(node, FileNode):
            continue
        places = tuple(each.place for each in pending if each.node == number)
        spans = sorted(_span(node.changes[place]) for place in places)
        touches = any(low[1] > high[0] for low, high in pairwise(spans))
        if touches and len(places) <= _PERMUTED_CHANGES_MAX:
            found[number] = places
    return found


def _span(change: Change) -> tuple[int, int]:
    return change.offset_bytes, change.offset_bytes + len(change.data or b"")


def _reachable(medium: Medium) -> set[int]:
    """Return every node that has a name in some image."""
    reached = set()
    waiting = [0]
    while waiting:
        number = waiting.pop()
        if number in reached:
            continue
        reached.add(number)
        node = medium.nodes[number]
        if isinstance(node, DirectoryNode):
            waiting.extend(node.durable.values())
            for change in node.changes:
                waiting.extend(child for _, child in change.entries if child is not None)
    return reached


def _settled(medium: Medium, fates: tuple[tuple[Pending, Fate], ...], order: Order) -> Medium:
    """Return the medium once each pending change has met its fate."""
    by_place = {(pending.node, pending.place): fate for pending, fate in fates}
    settled: dict[int, FileNode | DirectoryNode] = {}
    for number, node in medium.nodes.items():
        if not node.changes:
            settled[number] = node
        elif isinstance(node, FileNode):
            places = _arrival(len(node.changes), order.get(number, ()))
            content = node.durable
            for place in places:
                change = node.changes[place]
                if change.standing is Standing.CERTAIN:
                    content = change.applied_to(content)
                else:
                    content = _partly(content, change, by_place.get((number, place), DROPPED))
            settled[number] = FileNode(content, content)
        else:
            names = node.durable
            for place, renamed in enumerate(node.changes):
                if by_place.get((number, place), DROPPED).kept:
                    names = renamed.applied_to(names)
            settled[number] = DirectoryNode(names, names)
    return Medium(settled)


def _arrival(count: int, permuted: tuple[int, ...]) -> list[int]:
    """Return all places in order, those that arrived in another order exchanged."""
    places = list(range(count))
    for slot, place in zip(sorted(permuted), permuted, strict=True):
        places[slot] = place
    return places


def _partly(content: bytes, change: Change, fate: Fate) -> bytes:
    if change.data is None:
        return change.applied_to(content) if fate.kept else content
    if fate.extends:
        return content.ljust(change.offset_bytes + len(change.data), b"\0")
    for start, end in fate.kept:
        content = overwritten(content, change.offset_bytes + start, change.data[start:end])
    return content


def _describe(pending: Pending, fate: Fate) -> str:
    change = pending.change
    if isinstance(change, EntryChange):
        what = " and ".join(
            f"{name!r} removed" if number is None else f"{name!r} made node {number}"
            for name, number in change.entries
        )
        return f"{what} in directory {pending.node}: {'kept' if fate.kept else 'dropped'}"
    if change.data is None:
        outcome = "kept" if fate.kept else "dropped"
        return f"node {pending.node} set to {change.offset_bytes} bytes: {outcome}"
    size = len(change.data)
    if fate.kept == ((0, size),):
        outcome = "kept"
    elif fate.extends:
        outcome = "zeros"
    else:
        outcome = f"bytes {list(fate.kept)} kept" if fate.kept else "dropped"
    return f"node {pending.node}, {size} bytes at {change.offset_bytes}: {outcome}"
