"""The index of the past: it makes search cheap and never wrong, and is made anew when lost."""

from __future__ import annotations

import dataclasses
import gzip
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, archived, flip, segments

from eventstore import (
    Event,
    EventStore,
    Projection,
    ProjectionError,
    Retention,
    StoreOptions,
    TableSpec,
    verify_store,
)
from eventstore.files.local import local_file_system
from eventstore.format.blocks import MalformedError
from eventstore.format.index import (
    RECORDS_PER_ANCHOR,
    IndexHeader,
    index_header_bytes,
    pack_index,
    posting,
    unpack_index_header,
    unpack_values,
)
from eventstore.format.names import parse_index_name
from eventstore.log.cursor import RecordCursor
from eventstore.log.interface import Wanted
from eventstore.log.segments import SegmentSource, compress, open_places, open_source
from eventstore.past.packed import PackedIndex
from eventstore.past.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from eventstore import Batch, WritableTables
    from eventstore.files.interface import File
    from eventstore.log.reader import Record

NAMES = tuple(f"thing {number}" for number in range(8))
TYPES = ("made", "moved", "broken")
ACTORS = (None, "ann", "bob", "cid")
STORE_ID = bytes(range(16))
LONG_SEGMENTS = dataclasses.replace(SMALL, segment_bytes=1 << 16)


class Things(Projection):
    """Counts what happens to things; events are about a thing and where it is."""

    name = "things"
    tables = (TableSpec[str, int]("counts"),)

    def __init__(self, version: int = 1) -> None:
        self.version = version

    def apply(self, event: Event, tables: WritableTables) -> None:
        table = tables["counts"]
        table.put(event.data["name"], table.get(event.data["name"], 0) + 1)

    def keys(self, event: Event) -> Iterable[str]:
        return (event.data["name"], event.data["place"])


class Faceless(Things):
    """Can't tell keys."""

    def keys(self, event: Event) -> Iterable[str]:
        raise LookupError(f"no keys for {event.type}")


def open_things(path: Path, *, version: int = 1, read_only: bool = False) -> EventStore:
    return EventStore.open(path, [Things(version)], options=SMALL, read_only=read_only)


def fill(store: EventStore, count: int, seed: int = 1) -> None:
    draw = random.Random(seed)
    for _ in range(count):
        with store.transaction(writable=True, actor=draw.choice(ACTORS)) as tx:
            for _ in range(draw.choice((1, 1, 2))):
                data = {"name": draw.choice(NAMES), "place": f"place {draw.randrange(40)}"}
                tx.emit(Event(draw.choice(TYPES), data))


