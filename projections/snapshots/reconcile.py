"""Reconciling: what the names on a disk are to the store, sorted.

The listing comes first; then the writer lock is waited for, so that what a running transaction was
just making is live, or was given up, before the state is looked at. What is known of those that are
gone comes from the history, by its index.

An id that nobody was given yet, and that is on the disk all the same, is what a crash has left of a
transaction that did not commit. It would be given to the next snapshot. So unless this is a dry
run the counter is moved beyond it first: whoever removes the litter, however late, removes no
snapshot's directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore import CompactedError, Metadata
from projections.snapshots import events, intents
from projections.snapshots.automatic import begin_automatic
from projections.snapshots.errors import InvalidArgumentError
from projections.snapshots.intents import INTENTS
from projections.snapshots.model import utc
from projections.snapshots.projection import COUNTERS, LAST_ID, SNAPSHOTS
from projections.snapshots.transaction import SnapshotReadTransaction
from projections.snapshots.validation import id_number, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set
    from datetime import datetime

    from eventstore import EventStore
    from projections.snapshots.intents import Intent
    from projections.snapshots.operations import SnapshotTransaction

_KEYS_PER_SEARCH = 1000
_AHEAD_MAX = 1_000_000
"""An id this far beyond the counter is none that a transaction was given."""


class Removal(NamedTuple):
    """What became of an id that is no snapshot's any more.

    Attributes:
        revision: of the batch.
        time_ns: of the batch, in nanoseconds since the epoch.
        metadata: who and why.
        name: that the snapshot had; "" where an intent gave the id up.
    """

    revision: int
    time_ns: int
    metadata: Metadata
    name: str

    @property
    def time(self) -> datetime:
        """The time of the batch, UTC."""
        return utc(self.time_ns)


class Reconciliation(NamedTuple):
    """What the names on a disk are to the store.

    Attributes:
        revision: of the newest batch that was durable when they were compared, after the listing.
            So a snapshot of a later batch is in none of these, even if its directory was listed,
            and `at(revision)` shows the snapshots that `live` and `missing` tell of. The batch that
            keeps an unknown id from being given, if one was written, comes after it.
        live: ids of snapshots, which are on the disk.
        in_flight: names on the disk that belong to an open intent, by its id or a text in its
            data; or that are being staged, with None for the intent that is yet to come. They are
            no litter: who is at work, or the handler of the kind, decides.
        removed: ids that were given out and are no snapshot's now, each with what became of it;
            None where the history that is kept does not tell.
        unknown: names that never were the id of a snapshot, in the order in which they were given.
        missing: ids of snapshots that are not on the disk, each with the snapshot's name.
    """

    revision: int
    live: frozenset[str]
    in_flight: Mapping[str, Intent | None]
    removed: Mapping[str, Removal | None]
    unknown: tuple[str, ...]
    missing: Mapping[str, str]


def reconcile(
    store: EventStore,
    listing: Iterable[str] | Callable[[], Iterable[str]],
    stages: Set[str],
    actor: str | None,
    *,
    dry_run: bool,
) -> Reconciliation:
    """Sort what is on the disk; see `MetaStore.reconcile`.

    Args:
        store: with the snapshots.
        listing: the names, or what lists them.
        stages: names that are in flight, whatever the store says; those of stages that begin
            while this runs are added to it.
        actor: of the batch that may be written.
        dry_run: write nothing.
    """
    with store.begin_read(SnapshotReadTransaction) as before:
        named = _checked(listing() if callable(listing) else listing)
        # What was begun or ended since may be listed by a name that it has no more.
        staging = frozenset(stages)
        moving = {name: intent for intent, name in _names_in(before)}
        sorting = _sorted_and_kept(
            store, named, {**dict.fromkeys(staging), **moving}, actor, dry_run
        )
        # By their ids: a name may have been given to another one since the listing.
        there_before = {row[0] for _, row in before.items(SNAPSHOTS)} if sorting.missing else set()
        missing = {
            each: name
            for each, name in sorting.missing.items()
            if each not in moving and each in there_before
        }
    removed = removals(store, sorting.given, sorting.revision)
    return Reconciliation(
        sorting.revision, sorting.live, sorting.in_flight, removed, sorting.unknown, missing
    )


def _sorted_and_kept(
    store: EventStore,
    named: tuple[str, ...],
    moving: Mapping[str, Intent | None],
    actor: str | None,
    dry_run: bool,
) -> Sorting:
    """Sort names, and keep the strays among them from being given to a new snapshot."""
    metadata = Metadata(actor, "reconciling names on the disk")
    if store.is_writable:
        with begin_automatic(store, metadata):
            pass  # whoever was just making one of them has ended now, and readers see it
    while True:
        with store.begin_read(SnapshotReadTransaction) as now:
            sorting = _sorted_out(now, named, moving)
        if sorting.ahead is None or dry_run or not store.is_writable:
            return sorting
        with begin_automatic(store, metadata) as tx:
            if tx.get(COUNTERS, LAST_ID, 0) == sorting.last_id:
                tx.emit(events.ids_reserved(sorting.ahead))
                return sorting
        # One of them may have been given to a new snapshot since.


class Sorting(NamedTuple):
    """A reconciliation before the history was asked.

    Attributes:
        revision: see `Reconciliation`.
        live: the same.
        in_flight: the same.
        last_id: the highest id given out.
        given: ids that were given out and are no snapshot's now.
        unknown: see `Reconciliation`.
        missing: the same.
        ahead: the highest unknown id that could be given out soon; None if there is none.
    """

    revision: int
    live: frozenset[str]
    in_flight: Mapping[str, Intent | None]
    last_id: int
    given: list[str]
    unknown: tuple[str, ...]
    missing: Mapping[str, str]
    ahead: int | None


def _sorted_out(
    tx: SnapshotTransaction, named: tuple[str, ...], moving: Mapping[str, Intent | None]
) -> Sorting:
    """Sort names by the state that a transaction sees. O(snapshots)."""
    found = frozenset(named)
    names = {row[0]: name for name, row in tx.items(SNAPSHOTS)}
    live = found.intersection(names)
    missing = {each: names[each] for each in names.keys() - found}
    in_flight = {each: moving[each] for each in moving.keys() & found if each not in live}
    for intent, name in _names_in(tx):
        if name in found and name not in live:
            in_flight[name] = intent
        if intent.is_staged:
            missing.pop(name, None)  # it is to be put there yet
    last_id = tx.get(COUNTERS, LAST_ID, 0)
    given, unknown, ahead = [], [], None
    for name in named:
        if name in live or name in in_flight:
            continue
        number = id_number(name)
        if 0 < number <= last_id:
            given.append(name)
            continue
        unknown.append(name)
        if last_id < number <= last_id + _AHEAD_MAX:
            ahead = max(ahead or 0, number)
    return Sorting(tx.revision, live, in_flight, last_id, given, tuple(unknown), missing, ahead)


def _names_in(tx: SnapshotTransaction) -> Iterator[tuple[Intent, str]]:
    """Yield the names on the disk that open intents tell of."""
    for _, intent in tx.items(INTENTS.name):
        for name in (intent.id, *intent.data.values()):
            if isinstance(name, str):
                yield intent, name


def removals(store: EventStore, ids: list[str], last: int) -> dict[str, Removal | None]:
    """Return what became of each id, as far as the history is kept."""
    found: dict[str, Removal | None] = dict.fromkeys(ids)
    for start in range(0, len(ids), _KEYS_PER_SEARCH):
        asked = ids[start : start + _KEYS_PER_SEARCH]
        left = set(asked)
        try:
            keys = [events.id_key(int(each)) for each in asked]
            for batch in store.history(*keys, to_revision=last, reverse=True):
                for event in reversed(batch.events):
                    if event.type not in (events.REMOVED, intents.ENDED):
                        continue
                    name = str(event.data.get("id"))
                    if name in left:
                        left.discard(name)
                        key = event.data.get("key", "")
                        found[name] = Removal(batch.revision, batch.time_ns, batch.metadata, key)
                if not left:
                    break
        except CompactedError:
            continue
    return found


def _checked(names: Iterable[str]) -> tuple[str, ...]:
    """Return names, each once; refuse what is none, since callers remove what nobody knows."""
    if isinstance(names, (str, bytes)):
        raise InvalidArgumentError(f"names on a disk must be several, not {shown(names)}")
    checked = tuple(dict.fromkeys(names))
    for name in checked:
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
            raise InvalidArgumentError(
                f"{shown(name)} is no name on a disk: give texts such as those of os.listdir"
            )
    return checked
