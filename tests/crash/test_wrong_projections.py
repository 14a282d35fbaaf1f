"""The kit finds what users get wrong in a projection, and says what is wrong.

Each domain here counts words, and is wrong in one way. What the kit prints is a program; that is
run too, and must fail.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st

from eventstore import Event, EventStore, Projection, TableSpec
from eventstore.testing import (
    Depth,
    Domain,
    InconsistencyError,
    SimulatedFileSystem,
    check_crash_replay,
    check_fold,
    consistency,
    explore,
    watched,
)
from projections.snapshots import AlreadyExistsError, Kind, MetaStore, SnapshotsProjection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.testing import Session

WORDS = ["hello", "good", "bye", "night", "day", "moon"]
REPEATABLE = settings(max_examples=30, database=None, derandomize=True)
# The first one that is found. That the smallest one is shown is tested with the ledger.
ANY_SCRIPT = settings(REPEATABLE, phases=(Phase.generate,))
FEW = settings(max_examples=5, database=None, derandomize=True)
SHALLOW = Depth(crash_points=1, images=1, double_crashes=0, double_crashes_after_kill=0)


class Words(Projection):
    """Counts words; a sound fold."""

    name = "words"
    version = 1
    tables: Any = (TableSpec("counts"),)

    def apply(self, event: Event, tables: Any) -> None:
        if event.type == "word.said":
            self.say(event.data["word"], event, tables["counts"])

    def say(self, word: str, event: Event, counts: Any) -> None:
        counts.put(word, counts.get(word, 0) + 1)


class WordsDomain(Domain[str, Any]):
    """Words are said; the model is a counter of them."""

    projections: Any = (Words(),)

    def commands(self) -> st.SearchStrategy[str]:
        return st.sampled_from(WORDS)

    def execute(self, transaction: Any, command: str) -> None:
        transaction.emit(Event("word.said", {"word": command}))

    def initial(self) -> Any:
        return Counter()

    def expect(self, model: Any, command: str) -> Any:
        return model + Counter([command])

    def observe(self, transaction: Any) -> Any:
        return Counter(dict(transaction.items("counts")))


class Beside(WordsDomain):
    """A wrong projection beside the right one, which the model does not look at."""

    says: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls.projections = (Words(), cls.Wrong())  # type: ignore[attr-defined]


class WrongWords(Words):
    name = "wrong"
    tables = (TableSpec("wrong"),)

    def apply(self, event: Event, tables: Any) -> None:
        if event.type == "word.said":
            self.say(event.data["word"], event, tables["wrong"])


NO_FOLD = (
    "table 'wrong', row ",
    "in the store",
    "in the fold",
    "apply depends on something besides",
)


class ReadsTheClock(Beside):
    says = NO_FOLD

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, time.time_ns())


class DrawsRandomNumbers(Beside):
    says = NO_FOLD

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, random.random())


class CountsInAGlobalVariable(Beside):
    says = NO_FOLD
    number = itertools.count()

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, next(CountsInAGlobalVariable.number))


class KeepsStateInItself(Beside):
    says = NO_FOLD

    class Wrong(WrongWords):
        def __init__(self) -> None:
            self.said = 0

        def say(self, word: str, event: Event, counts: Any) -> None:
            self.said += 1
            counts.put("all", self.said)


class ReadsAFile(Beside):
    says = NO_FOLD
    path = Path(tempfile.gettempdir()) / f"said-{os.getpid()}"

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            path = ReadsAFile.path
            said = path.read_text() if path.exists() else ""
            path.write_text(said + ".")
            counts.put(word, len(said))


class RemembersObjectIdentities(Beside):
    says = NO_FOLD

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            self.last = object(), getattr(self, "last", None)
            counts.put(word, id(self.last))


class ChangedWithoutANewVersion(Beside):
    says = NO_FOLD
    calls = itertools.count()

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            # As if another release had replayed what this one has applied.
            step = 1 if next(ChangedWithoutANewVersion.calls) % 2 else 2
            counts.put("all", counts.get("all", 0) + step)


class ChangesTheEvent(Beside):
    says = ("Wrong.apply changed the data of the event 'word.said'", "change a copy")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            event.data["word"] = word.upper()
            counts.put(word, 1)


class PopsFromTheEvent(Beside):
    says = ("Wrong.apply changed the data of the event 'word.said'", "change a copy")

    class Wrong(WrongWords):
        def apply(self, event: Event, tables: Any) -> None:
            if event.type == "word.said":
                tables["wrong"].put(event.data.pop("word"), 1)


class KeepsTheEventsDataAndChangesIt(Beside):
    says = ("Wrong.apply changed the value in table 'wrong', row ", "without put")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            if word in counts:
                counts[word]["again"] = True
            else:
                counts.put(word, event.data)


class DependsOnTheOrderOfASet(Beside):
    says = ("table 'wrong', row ", "in a process with another PYTHONHASHSEED", "order of a set")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            for place, each in enumerate({*WORDS, word}):
                counts.put(each, place)


class DependsOnHash(Beside):
    says = ("table 'wrong', row ", "in a process with another PYTHONHASHSEED", "hash()")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, hash(word) % 1000)


class DependsOnTheTimeZone(Beside):
    says = ("table 'wrong', row ", "in a process with another PYTHONHASHSEED and TZ", "time zone")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, time.mktime((2000, 1, 1, 0, 0, 0, 0, 0, 0)))


class RaisesOnUnknownEvents(Beside):
    says = (
        "Wrong: Projection.apply must ignore event types it does not know: it raised KeyError on "
        "'testing.probe'",
    )

    class Wrong(WrongWords):
        def apply(self, event: Event, tables: Any) -> None:
            tables["wrong"].put(event.data["word"], 1)


class RaisesOnItsOwnEvents(Beside):
    says = ("KeyError('moon')", "Wrong.apply raised this on 'word.said' {'word': 'moon'}")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            if word == "moon":
                counts[word]


class RaisesInKeys(Beside):
    says = (
        "Wrong.keys raised KeyError on the event 'word.said' {'word': 'moon'}: 'speaker'",
        "keys must accept every event",
    )

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            return (event.data["speaker"],) if event.data.get("word") == "moon" else ()


class RaisesInKeysOfUnknownEvents(Beside):
    says = ("Wrong.keys raised KeyError on the event 'testing.probe' {}: 'word'",)

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            return (event.data["word"],)


class CountsInKeys(Beside):
    says = (
        "Wrong.keys gave ('word-",
        "on the event 'word.said' {'word': ",
        "and then ('word-",
        "from nothing but the event",
    )
    number = itertools.count()

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            return (f"word-{next(CountsInKeys.number)}",) if event.type == "word.said" else ()


class ChangesTheEventInKeys(Beside):
    says = ("Wrong.keys changed the data of the event 'word.said'", "change a copy")

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            return (event.data.pop("word"),) if event.type == "word.said" else ()


class HasKeysThatAreNoTexts(Beside):
    says = ("Wrong.keys gave (1,) on the event 'word.said' {'word': ", "return a tuple of texts")

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            yield from (1,) if event.type == "word.said" else ()


class HasNoKeys(Beside):
    says = ("Wrong.keys gave None on the event 'word.said' {'word': ", "return a tuple of texts")

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            return None if event.type == "word.said" else ()


class HasATextForKeys(Beside):
    says = ("Wrong.keys gave '", "on the event 'word.said' {'word': ", "return a tuple of texts")

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            return event.data["word"] if event.type == "word.said" else ()


class HasKeysThatCannotBeEncoded(Beside):
    says = ("Wrong.keys gave ('\\udc80',) on the event 'word.said' {'word': ",)

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            return ("\udc80",) if event.type == "word.said" else ()


class PutsNaN(WordsDomain):
    says = ("nan", "they look alike: is there a NaN")

    class Wrong(Words):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, float("nan"))

    projections = (Wrong(),)

    def expect(self, model: Any, command: str) -> Any:
        return {**model, command: float("nan")}

    def initial(self) -> Any:
        return {}

    def observe(self, transaction: Any) -> Any:
        return dict(transaction.items("counts"))


class PutsAList(Beside):
    says = ("Wrong.apply raised this on 'word.said'", "list")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, [word])


class PutsANaNAsKey(Beside):
    says = ("Wrong.apply raised this on 'word.said'", "nan")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(float("nan"), word)


class KeepsTheEventsDataInATuple(Beside):
    says = ("Wrong.apply changed the value in table 'wrong', row ", "without put")

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            said = counts.get("all")
            if said is None:
                counts.put("all", (event.data,))
            else:
                said[0][word] = True


class DependsOnWhatItCached(Beside):
    says = NO_FOLD

    class Wrong(WrongWords):
        def __init__(self) -> None:
            self.cache: dict[str, int] = {}

        def say(self, word: str, event: Event, counts: Any) -> None:
            # Right as long as the process lives, and nothing is rolled back.
            self.cache[word] = self.cache.get(word, 0) + 1
            counts.put(word, self.cache[word])


class ForgetsInACheckpoint(Beside):
    says = ("table 'wrong', row ", "a read gives None", "TableSpec.decode must give back")

    class Wrong(WrongWords):
        tables = (TableSpec("wrong", encode=lambda _: None, decode=lambda _, plain: plain),)

        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, word)


class ChecksWhatIsNotSo(Beside):
    says = ("more than one 'moon'", "Wrong.check raised this")

    class Wrong(WrongWords):
        def check(self, tables: Any) -> None:
            if tables["wrong"].get("moon", 0) > 1:
                raise AssertionError("more than one 'moon'")


class ChangesTablesInCheck(Beside):
    says = ("table 'wrong' was changed outside Projection.apply", "Wrong.check raised this")

    class Wrong(WrongWords):
        def check(self, tables: Any) -> None:
            tables["wrong"].put("checked", 1)


class DisagreesWithItsModel(WordsDomain):
    says = ("the store shows Counter(", "the model is Counter(")

    class Wrong(Words):
        def say(self, word: str, event: Event, counts: Any) -> None:
            counts.put(word, min(counts.get(word, 0) + 1, 2))

    projections = (Wrong(),)


class RefusesWhatTheModelAllows(WordsDomain):
    says = ("the model says of 'moon': done; the store says: no moon",)

    def execute(self, transaction: Any, command: str) -> None:
        if command == "moon":
            raise ValueError("no moon")
        super().execute(transaction, command)


WRONG: list[Any] = [
    *Beside.__subclasses__(),
    *(PutsNaN, DisagreesWithItsModel, RefusesWhatTheModelAllows),
]


@pytest.fixture(autouse=True)
def no_file() -> Iterator[None]:
    yield
    ReadsAFile.path.unlink(missing_ok=True)


def program_in(message: str) -> str:
    [found] = re.findall(r"\n\n((?:    .*\n|\n)+)\n", message)
    return textwrap.dedent(found)


@pytest.mark.parametrize("domain", WRONG, ids=lambda domain: domain.__name__)
def test_a_wrong_projection_is_found_out_and_named_and_its_program_fails(
    domain: Any, deep: bool
) -> None:
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(domain(), settings=REPEATABLE if deep else ANY_SCRIPT, depth=SHALLOW)
    message = str(caught.value)
    assert message.startswith(f"{domain.__name__}: ")
    for text in domain.says:
        assert text in message, message
    program = program_in(message)
    names: dict[str, Any] = {}
    with pytest.raises(Exception, match=r"(?s).") as raised:
        exec(program, names)
    failure = raised.value
    assert isinstance(failure, AssertionError) or str(failure) in message, repr(failure)
    if "store" in names:
        names["store"].close()


def test_the_printed_program_fails_as_a_program(tmp_path: Path) -> None:
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(DependsOnHash(), settings=REPEATABLE, depth=SHALLOW)
    program = tmp_path / "program.py"
    program.write_text(program_in(str(caught.value)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "in a process with another PYTHONHASHSEED" in done.stderr


def test_a_sound_projection_passes_and_its_batches_are_folded_elsewhere() -> None:
    checked = check_crash_replay(WordsDomain(), settings=REPEATABLE, depth=SHALLOW)
    assert checked.scripts > 10
    assert checked.batches > 10
    assert checked.recoveries > 10
    assert checked.other_process == "folded in other processes with the same result"


class ChangesWhatItScans(Beside):
    """Legal: a scan shows the rows as they were when it began."""

    class Wrong(WrongWords):
        def say(self, word: str, event: Event, counts: Any) -> None:
            for each, count in counts.items():
                counts.put(each + "'", count)
                if len(each) > 7:
                    counts.delete(each)
            counts.put(word, 1)


def test_tables_that_are_changed_while_they_are_scanned_are_a_sound_fold() -> None:
    check_crash_replay(ChangesWhatItScans(), settings=REPEATABLE, depth=SHALLOW)


class HasKeysInAnyOrder(Beside):
    """Legal: an index has no order, and a generator may be asked once only."""

    number = itertools.count()

    class Wrong(WrongWords):
        def keys(self, event: Event) -> Any:
            if event.type == "word.said":
                each = [event.data["word"], "said", "word", "said"]
                yield from each if next(HasKeysInAnyOrder.number) % 2 else reversed(each)


def test_keys_in_another_order_are_the_same_keys() -> None:
    check_crash_replay(HasKeysInAnyOrder(), settings=FEW, depth=SHALLOW)


def test_what_is_done_is_told_while_it_is_done(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consistency, "_SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level("INFO", logger="eventstore.testing")
    check_crash_replay(WordsDomain(), settings=FEW, depth=SHALLOW, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3
    assert re.fullmatch(
        r"WordsDomain: \d+ scripts, \d+ batches, \d+ recoveries: going on", lines[0]
    )
    assert lines[-1].endswith("folded in other processes with the same result")
    assert [record.getMessage() for record in caplog.records] == lines
    check_crash_replay(WordsDomain(), settings=FEW, depth=SHALLOW)
    assert capsys.readouterr().err == ""


def test_a_domain_that_no_other_process_can_import_passes_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Here(WordsDomain):
        pass

    checked = check_crash_replay(Here(), settings=FEW, depth=SHALLOW)
    assert "not folded in another process" in checked.other_process
    assert "Here is defined in a function" in checked.other_process
    [line] = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert line.startswith("Here: nothing wrong was found; not folded in another process")


def test_where_no_batch_was_committed_nothing_is_said_to_have_been_folded() -> None:
    class Silent(WordsDomain):
        def execute(self, transaction: Any, command: str) -> None:
            pass

        def expect(self, model: Any, command: str) -> Any:
            return model

    checked = check_crash_replay(Silent(), settings=FEW, depth=SHALLOW)
    assert checked.batches == 0
    assert "no script has committed a batch" in checked.other_process


class NeedsAnArgument(WordsDomain):
    def __init__(self, argument: int) -> None:
        self.argument = argument


def test_a_domain_that_is_made_with_arguments_passes_and_says_so() -> None:
    checked = check_crash_replay(NeedsAnArgument(1), settings=FEW, depth=SHALLOW)
    assert "not folded in another process" in checked.other_process
    assert "argument" in checked.other_process


CHECKED_AT_IMPORT = """
from hypothesis import settings
from hypothesis import strategies as st
from eventstore import Event, Projection, TableSpec
from eventstore.testing import Domain, check_crash_replay