def indexes(path: Path) -> list[Path]:
    return sorted((path / "index").iterdir())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with archived, sealed and active segments, all but the last one indexed."""
    path = tmp_path_factory.mktemp("filled") / "store"
    with open_things(path) as store:
        fill(store, 130)
        store.compact()
        fill(store, 100, seed=2)
        store.compact()
        fill(store, 90, seed=3)
        store.compact()
        fill(store, 10, seed=4)
    assert archived(path)
    assert len(segments(path)) > 2
    assert len(indexes(path)) > 5
    return path


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "store")
    return tmp_path / "store"


def about(key: str) -> Callable[[Batch], bool]:
    return lambda batch: any(key in event.data.values() for event in batch.events)


def wrong_answers(store: EventStore) -> list[object]:
    """Return the questions that are answered otherwise than by reading everything."""
    everything = list(store.batches())
    questions: list[tuple[object, Iterator[Batch], Callable[[Batch], bool], bool]] = []
    for reverse in (False, True):
        for key in (*NAMES, "place 3", "place 39", "nowhere"):
            found = store.history(key, reverse=reverse)
            questions.append((("key", key, reverse), found, about(key), reverse))
        for actor in (*ACTORS, "nobody"):
            for event_type in (None, "broken", "never"):
                found = store.batches(1, actor=actor, type=event_type, reverse=reverse)
                questions.append(
                    (
                        ("traits", actor, event_type, reverse),
                        found,
                        lambda batch, actor=actor, event_type=event_type: (  # type: ignore[misc]
                            actor in (None, batch.metadata.actor)
                            and event_type in (None, *(event.type for event in batch.events))
                        ),
                        reverse,
                    )
                )
        for first, last in ((1, 7), (60, 200), (200, 201), (329, 330), (65, 64)):
            found = store.batches(first, last, reverse=reverse)
            questions.append(
                (
                    ("range", first, last, reverse),
                    found,
                    lambda batch, first=first, last=last: (  # type: ignore[misc]
                        first <= batch.revision <= last
                    ),
                    reverse,
                )
            )
    wrong = []
    for question, found, is_right, reverse in questions:
        expected = [batch for batch in everything if is_right(batch)]
        if list(found) != (expected[::-1] if reverse else expected):
            wrong.append(question)
    for batch in everything[::7]:
        at = [each for each in everything if each.time_ns <= batch.time_ns]
        if [*store.batches(until=batch.time_ns)] != at:
            wrong.append(("until", batch.revision))
        after = [each for each in everything if each.time_ns >= batch.time_ns]
        if [*store.batches(since=batch.time_ns, reverse=True)] != after[::-1]:
            wrong.append(("since", batch.revision))
    return wrong


@pytest.mark.parametrize("read_only", [False, True])
def test_every_question_is_answered_as_by_reading_everything(path: Path, read_only: bool) -> None:
    with open_things(path, read_only=read_only) as store:
        assert wrong_answers(store) == []
        if not read_only:
            fill(store, 60, seed=5)
            assert wrong_answers(store) == []


def test_answers_are_the_same_without_an_index_and_it_is_made_anew(path: Path) -> None:
    before = {index.name: index.read_bytes() for index in indexes(path)}
    for index in indexes(path):
        index.unlink()
    with open_things(path, read_only=True) as follower:
        assert wrong_answers(follower) == []
    assert indexes(path) == []
    with open_things(path) as store:
        assert wrong_answers(store) == []
        store.compact()
    after = {index.name: index.read_bytes() for index in indexes(path)}
    assert {name: after[name] for name in before} == before


def test_a_damaged_index_costs_time_and_no_answer_and_a_verification_lists_it(path: Path) -> None:
    draw = random.Random(1)
    index = indexes(path)[1]
    whole = index.read_bytes()
    for offset in sorted(draw.sample(range(len(whole)), 5)):
        index.write_bytes(whole)
        flip(index, offset)
        with open_things(path, read_only=True) as store:
            assert wrong_answers(store) == [], offset
        report = verify_store(path, [Things()])
        assert [problem.path for problem in report.problems] == [str(index)], offset
    for size in draw.sample(range(len(whole)), 3):
        index.write_bytes(whole[:size])
        with open_things(path, read_only=True) as store:
            assert wrong_answers(store) == [], size
        assert not verify_store(path, [Things()]).is_sound


def test_a_directory_in_the_place_of_an_index_fails_no_compaction_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = indexes(path)[1]
    taken.unlink()
    taken.mkdir()
    orphan = taken.with_name(f"{10**6:020d}.index")
    orphan.mkdir()
    with open_things(path) as store:
        fill(store, 400, seed=7)
        for _ in range(2):
            store.compact()
        assert [line for line in caplog.messages if str(taken) in line] == caplog.messages
        assert len(caplog.messages) == 1
        assert wrong_answers(store) == []
    assert taken.is_dir()
    assert orphan.is_dir()


def test_a_damaged_segment_keeps_no_other_from_its_index(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {index.name for index in indexes(path)}
    for index in indexes(path):
        index.unlink()
    damaged = archived(path)[1]
    flip(damaged, damaged.stat().st_size // 2)
    with open_things(path) as store:
        store.compact()
    after = {index.name for index in indexes(path)}
    [missing] = before - after
    assert damaged.name.startswith(missing.removesuffix(".index"))
    [line] = caplog.messages
    assert f"no index of the past is made of a damaged segment: {damaged}" in line


def test_a_sound_store_with_indexes_is_verified_as_sound(path: Path) -> None:
    assert verify_store(path, [Things()]).is_sound
    # Whoever knows other projections can't make the index again, and compares the checksums.
    assert verify_store(path, []).is_sound


def test_an_index_of_another_segment_or_history_is_not_used(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with open_things(other) as store:
        fill(store, 330, seed=9)
        store.compact()
    first, second, *_ = indexes(path)
    for source in (second, indexes(other)[0]):
        shutil.copy(source, first)
        with open_things(path, read_only=True) as store:
            assert wrong_answers(store) == []
        assert not verify_store(path, [Things()]).is_sound


def test_an_index_of_a_copy_that_went_on_otherwise_is_not_used(tmp_path: Path) -> None:
    path, fork = tmp_path / "store", tmp_path / "fork"
    with open_things(path) as store:
        fill(store, 5)
    shutil.copytree(path, fork)
    for place, name in ((path, NAMES[1]), (fork, NAMES[2])):
        with open_things(place) as store:
            for _ in range(60):
                with store.transaction(writable=True) as tx:
                    tx.emit(Event("made", {"name": name, "place": "place 3"}))
            store.compact()
    assert [index.name for index in indexes(path)] == [index.name for index in indexes(fork)]
    for index in indexes(fork):
        shutil.copy(index, path / "index")
    with open_things(path, read_only=True) as store:
        assert wrong_answers(store) == []
    assert not verify_store(path, [Things()]).is_sound


def test_an_index_that_names_wrong_places_costs_time_and_no_answer(path: Path) -> None:
    index = indexes(path)[0]
    packed = PackedIndex(lambda: local_file_system().open(str(index)))
    postings = list(packed.postings())
    anchors = packed.anchors(0, 1000)
    wrong = sorted({each + 1 for each in postings})
    index.write_bytes(
        pack_index(packed.header, [(each.offset_bytes, each.time_ns) for each in anchors], wrong)
    )
    with open_things(path, read_only=True) as store:
        assert wrong_answers(store) == []
    shifted = [(each.offset_bytes + 8, each.time_ns) for each in anchors]
    index.write_bytes(pack_index(packed.header, shifted, postings))
    with open_things(path, read_only=True) as store:
        assert wrong_answers(store) == []
    early = [(each.offset_bytes, 0) for each in anchors]
    index.write_bytes(pack_index(packed.header, early, postings))
    with open_things(path, read_only=True) as store:
        assert wrong_answers(store) == []


@pytest.fixture
def long_blocks(tmp_path: Path) -> Path:
    """A closed store whose first segment has several blocks, and an index."""
    path = tmp_path / "long"
    with EventStore.open(path, [Things()], options=LONG_SEGMENTS) as store:
        fill(store, 500)
        store.compact()
    assert len(index_of(path).anchors(0, 1000)) > 3
    return path


def index_of(path: Path) -> PackedIndex:
    """Return the index of the first segment."""
    first = str(indexes(path)[0])
    return PackedIndex(lambda: local_file_system().open(first))


def write_index(path: Path, anchors: list[tuple[int, int]], postings: list[int]) -> None:
    """Put an index in the place of the first segment's that says something else."""
    indexes(path)[0].write_bytes(pack_index(index_of(path).header, anchors, postings))


