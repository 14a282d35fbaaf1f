"""Damage of any file of a backup is found, and nothing is made of it."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, add, open_store, tree
from support.ledger import Ledger, Totals

from eventstore import (
    BackupError,
    CorruptionError,
    DamagedBackupError,
    EventStoreError,
    FormatVersionError,
    Retention,
    restore_store,
    verify_backup,
)
from eventstore.copies import backing_up
from eventstore.format.blocks import MalformedError
from eventstore.format.manifest import MANIFEST_NAME, unpack_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEDGER = (Ledger(), Totals())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a store that retention has cut, and its backup of several files."""
    path = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backing_up, "PART_BYTES", 4096)
        with open_store(path / "store", options=replace(SMALL, retention=Retention.none())) as one:
            for _ in range(3):
                add(one, 25)
                one.compact()
            one.backup(path / "backup", verify=True)
    return path


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def files_of(backup: Path) -> list[Path]:
    return sorted(each for each in backup.iterdir() if each.name != "LOCK")


def require_refused(backup: Path, *, kind: type[EventStoreError] = DamagedBackupError) -> None:
    """Check that a damaged backup is refused by all who read it, and stays as it is."""
    made, before = backup.parent / "made", tree(backup)
    with pytest.raises(kind):
        verify_backup(backup)
    with pytest.raises(kind):
        restore_store(backup, made, LEDGER, options=SMALL)
    assert not made.exists()
    assert tree(backup) == before


def test_backup_has_every_kind_of_file(whole: Path) -> None:
    kinds = {each.name.split("-")[0] for each in files_of(whole / "backup")}
    assert kinds == {MANIFEST_NAME, "batches", "leaves", "state"}
    assert len(files_of(whole / "backup")) >= 5


def test_file_that_is_missing_cut_short_or_longer_is_found(place: Path) -> None:
    backup = place / "backup"
    for path in files_of(backup):
        data = path.read_bytes()
        kind = BackupError if path.name == MANIFEST_NAME else DamagedBackupError
        path.unlink()
        require_refused(backup, kind=kind)
        for changed in (b"", data[:-1], data[: len(data) // 2], data + b"\0"):
            path.write_bytes(changed)
            require_refused(backup)
            with (
                open_store(place / "store") as store,
                pytest.raises(DamagedBackupError),
            ):
                store.backup(backup)
        path.write_bytes(data)
    verify_backup(backup)


def test_every_changed_byte_is_found(place: Path, deep: bool) -> None:
    backup, draw = place / "backup", random.Random(0)
    for path in files_of(backup):
        data = path.read_bytes()
        places = range(len(data))
        for at in places if deep else [0, len(data) - 1, *draw.sample(places, 12)]:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            with pytest.raises(CorruptionError):
                verify_backup(backup)
        path.write_bytes(data[:20] + bytes([data[20] ^ 255]) + data[21:])
        require_refused(backup)
        path.write_bytes(data)
    verify_backup(backup)


def test_every_cut_of_a_manifest_is_no_manifest(whole: Path) -> None:
    data = (whole / "backup" / MANIFEST_NAME).read_bytes()
    assert unpack_manifest(data).revision == verify_backup(whole / "backup").revision >= 75
    for end in range(len(data)):
        with pytest.raises(MalformedError):
            unpack_manifest(data[:end])


def sealed(fields: dict[str, Any]) -> bytes:
    """Return a manifest with a right checksum, whatever it says."""
    fields = {name: value for name, value in fields.items() if name != "sha256"}
    text = json.dumps(fields, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]},"sha256":"{digest}"}}\n'.encode()


