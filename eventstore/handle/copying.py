"""What a handle copies to elsewhere: backups, and dumps as lines of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.arguments import checked_flag
from eventstore.errors import BackupError
from eventstore.handle.proofs import Proofs
from eventstore.maintenance.erasing_note import is_erasing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from eventstore.copies.backing_up import BackupReport


class Copying(Proofs):
    """What a handle copies, beside running transactions, up to what readers are shown.

    Its modules are imported when they are asked for: an open does without.
    """

    def backup(
        self,
        target: str | os.PathLike[str],
        *,
        verify: bool = False,
        on_batch: Callable[[int], object] = lambda revision: None,
    ) -> BackupReport:
        """Bring a backup up to what readers are shown, or begin one, beside running transactions.

        What the backup has already is not copied again; O(new batches). What is written is read
        back. If this is cut short, the backup holds what it held, or more, and the next call goes
        on. `restore_store` makes a store of it.

        Args:
            target: a directory, made if it is missing, or a URL that fsspec knows (the extra
                `backup`); two backups at a time must not be written to one URL.
            verify: whether everything in the backup is read in the end.
            on_batch: called with each revision that was copied, or read back.

        Raises:
            BackupError: something else is there, or a backup of another history; or batches that
                it lacks are no longer kept; or an erasure is under way in another process.
            DamagedBackupError: a file of it is missing, cut short or changed.
            StoreLockedError: another backup is being written there.
            CorruptionError: a batch of the store is damaged.
            CompactedError: batches were dropped meanwhile: call it again.
            StorageFullError: there is no space for it.
        """
        from eventstore.copies.backing_up import Source, back_up  # noqa: PLC0415
        from eventstore.copies.places import place_of  # noqa: PLC0415

        checked_flag(verify, "verify")
        self._closing.require_open()
        source = Source(self.path, self._log, self._tree, self._shown_revision())
        self._require_no_erasing()
        with self._closing.told():
            place = place_of(target, self._process())
            return back_up(source, place, verify=verify, on_batch=on_batch)

    def dump(self) -> Iterator[bytes]:
        """Yield all that readers are shown as lines of JSON, for `load_store`: see FORMAT.md.

        Raises:
            CompactedError: batches were dropped meanwhile.
            CorruptionError: a batch is damaged.
            BackupError: an erasure is under way in another process, or was carried out meanwhile.
        """
        from eventstore.copies.dumping import dumped_lines  # noqa: PLC0415

        self._closing.require_open()
        shown = self._shown_revision()
        self._require_no_erasing()
        with self._closing.told():
            lines = dumped_lines(self._log, shown)
        return self._read_amid(lines)

    def _require_no_erasing(self) -> None:
        """Refuse to copy what another process is about to erase, although it is said already.

        Asked once it is known up to where is copied: an erasure that begins later is not in that.
        """
        if self._file_system is not None and is_erasing(self._file_system, self.path):
            raise BackupError(
                f"{self.path}: an erasure is under way, or was cut short: wait for its end, or "
                "open the store for writing, which finishes it"
            )