def test_an_index_that_names_places_amid_a_block_costs_time_and_no_answer(
    long_blocks: Path,
) -> None:
    packed = index_of(long_blocks)
    anchors = packed.anchors(0, 1000)
    [hashed] = Terms(packed.header.store_id, []).wanted_traits(Wanted(actor="ann"))
    right = posting(hashed, anchors[0].offset_bytes)
    postings = list(packed.postings())
    assert right in postings
    with EventStore.open(long_blocks, [Things()], options=LONG_SEGMENTS, read_only=True) as store:
        by_ann = [batch for batch in store.batches() if batch.metadata.actor == "ann"]
        assert by_ann[0].revision < 32
        [later] = store._log.read(32, 32)
    postings[postings.index(right)] = posting(hashed, later.offset_bytes)
    places = [(each.offset_bytes, each.time_ns) for each in anchors]
    write_index(long_blocks, places, sorted(postings))
    with EventStore.open(long_blocks, [Things()], options=LONG_SEGMENTS, read_only=True) as store:
        assert list(store.batches(actor="ann")) == by_ann


def test_an_index_that_states_earlier_times_costs_time_and_no_answer(long_blocks: Path) -> None:
    packed = index_of(long_blocks)
    early = [(each.offset_bytes, 0) for each in packed.anchors(0, 1000)]
    write_index(long_blocks, early, list(packed.postings()))
    with EventStore.open(long_blocks, [Things()], options=LONG_SEGMENTS, read_only=True) as store:
        everything = list(store.batches())
        for batch in everything[5::50]:
            expected = [each for each in everything if each.time_ns <= batch.time_ns]
            assert list(store.batches(until=batch.time_ns)) == expected


