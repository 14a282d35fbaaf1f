"""Every byte flipped, every file cut at every length and zeroed from every sector on.

Each damaged store is opened for writing, opened again, and verified; the oracle in
`support.damage` says what must come of it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.damage import (
    RECORD_HEADER_BYTES,
    Image,
    as_version_1,
    build_image,
    with_pending,
)
from support.damage_oracle import Tally, expect, sample

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES: dict[str, Callable[[], Image]] = {
    "settled": build_image,
    "pending": with_pending,
    "version 1": lambda: as_version_1(with_pending()),
}
KINDS = ("LOCK", "durable", "wal", "checkpoints", "archive", "torn", "index", "tree")
# The release that wrote segments of version 1 made no indexes.
CASES = [
    (image, kind) for image in IMAGES for kind in KINDS if (image, kind) != ("version 1", "index")
]
SECTOR_BYTES = 512


def _paths(image: Image, kind: str) -> list[str]:
    return sorted(path for path in image.files if path.split("/")[0] == kind)


def _log_segments(image: Image) -> list[str]:
    return [path for path in image.segments if not path.endswith(".gz")]


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> Image:
    return IMAGES[request.param]()


@pytest.mark.parametrize(("image", "kind"), CASES, indirect=["image"])
def test_a_flipped_bit_leads_to_the_right_verdict(
    image: Image, kind: str, deep: bool, record_proof: Callable[..., None]
) -> None:
    places = [
        (path, offset, bit)
        for path in _paths(image, kind)
        for offset in range(len(image.files[path]))
        for bit in range(8)
    ]
    tally = Tally()
    for path, offset, bit in sample(places, 60, deep=deep, seed=1):
        content = bytearray(image.files[path])
        content[offset] ^= 1 << bit
        files = image.damaged(path, bytes(content))
        tally.check(image, files, expect(image, files), f"{path}: bit {bit} of byte {offset}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


@pytest.mark.parametrize(("image", "kind"), CASES, indirect=["image"])
def test_a_byte_with_any_other_value_leads_to_the_right_verdict(
    image: Image, kind: str, deep: bool, record_proof: Callable[..., None]
) -> None:
    draw = random.Random(2)
    places = [(path, at) for path in _paths(image, kind) for at in range(len(image.files[path]))]
    tally = Tally()
    for path, offset in sample(places, 25, deep=deep, seed=2):
        content = bytearray(image.files[path])
        content[offset] ^= draw.randrange(1, 256)
        files = image.damaged(path, bytes(content))
        tally.check(image, files, expect(image, files), f"{path}: {content[offset]} at {offset}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


@pytest.mark.parametrize(("image", "kind"), CASES, indirect=["image"])
def test_a_file_cut_at_any_length_leads_to_the_right_verdict(
    image: Image, kind: str, deep: bool, record_proof: Callable[..., None]
) -> None:
    places = [(path, cut) for path in _paths(image, kind) for cut in range(len(image.files[path]))]
    tally = Tally()
    for path, length in sample(places, 40, deep=deep, seed=3):
        files = image.damaged(path, image.files[path][:length])
        tally.check(image, files, expect(image, files), f"{path}: cut to {length} bytes")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_a_file_cut_at_a_boundary_of_a_record_leads_to_the_right_verdict(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    places = [
        (path, length)
        for path in _log_segments(image)
        for span in image.spans[path]
        for length in (
            span.start,
            span.start + 1,
            span.start + RECORD_HEADER_BYTES,
            span.end - 1,
            span.end,
        )
    ]
    tally = Tally()
    for path, length in sample(places, 80, deep=deep, seed=4):
        files = image.damaged(path, image.files[path][:length])
        tally.check(image, files, expect(image, files), f"{path}: cut to {length} bytes")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_zeros_from_any_sector_on_lead_to_the_right_verdict(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    """To the end of the sector, and to the end of the file."""
    places = [
        (path, start, end)
        for path, data in image.files.items()
        for start in range(0, len(data), SECTOR_BYTES)
        for end in (start + SECTOR_BYTES, len(data))
    ]
    tally = Tally()
    for path, start, end in sample(places, 80, deep=deep, seed=5):
        whole = image.files[path]
        zeroed = whole[:start] + bytes(min(end, len(whole)) - start) + whole[end:]
        files = image.damaged(path, zeroed)
        tally.check(image, files, expect(image, files), f"{path}: zeros from {start} to {end}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_zeros_from_the_start_of_any_record_on_lead_to_the_right_verdict(
    image: Image, record_proof: Callable[..., None]
) -> None:
    tally = Tally()
    for path in _log_segments(image):
        whole = image.files[path]
        for span in image.spans[path]:
            files = image.damaged(path, whole[: span.start].ljust(len(whole), b"\0"))
            what = f"{path}: zeros from revision {span.revision} on"
            tally.check(image, files, expect(image, files), what)
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_a_file_with_bytes_added_leads_to_the_right_verdict(
    image: Image, record_proof: Callable[..., None]
) -> None:
    tally = Tally()
    for path, whole in image.files.items():
        for added in (b"\0", bytes(4096), b"\x01", b"\0" * 100 + b"\xff" * 100):
            files = image.damaged(path, whole + added)
            tally.check(image, files, expect(image, files), f"{path}: {len(added)} bytes added")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())


def test_damage_in_two_files_at_once_leads_to_the_right_verdict(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    draw = random.Random(4)
    paths = sorted(image.files)
    tally = Tally()
    for _ in range(20_000 if deep else 80):
        files = dict(image.files)
        damaged = draw.sample(paths, draw.randint(2, 3))
        for path in damaged:
            content = bytearray(files[path])
            offset = draw.randrange(len(content))
            match draw.randrange(3):
                case 0:
                    content[offset] ^= draw.randrange(1, 256)
                case 1:
                    del content[offset:]
                case _:
                    content[offset:] = bytes(len(content) - offset)
            files[path] = bytes(content)
        tally.check(image, files, expect(image, files), f"{damaged}")
    tally.assert_clean()
    record_proof("damaged inputs", **tally.counts())
