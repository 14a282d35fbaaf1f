"""Records duplicated, swapped, moved and replaced; segments and checkpoints missing or foreign."""

from __future__ import annotations

import struct
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from support.damage import (
    PATH,
    RECORD_HEADER_BYTES,
    Image,
    Span,
    build_fork,
    build_image,
    with_pending,
    without_archive,
)
from support.damage_oracle import Expected, Tally, expect, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(params=["settled", "pending"])
def image(request: pytest.FixtureRequest) -> Image:
    return build_image() if request.param == "settled" else with_pending()


def _log_segments(image: Image) -> list[str]:
    return [path for path in image.segments if not path.endswith(".gz")]


def _fitted(content: bytes, size: int) -> bytes:
    """Cut or extend a segment to its size."""
    return content[:size].ljust(size, b"\0")


def _check(
    image: Image, path: str, content: bytes, what: str, tally: Tally, *, claim: int = 0
) -> None:
    files = image.damaged(path, content)
    tally.check(image, files, expect(image, files, claim=claim), f"{path}: {what}")


def test_a_duplicated_record_is_never_taken_for_the_next_one(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    """Over the next record, or between two, so that all later ones move."""
    tally = Tally()
    cases = [
        (path, span, target)
        for path in _log_segments(image)
        for span in image.spans[path]
        for target in image.spans[path]
    ]
    for path, span, target in sample(cases, 50, deep=deep):
        whole = image.files[path]
        copy = whole[span.start : span.end]
        over = whole[: target.end] + copy + whole[target.end + len(copy) :]
        claim = span.durable_revision if span.revision > target.revision else 0
        what = f"{span.revision} again over what follows {target.revision}"
        _check(image, path, _fitted(over, len(whole)), what, tally, claim=claim)
        between = whole[: target.end] + copy + whole[target.end :]
        later = [s.durable_revision for s in image.spans[path] if s.revision > target.revision]
        what = f"{span.revision} again between {target.revision} and the next"
        claim = max([claim, *later])
        _check(image, path, _fitted(between, len(whole)), what, tally, claim=claim)
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_swapped_records_are_never_taken(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    tally = Tally()
    cases = [
        (path, low, high)
        for path in _log_segments(image)
        for low, high in combinations(image.spans[path], 2)
    ]
    for path, low, high in sample(cases, 50, deep=deep):
        whole = image.files[path]
        content = b"".join(
            (
                whole[: low.start],
                whole[high.start : high.end],
                whole[low.end : high.start],
                whole[low.start : low.end],
                whole[high.end :],
            )
        )
        claim = max(s.durable_revision for s in image.spans[path] if s.revision <= high.revision)
        what = f"{low.revision} and {high.revision} swapped"
        _check(image, path, content, what, tally, claim=claim)
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_a_record_left_out_is_missed(image: Image, record_proof: Callable[..., None]) -> None:
    tally = Tally()
    for path in _log_segments(image):
        for span in image.spans[path]:
            whole = image.files[path]
            content = _fitted(whole[: span.start] + whole[span.end :], len(whole))
            later = [s.durable_revision for s in image.spans[path] if s.revision > span.revision]
            what = f"{span.revision} left out"
            _check(image, path, content, what, tally, claim=max(later, default=0))
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def _donors() -> Iterator[tuple[Image, bytes, Span]]:
    other, (one, two) = build_image(2), build_fork()
    for image in (other, one, two):
        for path in image.segments:
            for span in image.spans[path]:
                yield image, image.contents[path][span.start : span.end], span


def test_a_record_of_another_store_or_branch_is_never_taken(
    deep: bool, record_proof: Callable[..., None]
) -> None:
    """The branch has the same store id, so its records hold by their own checksums."""
    tally = Tally()
    branch = build_fork()[0]
    cases = [
        (image, path, span, donor, record, taken)
        for image in (build_image(), with_pending(), branch)
        for path in _log_segments(image)
        for span in image.spans[path]
        for donor, record, taken in _donors()
        if taken.revision == span.revision or (span.revision + taken.revision) % 11 == 0
    ]
    # Those that nothing but the digest tells apart, and some of the others.
    closest = [
        case
        for case in cases
        if case[0].store_id == case[3].store_id and case[2].revision == case[5].revision
    ]
    chosen = [*closest, *sample(cases, 80, deep=deep)]
    for image, path, span, donor, record, taken in chosen:
        whole = image.files[path]
        content = _fitted(whole[: span.start] + record + whole[span.end :], len(whole))
        if record == whole[span.start : span.end]:
            continue
        same_seed = donor.store_id == image.store_id and taken.revision >= span.revision
        later = [s.durable_revision for s in image.spans[path] if s.revision > span.revision]
        claim = max([taken.durable_revision if same_seed else 0, *later])
        what = f"{span.revision} replaced by {taken.revision} of another history"
        _check(image, path, content, what, tally, claim=claim)
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_later_records_prove_what_was_acknowledged_without_the_durable_file(
    image: Image, record_proof: Callable[..., None]
) -> None:
    """All but the last batch: no record was written after that one (assumption 5)."""
    tally = Tally()
    path = image.active
    for span in image.spans[path]:
        for content in (None, b"", bytes(40)):
            files = (
                image.damaged("durable", content)
                if content is not None
                else {name: data for name, data in image.files.items() if name != "durable"}
            )
            segment = bytearray(image.files[path])
            segment[span.start + RECORD_HEADER_BYTES + 3] ^= 0x10
            files[path] = bytes(segment)
            tally.check(image, files, expect(image, files), f"no durable file, {span.revision}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_chunks_of_a_checkpoint_left_out_doubled_or_swapped_are_noticed(
    record_proof: Callable[..., None],
) -> None:
    """Each chunk holds by its own checksum."""
    image = build_image()
    tally = Tally()
    for path in image.checkpoints:
        whole = image.files[path]
        (start,) = struct.unpack_from("<I", whole, 12)
        chunks = []
        while not whole.startswith(b"EVSTCKF", start):
            _, rows, *lengths = struct.unpack_from("<5I", whole, start)
            end = start + 24 + sum(lengths) + 4 * rows
            chunks.append(whole[start:end])
            start = end
        first, second = chunks
        head, foot = whole[: whole.index(first)], whole[start:]
        for kept in (
            [],
            [first],
            [second],
            [second, first],
            [first, first],
            [first, second, second],
        ):
            files = image.damaged(path, head + b"".join(kept) + foot)
            tally.check(image, files, expect(image, files), f"{path}: {len(kept)} chunks")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_missing_files_lead_to_the_right_verdict(
    deep: bool, record_proof: Callable[..., None]
) -> None:
    """Any one, any two, and all of a kind."""
    tally = Tally()
    for image in (build_image(), with_pending(), without_archive(build_image())):
        paths = sorted(image.files)
        kinds = [
            [path for path in paths if path.startswith(kind)] for kind in ("wal", "arch", "ch")
        ]
        pairs = sample(combinations(paths, 2), 40, deep=deep)
        for missing in [*combinations(paths, 1), *pairs, *kinds, paths]:
            files = {path: data for path, data in image.files.items() if path not in missing}
            if files:
                tally.check(image, files, expect(image, files), f"without {missing}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_swapped_names_lead_to_the_right_verdict(record_proof: Callable[..., None]) -> None:
    """Segments under each other's names, and checkpoints."""
    tally = Tally()
    for image in (build_image(), with_pending()):
        named = [_log_segments(image), list(image.checkpoints)]
        named.append([path for path in image.segments if path.endswith(".gz")])
        for paths in named:
            for one, two in combinations(paths, 2):
                files = {**image.files, one: image.files[two], two: image.files[one]}
                tally.check(image, files, expect(image, files), f"{one} and {two} swapped")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_a_file_of_another_store_is_never_taken(record_proof: Callable[..., None]) -> None:
    """In the place of any file of the same kind, under the name that is expected there."""
    tally = Tally()
    other = build_image(2)
    for image in (build_image(), with_pending()):
        for path in image.files:
            kind = path.split("/")[0]
            for foreign, content in other.files.items():
                if foreign.split("/")[0] == kind and foreign[-3:] == path[-3:]:
                    files = image.damaged(path, content)
                    tally.check(image, files, expect(image, files), f"{path}: foreign {foreign}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_checkpoints_of_another_store_are_set_aside(record_proof: Callable[..., None]) -> None:
    tally = Tally()
    image, other = build_image(), build_image(2)
    pairs = list(zip(image.checkpoints, other.checkpoints, strict=True))
    for chosen in (pairs[:1], pairs[1:], pairs):
        files = dict(image.files)
        for path, foreign in chosen:
            files[path] = other.files[foreign]
        tally.check(image, files, expect(image, files), f"foreign checkpoints {chosen}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_a_checkpoint_of_another_branch_is_refused(record_proof: Callable[..., None]) -> None:
    """It is valid and of this store, so the log is what doesn't fit: by the table, corruption."""
    tally = Tally()
    one, two = build_fork()
    for image, other in ((one, two), (two, one)):
        older, newer = image.checkpoints
        assert list(other.checkpoints) == [older, newer]
        files = image.damaged(newer, other.files[newer])
        refused = Expected("corrupt", None, (), is_sound=False)
        tally.check(image, files, refused, "the newest checkpoint is of the other branch")
        both = {**files, older: other.files[older]}
        tally.check(image, both, refused, "both checkpoints are of the other branch")
        # The older one is not read by an open, but a verification finds it.
        files = image.damaged(older, other.files[older])
        unread = Expected("clean", image.written, (), is_sound=False)
        tally.check(image, files, unread, "the older checkpoint is of the other branch")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_a_log_of_another_branch_is_refused(record_proof: Callable[..., None]) -> None:
    """All segments, or some of them, are from where the other branch went on."""
    tally = Tally()
    one, two = build_fork()
    for image, other in ((one, two), (two, one)):
        for kept in range(len(image.segments)):
            files = {path: data for path, data in image.files.items() if ".log" not in path}
            files |= {path: image.files[path] for path in image.segments[:kept]}
            files |= {path: other.files[path] for path in other.segments[kept:]}
            refused = Expected("corrupt", None, (), is_sound=False)
            tally.check(image, files, refused, f"the branch from segment {kept} on")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_a_foreign_file_under_a_free_name_is_never_taken(record_proof: Callable[..., None]) -> None:
    tally = Tally()
    other = build_image(2)
    image = build_image()
    last, newest = image.written, max(image.checkpoints.values())
    refused = Expected("corrupt", None, (), is_sound=False)
    segment = other.files[other.active]
    for revision in (last + 1, last + 2, last + 500):
        files = {**image.files, f"wal/{revision:020d}.log": segment}
        tally.check(image, files, refused, f"a foreign segment {revision}")
        files = {**image.files, f"wal/{revision:020d}.log": image.files[image.active]}
        tally.check(image, files, refused, f"the active segment once more as {revision}")
    for revision in (newest + 1, last, last + 1, last + 500):
        path = f"checkpoints/{revision:020d}.ckpt"
        for content in (*(other.files[p] for p in other.checkpoints), b"", b"nothing"):
            set_aside = (f"{PATH}/{path}",)
            expected = Expected("clean", last, set_aside, is_sound=False)
            tally.check(image, {**image.files, path: content}, expected, f"a foreign {path}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())