def _file(name: str) -> Callable[[dict[str, Any]], object]:
    def change(fields: dict[str, Any]) -> None:
        fields["batches"][0][0][0] = name

    return change


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda fields: fields.update(format="x"),
    "a field more": lambda fields: fields.update(x=1),
    "no batches": lambda fields: fields.pop("batches"),
    "batches of a number": lambda fields: fields.update(batches=1),
    "batches of batches": lambda fields: fields.update(batches=[[[[]]]]),
    "a path above": _file("../batches"),
    "an absolute path": _file("/etc/passwd"),
    "the name of another kind": lambda fields: fields["batches"][0].__setitem__(0, fields["state"]),
    "a gap": lambda fields: fields["batches"].pop(1),
    "another order": lambda fields: fields["batches"].reverse(),
    "a file twice": lambda fields: fields["batches"].insert(0, fields["batches"][0]),
    "another revision": lambda fields: fields.update(revision=74),
    "another digest": lambda fields: fields.update(digest="00" * 32),
    "no state": lambda fields: fields.update(state=None),
    "a state before": lambda fields: fields["state"].__setitem__(3, 1),
    "leaves of another place": lambda fields: fields["leaves"].__setitem__(3, 1),
    "a negative length": lambda fields: fields["state"].__setitem__(1, -1),
    "a text for a length": lambda fields: fields["state"].__setitem__(1, "1"),
    "a huge revision": lambda fields: fields.update(first_revision=2**64),
    "a store id of another length": lambda fields: fields.update(store_id="00"),
    "another version of nothing": lambda fields: fields.update(version="1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifest_with_a_right_checksum_is_refused(name: str, place: Path) -> None:
    path = place / "backup" / MANIFEST_NAME
    fields = json.loads(path.read_bytes())
    assert sealed(fields) == path.read_bytes()
    HOSTILE[name](fields)
    path.write_bytes(sealed(fields))
    with pytest.raises(MalformedError):
        unpack_manifest(path.read_bytes())
    require_refused(place / "backup")


def test_manifest_that_is_nested_without_end_is_refused(place: Path) -> None:
    (place / "backup" / MANIFEST_NAME).write_bytes(b"[" * 200_000)
    require_refused(place / "backup")


def test_newer_manifest_is_told_from_damage(place: Path) -> None:
    path = place / "backup" / MANIFEST_NAME
    path.write_bytes(sealed({**json.loads(path.read_bytes()), "version": 2}))
    require_refused(place / "backup", kind=FormatVersionError)


def test_newer_version_without_a_right_checksum_is_damage(place: Path) -> None:
    path = place / "backup" / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
    require_refused(place / "backup")


def forged(backup: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = backup / MANIFEST_NAME
    fields = json.loads(path.read_bytes())
    change(fields)
    path.write_bytes(sealed(fields))


def test_end_that_the_batches_do_not_lead_to_is_refused(place: Path) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["digest"] = fields["batches"][-1][2] = "00" * 32

    forged(place / "backup", change)
    require_refused(place / "backup")


def test_batches_of_another_history_are_refused_although_the_manifest_names_them(
    place: Path,
) -> None:
    """Somebody swaps a file for one of a fork of the same store, and seals the manifest again."""
    shutil.copytree(place / "store", place / "fork")
    shutil.copytree(place / "backup", place / "other")
    entries = {}
    # The fork first: its batches are older, which alone gives nothing away.
    for store, backup, note in (("fork", "other", "that"), ("store", "backup", "this")):
        with open_store(place / store) as one:
            add(one, 5, note)
            one.backup(place / backup)
            entries[backup] = json.loads((place / backup / MANIFEST_NAME).read_bytes())["batches"][
                -1
            ]
            add(one, 5, note)
            newest = one.backup(place / backup).revision
    assert verify_backup(place / "backup").revision == newest >= 85
    shutil.copy(place / "other" / entries["other"][0][0], place / "backup")

    def swap(fields: dict[str, Any]) -> None:
        fields["batches"][fields["batches"].index(entries["backup"])] = entries["other"]

    forged(place / "backup", swap)
    require_refused(place / "backup")


def test_leaves_of_another_history_are_refused_although_the_manifest_names_them(
    place: Path,
) -> None:
    backup = place / "backup"
    [leaves] = backup.glob("leaves-*")
    data = leaves.read_bytes()
    data = data[:-1] + bytes([data[-1] ^ 1])
    leaves.write_bytes(data)
    forged(backup, lambda fields: fields["leaves"].__setitem__(2, hashlib.sha256(data).hexdigest()))
    require_refused(backup)


def test_state_that_is_no_checkpoint_is_refused_although_the_manifest_names_it(
    place: Path,
) -> None:
    backup = place / "backup"
    [state] = backup.glob("state-*")
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    forged(backup, lambda fields: fields["state"].__setitem__(2, hashlib.sha256(data).hexdigest()))
    with pytest.raises(CorruptionError):
        restore_store(backup, place / "made", LEDGER, options=SMALL)
    assert not (place / "made").exists()


def test_archive_that_unpacks_without_end_is_refused(place: Path) -> None:
    backup = place / "backup"
    batches = min(backup.glob("batches-*"))
    batches.write_bytes(b"\x1f\x8b" + b"\0" * 1000)
    data = batches.read_bytes()

    def change(fields: dict[str, Any]) -> None:
        fields["batches"][0][0][1:3] = [len(data), hashlib.sha256(data).hexdigest()]

    forged(backup, change)
    require_refused(backup)