def test_a_projection_of_another_version_gets_its_own_index(path: Path) -> None:
    with open_things(path, version=2) as store:
        assert wrong_answers(store) == []
        store.compact()
        [first, *_] = indexes(path)
        assert PackedIndex(lambda: local_file_system().open(str(first))).header.projections == (
            ("things", 2),
        )
        assert wrong_answers(store) == []


def test_retention_removes_the_index_with_its_segment(path: Path) -> None:
    options = dataclasses.replace(SMALL, retention=Retention(revisions=40))
    with EventStore.open(path, [Things()], options=options) as store:
        fill(store, 50, seed=6)
        store.compact()
        fill(store, 1, seed=6)
        report = store.compact()
        oldest = store.oldest_revision()
        assert report.dropped + oldest > 1
        found = [parse_index_name(index.name) for index in indexes(path)]
        assert min(number for number in found if number is not None) == oldest
        kept = list(store.batches(oldest))
        assert list(store.history(NAMES[0])) == list(filter(about(NAMES[0]), kept))


def test_the_rest_of_a_search_comes_although_compaction_moves_its_segment(path: Path) -> None:
    with open_things(path) as store:
        expected = list(filter(about(NAMES[1]), store.batches()))
        found = store.history(NAMES[1], reverse=True)
        begun = [next(found)]
        fill(store, 80, seed=7)
        store.compact()
        store.compact()
        assert [*begun, *found] == expected[::-1]


def test_a_projection_that_can_not_tell_keys_is_named(tmp_path: Path) -> None:
    with EventStore.open(tmp_path / "store", [Faceless()], options=SMALL) as store:
        fill(store, 1)
        with pytest.raises(ProjectionError, match="'things' can't tell the keys of revision 1"):
            list(store.history("x"))


def test_a_log_without_an_index_answers_the_same(tmp_path: Path) -> None:
    from eventstore.testing.memory_log import MemoryLog  # noqa: PLC0415

    with EventStore.open(tmp_path, [Things()], log=MemoryLog()) as store:
        fill(store, 330)
        assert wrong_answers(store) == []


def test_a_time_given_as_a_datetime_includes_what_is_shown_with_it(path: Path) -> None:
    with open_things(path, read_only=True) as store:
        batch = next(store.batches(100, 100))
        assert batch in list(store.batches(since=batch.time, until=batch.time))
        later = batch.time + timedelta(microseconds=1)
        assert batch not in list(store.batches(since=later))


def test_search_refuses_what_can_not_be_meant(path: Path) -> None:
    with open_things(path, read_only=True) as store:
        with pytest.raises(TypeError, match="actor must be a str"):
            store.batches(actor=7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="reverse must be True or False"):
            store.batches(reverse="no")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a key must be a str"):
            store.history(7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="there is no revision 0"):
            store.history("x", from_revision=0)


def test_an_archive_file_of_version_1_is_read_and_sought_like_one_of_version_2(path: Path) -> None:
    for file in archived(path):
        content = gzip.decompress(file.read_bytes())
        file.write_bytes(gzip.compress(content, mtime=0))
    with open_things(path, read_only=True) as store:
        assert wrong_answers(store) == []
    assert verify_store(path, [Things()]).is_sound


def test_any_place_of_an_archive_file_is_read_without_the_rest(tmp_path: Path) -> None:
    draw = random.Random(1)
    content = draw.randbytes(200_000) + bytes(400_000) + draw.randbytes(70_000)
    file = tmp_path / "x.gz"
    packed = compress(content)
    file.write_bytes(packed)
    source = SegmentSource(1, str(file), is_archived=True)
    assert gzip.decompress(packed) == content  # the standard tools can read it
    assert open_source(local_file_system(), source).read(0, len(content) + 1) == content
    opened = open_places(local_file_system(), source)
    for _ in range(60):
        start, size = draw.randrange(len(content) + 10), draw.choice((0, 1, 80, 100_000, 10**6))
        assert opened.read(start, size) == content[start : start + size]
    # The first blocks are damaged: what is behind them is read all the same.
    middle = len(packed) // 4
    file.write_bytes(packed[:middle] + bytes(50) + packed[middle + 50 :])
    assert open_places(local_file_system(), source).read(610_000, 50) == content[610_000:610_050]