class Words(Projection):
    name, version, tables = "words", 1, (TableSpec("counts"),)
    def apply(self, event, tables):
        if event.type == "said":
            tables["counts"].put(event.data, tables["counts"].get(event.data, 0) + 1)

class Said(Domain):
    projections = (Words(),)
    def commands(self):
        return st.just("a")
    def execute(self, transaction, command):
        transaction.emit(Event("said", command))
    def initial(self):
        return 0
    def expect(self, model, command):
        return model + 1
    def observe(self, transaction):
        return transaction.get("counts", "a", 0)

some = settings(max_examples=20, derandomize=True)
print(check_crash_replay(Said(), settings=some).other_process)
"""


def test_a_module_that_checks_while_it_is_imported_ends_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "checked_at_import.py").write_text(CHECKED_AT_IMPORT)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", "import checked_at_import"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "put the call into a function" in done.stdout
    assert "put the call into a function" in done.stderr


def test_an_exploration_says_which_projection_raises_on_unknown_events() -> None:
    def one(session: Session) -> None:
        raise AssertionError("it must be said before anything is run")

    with pytest.raises(InconsistencyError, match="must ignore event types"):
        explore(one, RaisesOnUnknownEvents.projections)


def test_guards_and_comparisons_work_on_any_store() -> None:
    file_system = SimulatedFileSystem()
    with EventStore.open("/s", watched([Words()]), file_system=file_system) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("word.said", {"word": "hello"}))
        check_fold(store, [Words()])
        with pytest.raises(InconsistencyError, match="'counts', row 'hello': 1 in the store, 2"):
            check_fold(store, [CountsTwice()])
    projections = watched([ChangesTheEvent.projections[1]])
    with EventStore.open("/t", projections, file_system=file_system) as store:
        tx = store.transaction(writable=True)
        with tx, pytest.raises(InconsistencyError, match="changed the data of the event"):
            tx.emit(Event("word.said", {"word": "hello"}))
        assert tx.receipt is None, "the event was undone"


def test_histories_find_what_watched_projections_fold() -> None:
    file_system = SimulatedFileSystem()
    with EventStore.open("/s", watched([SnapshotsProjection()]), file_system=file_system) as store:
        with MetaStore(store).transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "a")
        assert [entry.revision for entry in MetaStore(store).history("a")] == [1]


class CountsTwice(Words):
    def say(self, word: str, event: Event, counts: Any) -> None:
        counts.put(word, counts.get(word, 0) + 2)


class DriverThatExpectsItsOwnOrder(Domain[str, Any]):
    """A driver on a metadata store, whose model forgets that names are sorted."""

    projections = (SnapshotsProjection(),)
    refusals = (AlreadyExistsError,)

    def wrap(self, store: EventStore) -> MetaStore:
        return MetaStore(store)

    def commands(self) -> st.SearchStrategy[str]:
        return st.sampled_from(["a", "b", "c"])

    def execute(self, transaction: Any, command: str) -> None:
        transaction.create_snapshot(Kind.ACTIVE, command)

    def initial(self) -> Any:
        return ()

    def expect(self, model: Any, command: str) -> Any:
        if command in model:
            raise AlreadyExistsError
        return (*model, command)

    def observe(self, transaction: Any) -> Any:
        return tuple(info.name for info in transaction.walk_info())


def test_a_driver_is_checked_through_its_metadata_store() -> None:
    with pytest.raises(InconsistencyError, match="the store shows") as caught:
        check_crash_replay(DriverThatExpectsItsOwnOrder(), settings=REPEATABLE, depth=SHALLOW)
    program = program_in(str(caught.value))
    assert "engine = EventStore.open(path, projections); store = domain.wrap(engine)" in program
    names: dict[str, Any] = {}
    with pytest.raises(AssertionError, match="'a', 'b'"):
        exec(program, names)
    names["engine"].close()


def test_a_metadata_store_opens_over_any_file_system() -> None:
    file_system = SimulatedFileSystem()
    with (
        MetaStore.open("/m", file_system=file_system) as store,
        store.transaction(writable=True) as tx,
    ):
        tx.create_snapshot(Kind.ACTIVE, "a")
    with MetaStore.open("/m", file_system=file_system) as store, store.transaction() as reader:
        assert [info.name for info in reader.walk_info()] == ["a"]


@pytest.mark.parametrize("method", ["apply", "check"])
def test_an_interrupt_says_in_which_method_of_which_projection_it_came(method: str) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def say(store: EventStore) -> None:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("word.said", {"word": "moon"}))

    projections = watched([type("Interrupted", (Words,), {method: stop})()])
    with (
        EventStore.open("/s", projections, file_system=SimulatedFileSystem()) as store,
        pytest.raises(KeyboardInterrupt) as caught,
    ):
        (say if method == "apply" else EventStore.check)(store)
    assert f"Interrupted.{method} raised this" in caught.value.__notes__[0]
