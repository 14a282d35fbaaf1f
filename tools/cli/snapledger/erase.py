"""`snapledger erase`: make texts unreadable that must be forgotten."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import click

from eventstore import FoundText, StoreLockedError, StoreOptions, erase
from eventstore.erasing import foresee_erasure
from eventstore.handle.erasing import may_go
from eventstore.log.redaction import DATA, text_holder, texts_in
from projections.snapshots import SnapshotsProjection
from snapledger import output
from snapledger.arguments import REVISION, SECONDS, json_option, store_argument
from snapledger.reading import open_for_reading
from snapledger.text import quoted
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from eventstore import Batch, Erasure

    Fields = Mapping[int, Sequence[tuple[str, ...]]]

_LEFT_SHOWN = 20
_EXAMPLE = """\b
Example: wherever a name stands by itself; first to see where that is:
  snapledger erase STORE --matching "Jane Public" --dry-run
  snapledger erase STORE --matching "Jane Public" --by dpo --why "request 12" """


@click.command("erase", epilog=_EXAMPLE)
@store_argument
@click.argument("revisions", metavar="[REVISION...]", type=REVISION, nargs=-1)
@click.option("--label", "labels", metavar="KEY", multiple=True, help="The value of this label.")
@click.option("--actor", is_flag=True, help="Who did it.")
@click.option("--reason", is_flag=True, help="Why.")
@click.option("--request-id", is_flag=True, help="On behalf of which request.")
@click.option(
    "--matching",
    metavar="TEXT",
    help="Whatever is this text, in these batches, or in all if none is given.",
)
@click.option("--by", metavar="NAME", help="Who orders the erasure.")
@click.option("--why", metavar="TEXT", help="Why it must be.")
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option(
    "--wait",
    "wait_seconds",
    type=SECONDS,
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for another process to let go of the store; not at all by default.",
)
@json_option
def command(
    store: str,
    revisions: tuple[int, ...],
    labels: tuple[str, ...],
    actor: bool,
    reason: bool,
    request_id: bool,
    matching: str | None,
    by: str | None,
    why: str | None,
    dry_run: bool,
    yes: bool,
    wait_seconds: float,
    as_json: bool,
) -> None:
    """Make texts in batches of STORE unreadable, for good: asterisks take their place.

    They go from the log, the archive and the checkpoints. Digests, receipts and proofs still hold,
    and the log says what was erased, when, by whom and why. Names, keys, ids and parents can't be
    erased. A value that other batches hold too stays there, unless --matching finds it. The copy
    of actor, reason and request id that an intent holds goes with them. What is left of a text in
    these batches, such as a name in an intent's own data, and with --matching anywhere, is listed.
    --dry-run says what would be refused, too.

    Needs the lock: exit code 11 where a driver has the store open. Stop that first, or have it call
    `MetaStore.erase`. A backup still holds the texts until it is brought up to date.

    JSON: revision, of the batch that says so (null with --dry-run); erased [revision, fields]; left
    [revision, field].
    """
    fields = list(_fields(labels, actor=actor, reason=reason, request_id=request_id))
    if (matching is None) == (not fields):
        raise click.UsageError(
            "say what to erase: --label, --actor, --reason and --request-id, or --matching alone"
        )
    if matching is None and not revisions:
        raise click.UsageError("say in which batches: give their revisions")
    if not dry_run and not (by and why):
        raise click.UsageError("say who orders it, and why: --by and --why")
    if matching is not None:
        wanted, left = _found(store, _searchable(matching), revisions)
    else:
        wanted, left = _with_copies(store, dict.fromkeys(revisions, fields))
    if not wanted or dry_run:
        if wanted:
            with output.progress("trying"):
                foresee_erasure(store, [SnapshotsProjection()], wanted)
        _write(None, wanted, left, is_done=not dry_run, as_json=as_json)
        return
    _confirm(wanted, yes=yes)
    with output.progress("erasing"):
        done = _erase(store, wanted, by or "", why or "", wait_seconds)
    with output.told_after(f"{store}: erased, as revision {done.receipt.revision} says"):
        _write(done, wanted, left, is_done=True, as_json=as_json)


def _fields(
    labels: tuple[str, ...], *, actor: bool, reason: bool, request_id: bool
) -> Iterator[tuple[str, ...]]:
    for label in labels:
        yield "data", "labels", label
    for name, is_wanted in (("actor", actor), ("reason", reason), ("request_id", request_id)):
        if is_wanted:
            yield (name,)


def _searchable(text: str) -> str:
    try:
        if text and text.encode():
            return text
    except UnicodeEncodeError:
        pass
    raise click.UsageError("--matching needs a text in UTF-8, of a character at least")


def _with_copies(
    store: str, asked: Fields
) -> tuple[dict[int, list[tuple[str, ...]]], list[FoundText]]:
    """Return what goes, copies of the metadata in intents included, and where a text is left."""
    wanted = {revision: list(fields) for revision, fields in asked.items()}
    left = []
    with open_for_reading(store) as opened:
        for revision, fields in wanted.items():
            batch = next(opened.event_store.batches(revision, revision), None)
            if batch is None:
                continue
            metadata = batch.metadata._asdict()
            texts = _texts(batch, fields)
            for path, whole in _places(batch, texts).items():
                is_copy = path[1:] in [field for field in fields if field[0] != DATA]
                if path in fields:
                    continue
                if is_copy and whole == metadata[path[1]] and _may_go(batch, path):
                    fields.append(path)
                else:
                    left.append(FoundText(revision, path, whole, is_erasable=False))
    return wanted, left


def _texts(batch: Batch, fields: Sequence[tuple[str, ...]]) -> set[str]:
    """Return the texts of a batch that are to go."""
    metadata = batch.metadata._asdict()
    texts = {metadata[field[0]] for field in fields if field[0] != DATA}
    for event in batch.events:
        texts |= {
            holder[0][holder[1]]
            for field in fields
            if field[0] == DATA and (holder := text_holder(event.data, field[1:]))
        }
    return {text for text in texts if isinstance(text, str) and text}


def _places(batch: Batch, texts: set[str]) -> dict[tuple[str, ...], str]:
    """Return where in the data of a batch some texts stand, and all that stands there."""
    return {
        (DATA, *path): whole
        for text in texts
        for event in batch.events
        for path, whole, _ in texts_in(event.data, text)
    }


def _may_go(batch: Batch, path: tuple[str, ...]) -> bool:
    """Say whether what a path names may be erased from every event that has it."""
    return all(
        may_go(event, path, [SnapshotsProjection()])
        for event in batch.events
        if text_holder(event.data, path[1:])
    )


def _found(
    store: str, text: str, revisions: Collection[int]
) -> tuple[dict[int, list[tuple[str, ...]]], list[FoundText]]:
    """Return where a text stands by itself and may go, and where else it stands."""
    wanted: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    left = []
    with open_for_reading(store) as opened:
        for found in opened.find_text(text):
            is_named = not revisions or found.revision in revisions
            if is_named and found.is_erasable and found.text == text:
                wanted[found.revision].append(found.field)
            else:
                left.append(found)
    return dict(wanted), left


def _confirm(wanted: Fields, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"this erases {_what(wanted)} for good: give --yes")
    click.confirm(f"Erase {_what(wanted)} for good?", abort=True, err=True)


def _erase(store: str, wanted: Fields, by: str, why: str, wait_seconds: float) -> Erasure:
    try:
        return erase(
            store,
            [SnapshotsProjection()],
            wanted,
            actor=by,
            reason=why,
            lock_timeout=wait_seconds,
            options=StoreOptions(background=False),
        )
    except StoreLockedError as error:
        remedy = "stop it first, or have it call `MetaStore.erase`"
        raise StoreLockedError(f"{error.what}; nothing was erased: {remedy}") from error


def _write(
    done: Erasure | None,
    wanted: Fields,
    left: Sequence[FoundText],
    *,
    is_done: bool,
    as_json: bool,
) -> None:
    revision = done.receipt.revision if done is not None else None
    if as_json:
        erased = [
            {"revision": each, "fields": [list(field) for field in wanted[each]]} for each in wanted
        ]
        others = [{"revision": each.revision, "field": list(each.field)} for each in left]
        output.write_json({"revision": revision, "erased": erased, "left": others})
        return
    lines = [("erased" if is_done else "would erase", _what(wanted) if wanted else "nothing")]
    if revision is not None:
        lines.append(("said by", f"revision {revision}"))
    if left:
        lines.append(("left", f"the text in {counted(len(left), 'other place')}"))
    output.write_fields(lines)
    for each in left[:_LEFT_SHOWN]:
        output.write_line(f"  revision {each.revision}  {_name(each.field)}")
    if len(left) > _LEFT_SHOWN:
        output.write_line(f"  and {len(left) - _LEFT_SHOWN} more: --json lists all")


def _what(wanted: Fields) -> str:
    names: dict[str, Any] = dict.fromkeys(
        _name(field) for fields in wanted.values() for field in fields
    )
    return f"{', '.join(names)} in {counted(len(wanted), 'batch', 'batches')}"


def _name(field: Sequence[str]) -> str:
    return quoted(".".join(field[-2:]))
