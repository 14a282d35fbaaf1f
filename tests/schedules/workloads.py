"""Workloads: what the threads of one store do while a scheduler owns their schedule.

Each takes a `Run`, opens its store, starts threads, waits for them and closes the store. What the
threads do is drawn from the run's seed, so that each seed is another program as well as another
schedule.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

from schedules.client import CRASHES
from schedules.registers import KEYS
from schedules.scheduler import Interrupt
from schedules.snapshots import SNAPSHOTS

from eventstore import StoreClosedError
from eventstore.tables import thinning

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedules.client import Client
    from schedules.history import Change
    from schedules.runs import Run

    from eventstore import EventStore

_CALLS = 60
"""About as many calls of the file system as a workload makes: where it is crashed."""


def prepared(run: Run) -> EventStore:
    """Open the store, with a few batches; for some seeds with rows that a checkpoint holds."""
    store = run.open()
    client = run.client(store, "main")
    for _ in range(2):
        client.write(changes(client))
    if run.random.random() < 0.5:
        store.checkpoint()
        store.close()
        store = run.open()
    return store


def changes(client: Client) -> list[Change]:
    """Draw what a write transaction does."""
    return [
        client.domain.draw_change(client.random) for _ in range(client.random.choice((1, 1, 2)))
    ]


def write(client: Client, note_bytes: int = 0) -> None:
    """Draw a write transaction: most commit, some change nothing, some give up."""
    draw = client.random.random()
    timeout = client.random.choice((None, None, None, 0.0, 0.01))
    if draw < 0.6:
        client.write(changes(client), note_bytes=note_bytes, timeout=timeout)
    elif draw < 0.75:
        client.write(timeout=timeout)
    else:
        gives_up = "rollback" if draw < 0.87 else "error"
        client.write(changes(client), gives_up=gives_up, timeout=timeout)


def look(client: Client) -> None:
    """Draw one way of looking."""
    match client.random.randrange(8):
        case 0 | 1 | 2:
            client.read()
        case 3:
            client.batches()
        case 4:
            client.check_receipt()
        case 5:
            client.at(client.random.randrange(6))
        case _:
            client.write()


def session(client: Client, share_of_writes: float, note_bytes: int = 0) -> None:
    """Do a few things, one after the other, so that what a thread sees is compared."""
    for _ in range(client.random.randrange(2, 5)):
        if client.random.random() < share_of_writes:
            write(client, note_bytes)
        else:
            look(client)


def sessions(run: Run, store: EventStore, *shares: float, note_bytes: int = 0) -> None:
    """Start a thread for each share of writes."""
    for number, share in enumerate(shares):
        client = run.client(store, f"thread {number}")
        run.start(client.name, partial(session, client, share, note_bytes))


def mixed(run: Run) -> None:
    """Writers, and readers that look in every way there is."""
    store = prepared(run)
    sessions(run, store, 0.9, 0.6, 0.2)
    run.join()
    store.close()


def snapshots(run: Run) -> None:
    """The same with snapshots: look-ups, walks along indexes, ids."""
    run.domain = SNAPSHOTS
    mixed(run)


def watching(run: Run) -> None:
    """Watches, from the past and from now on, whose thread reads after each."""
    store = prepared(run)

    def watch(client: Client) -> None:
        start = client.random.choice((None, 1, 2))
        for _ in range(2):
            client.watch(start, 1 + client.random.randrange(3), 0.1)
            client.read(1)
            start = None

    for number in range(2):
        client = run.client(store, f"watch {number}")
        run.start(client.name, partial(watch, client))
    sessions(run, store, 0.9, 0.9)
    run.join()
    store.close()


def holding(run: Run) -> None:
    """Read transactions that go on while others commit; two threads look into each."""
    store = prepared(run)
    main = run.client(store, "main")
    held = [main.hold()]

    def hold(client: Client) -> None:
        for _ in range(2):
            write(client)
            held.append(client.hold())
            for _ in range(3):
                client.look_into(client.random.choice(held))

    for number in range(2):
        client = run.client(store, f"holder {number}")
        run.start(client.name, partial(hold, client))
    sessions(run, store, 0.9)
    run.join()
    for one in held:
        main.look_into(one)
        main.let_go(one)
    store.close()


def idling(run: Run) -> None:
    """Readers of many versions idle while the writer merges what lies between them.

    Intervals of one version and slices of one key make the merges frequent.
    """
    with mock.patch.multiple(thinning, _INTERVAL_VERSIONS=1, _YOUNG_VERSIONS=0, _SLICE_KEYS=1):
        store = prepared(run)
        main = run.client(store, "main")
        held = [main.hold()]

        def idle(client: Client) -> None:
            for _ in range(3):
                client.write(changes(client))
                held.append(client.hold())
                client.look_into(client.random.choice(held))

        for number in range(2):
            client = run.client(store, f"idler {number}")
            run.start(client.name, partial(idle, client))
        writer = run.client(store, "writer")
        run.start("writer", lambda: [writer.write(changes(writer)) for _ in range(6)])
        run.join()
        for one in held:
            main.look_into(one, *main.domain.everything())
            main.let_go(one)
        store.close()


def background(run: Run) -> None:
    """The store's own threads prepare segments, checkpoint and compact."""
    run.options = replace(run.options, background=True, checkpoint_after_batches=2)
    store = prepared(run)
    sessions(run, store, 0.9, 0.9, 0.2, note_bytes=1200)
    waiting = run.client(store, "waiting")
    run.start("waiting", lambda: [waiting.watch(None, 5, 1.5), waiting.read()])
    run.join()
    store.close()


