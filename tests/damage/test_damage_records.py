"""Records duplicated, swapped, moved and replaced; segments and checkpoints missing or foreign."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from damage_oracle import Expected, Tally, expect, sample
from damage_support import (
    PATH,
    Image,
    Span,
    build_fork,
    build_image,
    with_pending,
    without_archive,
)

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
    for path, span, target in sample(cases, 150, deep=deep):
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
    for path, low, high in sample(cases, 100, deep=deep):
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
    for image, path, span, donor, record, taken in sample(cases, 250, deep=deep):
        whole = image.files[path]
        content = _fitted(whole[: span.start] + record + whole[span.end :], len(whole))
        same_seed = donor.store_id == image.store_id and taken.revision >= span.revision
        later = [s.durable_revision for s in image.spans[path] if s.revision > span.revision]
        claim = max([taken.durable_revision if same_seed else 0, *later])
        what = f"{span.revision} replaced by {taken.revision} of another history"
        _check(image, path, content, what, tally, claim=claim)
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_missing_files_lead_to_the_right_verdict(record_proof: Callable[..., None]) -> None:
    """Any one, any two, and all of a kind."""
    tally = Tally()
    for image in (build_image(), with_pending(), without_archive(build_image())):
        paths = sorted(image.files)
        kinds = [
            [path for path in paths if path.startswith(kind)] for kind in ("wal", "arch", "ch")
        ]
        groups = [*combinations(paths, 1), *combinations(paths, 2), *kinds, paths]
        for missing in groups:
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
