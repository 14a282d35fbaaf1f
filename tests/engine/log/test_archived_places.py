"""What is read here and there of an archived segment is what was archived, in whatever order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.files.local import local_file_system
from eventstore.format.archive import pack_archive
from eventstore.log.segments import SegmentSource, open_places

CONTENT = random.Random(7).randbytes(200_000) + bytes(150_000) + b"the end"
BLOCK_BYTES = 64 * 1024
near_an_edge = st.builds(
    lambda number, by: max(0, number * BLOCK_BYTES + by), st.integers(0, 6), st.integers(-9, 9)
)
offsets = st.one_of(st.integers(0, len(CONTENT) + 9), near_an_edge)
places = st.tuples(offsets, st.one_of(st.integers(1, 300), st.integers(1, 3 * BLOCK_BYTES)))


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> SegmentSource:
    """Archive the content, in six blocks."""
    path = tmp_path_factory.mktemp("archive") / "segment"
    path.write_bytes(pack_archive(CONTENT))
    return SegmentSource(1, str(path), is_archived=True)


@given(wanted=st.lists(places, min_size=1, max_size=12))
def test_places_hold_what_was_archived(
    archived: SegmentSource, wanted: list[tuple[int, int]]
) -> None:
    file = open_places(local_file_system(), archived)
    try:
        for offset, size in wanted:
            assert file.read(offset, size) == CONTENT[offset : offset + size]
    finally:
        file.close()
