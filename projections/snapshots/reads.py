"""The reads of a transaction on snapshots, and what they need of the engine's transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from projections.snapshots.errors import FailedPreconditionError, NotFoundError
from projections.snapshots.model import Info, Kind, Snapshot, Usage
from projections.snapshots.projection import BY_PARENT, BY_SUFFIX, SNAPSHOTS, Row
from projections.snapshots.validation import checked_text, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from eventstore import Receipt


class SnapshotReads:
    """What a transaction on snapshots can be asked; `SnapshotTransaction` adds the changes."""

    __slots__ = ()

    def get_info(self, key: str) -> tuple[str, Info, Usage]:
        """Return id, info and usage of a snapshot; the usage is zero until it is committed. O(1).

        Raises:
            NotFoundError: no snapshot has this key or name.
            InvalidArgumentError: the key is no text.
        """
        row: Row | None = self.get(SNAPSHOTS, key) if isinstance(key, str) else None
        if row is None:
            raise NotFoundError(f"snapshot {shown(checked_text(key, 'key'))} does not exist")
        return row

    def get_snapshot(self, key: str) -> Snapshot:
        """Return an active snapshot or view with the ids of all its ancestors. O(ancestors).

        Raises:
            NotFoundError: no snapshot has this key.
            FailedPreconditionError: the snapshot is committed.
        """
        snapshot_id, info, _ = self.get_info(key)
        if info.kind is Kind.COMMITTED:
            raise FailedPreconditionError(
                f"snapshot {shown(key)} is committed: only an active snapshot or a view can be "
                "mounted"
            )
        return Snapshot(info.kind, snapshot_id, self._ancestor_ids(info.parent))

    def walk_info(
        self,
        *filters: str,
        name: str | None = None,
        parent: str | None = None,
        kind: Kind | str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Info]:
        """Yield the infos of all snapshots that match any filter, in byte order of their names.

        Without filters, all snapshots match. Of those that match, only the ones come that have all
        that the keywords ask for. Keywords are not parsed, so they take any key or name as it is;
        for a filter, `quote_filter` quotes one.

        A filter that asks for equality on name, parent, kind or a label, as keywords do, visits
        only the snapshots that an index gives for it.

        Args:
            filters: in containerd's language; see `projections.snapshots.filters`.
            name: exactly this name or key.
            parent: exactly this parent; "" for base snapshots.
            kind: this kind.
            labels: all of these labels, with these values.

        Raises:
            InvalidArgumentError: at the call, not at the first step: a filter can't be parsed, or
                a keyword asks for what can't be: no text, or no kind.
        """
        # Imported here: who only looks up a key does without the language of filters.
        from projections.snapshots.filters import equalities  # noqa: PLC0415
        from projections.snapshots.walk import walk  # noqa: PLC0415

        required = equalities(name=name, parent=parent, kind=kind, labels=labels)
        return walk(self, filters, required)

    def walk(
        self,
        *filters: str,
        name: str | None = None,
        parent: str | None = None,
        kind: Kind | str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[str, Info, Usage]]:
        """Yield id, info and usage of all snapshots that `walk_info` would yield, in its order.

        Raises as `walk_info` does.
        """
        from projections.snapshots.filters import equalities  # noqa: PLC0415
        from projections.snapshots.walk import walk_rows  # noqa: PLC0415

        required = equalities(name=name, parent=parent, kind=kind, labels=labels)
        return walk_rows(self, filters, required)

    def ancestors(self, key: str) -> tuple[tuple[str, Info, Usage], ...]:
        """Return id, info and usage of all ancestors, the nearest parent first. O(ancestors).

        Raises:
            NotFoundError: no snapshot has this key or name.
        """
        return tuple(self._rows_up(self.get_info(key)[1].parent))

    def children(self, name: str) -> Iterator[tuple[str, Info, Usage]]:
        """Yield id, info and usage of the children of a snapshot, in byte order of their names.

        O(children), by an index.

        Raises:
            NotFoundError: no snapshot has this key or name.
        """
        parent = self.get_info(name)[1].name
        return (row for _, row in self.by_index(SNAPSHOTS, BY_PARENT, parent))

    def chain_usage(self, key: str) -> Usage:
        """Return what a snapshot takes together with all its ancestors. O(ancestors).

        Of an active snapshot or a view the store knows none, so that is its ancestors' alone.

        Raises:
            NotFoundError: no snapshot has this key or name.
        """
        usages = [usage for _, _, usage in self._rows_up(self.get_info(key)[1].name)]
        return Usage(sum(each.inodes for each in usages), sum(each.size for each in usages))

    def find(self, suffix: str) -> Iterator[tuple[str, Info, Usage]]:
        """Yield id, info and usage of the snapshots with a name NAMESPACE/NUMBER/SUFFIX.

        So are containerd's names; of one that is not, the whole is its suffix. In byte order of the
        names. O(snapshots found), by an index.

        Raises:
            InvalidArgumentError: the suffix is no text.
        """
        found = self.by_index(SNAPSHOTS, BY_SUFFIX, checked_text(suffix, "suffix"))
        return (row for _, row in found)

    def id_map(self) -> dict[str, str]:
        """Return the key or name of every snapshot by its id. O(n)."""
        return {snapshot_id: name for name, (snapshot_id, _, _) in self.items(SNAPSHOTS)}

    def _ancestor_ids(self, parent: str) -> tuple[str, ...]:
        return tuple([row[0] for row in self._rows_up(parent)])

    def _rows_up(self, name: str) -> Iterator[Row]:
        while name:
            row: Row = self.get(SNAPSHOTS, name)
            yield row
            name = row[1].parent

    # What the transactions of the engine, which the subclasses also are, provide.

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        """Return the value of a key in a table, or the default."""
        raise NotImplementedError

    def items(
        self,
        table: str,
        start: Any = None,
        stop: Any = None,
        *,
        decode: Callable[[Any, Any], Any] | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of a table in key order, from `start` on and before `stop`."""
        raise NotImplementedError

    def by_index(self, table: str, index: str, entry: Hashable) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that have an entry in an index, in key order."""
        raise NotImplementedError

    @property
    def revision(self) -> int:
        """The revision whose state the transaction sees or builds on."""
        raise NotImplementedError

    def commit(self) -> Receipt | None:
        """Make the batch durable; see `eventstore.WriteTransaction.commit`."""
        raise NotImplementedError

    def rollback(self) -> None:
        """Take everything back, or end a read transaction."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        raise NotImplementedError
