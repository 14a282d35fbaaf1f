"""`snapledger report`: a page for those who would rather look."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click

from snapledger import output
from snapledger.arguments import checked_path, json_option, store_argument
from snapledger.keys import require_outside_stores
from snapledger.reading import open_for_reading
from snapledger.report_data import collected
from snapledger.text import format_size, printable
from snapledger.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACE = re.compile(r"\{\{([A-Za-z0-9.]+)\}\}")
_EXAMPLE = """\b
Example: for a look in a browser:
  snapledger report STORE -o page.html"""


@click.command("report", epilog=_EXAMPLE)
@store_argument
@click.option(
    "-o",
    "--output",
    "path",
    required=True,
    metavar="FILE",
    callback=checked_path,
    help="Where the page goes; a file that is there is replaced.",
)
@json_option
def command(store: str, path: str, as_json: bool) -> None:
    """Write a page about STORE: one HTML file, which needs nothing else and no network.

    It shows the tree of snapshots at any revision, snapshots and bytes over time, commits by actor,
    and of each snapshot what became of it and by whom; and it has a search. All that the history
    says is in the file, labels and reasons too: give it to whoever may read the store. A new file
    is for its owner's eyes only; one that is there is replaced, and keeps its mode.

    JSON: file, bytes, first_revision, revision, batches, snapshots (now).
    """
    if path == "-":
        message = "a page goes to a file, not to the output: give its name"
        raise click.UsageError(message, click.get_current_context())
    require_outside_stores(path)
    _require_replaceable(path)
    with open_for_reading(store) as opened:
        with opened.transaction() as now:
            revision = now.revision
            snapshots = sum(1 for _ in now.walk_info())
        with output.progress("reading batch", revision) as show_count:
            document = collected(opened, show_count)
    begin = document["first_revision"]
    if begin > 1:
        output.note(f"{store}: what was before revision {begin} is no longer kept, nor on the page")
    page = page_of(document)
    _replace(path, page)
    batches = len(document["batches"]["time"])
    with output.told_after(f"{path}: the page is there"):
        if as_json:
            output.write_json(
                {
                    "file": path,
                    "bytes": len(page),
                    "first_revision": document["first_revision"],
                    "revision": document["revision"],
                    "batches": batches,
                    "snapshots": snapshots,
                }
            )
        else:
            output.write_line(
                f"{printable(path)}: {counted(snapshots, 'snapshot')}, "
                f"{counted(batches, 'batch', 'batches')}, {format_size(len(page))}"
            )


def page_of(document: Mapping[str, Any]) -> bytes:
    """Return the page that shows a document.

    What comes from the store is in it only as JSON in ASCII, without a character that ends or
    begins a tag; a policy in the page lets a browser run its own two scripts and nothing else, and
    fetch nothing.
    """
    parts = {name: _part(name) for name in ("report.css", "d3.min.js", "report.js")}
    data = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    style = _hash(parts["report.css"])
    scripts = " ".join(_hash(parts[name]) for name in ("d3.min.js", "report.js"))
    policy = (
        f"default-src 'none'; style-src {style}; script-src {scripts}; base-uri 'none'; "
        "form-action 'none'"
    )
    page = _part("report.html")
    texts = {"POLICY": policy, "DATA": data, **parts}
    # One pass, so that nothing that is put in is looked at again.
    return _PLACE.sub(lambda place: texts[place[1]], page).encode("utf-8")


def _hash(text: str) -> str:
    digest = b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _part(name: str) -> str:
    return files("snapledger").joinpath("page", name).read_text(encoding="utf-8")


def _require_replaceable(path: str) -> None:
    """Refuse to write over what is no file, such as a device, and to take a link's place.

    Raises:
        ClickException: that is there.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise click.ClickException(
            f"{path}: no regular file is there, and only such a one is replaced; nothing was done"
        )


def _mode_of(path: str) -> int:
    """Return the mode of the page: of what it replaces, or its owner's alone."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return 0o600


def _replace(path: str, page: bytes) -> None:
    """Put the page in place, whole; for its owner's eyes only, unless others could read the old."""
    directory, name = os.path.split(path)
    try:
        descriptor, temporary = tempfile.mkstemp(".tmp", f".{name}.", directory or ".")
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, _mode_of(path))
                file.write(page)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        error.filename = path  # not the name of what was to become it
        raise
