"""A repair keeps the most complete state that can be read, and says exactly what was lost."""

from __future__ import annotations

import contextlib
import errno
import gzip
import random
import struct
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from support.damage import (
    HEADER_BYTES,
    PATH,
    Files,
    Image,
    Shelf,
    as_version_1,
    build_fork,
    build_image,
    file_system_of,
    files_of,
    items_of,
    mark_of,
    open_on,
    reseal,
    with_pending,
    without_archive,
)
from support.damage_oracle import sample
from support.repair_oracle import OUTPUT, Kept, RepairTally, detached_in

from eventstore import (
    CorruptionError,
    Event,
    EventStore,
    FormatVersionError,
    LostRevisions,
    NotAStoreError,
    StorageFullError,
    StoreExistsError,
    StoreLockedError,
    repair_store,
    verify_store,
)
from eventstore.files.content import write_file
from eventstore.format.blocks import seal_block
from eventstore.format.durable import DURABLE_VERSION
from eventstore.testing.faults import Call, Failure, PowerCutError
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from eventstore import WritableTable


@pytest.fixture(params=["settled", "pending", "without archive", "version 1"])
def image(request: pytest.FixtureRequest) -> Image:
    match request.param:
        case "settled":
            return build_image()
        case "pending":
            return with_pending()
        case "version 1":
            return as_version_1(build_image())
        case _:
            return without_archive(build_image())


def _flipped(files: Files, path: str, offset: int) -> Files:
    content = bytearray(files[path])
    content[offset] ^= 0x55
    return {**files, path: bytes(content)}


def test_a_sound_store_gives_an_equal_one_and_nothing_is_lost(image: Image) -> None:
    tally = RepairTally()
    report = tally.check(image, image.files, "nothing is damaged")
    tally.assert_clean()
    assert report.is_complete
    assert not report.damage


