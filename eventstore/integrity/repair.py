"""Repair: a new store from what can be read of a damaged one, and a list of what was lost.

The damaged store is only read. What is kept is copied as it is, the same revisions, times,
digests and store id, so that receipts for it still hold; the old store must be retired, since
two with one identity would part ways.

Batches are never applied over a gap. So a state comes from a chain of records together with a base
(`eventstore.integrity.salvage`): the chain from revision 1 on, or from a checkpoint on, up to the
next damage. Of all these the one that reaches the highest revision is chosen, and of several the
one with the longest history; or, where the history counts for more than the present, the one that
begins first, and of several the longest. Whatever is not in it is reported: revisions and bytes.
The batches that could be read although there is no place for them in the new store are written
beside it (`eventstore.integrity.detached`).

Where the log is complete from revision 1 on, it is right and a checkpoint that differs from its
replay is wrong: that is left out. Where it is not, nothing says which of the two is right, and the
store is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from eventstore.arguments import checked_flag
from eventstore.directory.contents import require_remains
from eventstore.directory.making import making, require_nothing_beside
from eventstore.errors import (
    CorruptionError,
    StoreExistsError,
    StoreLockedError,
)
from eventstore.files.content import read_file
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute, join, resolved
from eventstore.format.durable import DURABLE_BYTES
from eventstore.format.names import (
    CHECKPOINTS_NAME,
    DIRECTORY_NAMES,
    DURABLE_NAME,
    checkpoint_name,
)
from eventstore.integrity.chains import ChainBuilder
from eventstore.integrity.detached import DetachedBatches, write_detached
from eventstore.integrity.erased import foresee_erased, forget_erased
from eventstore.integrity.leaves import LeafCheck
from eventstore.integrity.readable import ReadableFileSystem
from eventstore.integrity.rebuild import Choice, write_store
from eventstore.integrity.redacted import is_unvouched
from eventstore.integrity.salvage import Base, Findings, salvage
from eventstore.integrity.verify import verify_files
from eventstore.options import checked_options
from eventstore.projection import checked_projections
from eventstore.reports import Damage, Verdict

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.integrity.chains import Chain
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection
    from eventstore.proofs.leaf_files import LeafFile
    from eventstore.reports import VerifyReport


class LostRevisions(NamedTuple):
    """Batches that the old store had and the new one has not.

    Attributes:
        first: revision of the first.
        last: of the last.
        is_in_state: whether their effect is kept all the same, by a later checkpoint: then only
            the history is lost.
    """

    first: int
    last: int
    is_in_state: bool


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair has kept and what was lost.

    Attributes:
        store_id: of both stores.
        revision: that the new store is at.
        first_revision: the oldest batch that it holds; `revision + 1` if it holds none.
        checkpoint_revision: of the checkpoint that its state starts from; 0 if the state follows
            from its batches alone.
        lost: revisions that were found, or are known to have been acknowledged, and whose batches
            are not in the new store.
        detached: batches that could be read although there is no place for them in the new store,
            in a file beside it.
        damage: bytes of the old store that could not be used.
        unknown_projections: names of projections that have tables in a checkpoint that was kept,
            but were not given to the repair, or not in that version: nothing says whether these
            tables fit.
        unerased: revisions of which an erasure names texts that the new store's state still holds:
            it begins with a checkpoint from before the erasure was carried out.
        unvouched: revisions that are redacted, and that no erasure in the new store names: a
            verification of it finds fault with each until the same fields are erased again.
        erasure_lost: whether an erasure that was cut short may be among what is lost: other texts
            that it was to take may still be there, and nothing says which.
    """

    store_id: bytes
    revision: int
    first_revision: int
    checkpoint_revision: int
    lost: tuple[LostRevisions, ...]
    detached: DetachedBatches
    damage: tuple[Damage, ...]
    unknown_projections: tuple[str, ...]
    unerased: tuple[int, ...] = ()
    unvouched: tuple[int, ...] = ()
    erasure_lost: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing was lost: damage that touched no batch, or a copy of one, is none."""
        return not self.lost and not self.detached.batch_count


class RepairPreview(NamedTuple):
    """What a repair would keep.

    Attributes:
        revision: that the new store would be at.
        first_revision: the oldest batch that it would hold; `revision + 1` if it would hold none.
        lost: as of `RepairReport`; so are the others.
    """

    revision: int
    first_revision: int
    lost: tuple[LostRevisions, ...]
    unerased: tuple[int, ...] = ()
    unvouched: tuple[int, ...] = ()
    erasure_lost: bool = False


class RepairPreviews(NamedTuple):
    """What a repair would keep, the newest state or the longest history.

    Attributes:
        newest: without `keep_history`.
        with_history: with it.
    """

    newest: RepairPreview
    with_history: RepairPreview


def preview_repair(
    path: str | os.PathLike[str],
    *,
    keep_history: bool = False,
    on_batch: Callable[[int], object] = lambda revision: None,
    file_system: FileSystem | None = None,
) -> RepairPreview:
    """Say what `repair_store` would keep, and write nothing.

    A checkpoint is taken for what it says; a repair may find that it differs from the log.

    Raises:
        NotAStoreError: there is no store.
        CorruptionError: nothing says which store it is.
        FormatVersionError: a file has a newer format.
    """
    checked_flag(keep_history, "keep_history")
    previews = preview_repairs(path, on_batch, file_system)
    return previews.with_history if keep_history else previews.newest


def preview_repairs(
    path: str | os.PathLike[str],
    on_batch: Callable[[int], object] = lambda revision: None,
    file_system: FileSystem | None = None,
) -> RepairPreviews:
    """Say what `repair_store` would keep, either way, by one reading of the store.

    Raises as `preview_repair` does.
    """
    file_system = file_system or local_file_system()
    source = absolute(path)
    require_remains(file_system, source)
    reading = ReadableFileSystem(file_system, source)
    found = salvage(reading, source, on_batch)
    choices = (_choose(reading, found, keep_history=keep_history) for keep_history in (False, True))
    return RepairPreviews(*(_preview(found, choice) for choice in choices))


def _preview(found: Findings, choice: Choice) -> RepairPreview:
    chain = choice.chain
    return RepairPreview(
        chain.last_revision,
        chain.first_revision,
        tuple(_lost(found, chain)),
        *foresee_erased(found, choice),
    )


def repair_store(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    projections: Sequence[Projection],
    *,
    keep_history: bool = False,
    on_batch: Callable[[int], object] = lambda revision: None,
    options: StoreOptions | None = None,
    file_system: FileSystem | None = None,
) -> RepairReport:
    """Make a new store from what can be read of a damaged one.

    The old store is not changed and must not be open for writing; retire it afterwards.

    Args:
        path: of the damaged store.
        output: of the new one: a path where nothing is, or an empty directory.
        projections: to verify the new store with.
        keep_history: whether the new store gets the batches from the oldest one up to the first
            damage, and the state that they lead to, rather than the newest state.
        on_batch: called with each revision that was read, for progress.
        options: say where the new store may be.
        file_system: that both stores are on; the local one unless given.

    Returns:
        what was kept and what was lost. The new store is durable and was verified.

    Raises:
        NotAStoreError: there is no store.
        StoreExistsError: something is at the output, or at its path with `.detached.jsonl`, where
            batches go that have no place in the new store.
        StoreLockedError: another process makes or has a store at the output, or the old store
            was written to meanwhile.
        ProjectionError: one of the projections is none, or they do not fit together.
        CorruptionError: nothing says which store it is, or a checkpoint that was kept does not
            fit the log.
        FormatVersionError: a file has a newer format.
        ForeignOwnerError: the output is another user's directory.
        UnsupportedFileSystemError: the output is on a network file system.
        StorageFullError: there is no space for a segment of the new store.
        OSError: there is no space for another file of it, or the system refuses a call.

    After an error there is no store at the output; see `eventstore.directory.making`.
    """
    known = checked_projections(projections)
    checked_flag(keep_history, "keep_history")
    options = checked_options(options)
    file_system = file_system or local_file_system()
    source, target = absolute(path), absolute(output)
    require_remains(file_system, source)
    _require_apart(source, target)
    with making(file_system, target, f"repair of {source}", options) as guarded:
        require_nothing_beside(guarded, target)
        reading = ReadableFileSystem(file_system, source)
        before = _state_of_writer(reading, source)
        found = salvage(reading, source, on_batch)
        found.damage += reading.unreadable()
        choice = _choose(reading, found, keep_history=keep_history)
        write_store(
            reading, guarded, target, found.store_id, choice, _leaves(reading, source, found)
        )
        forget_erased(guarded, target, found, choice)
        left_out, verified = _require_sound(guarded, target, choice, known, source)
        found.damage += left_out
        detached = write_detached(reading, guarded, target, found.stretches, choice.chain)
        if _state_of_writer(reading, source) != before:
            raise StoreLockedError(
                f"{source}: the store was written to while it was repaired: stop its writer, "
                "then repair it again"
            )
    return _report(found, choice, detached, verified)


def _require_apart(source: str, target: str) -> None:
    if join(resolved(target), "").startswith(join(resolved(source), "")):
        raise StoreExistsError(f"{target}: the new store can't be put into the damaged one")


def _leaves(file_system: FileSystem, path: str, found: Findings) -> list[LeafFile]:
    """Return the leaf files that are sound by themselves, and list the others as damaged."""
    leaves = LeafCheck(file_system, path, found.store_id)
    found.damage += leaves.damage()
    return leaves.sound


def _state_of_writer(file_system: FileSystem, path: str) -> object:
    """Return something that differs once a writer has committed, rolled or compacted."""
    durable_path = join(path, DURABLE_NAME)
    names = [
        file_system.list_directory(join(path, name))
        for name in DIRECTORY_NAMES
        if file_system.is_directory(join(path, name))
    ]
    if not file_system.exists(durable_path):
        return names, b""
    return names, read_file(file_system, durable_path, DURABLE_BYTES)


def _choose(file_system: FileSystem, found: Findings, *, keep_history: bool) -> Choice:
    """Return what reaches the highest revision, and of several what has the longest history.

    Or what begins first, and of several what reaches the highest revision.
    """
    builder = ChainBuilder(file_system, found.stretches)
    choices = []
    # A second copy of a checkpoint, under another name, is no other base.
    distinct = {(base.revision, base.digest): base for base in reversed(found.bases)}
    found = replace(found, bases=[base for base in found.bases if base in distinct.values()])
    standing = list(found.bases)
    for chain in builder.chains():
        bases = [base for base in found.bases if builder.holds(chain, base)]
        standing = [base for base in standing if base not in bases]
        if bases:
            choices.append(Choice(chain, _needed(bases)))
    for base in standing:
        chain = builder.chain_from(base)
        held = [other for other in found.bases if other == base or builder.holds(chain, other)]
        choices.append(Choice(chain, _needed(held)))
    if keep_history:
        return max(choices, key=lambda c: (-c.chain.first_revision, c.chain.last_revision))
    return max(choices, key=lambda c: (c.chain.last_revision, -c.chain.first_revision))


def _needed(bases: list[Base]) -> tuple[Base, ...]:
    """Return the empty state, if it is among them, and the newest two checkpoints."""
    return tuple(
        base for place, base in enumerate(reversed(bases)) if place < 2 or base.path is None
    )[::-1]


def _report(
    found: Findings, choice: Choice, detached: DetachedBatches, verified: VerifyReport
) -> RepairReport:
    chain = choice.chain
    return RepairReport(
        store_id=found.store_id,
        revision=chain.last_revision,
        first_revision=chain.first_revision,
        checkpoint_revision=choice.bases[0].revision,
        lost=tuple(_lost(found, chain)),
        detached=detached,
        damage=tuple(found.damage),
        unknown_projections=verified.unknown_projections,
        **foresee_erased(found, choice)._asdict(),
    )


def _lost(found: Findings, chain: Chain) -> Iterator[LostRevisions]:
    # Without any segment, all batches of the history are gone with the log.
    oldest = found.oldest_revision or 1
    if oldest < chain.first_revision:
        yield LostRevisions(oldest, chain.first_revision - 1, is_in_state=True)
    if chain.last_revision < found.newest_revision:
        yield LostRevisions(chain.last_revision + 1, found.newest_revision, is_in_state=False)


def _require_sound(
    file_system: FileSystem,
    path: str,
    choice: Choice,
    projections: Sequence[Projection],
    source: str,
) -> tuple[list[Damage], VerifyReport]:
    """Verify the new store; leave out its checkpoints that differ from the replay of a whole log.

    Returns:
        the checkpoints that were left out, and what was found of the store without them.
    """
    verified = _verified(file_system, path, projections)
    directory = join(path, CHECKPOINTS_NAME)
    copies = {}
    if choice.bases[0].path is None:
        names = {base: checkpoint_name(base.revision) for base in choice.bases[1:]}
        copies = {join(directory, name): base for base, name in names.items()}
    reasons = {
        problem.path: problem.reason for problem in verified.problems if problem.path in copies
    }
    if reasons:
        for copy in reasons:
            file_system.remove(copy)
        file_system.sync_directory(directory)
        verified = _verified(file_system, path, projections)
    # What an erasure has left is no worse where the erasure itself was lost, which the report says.
    wrong = [problem for problem in verified.problems if not is_unvouched(problem)]
    if wrong or verified.verdict is Verdict.CORRUPT:
        reason = (wrong or verified.problems)[0].reason
        raise CorruptionError(source, 0, f"what can be read of it does not fit together: {reason}")
    left_out = [Damage(str(copies[copy].path), 0, 0, reason) for copy, reason in reasons.items()]
    return left_out, verified


def _verified(
    file_system: FileSystem, path: str, projections: Sequence[Projection]
) -> VerifyReport:
    # What a projection finds wrong is what the batches amount to: no reason to lose them.
    return verify_files(file_system, path, projections, asks_projections=False)
