"""Open, follower and verification say the same of a store, whatever is left of it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from support.damage import (
    DIRECTORIES,
    OPTIONS,
    PATH,
    Files,
    Image,
    Shelf,
    build_fork,
    build_image,
    file_system_of,
    files_of,
    forge_record,
    mark_of,
    open_on,
)
from support.damage_oracle import sample

from eventstore import CorruptionError, Event, EventStore, NotAStoreError, Verdict
from eventstore.format.durable import pack_durable
from eventstore.integrity.verify import verify_store
from eventstore.log.segments import compress
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eventstore.reports import VerifyReport


def _overwritten(files: Files, path: str, offset: int, data: bytes) -> None:
    content = files[path]
    files[path] = content[:offset] + data + content[offset + len(data) :]


def _log_changes(image: Image) -> dict[str, Callable[[Files], object]]:
    """Return what can be wrong with the log."""
    active, sealed = image.active, image.segments[-2]
    last = image.spans[active][-1]
    inner = image.spans[active][2]
    mark, written = mark_of(image.files[active]), image.written
    behind = forge_record(image.store_id, b"x", written + 2, written + 1, bytes(32), mark=mark)

    def keep_only(files: Files, kept: str) -> None:
        for path in image.segments:
            if not path.startswith(kept):
                del files[path]

    return {
        "whole": lambda files: None,
        "torn behind the end": lambda files: _overwritten(files, active, last.end, b"torn"),
        "torn, and a later record claims it": lambda files: _overwritten(
            files, active, last.end, b"\xff" * 8 + behind
        ),
        "last record gone": lambda files: _overwritten(
            files, active, last.start, bytes(last.end - last.start)
        ),
        "last record damaged": lambda files: _overwritten(files, active, last.start, b"\xff" * 8),
        "inner record damaged": lambda files: _overwritten(files, active, inner.start, b"\xff" * 8),
        "sealed record damaged": lambda files: _overwritten(
            files, sealed, image.spans[sealed][1].start, b"\xff" * 8
        ),
        "active header damaged": lambda files: _overwritten(files, active, 20, b"\xff"),
        "sealed header damaged": lambda files: _overwritten(files, sealed, 20, b"\xff"),
        "sealed segment missing": lambda files: files.pop(sealed),
        "active segment missing": lambda files: files.pop(active),
        "only the archive": lambda files: keep_only(files, "archive/"),
        "only the log": lambda files: keep_only(files, "wal/"),
        "no segment": lambda files: keep_only(files, "no"),
        "payload that is no batch": lambda files: _overwritten(
            files,
            active,
            last.end,
            forge_record(image.store_id, b"\xc1", written + 1, 0, last.digest, mark=mark),
        ),
    }


def _durable_changes(image: Image) -> dict[str, Callable[[Files], object]]:
    def state(store_id: bytes, revision: int) -> Callable[[Files], None]:
        return lambda files: files.update(durable=pack_durable(store_id, revision))

    return {
        "good": lambda files: None,
        "missing": lambda files: files.pop("durable"),
        "torn": lambda files: _overwritten(files, "durable", 30, b"\xff"),
        "behind": state(image.store_id, image.written - 3),
        "ahead": state(image.store_id, image.written + 1),
        "of another store": state(bytes(16), image.written + 7),
    }


def _checkpoint_changes(image: Image, other: Image) -> dict[str, Callable[[Files], object]]:
    older, newer = image.checkpoints
    return {
        "both": lambda files: None,
        "newer damaged": lambda files: _overwritten(files, newer, 200, b"\xff"),
        "newer of another branch": lambda files: files.update({newer: other.files[newer]}),
        "older of another branch": lambda files: files.update({older: other.files[older]}),
        "both damaged": lambda files: (
            _overwritten(files, newer, 200, b"\xff"),
            _overwritten(files, older, 200, b"\xff"),
        ),
        "none": lambda files: (files.pop(newer), files.pop(older)),
    }


def _opened(file_system: SimulatedFileSystem, *, read_only: bool) -> tuple[Verdict, int]:
    """Return what an open found, and the revision that it shows."""
    try:
        store = open_on(file_system, read_only=read_only)
    except CorruptionError:
        return Verdict.CORRUPT, -1
    except NotAStoreError:
        return Verdict.NEW, 0
    with store, store.transaction() as transaction:
        return store.recovery.verdict, transaction.revision


def _verified(file_system: SimulatedFileSystem, *, quick: bool) -> VerifyReport | None:
    """Return the report; None if there is no store yet."""
    try:
        return verify_store(PATH, [Shelf()], quick=quick, file_system=file_system)
    except NotAStoreError:
        return None


def test_open_follower_and_verification_agree_on_every_combination(
    deep: bool,
    record_proof: Callable[..., None],
) -> None:
    image, other = build_fork()
    log, durable = _log_changes(image), _durable_changes(image)
    checkpoints = _checkpoint_changes(image, other)
    every = itertools.product(log, durable, checkpoints)
    combinations = [*sample(every, 120, deep=deep, seed=13), ("no segment", "missing", "none")]
    seen = set()
    for names in combinations:
        files = dict(image.files)
        for change in (log[names[0]], durable[names[1]], checkpoints[names[2]]):
            change(files)
        following = _opened(file_system_of(files), read_only=True)
        quick = _verified(file_system_of(files), quick=True)
        full = _verified(file_system_of(files), quick=False)
        file_system = file_system_of(files)
        verdict, revision = _opened(file_system, read_only=False)
        seen.add(verdict)
        for report in (quick, full):
            found = Verdict.NEW if report is None else report.verdict
            assert found is verdict, (names, report)
            if verdict is Verdict.CORRUPT:
                assert report is not None, names
                assert not report.is_sound, names
        if quick is not None:
            assert full is not None
            assert bool(full.problems) >= bool(quick.problems), names
            found_by_full = {problem.path for problem in full.problems}
            assert {problem.path for problem in quick.problems} <= found_by_full, names
        # A follower does not cut the tail; it shows what is known to be durable.
        shown = Verdict.CLEAN if verdict is Verdict.TORN_TAIL else verdict
        assert following[0] is shown, names
        assert following[1] <= revision, names
    assert seen == set(Verdict)
    record_proof("damaged inputs", inputs=len(combinations))


def test_a_full_verification_lists_all_damage_in_archive_and_log() -> None:
    image = build_image()
    files = dict(image.files)
    expected = []
    for path in [*image.segments[:2], image.segments[-1]]:
        if path.endswith(".gz"):
            _overwritten(files, path, len(files[path]) // 2, b"\xff\xff")
        else:
            span = image.spans[path][1]
            _overwritten(files, path, span.start + 80, b"\xff")
        expected.append(f"{PATH}/{path}")
    newest = list(image.checkpoints)[-1]
    _overwritten(files, newest, 200, b"\xff")
    expected.append(f"{PATH}/{newest}")
    report = verify_store(PATH, [Shelf()], file_system=file_system_of(files))
    assert sorted(problem.path for problem in report.problems) == sorted(expected)
    assert any("replay ended at revision" in note for note in report.remarks)
    quick = verify_store(PATH, [Shelf()], quick=True, file_system=file_system_of(files))
    assert {*quick.problems} <= {*report.problems}


def test_several_damaged_records_of_one_segment_are_listed_each_once() -> None:
    image = build_image()
    path = max(image.segments, key=lambda segment: len(image.spans[segment]))
    assert len(image.spans[path]) > 5
    spans = [image.spans[path][number] for number in (1, 3, 4)]
    files = dict(image.files)
    content = bytearray(image.contents[path])
    for span in spans:
        content[span.start + 80] ^= 0xFF
    files[path] = compress(bytes(content)) if path.endswith(".gz") else bytes(content)
    report = verify_store(PATH, [Shelf()], file_system=file_system_of(files))
    places = [(problem.path, problem.offset_bytes) for problem in report.problems]
    # Two that stand side by side are one gap.
    assert places == [(f"{PATH}/{path}", span.start) for span in spans[:2]]


def test_the_list_of_problems_is_bounded_and_the_others_are_counted() -> None:
    image = build_image()
    files = dict(image.files)
    for revision in range(1000, 1150):
        files[f"checkpoints/{revision:020d}.ckpt"] = b"no checkpoint"
    report = verify_store(PATH, [Shelf()], file_system=file_system_of(files))
    assert (len(report.problems), report.more_problems) == (100, 50)
    assert not report.is_sound


def test_a_store_that_is_still_being_made_is_no_damaged_one(tmp_path: Path) -> None:
    for count in range(1, len(DIRECTORIES) + 1):
        path = tmp_path / str(count)
        for name in DIRECTORIES[:count]:
            (path / name).mkdir(parents=True)
        (path / "wal" / "spare-0.tmp").write_bytes(b"half a segment")
        for quick in (True, False):
            with pytest.raises(NotAStoreError, match="still being made"):
                verify_store(path, [Shelf()], quick=quick)
        with pytest.raises(NotAStoreError, match="still being made"):
            EventStore.open(path, [Shelf()], read_only=True)
        with EventStore.open(path, [Shelf()], options=OPTIONS) as store:
            assert store.recovery.verdict is Verdict.NEW


def _put(file_system: SimulatedFileSystem, *texts: str) -> None:
    """Commit batches, and write a checkpoint after each one but the last."""
    with open_on(file_system) as store:
        for place, text in enumerate(texts):
            with store.transaction(writable=True) as transaction:
                transaction.emit(Event("put", {"name": "thing", "text": text}))
            if place + 1 < len(texts):
                store.checkpoint()


def test_an_older_checkpoint_of_another_branch_is_listed_although_an_open_does_without() -> None:
    start = SimulatedFileSystem(keep_steps=False)
    _put(start, "first")
    branches = [file_system_of(files_of(start)) for _ in range(2)]
    for file_system, text in zip(branches, ("one", "other"), strict=True):
        _put(file_system, text, "second", "third")
    files, other = (files_of(file_system) for file_system in branches)
    older = min(path for path in files if path.endswith(".ckpt"))
    files[older] = other[older]
    for quick in (True, False):
        report = _verified(file_system_of(files), quick=quick)
        assert report is not None
        [problem] = report.problems
        assert "another history" in problem.reason
        assert report.verdict is Verdict.CLEAN
    assert _opened(file_system_of(files), read_only=False) == (Verdict.CLEAN, 4)


@pytest.mark.parametrize(
    "name", ["wal/spare-1.tmp", "checkpoints/00000000000000000098.ckpt.tmp", "durable.tmp", "LOCK"]
)
def test_a_directory_in_the_place_of_a_file_is_no_store_to_anyone(name: str) -> None:
    files = {path: data for path, data in build_image().files.items() if path != "LOCK"}
    file_system = file_system_of(files)
    file_system.make_directory(f"{PATH}/{name}")
    asked: list[Callable[[], object]] = [
        lambda: open_on(file_system),
        lambda: open_on(file_system, read_only=True),
        lambda: verify_store(PATH, [Shelf()], file_system=file_system),
    ]
    for ask in asked:
        with pytest.raises(NotAStoreError, match=f"{name}: .* move it elsewhere"):
            ask()


def test_a_refused_open_changes_nothing_but_who_is_named_in_the_lock_file() -> None:
    image = build_image()
    files = image.damaged(image.active, bytes(len(image.files[image.active])))
    files["LOCK"] = b"an earlier holder"
    file_system = file_system_of(files)
    with pytest.raises(CorruptionError):
        open_on(file_system)
    left = files_of(file_system)
    changed = [path for path in left.keys() | files.keys() if left.get(path) != files.get(path)]
    assert changed == ["LOCK"]
    assert b'"pid"' in left["LOCK"]