def test_each_damaged_record_costs_what_it_must(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    tally = RepairTally()
    for path in image.segments:
        if path.endswith(".gz"):
            continue
        for span in sample(image.spans[path], 5, deep=deep):
            files = _flipped(image.files, path, span.header_end + 4)
            report = tally.check(image, files, f"{path}: revision {span.revision}")
            [damage] = report.damage
            assert (damage.path, damage.offset_bytes) == (f"{PATH}/{path}", span.start)
            # The zeros at the end of a file tell nothing of where its last record ended.
            assert span.payload_end <= span.start + damage.size_bytes <= span.end
    tally.assert_clean()
    record_proof("repaired stores", **tally.counts())


def test_any_flipped_byte_costs_what_it_must(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    places = [(path, at) for path, data in image.files.items() for at in range(len(data))]
    tally = RepairTally()
    for path, offset in sample(places, 50, deep=deep, seed=1):
        tally.check(image, _flipped(image.files, path, offset), f"{path}: byte {offset}")
    tally.assert_clean()
    record_proof("repaired stores", **tally.counts())


def test_a_damaged_segment_header_costs_nothing(image: Image) -> None:
    """What it says is known from the segments around it, or from the digests of the records."""
    tally = RepairTally()
    paths = [path for path in image.segments if not path.endswith(".gz")]
    for path in paths[1:] if image.segments[0] == paths[0] else paths:
        report = tally.check(image, _flipped(image.files, path, 30), path)
        assert report.is_complete
        assert report.damage[0][1:3] == (0, HEADER_BYTES)
    tally.assert_clean()


def test_the_identity_is_found_without_one_segment_header(image: Image) -> None:
    """In a checkpoint; and in the durable file, when the checkpoints are gone too."""
    tally = RepairTally()
    files = dict(image.files)
    for path in image.segments:
        files = _flipped(files, path, 12) if not path.endswith(".gz") else files
        if path.endswith(".gz"):
            del files[path]
    tally.check(image, files, "no segment header")
    files = {path: data for path, data in files.items() if not path.endswith(".ckpt")}
    tally.check(image, files, "no segment header, no checkpoint")
    tally.assert_clean()


def test_missing_files_cost_what_they_must(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    tally = RepairTally()
    paths = sorted(image.files)
    groups = [*combinations(paths, 1), *combinations(paths, 2), *combinations(paths, 3)]
    for missing in sample(groups, 50, deep=deep):
        files = {path: data for path, data in image.files.items() if path not in missing}
        tally.check(image, files, f"without {missing}")
    tally.assert_clean()
    record_proof("repaired stores", **tally.counts())


def test_cut_and_zeroed_files_cost_what_they_must(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    cases = [
        (path, start, end)
        for path, data in image.files.items()
        for start in range(0, len(data), 64)
        for end in (start, start + 512, len(data))
    ]
    tally = RepairTally()
    for path, start, end in sample(cases, 50, deep=deep, seed=2):
        whole = image.files[path]
        content = whole[:start]
        if end > start:
            content += bytes(min(end, len(whole)) - start) + whole[end:]
        tally.check(image, image.damaged(path, content), f"{path}: cut or zeroed from {start}")
    tally.assert_clean()
    record_proof("repaired stores", **tally.counts())


def test_damage_everywhere_costs_what_it_must(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    draw = random.Random(3)
    paths = [path for path in sorted(image.files) if path != "LOCK"]
    tally = RepairTally()
    for _ in range(3000 if deep else 40):
        files = dict(image.files)
        chosen = [draw.choice(paths) for _ in range(draw.randint(2, 6))]
        for path in chosen:
            if path in files and draw.random() < 0.15 and len(files) > 5:
                del files[path]
            elif path in files:
                files = _flipped(files, path, draw.randrange(len(files[path])))
        tally.check(image, files, f"damaged: {chosen}")
    tally.assert_clean()
    record_proof("repaired stores", **tally.counts())


def test_a_copy_in_the_archive_fills_the_gap_of_one_in_the_log() -> None:
    """Compaction was cut short: a segment is in both, and each copy is damaged elsewhere."""
    tally = RepairTally()
    image = build_image()
    nothing_lost = Kept(1, image.written, (), ())
    archived = image.segments[0]
    path = archived.replace("archive/", "wal/").removesuffix(".gz")
    files = {**image.files, path: image.contents[archived]}
    tally.check(image, files, "two whole copies", nothing_lost)
    files = _flipped(files, path, image.spans[archived][3].start)
    tally.check(image, files, "the one in the log is damaged", nothing_lost)
    files = {**files, archived: image.files[archived][:1500]}
    tally.check(image, files, "the one in the archive ends early", nothing_lost)
    files = _flipped(files, path, image.spans[archived][8].start)
    tally.check(image, {**files, archived: image.files[archived]}, "twice", nothing_lost)
    tally.assert_clean()


@pytest.mark.parametrize("shift_bytes", [1, 8])
def test_records_that_moved_within_a_segment_are_found_where_they_can_be(shift_bytes: int) -> None:
    """A damaged compressed file may decompress to more or fewer bytes than it was made of."""
    tally = RepairTally()
    image = build_image()
    for path in image.segments:
        if path.endswith(".gz"):
            whole, at = image.contents[path], image.spans[path][2].start
            moved = gzip.compress(whole[:at] + bytes(shift_bytes) + whole[at:])
            tally.check(image, {**image.files, path: moved}, path)
    tally.assert_clean()
    assert tally.inputs


def test_a_durable_file_of_a_newer_format_is_refused_and_nothing_is_made() -> None:
    block = build_image().files["durable"]
    fields = block[:8] + (DURABLE_VERSION + 1).to_bytes(4, "little") + block[12:36]
    newer = seal_block(fields, len(block))
    file_system = file_system_of({**build_image().files, "durable": newer})
    with pytest.raises(FormatVersionError, match="durable"):
        repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    assert not file_system.exists(OUTPUT)


def test_damaged_padding_costs_nothing(image: Image) -> None:
    tally = RepairTally()
    for path in image.segments:
        for span in image.spans[path]:
            if not path.endswith(".gz") and span.end > span.payload_end:
                files = _flipped(image.files, path, span.end - 1)
                report = tally.check(image, files, f"{path}: padding of {span.revision}")
                assert report.is_complete
                size = span.end - span.payload_end
                assert report.damage[0][:3] == (f"{PATH}/{path}", span.payload_end, size)
    tally.assert_clean()


def test_a_file_that_ends_in_the_padding_of_a_record_costs_no_more_than_what_followed(
    image: Image,
) -> None:
    tally = RepairTally()
    paths = [path for path in image.segments if not path.endswith(".gz")]
    for path in paths:
        padded = [span for span in image.spans[path] if span.end > span.payload_end]
        for span in padded[:3]:
            cut = image.files[path][: span.end - 1]
            tally.check(image, image.damaged(path, cut), f"{path}: ends in {span.revision}")
    tally.assert_clean()
    assert tally.inputs


def test_batches_of_another_branch_are_never_joined() -> None:
    """Segments of a branch with the same store id hold by themselves, but continue nothing."""
    image, other = build_fork()
    newest = max(image.checkpoints.values())
    end = image.spans[image.segments[1]][-1].revision
    assert end < newest
    files = {path: data for path, data in image.files.items() if path not in image.segments[2:]}
    files |= {path: other.files[path] for path in other.segments[2:]}
    file_system = file_system_of(files)
    report = repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    assert (report.revision, report.first_revision) == (newest, newest + 1)
    assert {bytes.fromhex(batch["digest"]) for batch in detached_in(file_system, report)} == {
        *image.digests[:end],
        *(span.digest for path in other.segments[2:] for span in other.spans[path]),
    }
    with EventStore.open(OUTPUT, [Shelf()], file_system=file_system) as store:
        assert items_of(store) == (newest, image.states[newest])


@pytest.mark.parametrize("has_header", [True, False])
def test_a_segment_of_another_branch_that_starts_where_the_log_ends_is_not_joined(
    has_header: bool,
) -> None:
    """Nothing but the digests tells that it continues other batches."""
    image, other = build_fork()
    kept = image.segments[0]
    last = image.spans[kept][-1].revision
    [path] = [
        path for path in other.segments if last + 1 in {s.revision for s in other.spans[path]}
    ]
    start = next(span.start for span in other.spans[path] if span.revision == last + 1)
    header = other.contents[path][:32] + struct.pack("<QQQ", last + 1, 0, 1)
    header += other.digests[last - 1] + mark_of(other.contents[path])
    records = other.contents[path][start:]
    block = reseal(header.ljust(HEADER_BYTES, b"\0")) if has_header else bytes(HEADER_BYTES)
    new_path = f"wal/{last + 1:020d}.log"
    file_system = file_system_of(
        {kept: image.files[kept], new_path: block + records, "durable": b""}
    )
    report = repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    assert (report.first_revision, report.revision) == (1, last)
    first = detached_in(file_system, report)[0]
    assert bytes.fromhex(first["digest"]) == other.digests[last]
    with EventStore.open(OUTPUT, [Shelf()], file_system=file_system) as store:
        assert items_of(store) == (last, image.states[last])


class Other(Shelf):
    """Another fold of the same events."""

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        tables["things"].put(event.data["name"], "something else")


def test_what_is_not_sound_together_is_refused_and_nothing_is_left_behind() -> None:
    """Checkpoints with good sums and digests but other rows, and no whole log to decide."""
    image = without_archive(build_image())
    file_system = file_system_of(image.files)
    with pytest.raises(CorruptionError, match="does not fit together"):
        repair_store(PATH, OUTPUT, [Other()], file_system=file_system)
    assert files_of(file_system, OUTPUT) == {}
    # The directories that are left are no obstacle.
    assert repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system).revision == image.written


def test_checkpoints_that_differ_from_a_log_without_a_gap_are_left_out() -> None:
    image = build_image()
    file_system = file_system_of(image.files)
    report = repair_store(PATH, OUTPUT, [Other()], file_system=file_system)
    assert report.is_complete
    assert (report.first_revision, report.revision) == (1, image.written)
    assert [damage.path for damage in report.damage] == [f"{PATH}/{p}" for p in image.checkpoints]
    assert all("differs from the replayed log" in damage.reason for damage in report.damage)
    with EventStore.open(OUTPUT, [Other()], file_system=file_system) as store:
        assert items_of(store)[0] == image.written
        assert [batch.digest for batch in store.batches()] == list(image.digests)
        assert store.verify().is_sound


def test_a_checkpoint_that_does_not_differ_stays() -> None:
    image = build_image()
    newer = list(image.checkpoints)[-1]
    without = {path: data for path, data in image.files.items() if path not in image.checkpoints}
    file_system = file_system_of(without)
    with EventStore.open(PATH, [Other()], file_system=file_system) as store:
        store.checkpoint()
    [wrong] = [path for path in files_of(file_system) if path.endswith(".ckpt")]
    assert wrong > newer
    content = files_of(file_system)[wrong]
    file_system = file_system_of({**image.files, wrong: content})
    report = repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    assert report.is_complete
    assert [damage.path for damage in report.damage] == [f"{PATH}/{wrong}"]
    assert newer in files_of(file_system, OUTPUT)
    with EventStore.open(OUTPUT, [Shelf()], file_system=file_system) as store:
        assert items_of(store) == (image.written, image.states[-1])


def test_a_failed_repair_leaves_nothing_beside_its_output() -> None:
    files = _damaged()
    fault = _FailsFrom(10**6, errno.EIO)
    whole = file_system_of(files)
    whole.fault = fault
    report = repair_store(PATH, OUTPUT, [Shelf()], file_system=whole)
    assert report.detached.path == f"{OUTPUT}.detached.jsonl"
    assert report.detached.path in whole.medium.files()
    for number in range(fault.changes - 6, fault.changes + 1):
        file_system = file_system_of(files)
        file_system.fault = _FailsFrom(number, errno.EIO)
        with pytest.raises(OSError):  # noqa: PT011 - of the system, whatever its words
            repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
        if number < fault.changes:
            assert files_of(file_system, OUTPUT).keys() <= {"LOCK", "MAKING"}
            assert report.detached.path not in file_system.medium.files()
            continue
        # The mark was gone already, of a store that is whole, and so is what belongs beside it.
        assert report.detached.path in file_system.medium.files()
        file_system.fault = None
        with EventStore.open(OUTPUT, [Shelf()], file_system=file_system) as store:
            assert items_of(store)[0] == report.revision


def test_what_is_beside_the_output_is_never_replaced() -> None:
    image = build_image()
    file_system = file_system_of(image.files)
    beside = f"{OUTPUT}.detached.jsonl"
    write_file(file_system, beside, b"of an earlier repair")
    with pytest.raises(FileExistsError, match="detached"):
        repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    assert not file_system.exists(OUTPUT)
    assert file_system.medium.files()[beside] == b"of an earlier repair"


def _damaged() -> Files:
    """Return the files of a store whose repair writes batches beside the new one."""
    image = build_image()
    return _flipped(image.files, image.active, image.spans[image.active][0].header_end)


def _outcome(file_system: SimulatedFileSystem) -> tuple[set[str], bytes]:
    """Return the names outside the damaged store, and what is in the file beside the new one."""
    files = file_system.medium.files()
    names = {path for path in files if not path.startswith(f"{PATH}/")}
    return names, files[f"{OUTPUT}.detached.jsonl"]


def test_a_repair_that_is_killed_at_any_step_can_be_run_again(
    deep: bool, record_proof: Callable[..., None]
) -> None:
    """By the same command, killed twice too, and whatever of it a power cut leaves."""
    files = _damaged()
    whole = file_system_of(files)
    report = repair_store(PATH, OUTPUT, [Shelf()], file_system=whole)
    expected = _outcome(whole)
    draw = random.Random(0)
    for image in whole.images(16, draw):
        assert _outcome(SimulatedFileSystem(image.medium)) == expected

    def cut(file_system: SimulatedFileSystem, calls: int) -> SimulatedFileSystem:
        file_system.cut_power(after_calls=calls)
        with contextlib.suppress(PowerCutError, StoreExistsError):
            repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
        killed = file_system.after_kill()
        return draw.choice([killed, killed.after_power_cut(draw)])

    counts = Counter[str]()
    late = range(whole.calls - 40, whole.calls)
    for calls in range(whole.calls) if deep else [*draw.sample(range(whole.calls), 20), *late]:
        after = cut(file_system_of(files), calls)
        if draw.random() < 0.5:  # the next one is killed while it clears, or later
            after = cut(after, draw.choice([draw.randrange(60), draw.randrange(whole.calls)]))
        counts["inputs"] += 1
        is_beside = after.exists(f"{OUTPUT}.detached.jsonl")
        try:
            EventStore.open(OUTPUT, [Shelf()], read_only=True, file_system=after).close()
            counts["whole"] += 1
        except NotAStoreError:
            counts["left beside"] += is_beside
            again = repair_store(PATH, OUTPUT, [Shelf()], file_system=after)
            assert again.detached == report.detached
        assert _outcome(after) == expected
        assert verify_store(OUTPUT, [Shelf()], file_system=after).revision == report.revision
    assert min(counts.values()) > 0
    record_proof(
        "repair killed and run again", inputs=counts["inputs"], refused=0, files_left_behind=0
    )


def _killed_with_a_file_beside(files: Files) -> SimulatedFileSystem:
    file_system = file_system_of(files)

    def fault(call: Call) -> None:
        if call.name == "sync" and call.path == f"{OUTPUT}.detached.jsonl":
            file_system.cut_power()

    file_system.fault = fault
    with pytest.raises(PowerCutError):
        repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    after = file_system.after_kill()
    assert after.exists(f"{OUTPUT}.detached.jsonl")
    return after


def test_a_power_cut_after_the_file_was_cleared_away_does_not_bring_it_back_for_ever() -> None:
    beside = f"{OUTPUT}.detached.jsonl"
    draw = random.Random(0)
    for calls in range(12):
        file_system = _killed_with_a_file_beside(_damaged())

        def fault(call: Call, after: int = calls, cut: SimulatedFileSystem = file_system) -> None:
            if call.name == "remove" and call.path == beside:
                cut.cut_power(after_calls=after)

        file_system.fault = fault
        with pytest.raises(PowerCutError):
            repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
        for image in file_system.images(8, draw):
            repair_store(
                PATH, OUTPUT, [Shelf()], file_system=SimulatedFileSystem(image.medium.copy())
            )


def test_whatever_is_made_at_the_path_of_a_repair_that_was_cut_clears_its_file_away() -> None:
    file_system = _killed_with_a_file_beside(_damaged())
    with EventStore.create(OUTPUT, [Shelf()], purpose="import", file_system=file_system):
        pass
    assert not file_system.exists(f"{OUTPUT}.detached.jsonl")
    assert not file_system.exists(f"{OUTPUT}/MAKING")


def test_a_file_that_the_mark_does_not_name_is_never_removed() -> None:
    beside, elsewhere = f"{OUTPUT}.detached.jsonl", "/elsewhere.detached.jsonl"
    # By a mark of another place: the half made store was moved there.
    moved = _killed_with_a_file_beside(_damaged())
    moved.make_directory("/elsewhere")
    moved.rename(f"{OUTPUT}/MAKING", "/elsewhere/MAKING")
    write_file(moved, elsewhere, b"precious")
    with pytest.raises(StoreExistsError, match="detached"):
        repair_store(PATH, "/elsewhere", [Shelf()], file_system=moved)
    assert moved.medium.files()[elsewhere] == b"precious"
    # By a mark that was cut before it named one, or whose first line looks as if it did.
    for content in (b"repair of /old\n", b"", f'beside: "{beside}"\n'.encode()):
        unnamed = file_system_of(_damaged())
        unnamed.make_directory(OUTPUT)
        write_file(unnamed, f"{OUTPUT}/MAKING", content)
        write_file(unnamed, beside, b"precious")
        with pytest.raises(StoreExistsError, match="detached"):
            repair_store(PATH, OUTPUT, [Shelf()], file_system=unnamed)
        assert unnamed.medium.files()[beside] == b"precious"


def test_a_file_that_is_put_beside_the_output_meanwhile_stays_and_the_repair_fails() -> None:
    file_system = file_system_of(_damaged())
    beside = f"{OUTPUT}.detached.jsonl"

    def fault(call: Call) -> None:
        if call.name == "create" and call.path == beside:
            file_system.fault = None
            write_file(file_system, beside, b"precious")

    file_system.fault = fault
    with pytest.raises(StoreExistsError, match="meanwhile"):
        repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    assert file_system.medium.files()[beside] == b"precious"
    assert files_of(file_system, OUTPUT) == {}


def test_a_detached_batch_says_all_that_was_logged() -> None:
    data = {
        "name": "thing",
        "text": "caf\u00e9\n",
        "bytes": b"\xff\0",
        "numbers": [1, 2**64 - 1, -0.5, float("inf"), None, True],
        "keys": {1: "one", b"two": 2, "$bytes": "text"},
    }
    file_system = SimulatedFileSystem(keep_steps=False)
    with open_on(file_system) as store:
        for actor in ("first", None):
            with store.transaction(writable=True, actor=actor, reason="why") as tx:
                tx.emit(Event("put", data, 7))
        [_, second] = store.batches()
    files = files_of(file_system)
    [path] = [path for path in files if path.endswith(".log")]
    damaged = files[path].replace(b"first", b"f\xefrst")
    first_revision_lost = file_system_of({**files, path: damaged})
    report = repair_store(PATH, OUTPUT, [Shelf()], file_system=first_revision_lost)
    assert report.lost == (LostRevisions(1, 2, is_in_state=False),)
    assert report.detached[1:] == (1, ((2, 2),))
    assert detached_in(first_revision_lost, report) == [
        {
            "revision": 2,
            "time_ns": second.time_ns,
            "digest": second.digest.hex(),
            "actor": None,
            "reason": "why",
            "request_id": None,
            "events": [
                {
                    "type": "put",
                    "version": 7,
                    "data": {
                        "name": "thing",
                        "text": "caf\u00e9\n",
                        "bytes": {"$bytes": "/wA="},
                        "numbers": [1, 2**64 - 1, -0.5, {"$float": "inf"}, None, True],
                        "keys": {"$dict": [1, "one", {"$bytes": "dHdv"}, 2, "$bytes", "text"]},
                    },
                }
            ],
        }
    ]


def test_a_store_that_says_nowhere_which_it_is_can_not_be_repaired() -> None:
    image = build_image()
    files = {path: bytes(len(data)) for path, data in image.files.items()}
    with pytest.raises(CorruptionError, match="which store it is"):
        repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system_of(files))


def test_an_output_that_holds_something_is_refused() -> None:
    image = build_image()
    file_system = file_system_of(image.files)
    file_system.make_directory("/full")
    write_file(file_system, "/full/file", b"precious")
    file_system.make_directory("/empty")
    before = file_system.medium.fingerprint()
    for output in (PATH, f"{PATH}/new", f"{PATH}/wal", "/full", "/full/file", "/"):
        with pytest.raises(StoreExistsError):
            repair_store(PATH, output, [Shelf()], file_system=file_system)
    with pytest.raises(NotAStoreError):
        repair_store("/nowhere", OUTPUT, [Shelf()], file_system=file_system)
    assert file_system.medium.fingerprint() == before
    assert repair_store(PATH, "/empty", [Shelf()], file_system=file_system).is_complete


class _FailsFrom:
    """Every change of the new store fails, from the nth on."""

    def __init__(self, number: int, code: int) -> None:
        self.changes = 0
        self._number = number
        self._code = code

    def __call__(self, call: Call) -> Failure | None:
        names = ("create", "write", "sync", "sync_directory", "make_directory", "rename")
        if call.name not in names or not call.path.startswith(OUTPUT):
            return None
        self.changes += 1
        return Failure(self._code) if self.changes >= self._number else None


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_leaves_nothing_of_a_store_and_the_old_one_as_it_was(
    code: int, deep: bool
) -> None:
    image = build_image()
    fault = _FailsFrom(10**6, code)
    whole = file_system_of(image.files)
    whole.fault = fault
    repair_store(PATH, OUTPUT, [Shelf()], file_system=whole)
    for number in sample(range(1, fault.changes), 15, deep=deep):
        file_system = file_system_of(image.files)
        file_system.fault = _FailsFrom(number, code)
        with pytest.raises(StorageFullError if code == errno.ENOSPC else OSError):
            repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
        # Without a sync that works, what was removed may come back: so the mark stays.
        assert files_of(file_system, OUTPUT).keys() <= {"LOCK", "MAKING"}
        assert files_of(file_system) == image.files
        file_system.fault = None
        assert repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system).is_complete


def test_a_repair_cut_by_a_power_failure_never_leaves_a_store_that_opens_with_less() -> None:
    """What is there is nothing, or unfinished by its own account, or complete."""
    image = build_image()
    whole = file_system_of(image.files)
    repair_store(PATH, OUTPUT, [Shelf()], file_system=whole)
    outcomes: set[type] = set()
    for calls in range(0, whole.calls + 3, 3):
        file_system = file_system_of(image.files)
        file_system.cut_power(after_calls=calls)
        with contextlib.suppress(PowerCutError):
            repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
        after = file_system.after_power_cut(random.Random(calls))
        try:
            store = EventStore.open(OUTPUT, [Shelf()], read_only=True, file_system=after)
        except NotAStoreError:
            outcomes.add(NotAStoreError)
            assert repair_store(PATH, OUTPUT, [Shelf()], file_system=after).is_complete
            continue
        with store:
            assert items_of(store) == (image.written, image.states[image.written])
            outcomes.add(EventStore)
    assert outcomes == {NotAStoreError, EventStore}


def test_a_store_that_is_written_to_meanwhile_is_refused() -> None:
    image = build_image()
    file_system = file_system_of(image.files)
    with open_on(file_system) as store:

        def commit(revision: int) -> None:
            if revision == image.written:
                with store.transaction(writable=True) as tx:
                    tx.emit(Event("put", {"name": "late", "text": "commit"}))

        with pytest.raises(StoreLockedError, match="stop its writer"):
            repair_store(PATH, OUTPUT, [Shelf()], on_batch=commit, file_system=file_system)
    assert files_of(file_system, OUTPUT) == {}


def test_a_second_repair_to_the_same_path_is_refused_and_the_first_one_succeeds() -> None:
    image = build_image()
    file_system = file_system_of(image.files)
    refusals = []

    def rival(revision: int) -> None:
        if revision == image.written:
            for make in (
                lambda: repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system),
                lambda: EventStore.open(OUTPUT, [Shelf()], file_system=file_system),
            ):
                with pytest.raises(StoreLockedError):
                    make()
                refusals.append(make)
            with pytest.raises(NotAStoreError, match="repair of /store is under way"):
                EventStore.open(OUTPUT, [Shelf()], read_only=True, file_system=file_system)

    assert repair_store(
        PATH, OUTPUT, [Shelf()], on_batch=rival, file_system=file_system
    ).is_complete
    assert len(refusals) >= 2
    with EventStore.open(OUTPUT, [Shelf()], file_system=file_system) as store:
        assert items_of(store) == (image.written, image.states[image.written])


def test_a_store_that_is_made_at_the_output_first_stays() -> None:
    image = build_image()
    file_system = file_system_of(image.files)
    with EventStore.open(OUTPUT, [Shelf()], file_system=file_system) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("put", {"name": "mine", "text": "acknowledged"}))
        with pytest.raises(StoreExistsError):
            repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    before = file_system.medium.fingerprint()
    with pytest.raises(StoreExistsError):
        repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
    assert file_system.medium.fingerprint() == before


def _times(root: Path) -> list[tuple[Path, int, int]]:
    return [(path, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in root.rglob("*")]


def test_a_repair_changes_nothing_of_the_old_store_on_disk(tmp_path: Path) -> None:
    image = build_image()
    files = _flipped(image.files, image.active, 600)
    root = tmp_path / "old"
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    before = [
        (path, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in root.rglob("*")
    ]
    report = repair_store(root, tmp_path / "new" / "store", [Shelf()])
    assert not report.is_complete
    after = [(path, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in root.rglob("*")]
    assert after == before
    with EventStore.open(tmp_path / "new" / "store", [Shelf()]) as store:
        assert items_of(store) == (report.revision, image.states[report.revision])
