"""Two processes at one path, the first one stopped at each step: at most one makes a store there.

The first process stops itself before some call to its file system; the second one then does what
it has come for; and then the first one goes on, or is killed. Open, import, repair and compact
meet each other so, where there is nothing, where a store is, and where a making was cut. What was
acknowledged must be there in the end, nothing half made may open, and where nobody has made a
store it can be made at once.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.cli import DATABASE, OPTIONS, tell_story
from support.engine import HookedFileSystem

from eventstore import NotAStoreError, repair_store, verify_store
from eventstore.handle import opening as opening_module
from eventstore.integrity import repair as repair_module
from projections.snapshots import AlreadyExistsError, Kind, MetaStore, SnapshotsProjection
from projections.snapshots.importer import import_containerd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHILD_SECONDS = 60
_REFUSALS = frozenset(
    {
        *("StoreLockedError", "StoreExistsError", "AlreadyExistsError", "NotAStoreError"),
        *("FileExistsError",),
    }
)


def _open(at: Path, source: Path, tell: Callable[[str, str], None]) -> None:
    """What a driver does: open, making a store if need be, and commit."""
    _ = source
    with MetaStore.open(at, options=OPTIONS) as store:
        key = f"opened-by-{os.getpid()}"
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, key)
        tell("committed", key)


def _import(at: Path, source: Path, tell: Callable[[str, str], None]) -> None:
    _ = source
    import_containerd(DATABASE, at, options=OPTIONS)
    tell("made", "import")


def _repair(at: Path, source: Path, tell: Callable[[str, str], None]) -> None:
    repair_store(source, at, [SnapshotsProjection()])
    tell("made", "repair")


def _compact(at: Path, source: Path, tell: Callable[[str, str], None]) -> None:
    """What `snapledger compact` does."""
    _ = source
    verify_store(at, [], quick=True)
    with MetaStore.open(at, options=OPTIONS) as store:
        store.compact()
    tell("compacted", "")


ROLES = {"open": _open, "import": _import, "repair": _repair, "compact": _compact}
MAKERS = ("import", "repair")


class _Worker:
    """A process in a role, which stops itself before one of its calls.

    Attributes:
        told: what it has told so far: pairs of a word and what it is about.
    """

    def __init__(self, role: str, at: Path, source: Path, stop_at: int | None = None) -> None:
        self.told: list[tuple[str, str]] = []
        reading, writing = os.pipe()
        self._pipe = reading
        self._process = os.fork()
        if not self._process:
            signal.alarm(_CHILD_SECONDS)
            os.close(reading)
            try:
                _play(role, at, source, stop_at, writing)
            finally:
                os._exit(0)
        os.close(writing)

    def wait(self) -> bool:
        """Return once it has ended or stopped itself; say whether it has stopped."""
        _, status = os.waitpid(self._process, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        with os.fdopen(self._pipe) as pipe:
            self.told = [tuple(json.loads(line)) for line in pipe]
        assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL, self.told
        return False

    def go_on(self) -> None:
        os.kill(self._process, signal.SIGCONT)
        assert not self.wait()

    def kill(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        assert not self.wait()


def _play(role: str, at: Path, source: Path, stop_at: int | None, pipe: int) -> None:
    calls = itertools.count(1)

    def tell(word: str, about: object) -> None:
        os.write(pipe, json.dumps([word, str(about)]).encode() + b"\n")

    def hook(call: str, path: str) -> None:
        _ = (call, path)
        if next(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGSTOP)

    for module in (opening_module, repair_module):
        assert hasattr(module, "local_file_system")
        module.local_file_system = lambda: HookedFileSystem(hook)  # type: ignore[attr-defined]
    try:
        ROLES[role](at, source, tell)
    except BaseException as error:
        tell("failed", type(error).__name__)
        if type(error).__name__ not in _REFUSALS:
            tell("error", repr(error))
    tell("calls", next(calls) - 1)


class _Trial(NamedTuple):
    """One meeting of two processes.

    Attributes:
        start: what is at the path before.
        first: the role of the process that stops.
        second: that of the other one.
        stop_at: the call before which the first one stops.
        killed: whether it is killed then, or goes on.
    """

    start: str
    first: str
    second: str
    stop_at: int
    killed: bool


class _Places:
    """Makes the places where trials begin, and knows what may be found there in the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self.source = directory / "source"
        tell_story(self.source)
        self._store = directory / "kept"
        with MetaStore.open(self._store, options=OPTIONS) as store:
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, "kept")
            store.checkpoint()
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, "kept too")
        self._cut = directory / "cut"
        self._cut_short()
        imported = directory / "imported"
        import_containerd(DATABASE, imported, options=OPTIONS)
        self.contents = {
            "store": _names(self._store),
            "import": _names(imported),
            "repair": _names(self.source),
        }
        assert len(set(self.contents.values())) == 3

    def new(self, start: str) -> Path:
        path = self._directory / f"place-{next(self._numbers)}"
        if start == "store":
            shutil.copytree(self._store, path)
        elif start == "cut":
            shutil.copytree(self._cut, path)
        return path

    def _cut_short(self) -> None:
        """Leave what an import has written when it is killed before its last call."""
        probe = _Worker("import", self._directory / "probe", self.source)
        assert not probe.wait()
        calls = _calls(probe)
        worker = _Worker("import", self._cut, self.source, calls - 1)
        assert worker.wait()
        worker.kill()
        with pytest.raises(NotAStoreError, match="import of containerd"):
            MetaStore.open(self._cut, options=OPTIONS)