def closing(run: Run) -> None:
    """The store is closed while threads use it; from then on they are refused."""
    store = prepared(run)
    run.tolerated += (StoreClosedError,)
    sessions(run, store, 0.9, 0.6, 0.2, note_bytes=1200)
    watching = run.client(store, "watching")
    run.start("watching", lambda: watching.watch(1, 9, 1.0))
    keeper = run.client(store, "keeper")
    run.start("keeper", partial(keeper.upkeep, store.compact))
    run.start("closing", store.close)
    run.join()
    store.close()


def following(run: Run) -> None:
    """Followers, whose threads also read in the store, beside writers and a compaction."""
    store = prepared(run)

    def follow(client: Client) -> None:
        follower = run.open(read_only=True)
        try:
            following = run.client(follower, f"follower {client.name}")
            for _ in range(3):
                write(client)
                following.read()
        finally:
            follower.close()

    for number in range(2):
        client = run.client(store, f"thread {number}")
        run.start(client.name, partial(follow, client))
    sessions(run, store, 0.9, note_bytes=1200)
    keeper = run.client(store, "keeper")
    run.start("keeper", partial(keeper.upkeep, store.compact))
    run.join()
    store.close()


def upkeep(run: Run) -> None:
    """Checkpoints and compactions beside writers that fill segments, and readers of the past."""
    store = prepared(run)
    keeper = run.client(store, "keeper")

    def keep() -> None:
        for _ in range(2):
            keeper.upkeep(keeper.random.choice((store.checkpoint, store.compact)))

    run.start("keeper", keep)
    sessions(run, store, 0.9, 0.9, 0.2, note_bytes=1200)
    run.join()
    store.close()


def crashing(run: Run) -> None:
    """Writers that fill segments, upkeep and readers; the machine ends at two places."""
    store = prepared(run)
    run.crash_at(*(run.random.randrange(_CALLS) for _ in range(2)))
    keeper = run.client(store, "keeper")
    run.start("keeper", partial(keeper.upkeep, store.compact))
    sessions(run, store, 0.9, 0.7, 0.2, note_bytes=1200)
    run.join()
    store.close()


def power_cut(run: Run) -> None:
    """The power is cut, and the threads learn it: none is told of what is not there."""
    store = prepared(run)
    run.cut_power(run.random.randrange(_CALLS))
    keeper = run.client(store, "keeper")
    run.start("keeper", partial(keeper.upkeep, store.compact))
    sessions(run, store, 0.9, 0.7, 0.2, note_bytes=1200)
    run.join()
    with contextlib.suppress(*CRASHES):
        store.close()


def interrupted(run: Run) -> None:
    """Interrupts, one or two, each at a line of its own, into threads that go on afterwards."""
    store = prepared(run)
    run.tolerated += (KeyboardInterrupt, *CRASHES)
    note_bytes = run.random.choice((0, 2500))
    for number in range(3):
        client = run.client(store, f"thread {number}")
        # Some get a second one, perhaps while they deal with the first.
        again = run.random.choice((0, 0, run.random.randrange(1, 40)))
        at = 1 + run.random.randrange(350)
        interrupt = Interrupt(at, again=again) if number < 2 else None
        run.start(client.name, partial(session, client, 0.8, note_bytes), interrupt)
    run.join()
    with contextlib.suppress(*CRASHES):
        store.close()


# Small ones, of which all schedules with few preemptions are made. What they do is fixed.


def started(run: Run) -> EventStore:
    """Open the store, with one batch."""
    store = run.open()
    run.client(store, "main").write([("set", "a", 0)])
    return store


def two(run: Run, first: Callable[[Client], object], second: Callable[[Client], object]) -> None:
    """Let two threads do something, and close the store."""
    store = started(run)
    for name, work in (("one", first), ("other", second)):
        client = run.client(store, name)
        run.start(name, partial(work, client), run.interrupt if name == "other" else None)
    run.join()
    with contextlib.suppress(*run.tolerated):
        store.close()


def write_a(client: Client) -> None:
    """Commit, and read it."""
    client.write([("set", "a", 1)])
    client.read()


def commit_beside_read(run: Run) -> None:
    """A commit, and reads meanwhile."""
    two(run, write_a, lambda client: [client.read(3), client.read(1)])


def commit_beside_empty_write(run: Run) -> None:
    """A commit, and a write transaction that changes nothing, whose thread reads afterwards."""
    two(run, write_a, lambda client: [client.write(), client.read(1)])


def commit_beside_commit(run: Run) -> None:
    """Two commits."""
    two(run, write_a, lambda client: [client.write([("set", "b", 2)]), client.read()])


