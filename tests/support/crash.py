"""Small workloads that together make every kind of operation the engine makes.

Each takes a session of the kit. The events are those of the bank ledger, with notes that make
batches as long as a workload needs them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from support.ledger import Ledger, Totals, close_account, deposit, open_account, transfer

from eventstore import Event, Retention
from eventstore.testing import SMALL, Session
from projections.snapshots import Kind, MetaStore, SnapshotsProjection, Usage, events
from projections.snapshots.model import Info

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore import EventStore, Projection

LEDGER: tuple[Projection, ...] = (Ledger(), Totals())
SNAPSHOTS: tuple[Projection, ...] = (SnapshotsProjection(),)


def pay(store: EventStore, account: str, amount: int, note_bytes: int = 0) -> None:
    with store.transaction(writable=True, actor="teller") as tx:
        deposit(tx, account, amount, "n" * note_bytes)


def opened(session: Session) -> EventStore:
    """Open the store and make sure of two accounts."""
    store = session.open()
    with store.transaction(writable=True) as tx:
        for account in ("a", "b"):
            if tx.get("accounts", account) is None:
                open_account(tx, account)
    return store


def making(session: Session) -> None:
    """Make a store, close it, open it again."""
    session.open().close()
    session.open().close()


def commits(session: Session) -> None:
    """Commits of several sizes, rollbacks, reads and commits without events."""
    with opened(session) as store:
        pay(store, "a", 5)
        pay(store, "b", 7, 600)
        with store.transaction(writable=True) as tx:
            deposit(tx, "a", 1)
            tx.rollback()
        with store.transaction(writable=True) as tx:
            assert tx.get("accounts", "a").balance == 5
        with store.transaction(writable=True) as tx:
            transfer(tx, "a", "b", 2)
            open_account(tx, "c")
            close_account(tx, "c")
        pay(store, "a", 1)


def groups(session: Session) -> None:
    """Groups of four threads' batches, the second one across the end of a segment."""
    with opened(session) as store:
        for note_bytes in (10, 900, 300):
            session.together(
                *(lambda n=n, size=note_bytes: pay(store, "ab"[n % 2], n, size) for n in range(4))
            )


def rolls(session: Session) -> None:
    """Batches over several segments, one of them longer than a segment is."""
    with opened(session) as store:
        for number in range(8):
            pay(store, "a", number, 700)
        pay(store, "b", 1, 5000)
        pay(store, "b", 2, 50)


def checkpoints(session: Session) -> None:
    """Checkpoints between commits, and opens that begin at them."""
    for number in range(3):
        with opened(session) as store:
            pay(store, "a", number, 900)
            store.checkpoint()
            pay(store, "b", number, 900)
    with session.open() as store:
        store.checkpoint()


def compaction(session: Session) -> None:
    """Compactions that archive what two checkpoints supersede."""
    for number in range(3):
        with opened(session) as store:
            for _ in range(3):
                pay(store, "a", number, 1200)
            store.compact()


def deltas(session: Session) -> None:
    """Checkpoints of little change, folds of their chain, and a base of much change."""
    session.options = replace(SMALL, retention=Retention.none())
    with session.open() as store:
        with store.transaction(writable=True) as tx:
            for number in range(20):
                open_account(tx, str(number))
        store.checkpoint()
        for number in range(2):
            pay(store, str(number), 1, 900)
            store.checkpoint()
    with session.open() as store:
        pay(store, "2", 1, 900)
        with store.transaction(writable=True) as tx:
            close_account(tx, "19")
        store.compact()
        pay(store, "3", 1, 900)
        store.compact()
        pay(store, "4", 1)
        store.compact()
        for number in range(14):
            pay(store, str(number), 1)
        store.compact()
    session.open().close()


def rungs(session: Session) -> None:
    """A ladder that is climbed, thinned, and cut at its foot."""
    session.options = replace(SMALL, retention=Retention(checkpoint_share=100.0))
    with session.open() as store:
        with store.transaction(writable=True) as tx:
            for number in range(20):
                open_account(tx, str(number))
        for number in range(7):
            pay(store, str(number), 1, 1500)
            store.compact()
        for revision in range(1, 9):
            assert store.at(revision).revision == revision
    # Of four rungs one is taken out, and the one above it is packed anew.
    with session.open(replace(SMALL, retention=Retention(checkpoint_share=0.5))) as store:
        pay(store, "5", 1, 1500)
        store.compact()
    with session.open(replace(SMALL, retention=Retention(revisions=1))) as store:
        pay(store, "5", 1, 1500)
        store.compact()


def retention(session: Session) -> None:
    """A compaction that drops all but the newest of the archive, several files."""
    with opened(session) as store:
        for number in range(3):
            pay(store, "a", number, 2800)
            store.compact()
    with session.open(replace(SMALL, retention=Retention(revisions=2))) as store:
        pay(store, "b", 1)
        store.compact()


def forgetting(session: Session) -> None:
    """Compactions that keep nothing beyond what recovery needs."""
    session.options = replace(SMALL, retention=Retention.none())
    compaction(session)


def importing(session: Session) -> None:
    """One batch of all snapshots of another store, longer than a segment, then work on it."""
    with session.open() as store:
        with store.transaction(writable=True, actor="import") as tx:
            for number in range(1, 60):
                name = f"sha256:{number:064}"
                info = Info(name, "", Kind.COMMITTED, {"n": str(number)}, number, number)
                tx.emit(events.imported(id_number=number, info=info, usage=Usage(1, number)))
            tx.emit(events.id_counter_imported(80))
        drive(MetaStore(store), rounds=1)


def driving(session: Session) -> None:
    """What a snapshot driver does: unpack layers, commit them, label, remove."""
    with session.open() as store:
        drive(MetaStore(store), rounds=3)
        store.checkpoint()


def drive(store: MetaStore, rounds: int) -> None:
    parent = ""
    for number in range(rounds):
        with store.transaction(writable=True, actor="puller") as tx:
            tx.create_snapshot(Kind.ACTIVE, f"extract-{number}", parent, {"layer": str(number)})
        with store.transaction(writable=True) as tx:
            tx.commit_active(f"extract-{number}", f"layer-{number}", Usage(3, 4096), {"gc": "x"})
            tx.create_snapshot(Kind.VIEW, f"view-{number}", f"layer-{number}")
            tx.update_info(f"layer-{number}", {"gc": "y"}, "labels.gc")
        with store.transaction(writable=True) as tx:
            tx.remove(f"view-{number}")
        parent = f"layer-{number}"


def foreign_events(session: Session) -> None:
    """Events that no projection knows, and batches of many events."""
    with session.open() as store:
        session.commit(store, *(Event("of another domain", {"n": n}) for n in range(20)))
        session.commit(store, Event("of another domain", b"\0" * 1500))


WORKLOADS: dict[str, tuple[Callable[[Session], None], tuple[Projection, ...]]] = {
    "making": (making, LEDGER),
    "commits": (commits, LEDGER),
    "groups": (groups, LEDGER),
    "rolls": (rolls, LEDGER),
    "checkpoints": (checkpoints, LEDGER),
    "compaction": (compaction, LEDGER),
    "retention": (retention, LEDGER),
    "deltas": (deltas, LEDGER),
    "rungs": (rungs, LEDGER),
    "forgetting": (forgetting, LEDGER),
    "importing": (importing, SNAPSHOTS),
    "driving": (driving, SNAPSHOTS),
    "foreign events": (foreign_events, LEDGER),
}
