"""`snapledger version`: which release this is, what it reads, and what it runs on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from snapledger import output
from snapledger.arguments import json_option
from snapledger.text import printable

_LIBRARIES = ("click", "google-re2", "msgpack", "rich", "sortedcontainers")
_EXTRAS = {
    "backup": ("fsspec",),
    "proofs": ("cryptography",),
    "snapshotter": ("grpcio", "protobuf"),
    "testing": ("hypothesis",),
    "metrics": ("prometheus-client",),
    "tracing": ("opentelemetry-api",),
}
"""What each extra brings to whoever uses the package; those for building it are not here."""
_EXAMPLE = """\b
Example: what to put into a report of a fault:
  snapledger version"""


@click.command("version", epilog=_EXAMPLE)
@json_option
def command(as_json: bool) -> None:
    """Show the release, the newest formats that it writes, the libraries, and the extras.

    It reads all older formats, and says so of a newer one without touching the store.

    JSON: snapledger, formats {segment, checkpoint}, python, platform, libraries {null: not
    installed}, extras {whether all that it needs is installed}.
    """
    from eventstore.format.checkpoint import CHECKPOINT_VERSION  # noqa: PLC0415
    from eventstore.format.segment import SEGMENT_VERSION  # noqa: PLC0415

    release, python, system = version("snapledger"), platform.python_version(), platform.platform()
    formats = {"segment": SEGMENT_VERSION, "checkpoint": CHECKPOINT_VERSION}
    of_extras = [name for names in _EXTRAS.values() for name in names]
    libraries = {name: _version_of(name) for name in sorted((*_LIBRARIES, *of_extras))}
    extras = {
        extra: all(libraries[name] is not None for name in names)
        for extra, names in _EXTRAS.items()
    }
    if as_json:
        output.write_json(
            {
                "snapledger": release,
                "formats": formats,
                "python": python,
                "platform": system,
                "libraries": libraries,
                "extras": extras,
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
            ("extras", ", ".join(name for name, is_there in extras.items() if is_there) or "none"),
            ("missing", _missing(extras)),
        ]
    )


def _missing(extras: dict[str, bool]) -> str:
    missing = [name for name, is_there in extras.items() if not is_there]
    if not missing:
        return "nothing"
    return f"{', '.join(missing)}: install snapledger[NAME]"


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
