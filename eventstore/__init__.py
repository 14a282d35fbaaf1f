"""An embedded, append-only, event-sourced store.

Every transaction is one fsynced batch in a write-ahead log; projections fold the events into
ordered tables in memory, which answer reads; checkpoints compact the log. The engine knows
nothing of any domain: a user writes a `Projection` and opens an `EventStore` with it.

The map of the engine, from the top. What stands in a line may import what stands in it or below:

    testing/ metrics tracing                      the verification kit, and what monitors use
    erasing                                       forgetting
    store                                         the handle: how it comes to be, how it ends
    handle/                                       what it does: transactions, their lock, the past
    copies/                                       backup and restore, dump and load
    integrity/                                    reading everything, and making anew
    backend/                                      who holds a log: its writer, or a follower
    maintenance/                                  policy and retention: background, compaction
    past/                                         indexes of segments, and reading by them
    recovery/                                     disk to state: scan, decide, execute, replay
    proofs/                                       what an outsider can check: the tree and its texts
    log/                                          the write-ahead log
    checkpoints/                                  the state in files: bases, deltas, rungs, chains
    tables/                                       the state in memory
    directory/                                    a store's directory: contents, hold, making
    files/                                        the only file I/O
    format/                                       every byte on disk, and only bytes
    errors event engine_events projection upcasting options reports arguments locks counters  words
"""

from typing import TYPE_CHECKING

from eventstore.errors import (
    ActorRequiredError,
    BackupError,
    BatchTooLargeError,
    CompactedError,
    CorruptionError,
    DamagedBackupError,
    DumpError,
    ErasureError,
    EventStoreError,
    ForeignOwnerError,
    FormatVersionError,
    InvalidEventError,
    NotAStoreError,
    OvertakenError,
    ProjectionError,
    ProofError,
    ReadOnlyStoreError,
    ReceiptError,
    ReentrantUseError,
    StorageFullError,
    StoreClosedError,
    StoreExistsError,
    StoreFailedError,
    StoreLockedError,
    SystemLimitError,
    TransactionClosedError,
    UnsupportedFileSystemError,
    UnsupportedPlatformError,
    WriterBusyError,
)
from eventstore.event import Batch, Event, Metadata, TransactionArguments
from eventstore.files.interface import FileSystem
from eventstore.handle.acting import acting_as
from eventstore.handle.read_transaction import ReadTransaction
from eventstore.handle.receipt import Receipt
from eventstore.handle.watching import Watch
from eventstore.handle.write_transaction import WriteTransaction
from eventstore.options import Retention, StoreOptions
from eventstore.projection import (
    Projection,
    ReadableTable,
    ReadableTables,
    TableSpec,
    WritableTable,
    WritableTables,
)
from eventstore.reports import (
    CompactionReport,
    Damage,
    Problem,
    RebuiltProjection,
    RecoveryReport,
    TornTail,
    Verdict,
    VerifyReport,
)
from eventstore.store import EventStore
from eventstore.upcasting import Upcasters

if TYPE_CHECKING:
    from eventstore.copies.backing_up import BackupReport, verify_backup
    from eventstore.copies.loading import LoadReport, load_store
    from eventstore.copies.restoring import RestoreReport, restore_store
    from eventstore.erasing import Erasure, FoundText, erase
    from eventstore.integrity.detached import DetachedBatches
    from eventstore.integrity.repair import (
        LostRevisions,
        RepairPreview,
        RepairReport,
        preview_repair,
        repair_store,
    )
    from eventstore.integrity.verify import verify_store
else:
    # Who opens a store does not wait for what verifies, repairs and copies one, or erases in it: a
    # tenth of the import.
    _COPIES = (
        *("BackupReport", "LoadReport", "RestoreReport"),
        *("load_store", "restore_store", "verify_backup"),
    )
    _INTEGRITY = (
        *("DetachedBatches", "LostRevisions", "RepairPreview", "RepairReport"),
        *("preview_repair", "repair_store", "verify_store"),
    )

    _ERASING = ("Erasure", "FoundText", "erase")

    def __getattr__(name: str) -> object:
        """Return a public name whose module is imported when it is asked for."""
        if name in _COPIES:
            from eventstore.copies import backing_up, loading, restoring  # noqa: PLC0415

            modules = (backing_up, loading, restoring)
        elif name in _ERASING:
            from eventstore import erasing  # noqa: PLC0415

            modules = (erasing,)
        elif name in _INTEGRITY:
            from eventstore.integrity import repair, verify  # noqa: PLC0415

            modules = (repair, verify)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = next(
            getattr(module, name) for module in modules if hasattr(module, name)
        )
        return value


__all__ = [
    "ActorRequiredError",
    "BackupError",
    "BackupReport",
    "Batch",
    "BatchTooLargeError",
    "CompactedError",
    "CompactionReport",
    "CorruptionError",
    "Damage",
    "DamagedBackupError",
    "DetachedBatches",
    "DumpError",
    "Erasure",
    "ErasureError",
    "Event",
    "EventStore",
    "EventStoreError",
    "FileSystem",
    "ForeignOwnerError",
    "FormatVersionError",
    "FoundText",
    "InvalidEventError",
    "LoadReport",
    "LostRevisions",
    "Metadata",
    "NotAStoreError",
    "OvertakenError",
    "Problem",
    "Projection",
    "ProjectionError",
    "ProofError",
    "ReadOnlyStoreError",
    "ReadTransaction",
    "ReadableTable",
    "ReadableTables",
    "RebuiltProjection",
    "Receipt",
    "ReceiptError",
    "RecoveryReport",
    "ReentrantUseError",
    "RepairPreview",
    "RepairReport",
    "RestoreReport",
    "Retention",
    "StorageFullError",
    "StoreClosedError",
    "StoreExistsError",
    "StoreFailedError",
    "StoreLockedError",
    "StoreOptions",
    "SystemLimitError",
    "TableSpec",
    "TornTail",
    "TransactionArguments",
    "TransactionClosedError",
    "UnsupportedFileSystemError",
    "UnsupportedPlatformError",
    "Upcasters",
    "Verdict",
    "VerifyReport",
    "Watch",
    "WritableTable",
    "WritableTables",
    "WriteTransaction",
    "WriterBusyError",
    "acting_as",
    "erase",
    "load_store",
    "preview_repair",
    "repair_store",
    "restore_store",
    "verify_backup",
    "verify_store",
]
