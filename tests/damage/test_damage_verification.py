"""What a verification says of damage, what it keeps silent about and why; it only reads."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from support.damage import (
    HEADER_BYTES,
    OPTIONS,
    PATH,
    Files,
    Image,
    Shelf,
    build_fork,
    build_image,
    file_system_of,
    with_pending,
    without_archive,
)
from support.damage_oracle import sample

from eventstore import (
    Event,
    EventStore,
    Projection,
    ProjectionError,
    TableSpec,
    Verdict,
    repair_store,
)
from eventstore.format.archive import header_bytes
from eventstore.format.codec import pack
from eventstore.integrity import comparison
from eventstore.integrity.verify import verify_store
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from eventstore import ReadableTable, WritableTable
    from eventstore.reports import VerifyReport


def _verified(files: Files, *, quick: bool = False) -> VerifyReport:
    return verify_store(PATH, [Shelf()], quick=quick, file_system=file_system_of(files))


def _flipped(image: Image, path: str, offset: int) -> Files:
    content = bytearray(image.files[path])
    content[offset] ^= 0xFF
    return image.damaged(path, bytes(content))


def _harmless(image: Image) -> dict[str, list[tuple[str, int]]]:
    """Return every byte that may change without a problem, by the reason why it may."""
    files = image.files
    tail = image.spans[image.active][-1].end
    return {
        "the lock file says who held it last, which nothing relies on": [
            ("LOCK", at) for at in range(len(files["LOCK"]))
        ],
        "the durable file is a lower bound that a crash may lose or tear": [
            ("durable", at) for at in range(len(files["durable"]))
        ],
        "copies of bytes that were cut are kept for a human": [
            (path, at) for path in files if path.startswith("torn/") for at in range(8)
        ],
        "a temporary file is removed by the next open": [
            (path, at) for path in files if path.endswith(".tmp") for at in range(8)
        ],
        "behind the tail of the active segment no acknowledged batch can be: a torn tail": [
            (image.active, at) for at in range(tail, len(files[image.active]))
        ],
    }


def _unpacks_to_the_same(image: Image, damaged: Files, path: str, offset: int) -> bool:
    """Say whether an archive file still holds the same: one in four has such a byte.

    A code of the compression that nothing uses may then be another one.
    """
    if not path.endswith(".gz") or offset < header_bytes(image.files[path]):
        return False
    try:
        return gzip.decompress(damaged[path]) == gzip.decompress(image.files[path])
    except (zlib.error, EOFError, OSError):
        return False


def test_a_verification_finds_every_byte_that_matters_and_is_silent_about_the_others(
    deep: bool,
) -> None:
    image = build_image()
    reasons = _harmless(image)
    harmless = {place for places in reasons.values() for place in places}
    everywhere = [(path, at) for path, data in image.files.items() for at in range(len(data))]
    ignored = {path for path in image.files if path.startswith("torn/") or path.endswith(".tmp")}
    chosen = [place for places in reasons.values() for place in sample(places, 20, deep=deep)]
    chosen += sample([p for p in everywhere if p[0] not in ignored], 250, deep=deep, seed=5)
    for path, offset in chosen:
        damaged = _flipped(image, path, offset)
        report = _verified(damaged)
        is_harmless = (path, offset) in harmless or _unpacks_to_the_same(
            image, damaged, path, offset
        )
        assert report.is_sound == is_harmless, (path, offset, report.problems)


@pytest.mark.parametrize("quick", [True, False])
def test_the_problem_names_the_file_and_the_record_that_were_damaged(quick: bool) -> None:
    image = build_image()
    damaged = [(image.active, span) for span in image.spans[image.active]]
    if not quick:
        sealed = next(path for path in image.segments if path.startswith("wal/"))
        damaged += [(sealed, span) for span in image.spans[sealed]]
    for path, span in damaged:
        report = _verified(_flipped(image, path, span.start + 80), quick=quick)
        [problem] = report.problems
        assert (problem.path, problem.offset_bytes) == (f"{PATH}/{path}", span.start)


@pytest.mark.parametrize("quick", [True, False])
def test_a_torn_tail_is_a_note_and_no_problem(quick: bool) -> None:
    image = with_pending()
    last = image.spans[image.active][-1]
    report = _verified(_flipped(image, image.active, last.start), quick=quick)
    assert report.is_sound
    assert "torn tail" in report.remarks[0]
    assert report.revision == last.revision - 1


@pytest.mark.parametrize("quick", [True, False])
def test_a_missing_segment_behind_a_checkpoint_is_named_as_what_is_missing(quick: bool) -> None:
    """The older checkpoint can't be carried on; its rows are not to blame."""
    image = without_archive(build_image())
    older = min(image.checkpoints.values())
    files = image.damaged(image.segments[0], None)
    following = image.spans[image.segments[1]][0].revision
    [problem] = _verified(files, quick=quick).problems
    assert problem.path == f"{PATH}/{image.segments[1]}"
    assert f"starts at revision {following}" in problem.reason
    assert f"checkpoint {older}" in problem.reason


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("place", [0, 1])
def test_a_checkpoint_of_another_store_is_found(quick: bool, place: int) -> None:
    image, other = build_image(), build_image(2)
    path, foreign = list(image.checkpoints)[place], list(other.checkpoints)[place]
    [problem] = _verified(image.damaged(path, other.files[foreign]), quick=quick).problems
    assert problem.path == f"{PATH}/{path}"
    assert "another store" in problem.reason


def test_a_checkpoint_of_another_branch_is_found_by_its_digest_alone() -> None:
    """Without projections there is nothing to replay and compare."""
    image, other = build_fork()
    for path in image.checkpoints:
        file_system = file_system_of(image.damaged(path, other.files[path]))
        [problem] = verify_store(PATH, [], file_system=file_system).problems
        assert "another history" in problem.reason