def test_index_bytes_of_version_1_stay_as_they_are() -> None:
    header = IndexHeader(STORE_ID, 5, 6, 1024, bytes(range(32)), (("things", 1),))
    packed = pack_index(header, [(512, 1_700_000_000_000_000_000)], [1 << 28 | 64, 7 << 28 | 128])
    assert packed.hex() == GOLDEN
    layout = unpack_index_header(packed[: index_header_bytes(packed)])
    assert layout.header == header
    assert layout.size_bytes == len(packed)
    start, size = layout.postings_page(0)
    assert list(unpack_values(packed[start : start + size], layout.seed)) == [
        1 << 28 | 64,
        7 << 28 | 128,
    ]


def test_no_flipped_byte_and_no_cut_of_a_page_passes() -> None:
    header = IndexHeader(STORE_ID, 5, 6, 1024, bytes(range(32)), (("things", 1),))
    packed = pack_index(header, [(512, 7)], [1 << 28 | 64, 7 << 28 | 128])
    layout = unpack_index_header(packed[: index_header_bytes(packed)])
    for start, size in (layout.fences(), layout.anchors_page(0), layout.postings_page(0)):
        page = packed[start : start + size]
        assert unpack_values(page, layout.seed)
        for place in range(size):
            changed = bytearray(page)
            changed[place] ^= 0x10
            for damaged in (bytes(changed), page[:place]):
                with pytest.raises(MalformedError, match="a page of the index"):
                    unpack_values(damaged, layout.seed)


GOLDEN = (
    "4556535449445800010000006e000000000102030405060708090a0b0c0d0e0f0500000000000000"
    "06000000000000000004000000000000000102030405060708090a0b0c0d0e0f1011121314151617"
    "18191a1b1c1d1e1f01000000020000009192a67468696e677301810f11504000001000000000298a"
    "7945000200000000000000002a36fe9c971745ab8986400000100000000080000070000000008dfd"
    "aab9"
)


def test_a_past_state_reads_few_batches_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = StoreOptions(segment_bytes=1 << 16, background=False)
    with EventStore.open(tmp_path / "store", [Things()], options=options) as store:
        for number in range(1000):
            if number == 300:
                store.checkpoint()
            with store.transaction(writable=True) as tx:
                tx.emit(Event("made", {"name": f"thing {number % 8}", "place": "here"}))
        store.compact()
    skipped: list[int] = []
    check = RecordCursor._check_skipped

    def counted(cursor: RecordCursor, file: File, record: Record) -> None:
        skipped.append(record.revision)
        check(cursor, file, record)

    monkeypatch.setattr(RecordCursor, "_check_skipped", counted)
    for read_only in (True, False):
        with EventStore.open(
            tmp_path / "store", [Things()], options=options, read_only=read_only
        ) as store:
            skipped.clear()
            counts = dict(store.at(310).items("counts"))
            assert sum(counts.values()) == 310
            # Once to compare the checkpoint with the log, and once to go on from it.
            assert len(skipped) <= 2 * RECORDS_PER_ANCHOR


def test_a_search_by_key_reads_only_records_about_it(path: Path) -> None:
    with open_things(path, read_only=True) as store:
        log = store._log
        wanted = Wanted(keys=("place 7",))
        read = [record.revision for record in log.select(1, 330, wanted)]
        assert read == [batch.revision for batch in store.history("place 7")]
        assert len(read) < 30


@pytest.mark.parametrize(
    ("count", "on_close", "indexed"),
    [(1023, True, None), (1024, True, 1024), (1500, True, 1500), (1500, False, None)],
)
def test_a_close_leaves_few_batches_without_an_index(
    count: int, on_close: bool, indexed: int | None, tmp_path: Path
) -> None:
    options = StoreOptions(checkpoint_on_close=on_close)
    store = EventStore.open(tmp_path, [Things()], options=options)
    store._own_upkeep()._background.close()  # so that only the close can do it
    append_together(store, count)
    store.close()
    files = sorted((tmp_path / "index").iterdir())
    assert [stated(path).last_revision for path in files] == [indexed] * (indexed is not None)
    EventStore.open(tmp_path, [Things()]).close()  # which has appended nothing
    assert sorted((tmp_path / "index").iterdir()) == files


def stated(path: Path) -> IndexHeader:
    return PackedIndex(lambda: local_file_system().open(str(path))).header


def append_together(store: EventStore, count: int) -> None:
    def append(number: int) -> None:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("made", {"name": NAMES[number % 8], "place": "here"}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(append, range(count)))