def commit_beside_rollback(run: Run) -> None:
    """A commit, and changes that are taken back."""
    two(
        run,
        write_a,
        lambda client: [client.write([("set", "a", 3)], gives_up="rollback"), client.read()],
    )


def rollback_beside_read(run: Run) -> None:
    """Changes that are taken back, and reads meanwhile."""
    two(
        run,
        lambda client: client.write([("set", "a", 3), ("set", "b", 3)], gives_up="error"),
        lambda client: [client.read(3), client.read(1)],
    )


def commit_beside_checkpoint(run: Run) -> None:
    """A commit, and a checkpoint."""
    two(run, write_a, lambda client: client.upkeep(client.store.checkpoint))


def commit_beside_watch(run: Run) -> None:
    """A commit, and a watch whose thread reads afterwards."""
    two(run, write_a, lambda client: [client.watch(2, 1, 0.1), client.read(1)])


def commit_beside_past(run: Run) -> None:
    """A commit, and a thread that asks for all batches, then for the state of the last."""
    two(run, write_a, lambda client: [client.batches(), client.at(2), client.read(1)])


def group_beside_past(run: Run) -> None:
    """Two commits that may share a sync, and a thread that asks for all batches and then reads."""
    store = started(run)
    works: dict[str, Callable[[Client], object]] = {
        "one": lambda client: client.write([("set", "a", 1)]),
        "other": lambda client: client.write([("set", "b", 2)]),
        "reader": lambda client: [client.batches(), client.read(1)],
    }
    for name, work in works.items():
        run.start(name, partial(work, run.client(store, name)))
    run.join()
    store.close()


def compaction_beside_past(run: Run) -> None:
    """A compaction that archives a segment, and a thread that asks for all that is in it."""
    store = started(run)
    for value in range(2):
        run.client(store, "main").write([("set", "a", value)], note_bytes=2500)
        store.checkpoint()
    keeper, reader = run.client(store, "one"), run.client(store, "other")
    run.start("other", lambda: [reader.batches(), reader.at(1)])
    run.start("one", partial(keeper.upkeep, store.compact))
    run.join()
    store.close()


def look_beside_look(run: Run) -> None:
    """Two threads look into one old read transaction, for the first time since others committed."""
    store = started(run)
    main = run.client(store, "main")
    held = main.hold()
    main.write([("set", "a", 1), ("set", "b", 2)])
    main.write([("unset", "a")])
    for name in ("one", "other"):
        client = run.client(store, name)
        run.start(name, partial(client.look_into, held, ("get", "a"), ("rows", None, None)))
    run.join()
    main.let_go(held)
    store.close()


def merge_beside_look(run: Run) -> None:
    """A thread looks into an old read transaction while a writer merges the versions behind it."""
    with mock.patch.multiple(thinning, _INTERVAL_VERSIONS=1, _YOUNG_VERSIONS=0, _SLICE_KEYS=1):
        store = started(run)
        main, looking, writing = (run.client(store, name) for name in ("main", "one", "other"))
        held = main.hold()
        for value in range(4):
            main.write([("set", KEYS[value], value)])
        run.start("one", partial(looking.look_into, held, *main.domain.everything()))
        run.start("other", partial(writing.write, [("set", "a", 9)]))
        run.join()
        main.look_into(held, *main.domain.everything())
        main.let_go(held)
        store.close()


def roll_beside_roll(run: Run) -> None:
    """Two commits, each of which fills a segment."""
    two(
        run,
        lambda client: [client.write([("set", "a", 1)], note_bytes=2500), client.read()],
        lambda client: [client.write([("set", "b", 2)], note_bytes=2500), client.read()],
    )


def interrupted_roll(run: Run) -> None:
    """A commit beside one that rolls and is interrupted there; its thread then commits again."""
    run.tolerated += (KeyboardInterrupt, *CRASHES)
    two(
        run,
        lambda client: client.write([("set", "a", 1)]),
        lambda client: [
            client.write([("set", "b", 2)], note_bytes=3800),
            client.write([("set", "c", 3)]),
        ],
    )


SMALL: dict[str, Callable[[Run], None]] = {
    "commit beside read": commit_beside_read,
    "commit beside empty write": commit_beside_empty_write,
    "commit beside commit": commit_beside_commit,
    "commit beside rollback": commit_beside_rollback,
    "rollback beside read": rollback_beside_read,
    "commit beside checkpoint": commit_beside_checkpoint,
    "commit beside watch": commit_beside_watch,
    "commit beside past": commit_beside_past,
    "group beside past": group_beside_past,
    "compaction beside past": compaction_beside_past,
    "look beside look": look_beside_look,
    "merge beside look": merge_beside_look,
    "roll beside roll": roll_beside_roll,
}

WORKLOADS: dict[str, Callable[[Run], None]] = {
    "mixed": mixed,
    "snapshots": snapshots,
    "watching": watching,
    "holding": holding,
    "idling": idling,
    "background": background,
    "closing": closing,
    "following": following,
    "upkeep": upkeep,
    "crashing": crashing,
    "power cut": power_cut,
    "interrupted": interrupted,
    "interrupted roll": interrupted_roll,
    **SMALL,
}
