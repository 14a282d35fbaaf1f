"""Readers of a damaged store: a follower, the history, past states, a watch, receipts.

None of them recovers anything, so each either gives the right answer or says what is damaged.
"""

from __future__ import annotations

import contextlib
import gzip
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.damage import (
    HEADER_BYTES,
    Files,
    Image,
    build_image,
    file_system_of,
    files_of,
    forge_record,
    items_of,
    open_on,
    reseal,
    tree_of,
    with_pending,
)
from support.damage_oracle import expect, sample

from eventstore import CompactedError, CorruptionError, EventStore, Receipt
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.testing.medium import Medium


@pytest.fixture(params=["settled", "pending"])
def image(request: pytest.FixtureRequest) -> Image:
    return build_image() if request.param == "settled" else with_pending()


def _damages(image: Image, seed: int, *, count: int) -> Iterator[tuple[str, Files]]:
    """Yield files with one damage: a flipped byte, a cut, zeros, or nothing left."""
    draw = random.Random(seed)
    places = [(path, at) for path, data in image.files.items() for at in range(len(data))]
    for path, offset in sample(places, count, deep=False, seed=seed):
        whole = image.files[path]
        content = bytearray(whole)
        content[offset] ^= draw.randrange(1, 256)
        yield f"{path}: byte {offset}", image.damaged(path, bytes(content))
        if offset % 7 == 0:
            yield f"{path}: cut at {offset}", image.damaged(path, whole[:offset])
            zeroed = whole[:offset].ljust(len(whole), b"\0")
            yield f"{path}: zeros from {offset}", image.damaged(path, zeroed)
    for path in image.files:
        yield f"without {path}", image.damaged(path, None)


def _answers(image: Image, store: EventStore) -> Iterator[tuple[str, Any, Any]]:
    """Ask a store everything; yield what was asked, the answer, and the right one."""
    revision, items = items_of(store)
    yield "now", items, image.states[revision]
    oldest = store.oldest_revision()
    found = 0
    try:
        for batch in store.batches(oldest):
            found += 1
            yield "a digest", batch.digest, image.digests[batch.revision - 1]
        yield "how many batches", found, revision - oldest + 1
    except CorruptionError:
        pass
    for past in range(0, revision + 1, 5):
        try:
            with store.at(revision=past) as tx:
                yield "the past", dict(tx.table("things").items()), image.states[past]
        except (CorruptionError, CompactedError):
            pass
    for given in range(1, revision + 1, 9):
        receipt = Receipt(image.store_id, given, image.digests[given - 1])
        with contextlib.suppress(CorruptionError, CompactedError):
            yield "a receipt", store.check_receipt(receipt).revision, given


