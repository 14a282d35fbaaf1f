"""A repair unpacks no more of a damaged archive file than a stated bound."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from support.engine import add, archived, balance, open_store
from support.ledger import Ledger, Totals

from eventstore import repair_store
from eventstore.files.local import LocalFileSystem
from eventstore.log import segments
from eventstore.log.segments import list_archived, open_readable_part

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024


def bomb(byte: bytes, size_mib: int, *, is_whole: bool) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(compressor.compress(byte * MIB) for _ in range(size_mib))
    return packed + compressor.flush() if is_whole else packed


@pytest.mark.parametrize(
    ("byte", "is_whole"), [(b"\0", True), (b"\0", False), (b"\xff", True)], ids=str
)
def test_a_repair_unpacks_a_bomb_up_to_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, byte: bytes, is_whole: bool
) -> None:
    monkeypatch.setattr(segments, "_SALVAGED_BYTES", MIB)
    path = tmp_path / "store"
    with open_store(path) as store:
        for _ in range(3):
            add(store, 60)
            store.compact()
    for file in archived(path)[:1]:
        file.write_bytes(bomb(byte, 20, is_whole=is_whole))
    # What a slice of the packed file unpacks to may go beyond.
    bound = max(MIB, 64 * archived(path)[0].stat().st_size) + 5 * MIB
    for source in list_archived(LocalFileSystem(), str(path))[:1]:
        part, _ = open_readable_part(LocalFileSystem(), source)
        assert part.size_bytes() <= bound
        part.close()
    report = repair_store(path, tmp_path / "repaired", [Ledger(), Totals()])
    assert {damage.path for damage in report.damage} >= set(map(str, archived(path)[:1]))
    with open_store(tmp_path / "repaired") as store:
        assert balance(store) == 180


def test_a_sound_archived_segment_is_read_whole_however_well_it_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_SALVAGED_BYTES", 1)
    monkeypatch.setattr(segments, "_SALVAGED_RATIO", 1)
    path = tmp_path / "store"
    with open_store(path) as store:
        for _ in range(3):
            add(store, 3, note="b" * 1000)
            store.compact()
    for source in list_archived(LocalFileSystem(), str(path)):
        part, problem = open_readable_part(LocalFileSystem(), source)
        assert problem is None
        assert part.size_bytes() > 2000
        part.close()
    assert archived(path)[0].stat().st_size < 2000