def _listing(root: Path) -> list[tuple[str, int, int, int, bytes]]:
    found = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((str(path), status.st_mode, status.st_mtime_ns, status.st_ctime_ns, content))
    return found


@pytest.mark.parametrize("quick", [True, False])
def test_a_verification_changes_nothing_on_disk(tmp_path: Path, quick: bool) -> None:
    """No content, no name, no time: of a sound store, of a torn and of a damaged one."""
    for number, image in enumerate((build_image(), with_pending())):
        for damage in (-1, HEADER_BYTES, 0):
            files = _flipped(image, image.active, damage)
            root = tmp_path / f"{number}-{damage}"
            for path, content in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(content)
            os.utime(root, ns=(1, 1))
            before = _listing(tmp_path)
            verify_store(root, [Shelf()], quick=quick)
            assert _listing(tmp_path) == before


class CheckedShelf(Shelf):
    """A shelf with a check of its own."""

    def __init__(self, check: Callable[[Any], object]) -> None:
        self._check = check

    def check(self, tables: Mapping[str, ReadableTable]) -> None:
        self._check(tables)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _raising(error: Exception) -> Callable[[Any], object]:
    def check(tables: Any) -> object:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AssertionError("a thing is missing"), "AssertionError: a thing is missing"),
        (AssertionError(), "AssertionError"),
        (KeyError("gone"), "KeyError: 'gone'"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (UnspeakableError(), "UnspeakableError: its text can't be had"),
        (ValueError("x" * 5000), "ValueError: " + "x" * 200 + "…"),
    ],
)
def test_a_verification_asks_each_projection_and_lists_what_it_raises(
    error: Exception, text: str
) -> None:
    image = build_image()
    file_system = file_system_of(image.files)
    projections = [CheckedShelf(_raising(error))]
    report = verify_store(PATH, projections, file_system=file_system)
    [problem] = report.problems
    assert problem.reason == (
        f"projection 'shelf' finds its tables wrong at revision {image.written}: {text}"
    )
    assert report.verdict is Verdict.CLEAN  # an open does not ask
    assert verify_store(PATH, projections, file_system=file_system, quick=True).is_sound
    repaired = repair_store(PATH, "/new", projections, file_system=file_system)
    assert repaired.is_complete


def test_a_projection_checks_what_the_replay_has_made_and_can_change_none_of_it() -> None:
    image = build_image()
    seen: list[Any] = []

    def look(tables: Any) -> None:
        seen.append(dict(tables["things"].items()))

    report = verify_store(PATH, [CheckedShelf(look)], file_system=file_system_of(image.files))
    assert report.is_sound
    assert seen == [image.states[-1]]
    meddling = [CheckedShelf(lambda tables: tables["things"].put("new", "row"))]
    [problem] = verify_store(PATH, meddling, file_system=file_system_of(image.files)).problems
    assert ProjectionError.__name__ in problem.reason


class IndexedShelf(Shelf):
    """A shelf with an index whose key function can't tell the entries of any row."""

    tables = (
        TableSpec("things", indexes={"by": lambda key, value: value["missing"]}),
        TableSpec("touches"),
    )


def test_a_verification_asks_the_key_functions_of_indexes() -> None:
    image = build_image()
    report = verify_store(PATH, [IndexedShelf()], file_system=file_system_of(image.files))
    [problem] = report.problems
    assert "projection 'shelf' finds its tables wrong" in problem.reason
    assert "index 'by' of table 'things' can't tell the entries of key" in problem.reason


class Measured(Projection):
    name, version, tables = "measured", 1, (TableSpec("values"),)

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        tables["values"].put(event.type, (event.data, 1.5))


def test_a_value_that_is_not_equal_to_itself_is_no_difference() -> None:
    file_system = SimulatedFileSystem(keep_steps=False)
    with EventStore.open(PATH, [Measured()], file_system=file_system, options=OPTIONS) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("nothing", math.nan))
        store.checkpoint()
        report = store.verify()
    assert report.replayed_checkpoints == 1
    assert report.is_sound


def test_a_row_that_is_the_same_to_the_byte_does_not_differ_beside_one_that_does() -> None:
    row = pack([math.nan, 1.5])
    assert comparison._is_same_row(row, pack([math.nan, 1.5]))
    assert not comparison._is_same_row(row, pack([math.nan, 2.5]))


@pytest.mark.parametrize("quick", [False, True])
def test_a_durable_file_that_says_nothing_is_no_damage_and_is_mentioned(quick: bool) -> None:
    image = build_image()
    for content in (b"garbage", b"", bytes(len(image.files["durable"]))):
        report = _verified(image.damaged("durable", content), quick=quick)
        assert report.is_sound
        assert [remark for remark in report.remarks if "durable" in remark]
    assert not [remark for remark in _verified(image.files).remarks if "durable" in remark]


def test_a_store_of_a_checkpoint_and_an_empty_log_is_at_the_checkpoint_s_revision(
    tmp_path: Path,
) -> None:
    with EventStore.open(tmp_path / "store", [], options=OPTIONS) as store:
        for _ in range(8):
            with store.transaction(writable=True) as tx:
                tx.emit(Event(type="x", version=1, data={}))
        store.checkpoint()
    for segment in (tmp_path / "store" / "wal").glob("*.log"):
        segment.write_bytes(b"")
    report = repair_store(tmp_path / "store", tmp_path / "repaired", [])
    assert report.revision == 8
    verified = verify_store(tmp_path / "repaired", [])
    assert (verified.batch_count, verified.revision) == (0, 8)
