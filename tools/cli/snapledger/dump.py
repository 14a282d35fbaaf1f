"""`snapledger dump`: write everything as lines of JSON."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import click

from snapledger import output
from snapledger.arguments import checked_path, store_argument
from snapledger.reading import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator


_EXAMPLE = """\b
Example: everything, as text:
  snapledger dump STORE -o store.jsonl"""


@click.command("dump", epilog=_EXAMPLE)
@store_argument
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE",
    callback=lambda context, parameter, path: (
        path if path is None else checked_path(context, parameter, path)
    ),
    help="Write to this new file, readable for its owner only, instead of stdout.",
)
def command(store: str, file: str | None) -> None:
    """Write everything in STORE as JSON, one line a batch.

    The first line says which store it is; `load` makes a store with an equal history of it. Works
    while a driver has the store open: it goes up to the newest batch at the time of the call.

    Example: snapledger dump /var/lib/driver/metadata -o metadata.jsonl

    JSON, first line: format, version, store_id, first_revision, revision (of the last line). Each
    other line: revision, time_ns, durable_revision, digest, actor, reason, request_id, events
    [type, version, data]; or, in the place of the last four, payload (base64 of the batch, where
    JSON does not have what is in it). Bytes in data are {"$bytes": base64}.
    """
    with (
        open_for_reading(store) as opened,
        _named("the standard output" if file is None else file),
        _opened(file) as stream,
        output.progress("writing batch") as show_count,
    ):
        for number, line in enumerate(opened.dump()):
            stream.write(line)
            show_count(number)


@contextmanager
def _named(file: str) -> Iterator[None]:
    """Have an error of writing name the file: one that the system tells by a descriptor does not.

    A reader of stdout that has gone away is another matter.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            error.filename = file
        raise


@contextmanager
def _opened(path: str | None) -> Iterator[BinaryIO]:
    """Open a new file for its owner only; one that is half written does not stay."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(path)
        raise
