"""`snapledger version`: which release this is, what it reads, and what it runs on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from snapledger import output
from snapledger.arguments import json_option
from snapledger.text import printable

_LIBRARIES = ("click", "cryptography", "google-re2", "msgpack", "rich", "sortedcontainers")
_EXAMPLE = """\b
Example: what to put into a report of a fault:
  snapledger version"""


@click.command("version", epilog=_EXAMPLE)
@json_option
def command(as_json: bool) -> None:
    """Show the release, the newest format of logs and checkpoints that it writes, and libraries.

    It reads all older formats, and says so of a newer one without touching the store.

    JSON: snapledger, formats {segment, checkpoint}, python, platform, libraries {null: not
    installed}.
    """
    from eventstore.format.checkpoint import CHECKPOINT_VERSION  # noqa: PLC0415
    from eventstore.format.segment import SEGMENT_VERSION  # noqa: PLC0415

    release, python, system = version("snapledger"), platform.python_version(), platform.platform()
    formats = {"segment": SEGMENT_VERSION, "checkpoint": CHECKPOINT_VERSION}
    libraries = {name: _version_of(name) for name in _LIBRARIES}
    if as_json:
        output.write_json(
            {
                "snapledger": release,
                "formats": formats,
                "python": python,
                "platform": system,
                "libraries": libraries,
            }
        )
        return
    output.write_fields(
        [
            ("snapledger", release),
            ("formats", ", ".join(f"{name} {number}" for name, number in formats.items())),
            ("python", python),
            ("platform", printable(system)),
            *((name, number or "not installed") for name, number in libraries.items()),
        ]
    )


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
