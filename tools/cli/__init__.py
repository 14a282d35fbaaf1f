"""The operator's command line, `snapledger`.

A verb is a module of its own, which is imported when it is run, so that `snapledger --help` costs
no more than click. What verbs share:

- `program`: the table of verbs, and the way from an error to a line on stderr and an exit code;
- `failures`: which error is which exit code;
- `arguments`: the arguments and options that verbs have in common;
- `reading`: opening a store for a look at it, now or in the past;
- `records`: the shapes of the JSON output;
- `batches`: how a batch is shown as text;
- `text`: how untrusted text, times and sizes are shown;
- `output`: where things are written, and whether they are drawn or plain;
- `drawing`: everything that needs rich, imported when something is drawn.

No verb but `import-bolt` and `compact` writes to STORE; all but `repair` work beside its writer.
"""

from tools.cli.program import main

__all__ = ["main"]
