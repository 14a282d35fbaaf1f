"""Tables and versions: one mechanism for isolation, rollback and checkpoints.

The writer changes tables in place. Versions form a forward chain, one for each batch. Before a key
is changed, its value is put into the *newest* version's undo map, unless the map holds the key
already: so the undo map of a version tells, for every key changed since, what it was at that
version. A reader holds the version that was durable when it began. To read a key it takes the
table's value first and walks the chain second: the first undo map that holds the key has the value
as it was, and if none does, the value just taken stands. The writer does the two in the other order
(undo first, table second), so that a reader needs no lock.

What everybody is shown is computed, never announced: the last version, of those that are linked
without a gap, whose revision is durable. A link is never taken back, and neither is a durable
revision; so whoever has learned of a revision, from whomever, sees at least that one in whatever
he asks next, and nobody has to wait for a thread that has yet to announce it.

- *Rollback* puts the values back and leaves the undo map alone: what it says of its version stays
  true, and a reader may have taken an uncommitted value an instant before.
- *Commit* links a new version; it is shown once its revision is durable. Versions behind all
  readers are freed by reference counting.
- *A failed sync* leaves the versions after the durable one where they are: readers begin at the
  durable one, and no write transaction begins on that handle any more, so nobody sees them.
- A long-lived reader folds the undo maps it has passed into one of its own, so that its reads
  stay O(1) in the number of commits since, and the versions it has passed can be freed.
- What an idle reader pins is merged from the writer's side, now and then (`thinning`): a version
  takes over the undo maps of some behind it, and its link skips them. So a map may also grow after
  it has a successor, by what stays true of its version, and a reader takes the link before the map.
- Ordered scans take short slices under the table's lock, which excludes the writer for some
  microseconds, and then correct each slice by the undo maps in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from eventstore.engine_events import is_engine_event
from eventstore.tables.journal import Journal
from eventstore.tables.packed import ABSENT
from eventstore.tables.table import Table, Tables
from eventstore.tables.thinning import Thinning
from eventstore.tables.version import Version
from eventstore.upcasting import upcast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import Any

    from eventstore.event import Event
    from eventstore.projection import Projection, ReadableTables, TableSpec, WritableTables
    from eventstore.tables.journal import Change
    from eventstore.tables.stored import StoredRows
    from eventstore.tables.version import Durability


class State:
    """All tables of a store, the chain of versions, and the projections that change them.

    One thread at a time calls the methods that change something; the store sees to that.

    Attributes:
        tables: every table by name.
        durable: a version on the way to the one that is shown, or that one; see `shown`.
        journal: of the running transaction.
    """

    def __init__(
        self,
        projections: Iterable[Projection],
        start: Version,
        stored: Mapping[str, StoredRows] | None = None,
    ) -> None:
        """Start with the tables of a checkpoint, or with empty ones.

        Args:
            projections: that the tables belong to.
            start: the version that `stored` holds.
            stored: the rows of each table, by its name.
        """
        self.journal = Journal(start)
        self._projections: list[tuple[Projection, WritableTables]] = []
        self.tables: Tables[Table] = Tables()
        for projection in projections:
            own = Tables(
                (spec.name, _table(spec, self.journal, (stored or {}).get(spec.name)))
                for spec in projection.tables
            )
            self.tables.update(own)
            self._projections.append((projection, cast("WritableTables", own)))
        self.durable = start
        self._thinning = Thinning()
        # What `apply` has raised after it had undone everything.
        self._undone: BaseException | None = None

    @property
    def newest(self) -> Version:
        """The last version of the chain: what the next batch builds on."""
        return self.journal.newest

    def apply(self, event: Event) -> None:
        """Fold an event into all tables on top of the newest version; on an error, undo it.

        One of the engine's own, which a replay meets, changes nothing.
        """
        journal = self.journal
        if journal.is_replaying and is_engine_event(event):
            return
        changes = journal.changes
        start = len(changes)
        self._undone = None
        journal.open_changes = changes
        try:
            for projection, tables in self._projections:
                upcasters = projection.upcasters
                projection.apply(upcast(event, upcasters) if upcasters else event, tables)
        except BaseException as error:
            # Where this is interrupted, a rollback undoes all of it again.
            self._undo(changes[start:])
            self._undone = error
            raise
        finally:
            journal.open_changes = None

    def become(self, other: State) -> None:
        """Make every row what another state has, as a change since `begin`; O(n)."""
        journal = self.journal
        journal.open_changes = journal.changes
        try:
            for name, table in self.tables.items():
                table.become(other.tables[name])
        finally:
            journal.open_changes = None

    def has_undone(self, error: BaseException) -> bool:
        """Say whether all of the last event was undone before `apply` raised an error."""
        undone, self._undone = self._undone, None
        return undone is error

    def begin(self, *, is_replaying: bool = False) -> None:
        """Start to remember changes for `commit` or `rollback`.

        What a transaction has left that nobody ended, or whose rollback was interrupted, is undone
        first.
        """
        journal = self.journal
        if journal.changes:
            self.rollback()
        journal.is_replaying = is_replaying
        self._thinning.step(journal.newest, self.durable)

    def rows_added(self, names: Collection[str] | None = None) -> int:
        """Return how many more rows there are since `begin`: negative if more were deleted.

        Args:
            names: of the tables that count; None for all.
        """
        first_olds: dict[tuple[int, Any], tuple[Table, Any]] = {}
        for table, key, old in self.journal.changes:
            if names is not None and table.name not in names:
                continue
            first_olds.setdefault((id(table), key), (table, old))
        return sum(
            (table.raw(key) is not ABSENT) - (old is not ABSENT)
            for (_, key), (table, old) in first_olds.items()
        )

    def commit(self, revision: int, digest: bytes, time_ns: int) -> Version:
        """Make the changes since `begin` a version; it is shown once it is durable.

        First they can no longer be taken back: whoever is shown the version finds them.
        """
        journal = self.journal
        journal.changes = []
        version = Version(revision, digest, time_ns)
        journal.newest.next = version
        journal.newest = version
        return version

    def rollback(self) -> None:
        """Take the changes since `begin` back; if an interrupt ends this, call it again."""
        journal = self.journal
        if journal.changes:
            self._undo(journal.changes)
            journal.changes = []

    def adopt(self, rebuilt: State) -> None:
        """Take over all tables of another state at the same revision; before any reader."""
        for name, table in rebuilt.tables.items():
            self.tables[name].take_rows(table)

    def shown(self, log: Durability) -> Version:
        """Return the version that everybody is shown: the newest one that is linked and durable.

        Where two threads are here at once, the slower one may set `durable` back. That costs the
        next one some steps, and frees versions a little later; the answer is the same.
        """
        version = self.durable
        while (following := version.next) is not None:
            # Asked after each link was read: a link may lead past versions that were merged since.
            if following.revision > log.durable_revision:
                break
            version = following
        self.durable = version
        return version

    def publish(self, version: Version) -> None:
        """Let readers begin at a version that was read from stable storage."""
        self.durable = version

    def check(self) -> None:
        """Check every invariant of tables and projections; O(n).

        Raises:
            AssertionError: one does not hold.
        """
        for table in self.tables.values():
            table.check()
        for projection, tables in self._projections:
            projection.check(cast("ReadableTables", tables))

    def broken_projections(self) -> Iterator[tuple[str, Exception]]:
        """Yield the name of each projection whose key functions or `check` raise; O(n).

        Each with what was raised.
        """
        for projection, tables in self._projections:
            try:
                for spec in projection.tables:
                    self.tables[spec.name].check_index_functions()
                projection.check(cast("ReadableTables", tables))
            except Exception as error:  # a user's code, which may raise any: it is told of
                yield projection.name, error

    @staticmethod
    def _undo(changes: list[Change]) -> None:
        for table, key, old in reversed(changes):
            table.restore(key, old)


def _table(spec: TableSpec[Any, Any], journal: Journal, stored: StoredRows | None) -> Table:
    if stored is None:
        return Table(spec, journal, None)
    return Table(spec, journal, stored.packed, stored.changes.items())
