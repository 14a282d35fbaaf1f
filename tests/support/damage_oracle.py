"""An oracle that knows without the engine what each damage of a store must lead to.

It compares the bytes of a damaged store with those of the whole one, so it knows which records
are untouched, and it knows what was acknowledged, because it has written the store. From these
two it derives the verdict by the decision table in FORMAT.md, "Recovery".
"""

from __future__ import annotations

import hashlib
import random
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from support.damage import (
    HEADER_BYTES,
    PATH,
    Files,
    Image,
    Items,
    Shelf,
    file_system_of,
    items_of,
    open_on,
    tree_of,
)

from eventstore import CorruptionError, EventStore
from eventstore.integrity.verify import verify_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventstore.testing.simulated import SimulatedFileSystem


class Expected(NamedTuple):
    """What a damage must lead to.

    Attributes:
        verdict: clean, torn or corrupt.
        revision: recovered; None where the store must be refused.
        set_aside: the checkpoints that can't be used.
        is_sound: whether a full verification has nothing to say.
    """

    verdict: str
    revision: int | None
    set_aside: tuple[str, ...]
    is_sound: bool


class _Condition(NamedTuple):
    """What is left of one segment."""

    last: int
    is_whole: bool
    has_header: bool
    ends_in_zeros: bool
    claim: int


def _condition(image: Image, files: Files, path: str) -> _Condition:
    whole = image.contents[path]
    spans = image.spans[path]
    content = files.get(path)
    if content is not None and path.endswith(".gz"):
        content = _decompressed(content)
    if content is None or content[:HEADER_BYTES] != whole[:HEADER_BYTES]:
        return _Condition(0, is_whole=False, has_header=False, ends_in_zeros=False, claim=0)
    end, intact = HEADER_BYTES, 0
    for span in spans:
        if content[span.start : span.end] != whole[span.start : span.end]:
            break
        end, intact = span.end, intact + 1
    later = [
        span.durable_revision
        for span in spans[intact + 1 :]
        if content[span.start : span.header_end] == whole[span.start : span.header_end]
    ]
    ends_in_zeros = not any(content[end:])
    return _Condition(
        last=spans[0].revision + intact - 1,
        is_whole=intact == len(spans) and ends_in_zeros,
        has_header=True,
        ends_in_zeros=ends_in_zeros,
        claim=max(later, default=0),
    )


def _decompressed(data: bytes) -> bytes | None:
    if len(data) > 16 and data[3] & 4:
        # The blocks stand in gzip's header, under a checksum of all of it.
        end = 12 + int.from_bytes(data[10:12], "little")
        if zlib.crc32(data[: end - 4]) != int.from_bytes(data[end - 4 : end], "little"):
            return None
    decompressor = zlib.decompressobj(31)
    try:
        content = decompressor.decompress(data)
    except zlib.error:
        return None
    return content if decompressor.eof and not decompressor.unused_data else None


def expect(image: Image, files: Files, *, claim: int = 0) -> Expected:
    """Derive what damaged files must lead to.

    Args:
        image: the whole store.
        files: the damaged ones; each either has its place in the whole store or is missing.
        claim: the highest durable revision stated by records that were put into the active
            segment behind the first damage.
    """
    usable = [rev for path, rev in image.checkpoints.items() if _same(image, files, path)]
    base = max(usable, default=0)
    set_aside = tuple(
        f"{PATH}/{path}"
        for path, rev in reversed(image.checkpoints.items())
        if path in files and rev > base
    )
    bound = max(image.acknowledged if _is_durable_read(image, files) else 0, base)
    present = [path for path in image.segments if path in files]
    conditions = {path: _condition(image, files, path) for path in present}
    is_sound = _is_sound(image, files, conditions, bound, claim)
    refused = Expected("corrupt", None, (), is_sound)
    if not present or present[-1].endswith(".gz"):
        return refused
    needed = [path for path in present[:-1] if image.spans[path][-1].revision > base]
    if not _continues(image, [*needed, present[-1]], base):
        return refused
    if not all(conditions[path].is_whole for path in needed):
        return refused
    tail = conditions[present[-1]]
    if not tail.has_header or tail.last < max(bound, _claimed(tail, claim)):
        return refused
    verdict = "clean" if tail.ends_in_zeros else "torn"
    return Expected(verdict, tail.last, set_aside, is_sound)


def _is_durable_read(image: Image, files: Files) -> bool:
    return files.get("durable", b"")[:40] == image.files["durable"]


def _same(image: Image, files: Files, path: str) -> bool:
    return files.get(path) == image.files[path]


def _claimed(tail: _Condition, claim: int) -> int:
    return 0 if tail.ends_in_zeros else max(tail.claim, claim)


def _continues(image: Image, paths: list[str], base: int) -> bool:
    """Say whether segments follow on a revision and on each other."""
    next_revision = base + 1
    for path in paths:
        spans = image.spans[path]
        if spans[0].revision > next_revision:
            return False
        next_revision = max(next_revision, spans[-1].revision + 1)
    return True


