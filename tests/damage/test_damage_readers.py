"""Readers of a damaged store: a follower, the history, past states, a watch, receipts.

None of them recovers anything, so each either gives the right answer or says what is damaged.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from damage_oracle import expect, sample
from damage_support import (
    Files,
    Image,
    build_image,
    file_system_of,
    items_of,
    open_on,
    tree_of,
    with_pending,
)

from eventstore import CompactedError, CorruptionError, EventStore, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
    inputs, wrong, changed = 0, [], []
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
            for directory in ("wal", "archive", "checkpoints"):
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