def _names(path: Path) -> frozenset[str]:
    with MetaStore.open(path, read_only=True) as store, store.transaction() as tx:
        return frozenset(info.name for info in tx.walk_info())


def _calls(worker: _Worker) -> int:
    return int(dict(worker.told)["calls"])


def _told(word: str, *workers: _Worker) -> list[str]:
    return [about for worker in workers for found, about in worker.told if found == word]


def _run(trial: _Trial, places: _Places) -> str:
    """Let the two meet, judge what is left, and return what became of the path."""
    path = places.new(trial.start)
    first = _Worker(trial.first, path, places.source, trial.stop_at)
    stopped = first.wait()
    second = _Worker(trial.second, path, places.source)
    assert not second.wait()
    if stopped and trial.killed:
        first.kill()
    elif stopped:
        first.go_on()
    try:
        return _judge(trial, path, places, first, second)
    except BaseException:
        print(trial, first.told, second.told)
        raise
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _judge(trial: _Trial, path: Path, places: _Places, first: _Worker, second: _Worker) -> str:
    assert not _told("error", first, second)
    made = _told("made", first, second)
    assert len(made) <= 1, "both have made a store"
    try:
        names = _names(path)
    except NotAStoreError:
        assert trial.start != "store"
        assert not made
        assert not _told("committed", first, second)
        # At once, whatever is left there, unless a driver has left a store of its own half made.
        import_containerd(DATABASE, path, options=OPTIONS)
        assert _names(path) == places.contents["import"]
        return "made again"
    opened = frozenset(name for name in names if name.startswith("opened-by-"))
    assert opened >= set(_told("committed", first, second)), "an acknowledged batch is lost"
    content = names - opened
    if trial.start == "store" or made:
        assert content == places.contents[made[0] if made else "store"]
    else:
        # Whoever was killed may have come to the end before.
        allowed = [places.contents[role] for role in (trial.first, trial.second) if role in MAKERS]
        may_be_new = "open" in (trial.first, trial.second) and trial.start != "cut"
        assert content in allowed or (may_be_new and not content), content
    assert verify_store(path, [SnapshotsProjection()]).is_sound
    with MetaStore.open(path, options=OPTIONS) as store:
        store.check()
    # A batch that was written, and not acknowledged, is kept by the next open or not at all.
    settled = _names(path)
    assert {name.partition("-by-")[0] for name in settled ^ names} <= {"opened"}
    assert settled >= names
    with pytest.raises(AlreadyExistsError):
        import_containerd(DATABASE, path, options=OPTIONS)
    assert _names(path) == settled
    return "store"


def _all_trials(places: _Places) -> Iterator[_Trial]:
    for start in ("nothing", "cut", "store"):
        for first in ROLES:
            alone = _Worker(first, places.new(start), places.source)
            assert not alone.wait()
            stops = range(1, _calls(alone) + 1)
            for second, killed in itertools.product(ROLES, (True, False)):
                yield from (_Trial(start, first, second, stop, killed) for stop in stops)


def test_two_processes_at_one_path_never_lose_or_invent_a_store(
    tmp_path: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    places = _Places(tmp_path)
    trials = list(_all_trials(places))
    if not deep:
        draw = random.Random()
        makers = [trial for trial in trials if {trial.first, trial.second} & {*MAKERS}]
        trials = [*draw.sample(makers, 35), *draw.sample(trials, 15)]
    ends = [_run(trial, places) for trial in trials]
    assert {*ends} == {"store", "made again"}
    record_proof(
        "two processes at one path",
        meetings=len(trials),
        kills=sum(trial.killed for trial in trials),
        made_again=ends.count("made again"),
        acknowledged_lost=0,
        half_made_opened=0,
    )
