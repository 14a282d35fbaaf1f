"""The names that a driver needs, and `snapledger`, the operator's command line.

`from snapledger import MetaStore, Kind, Usage`: the public names are those of
`projections.snapshots`. They are imported when they are asked for, so that the command starts as
fast as click.

A verb is a module of its own, which is imported when it is run, so that `snapledger --help` costs
no more than click. What verbs share:

- `program`: the table of verbs, and the way from an error to a line on stderr and an exit code;
- `failures`: which error is which exit code;
- `arguments`: the arguments and options that verbs have in common;
- `reading`: opening a store for a look at it, now or in the past;
- `records`: the shapes of the JSON output;
- `batches`: how a batch is shown as text;
- `selecting`: which batches are shown; `times`: times as people write them;
- `text`: how untrusted text, times and sizes are shown;
- `output`: where things are written, and whether they are drawn or plain;
- `drawing`: everything that needs rich, imported when something is drawn.

No verb but `import-bolt` and `compact` writes to STORE; all but `repair` work beside its writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from projections.snapshots import *  # noqa: F403 - __all__ says which
    from projections.snapshots import __all__ as __all__
else:

    def __getattr__(name: str) -> object:
        """Return a public name of the metastore, or `__all__`, which lists them."""
        import projections.snapshots as metastore  # noqa: PLC0415 - the command starts without it

        if name != "__all__" and name not in metastore.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(metastore, name)
        return value


def __dir__() -> list[str]:
    """Return the names of the module and those that it would import."""
    from projections.snapshots import __all__ as names  # noqa: PLC0415

    return sorted({*globals(), *names})
