"""What a repair must keep and what it must report as lost, known without the engine.

As in `support.damage_oracle`, from the bytes that are untouched. A batch can be kept if it and all
batches up to the highest revision that can be reached are readable, and something untouched says
what it continues: the batch before it, the header of its segment, or a checkpoint.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from support.damage import (
    HEADER_BYTES,
    PATH,
    Files,
    Image,
    Shelf,
    file_system_of,
    items_of,
    mark_of,
)

from eventstore import (
    EventStore,
    LostRevisions,
    Receipt,
    RepairReport,
    StoreOptions,
    repair_store,
)
from eventstore.format.segment import RECORD_ALIGNMENT_BYTES
from eventstore.integrity.verify import verify_store

if TYPE_CHECKING:
    from eventstore.testing.simulated import SimulatedFileSystem

OUTPUT = "/new"
_OPTIONS = StoreOptions(segment_bytes=4096, background=False)


class Kept(NamedTuple):
    """What the new store must hold.

    Attributes:
        first: the oldest batch.
        revision: that it must reach.
        lost: the revisions that are gone.
        detached: revisions of the batches that can be read but not kept.
    """

    first: int
    revision: int
    lost: tuple[LostRevisions, ...]
    detached: tuple[int, ...]


def expect_kept(image: Image, files: Files) -> Kept:
    """Derive what a repair must keep of damaged files, each in its place or missing."""
    linked: set[int] = set()
    readable: set[int] = set()
    for path in image.segments:
        _read(image, path, files.get(path), readable, linked)
    bases = [0, *(rev for path, rev in image.checkpoints.items() if _same(image, files, path))]
    linked |= {base + 1 for base in bases if base + 1 in readable}
    revision = max(_reach(base, readable) for base in bases)
    first = revision + 1
    while first - 1 in readable:
        first -= 1
    if first not in linked and first <= revision:
        first += 1
    # The history may end where the only base begins.
    durable = image.acknowledged if files.get("durable", b"")[:40] == image.files["durable"] else 0
    newest = max([durable, *bases, *readable])
    present = [image.spans[path][0].revision for path in image.segments if path in files]
    oldest = min(present, default=first)
    lost = []
    if oldest < first:
        lost.append(LostRevisions(oldest, first - 1, is_in_state=True))
    if newest > revision:
        lost.append(LostRevisions(revision + 1, newest, is_in_state=False))
    detached = tuple(sorted(rev for rev in readable if not first <= rev <= revision))
    return Kept(first, revision, tuple(lost), detached)


def _same(image: Image, files: Files, path: str) -> bool:
    return files.get(path) == image.files[path]


def _reach(base: int, readable: set[int]) -> int:
    while base + 1 in readable:
        base += 1
    return base


def _read(
    image: Image, path: str, content: bytes | None, readable: set[int], linked: set[int]
) -> None:
    if content is None:
        return
    if path.endswith(".gz"):
        content = _readable_part(content)
    whole = image.contents[path]
    first = image.spans[path][0]
    has_header = content[:HEADER_BYTES] == whole[:HEADER_BYTES]
    if has_header:
        linked.add(first.revision)
    # The first record says which mark all have. Without marks, or without knowing it, only what
    # follows a record is sure to be one, or a damaged record whose header holds.
    is_sure = has_header or _is_same(content, whole, first.start, first.header_end)
    sure_at = 0
    for span in image.spans[path]:
        # Padding holds nothing: it is made anew.
        place = _place_of(content, whole[span.start : span.payload_end])
        if place < 0:
            has_marks = mark_of(whole) != b""
            is_sure &= has_marks or _is_same(content, whole, span.start, span.header_end)
            continue
        linked.add(span.revision + 1)
        end = place + span.end - span.start
        if is_sure or (sure_at == place and content[place:end] == whole[span.start : span.end]):
            readable.add(span.revision)
        sure_at = end


def _is_same(content: bytes, whole: bytes, start: int, end: int) -> bool:
    return content[start:end] == whole[start:end]


def _place_of(content: bytes, record: bytes) -> int:
    """Return where a record is, of all places that one may begin; damage may have moved it.

    A damaged archive file may unpack to more or less than it held. -1 if it is nowhere.
    """
    place = content.find(record)
    while place % RECORD_ALIGNMENT_BYTES and place >= 0:
        place = content.find(record, place + 1)
    return place


def _readable_part(data: bytes) -> bytes:
    """Return what can be decompressed of a gzip stream by the length of its header."""
    try:
        return zlib.decompress(data, 31)
    except zlib.error:
        decompressor = zlib.decompressobj(-15)
    content = b""
    extra_bytes = 2 + int.from_bytes(data[10:12], "little") if data[3] & 4 else 0
    for place in range(10 + extra_bytes, len(data)):
        try:
            content += decompressor.decompress(data[place : place + 1])
        except zlib.error:
            break
    return content


@dataclass
class RepairTally:
    """Counts what went wrong over many repairs, and keeps some examples."""

    inputs: int = 0
    changed_originals: int = 0
    wrong_states: int = 0
    wrong_reports: int = 0
    examples: list[str] = field(default_factory=list)

    def check(
        self, image: Image, files: Files, what: str, expected: Kept | None = None
    ) -> RepairReport:
        """Repair a damaged store, look at what came out, and compare."""
        self.inputs += 1
        expected = expected or expect_kept(image, files)
        file_system = file_system_of(files)
        before = _tree(file_system)
        report = repair_store(PATH, OUTPUT, [Shelf()], file_system=file_system)
        if _tree(file_system) != before:
            self.changed_originals += 1
            self.examples.append(f"{what}: the old store was changed")
        self._check_report(image, report, detached_in(file_system, report), expected, what)
        self._check_store(image, file_system, report, expected, what)
        return report

    def counts(self) -> dict[str, int]:
        return {
            "inputs": self.inputs,
            "changed_originals": self.changed_originals,
            "wrong_states": self.wrong_states,
            "wrong_reports": self.wrong_reports,
        }

    def assert_clean(self) -> None:
        wrong = (self.changed_originals, self.wrong_states, self.wrong_reports)
        assert wrong == (0, 0, 0), "\n".join([str(self.counts()), *self.examples[:20]])
        assert self.inputs

    def _check_report(
        self,
        image: Image,
        report: RepairReport,
        detached: list[dict[str, Any]],
        expected: Kept,
        what: str,
    ) -> None:
        revisions = tuple(sorted(batch["revision"] for batch in detached))
        found = Kept(report.first_revision, report.revision, report.lost, revisions)
        is_same_batch = all(
            batch["digest"] == image.digests[batch["revision"] - 1].hex() for batch in detached
        )
        stated = [
            rev for first, last in report.detached.revisions for rev in range(first, last + 1)
        ]
        is_counted = (len(detached), stated) == (
            report.detached.batch_count,
            sorted(set(revisions)),
        )
        is_complete = not (expected.lost or expected.detached)
        is_right = is_same_batch and is_counted and report.is_complete == is_complete
        if found != expected or not is_right:
            self.wrong_reports += 1
            self.examples.append(f"{what}: {found}, expected {expected}")

    def _check_store(
        self,
        image: Image,
        file_system: SimulatedFileSystem,
        report: RepairReport,
        expected: Kept,
        what: str,
    ) -> None:
        # What was reported must be on stable storage: look at it after a power cut.
        file_system = file_system.after_power_cut()
        verified = verify_store(OUTPUT, [Shelf()], file_system=file_system)
        problems: list[object] = [*verified.problems, *verified.remarks]
        opened = EventStore.open(OUTPUT, [Shelf()], options=_OPTIONS, file_system=file_system)
        with opened as store:
            if items_of(store) != (expected.revision, image.states[expected.revision]):
                problems.append(items_of(store))
            if store.recovery.torn_tail or store.recovery.damaged_checkpoints:
                problems.append(store.recovery)
            if store.store_id != image.store_id:
                problems.append("another store id")
            for revision in range(expected.first, expected.revision + 1):
                digest = image.digests[revision - 1]
                store.check_receipt(Receipt(image.store_id, revision, digest))
            digests = [batch.digest for batch in store.batches(expected.first)]
            if digests != list(image.digests[expected.first - 1 : expected.revision]):
                problems.append("another history")
        if problems:
            self.wrong_states += 1
            self.examples.append(f"{what}: {problems}, reported {report}")


def detached_in(file_system: SimulatedFileSystem, report: RepairReport) -> list[dict[str, Any]]:
    """Return the batches in the file beside the new store, which must be on stable storage."""
    if report.detached.path is None:
        return []
    content = file_system.after_power_cut().medium.files()[report.detached.path]
    return [json.loads(line) for line in content.splitlines()]


def _tree(file_system: SimulatedFileSystem) -> set[tuple[str, bytes | None]]:
    return {entry for entry in file_system.medium.fingerprint() if entry[0].startswith(PATH)}