def _is_sound(
    image: Image, files: Files, conditions: dict[str, _Condition], bound: int, claim: int
) -> bool:
    present = list(conditions)
    if not present or present[-1].endswith(".gz"):
        return False
    checkpoints = [path for path in image.checkpoints if path in files]
    if not all(_same(image, files, path) for path in checkpoints):
        return False
    leaves = [path for path in image.files if path.startswith("tree/") and path in files]
    if not all(_same(image, files, path) for path in leaves):
        return False
    # An index is derived: it may be lost, and what an open finds does not depend on it.
    indexes = [path for path in files if path.startswith("index/") and path in image.files]
    segments = {path.partition("/")[2].partition(".")[0] for path in present}
    if not all(
        _same(image, files, path)
        for path in indexes
        if path.partition("/")[2].partition(".")[0] in segments
    ):
        return False
    first = image.spans[present[0]][0].revision
    bases = [image.checkpoints[path] for path in checkpoints]
    # Compaction keeps each segment with a batch after the older checkpoint.
    if first > 1 and min(bases, default=0) < first - 1:
        return False
    if not _continues(image, present, first - 1):
        return False
    if not all(conditions[path].is_whole for path in present[:-1]):
        return False
    tail = conditions[present[-1]]
    return tail.has_header and tail.last >= max(bound, _claimed(tail, claim), *bases, 0)


@dataclass
class Tally:
    """Counts what went wrong over many damaged inputs, and keeps some examples."""

    inputs: int = 0
    acknowledged_lost: int = 0
    phantom: int = 0
    wrong_verdict: int = 0
    examples: list[str] = field(default_factory=list)

    def check(self, image: Image, files: Files, expected: Expected, what: str) -> None:
        """Open and verify a damaged store, and compare with what must come of it."""
        self.inputs += 1
        self._check_open(image, files, expected, what)
        says_nothing = "durable" in files and not _is_durable_read(image, files)
        self._check_verify(files, expected, what, is_mentioned=says_nothing)

    def counts(self) -> dict[str, int]:
        return {
            "inputs": self.inputs,
            "acknowledged_lost": self.acknowledged_lost,
            "phantom": self.phantom,
            "wrong_verdict": self.wrong_verdict,
        }

    def assert_clean(self) -> None:
        wrong = (self.acknowledged_lost, self.phantom, self.wrong_verdict)
        assert wrong == (0, 0, 0), "\n".join([str(self.counts()), *self.examples[:20]])
        assert self.inputs

    def _check_open(self, image: Image, files: Files, expected: Expected, what: str) -> None:
        file_system = file_system_of(files)
        before = tree_of(file_system)
        try:
            store = open_on(file_system)
        except CorruptionError as error:
            if tree_of(file_system) != before:
                self._wrong(f"{what}: refused, but something was changed")
            if expected.verdict != "corrupt":
                self._wrong(f"{what}: refused ({error}), expected {expected}")
            return
        with store:
            revision, items = items_of(store)
            report = store.recovery
            verdict = "torn" if report.torn_tail else "clean"
            if revision > image.written or items != image.states[revision]:
                self.phantom += 1
                self.examples.append(f"{what}: a state that never was, at revision {revision}")
            elif self._digest_at(store, revision) != self._known_digest(image, revision):
                self.phantom += 1
                self.examples.append(f"{what}: another digest at revision {revision}")
            # Without the durable file or a later record nothing proves the last batch: limit 5.
            if revision < image.acknowledged and expected.verdict == "corrupt":
                self.acknowledged_lost += 1
                self.examples.append(f"{what}: only {revision} of {image.acknowledged} are left")
            found = (verdict, revision, report.damaged_checkpoints)
            if found != expected[:3]:
                self._wrong(f"{what}: {found}, expected {expected}")
        self._check_second_open(file_system, revision, items, what)

    @staticmethod
    def _digest_at(store: EventStore, revision: int) -> Any:
        with store.transaction() as tx:
            assert tx.revision == revision
        return bytes.fromhex(str(store.stats()["digest"]))

    @staticmethod
    def _known_digest(image: Image, revision: int) -> bytes:
        if revision == 0:
            return hashlib.sha256(b"eventstore genesis\0" + image.store_id).digest()
        return image.digests[revision - 1]

    def _check_second_open(
        self, file_system: SimulatedFileSystem, revision: int, items: Items, what: str
    ) -> None:
        with open_on(file_system) as store:
            found = (items_of(store), store.recovery.torn_tail, store.recovery.damaged_checkpoints)
            if found != ((revision, items), None, ()):
                self._wrong(f"{what}: opened again, it is {found}")

    def _check_verify(
        self, files: Files, expected: Expected, what: str, *, is_mentioned: bool
    ) -> None:
        file_system = file_system_of(files)
        before = file_system.medium.fingerprint()
        report = verify_store(PATH, [Shelf()], file_system=file_system)
        if file_system.medium.fingerprint() != before:
            self._wrong(f"{what}: the verification has changed something")
        if report.is_sound != expected.is_sound:
            self._wrong(f"{what}: verified: {report.problems}, expected {expected}")
        has_remarks = expected.verdict == "torn" or is_mentioned
        if report.is_sound and bool(report.remarks) != has_remarks:
            self._wrong(f"{what}: verified, with remarks {report.remarks}, expected {expected}")

    def _wrong(self, example: str) -> None:
        self.wrong_verdict += 1
        self.examples.append(example)


def sample(choices: Iterable[Any], count: int, *, deep: bool, seed: int = 0) -> list[Any]:
    """Return all choices in the long run, else some of them, the same ones every time."""
    found = list(choices)
    if deep or len(found) <= count:
        return found
    return random.Random(seed).sample(found, count)
