"""An embedded, append-only, event-sourced store.

Every transaction is one fsynced batch in a write-ahead log; projections fold the events into
ordered tables in memory, which answer reads; checkpoints compact the log. The engine knows
nothing of any domain: a user writes a `Projection` and opens an `EventStore` with it.

The map of the engine, from the top. What stands in a line may import what stands in it or below:

    testing/                                      the verification kit, for users' projections too
    erasing                                       forgetting
    store                                         what a handle is and does
    handle/                                       its parts: transactions, their lock, the past
    integrity/                                    reading everything, and making anew
    backend/                                      who holds a log: its writer, or a follower
    maintenance/                                  policy and retention: background, compaction
    past/                                         indexes of segments, and reading by them
    recovery/                                     disk to state: scan, decide, execute, replay
    proofs/                                       what an outsider can check: the tree and its texts
    log/                                          the write-ahead log
    checkpoints/                                  the state in files: bases, deltas, their chains
    tables/                                       the state in memory
    directory/                                    a store's directory: contents, hold, making
    files/                                        the only file I/O
    format/                                       every byte on disk, and only bytes
    errors event engine_events projection upcasting options reports arguments locks    the words
"""

from eventstore.erasing import Erasure, erase
from eventstore.errors import (
    BatchTooLargeError,
    CompactedError,
    CorruptionError,
    ErasureError,
    EventStoreError,
    ForeignOwnerError,
    FormatVersionError,
    InvalidEventError,
    NotAStoreError,
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
    TransactionClosedError,
    UnsupportedFileSystemError,
    UnsupportedPlatformError,
    WriterBusyError,
)
from eventstore.event import Batch, Event, Metadata, TransactionArguments
from eventstore.files.interface import FileSystem
from eventstore.handle.read_transaction import ReadTransaction
from eventstore.handle.receipt import Receipt
from eventstore.handle.watching import Watch
from eventstore.handle.write_transaction import WriteTransaction
from eventstore.integrity.detached import DetachedBatches
from eventstore.integrity.repair import (
    LostRevisions,
    RepairPreview,
    RepairReport,
    preview_repair,
    repair_store,
)
from eventstore.integrity.verify import verify_store
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

__all__ = [
    "Batch",
    "BatchTooLargeError",
    "CompactedError",
    "CompactionReport",
    "CorruptionError",
    "Damage",
    "DetachedBatches",
    "Erasure",
    "ErasureError",
    "Event",
    "EventStore",
    "EventStoreError",
    "FileSystem",
    "ForeignOwnerError",
    "FormatVersionError",
    "InvalidEventError",
    "LostRevisions",
    "Metadata",
    "NotAStoreError",
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
    "Retention",
    "StorageFullError",
    "StoreClosedError",
    "StoreExistsError",
    "StoreFailedError",
    "StoreLockedError",
    "StoreOptions",
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
    "erase",
    "preview_repair",
    "repair_store",
    "verify_store",
]