def test_a_follower_gives_the_right_answer_or_refuses(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    inputs, changed = 0, []
    wrong: list[tuple[str, object]] = []
    for what, files in _damages(image, 1, count=3000 if deep else 60):
        inputs += 1
        file_system = file_system_of(files)
        before = tree_of(file_system)
        try:
            with open_on(file_system, read_only=True) as follower:
                revision, items = items_of(follower)
                is_bound_known = files.get("durable", b"")[:40] == image.files["durable"]
                if (
                    items != image.states[revision]
                    or revision > image.written
                    or (is_bound_known and revision != image.acknowledged)
                ):
                    wrong.append((what, revision))
                wrong += [(what, a[0]) for a in _answers(image, follower) if a[1] != a[2]]
        except CorruptionError:
            if expect(image, files).verdict != "corrupt":
                wrong.append((what, "refused"))
        if tree_of(file_system) != before:
            changed.append(what)
    assert (wrong, changed) == ([], [])
    record_proof("damaged inputs", inputs=inputs, phantom=len(wrong), changed=len(changed))


def test_history_past_states_and_receipts_are_right_or_refused(
    image: Image, deep: bool, record_proof: Callable[..., None]
) -> None:
    """Damage that an open need not see: in the archive, and before the newest checkpoint."""
    inputs, wrong = 0, []
    for what, files in _damages(image, 2, count=3000 if deep else 60):
        if expect(image, files).verdict == "corrupt":
            continue
        inputs += 1
        with open_on(file_system_of(files)) as store:
            wrong += [(what, a[0]) for a in _answers(image, store) if a[1] != a[2]]
    assert not wrong
    record_proof("damaged inputs", inputs=inputs, phantom=len(wrong))


def test_damage_under_an_open_store_is_never_read_as_history(image: Image) -> None:
    """The files are damaged after the open: what is read from them later is right or refused."""
    wrong = []
    for what, files in _damages(image, 3, count=40):
        file_system = file_system_of(image.files)
        with open_on(file_system) as store:
            damaged = file_system_of(files).medium
            for directory in ("wal", "archive", "checkpoints", "index"):
                _replace(file_system, damaged, directory)
            wrong += [(what, a[0]) for a in _answers(image, store) if a[1] != a[2]]
    assert not wrong


def _replace(file_system: Any, damaged: Any, directory: str) -> None:
    """Give the files of a directory the content that they have in another medium."""
    for path, content in damaged.files().items():
        if path.startswith(f"/store/{directory}/") and file_system.exists(path):
            file = file_system.open(path, writable=True)
            file.truncate(len(content))
            file.write(0, content)
            file.close()


class PatientFileSystem(SimulatedFileSystem):
    """Lets a directory be listed some times, so that a reader without progress fails."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium, keep_steps=False)
        self.listings_left = 2000

    def list_directory(self, path: str) -> list[str]:
        self.listings_left -= 1
        assert self.listings_left > 0, "the reader makes no progress"
        return super().list_directory(path)


def _superseded(image: Image) -> Files:
    """Return the files with the whole archive still in the log, as before a compaction."""
    files = {path: data for path, data in image.files.items() if not path.startswith("archive/")}
    for path in image.segments:
        if path.startswith("archive/"):
            name = path.removeprefix("archive/").removesuffix(".gz")
            files[f"wal/{name}"] = image.contents[path].ljust(4096, b"\0")
    return files


def _cuts(path: str, content: bytes, ends: list[int]) -> Iterator[tuple[str, bytes]]:
    for end in ends:
        cut = content[:end]
        if path.endswith(".gz"):
            yield f"{path}: until {end}", gzip.compress(cut, mtime=0)
        else:
            yield f"{path}: cut at {end}", cut
            yield f"{path}: zeros from {end}", cut.ljust(len(content), b"\0")


def test_a_segment_that_lost_its_records_ends_every_reader_in_words() -> None:
    """An open does not look at what a checkpoint supersedes; who reads it must not go round."""
    image = build_image()
    refused = 0
    for files in (image.files, _superseded(image)):
        superseded = [path for path in sorted(files) if ".log" in path][:-1]
        for path in superseded:
            whole = files[path]
            content = gzip.decompress(whole) if path.endswith(".gz") else whole
            first = int(path.split("/")[1].split(".")[0])
            spans = [s for found in image.spans.values() for s in found if s.revision >= first]
            ends = [HEADER_BYTES, spans[0].end]
            for what, damaged in _cuts(path, content, ends):
                file_system = PatientFileSystem(file_system_of({**files, path: damaged}).medium)
                for read_only in (False, True):
                    try:
                        store = open_on(file_system, read_only=read_only)
                    except CorruptionError:
                        continue
                    with store:
                        for read in (
                            lambda s=store: list(s.batches(1)),
                            lambda s=store, at=first: s.at(revision=at + 1),
                            lambda s=store: list(s.watch(1, timeout=0)),
                        ):
                            try:
                                read()
                            except CorruptionError:
                                refused += 1
                        with pytest.raises(CorruptionError):
                            list(store.batches(first))
                        assert not store.verify(quick=False).is_sound, what
    assert refused


def _with_segment(files: Files, path: str, content: bytes) -> Files:
    is_packed = path.endswith(".gz")
    return {**files, path: gzip.compress(content, mtime=0) if is_packed else content}


def _first_segment_forged(image: Image) -> bytes:
    """Return the first segment with this store's id and another start of its chain."""
    path = image.segments[0]
    content, spans = image.contents[path], image.spans[path]
    header = bytearray(content[:HEADER_BYTES])
    header[56:88] = bytes(32)
    digest = bytes(32)
    parts = [reseal(bytes(header))]
    for span in spans:
        payload = content[span.header_end : span.payload_end]
        record = forge_record(
            image.store_id,
            payload,
            span.revision,
            span.durable_revision,
            digest,
            mark=content[88:96],
        )
        digest = record[40:72]
        parts.append(record)
    return b"".join(parts)


@pytest.mark.parametrize("forging", ["another store", "this store's id"])
def test_the_archive_of_another_store_is_no_history_of_this_one(forging: str) -> None:
    image, other = build_image(), build_image.__wrapped__()
    path = image.segments[0]
    assert path == other.segments[0] == "archive/00000000000000000001.log.gz"
    content = other.contents[path] if forging == "another store" else _first_segment_forged(image)
    assert content[16:32] == (other if forging == "another store" else image).store_id
    with open_on(file_system_of(_with_segment(image.files, path, content))) as store:
        for read in (
            lambda: next(iter(store.batches(1, 1))),
            lambda: next(iter(store.batches(2, 2))),
            lambda: store.at(revision=3),
            lambda: next(iter(store.watch(1, timeout=0))),
        ):
            with pytest.raises(CorruptionError, match=r"another store|does not start the digest"):
                read()


def test_compaction_archives_nothing_of_another_store(image: Image) -> None:
    other = build_image.__wrapped__()
    mine, foreign = _superseded(image), _superseded(other)
    names = sorted(path for path in mine if path.startswith("wal/0"))[:3]
    assert names == sorted(path for path in foreign if path.startswith("wal/0"))[:3]
    file_system = file_system_of(mine | {name: foreign[name] for name in names})
    with open_on(file_system) as store:
        with pytest.raises(CorruptionError, match="another store"):
            store.compact()
        left = files_of(file_system)
    assert not [path for path in left if path.startswith("archive/")]
    assert all(left[name] == foreign[name] for name in names)


def test_compaction_archives_no_segment_under_the_name_of_another(image: Image) -> None:
    files = _superseded(image)
    first, second, *_ = sorted(path for path in files if path.startswith("wal/0"))
    files[first] = files[second]
    renamed = f"wal/{int(second[4:24]) - 1:020}.log"
    files[renamed] = files.pop(second)
    file_system = file_system_of(files)
    with (
        open_on(file_system) as store,
        pytest.raises(CorruptionError, match="states first revision"),
    ):
        store.compact()
