"""A follower: prints the batches of a store as they are committed by another process.

It takes no lock and writes nothing, so it may come and go. It reads the log alone, and so works
on a store of any domain: without projections no table is held in memory.

    python -m tools.examples.follower STORE [FROM_REVISION [SECONDS]]

SECONDS without a batch end it; so does Ctrl-C.
"""

from __future__ import annotations

import sys

from eventstore import Batch, CompactedError, EventStore


def line_of(batch: Batch) -> str:
    """Return a batch as one line."""
    who, why, _ = batch.metadata
    types = ", ".join(event.type for event in batch.events)
    return f"{batch.revision} {batch.time:%H:%M:%S} {who or 'nobody'}: {why or '-'}: {types}"


def follow(path: str, from_revision: int | None, seconds: float | None) -> None:
    """Print batches from a revision on, or from the next one."""
    with EventStore.open(path, [], read_only=True) as store:
        if from_revision is not None:
            # Retention may have dropped what was asked for.
            from_revision = max(from_revision, store.oldest_revision())
        for batch in store.watch(from_revision, timeout=seconds):
            print(line_of(batch), flush=True)


def main(path: str, from_revision: str | None = None, seconds: str | None = None) -> None:
    """Follow a store until nothing more comes."""
    try:
        follow(
            path,
            None if from_revision is None else int(from_revision),
            None if seconds is None else float(seconds),
        )
    except CompactedError as error:  # dropped while this was reading
        sys.exit(f"follower: {error}; begin again from {error.oldest_revision}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
