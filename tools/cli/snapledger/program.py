"""The program: its verbs, and what becomes of errors.

Every failure ends as one line on stderr and an exit code of `EXIT_CODES`; only an error that is
ours shows a traceback. The verbs' modules are imported when they are needed, and so is the
knowledge of the library's errors: the start is as fast as click's.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from snapledger.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "snapledger"

_FAILED = 1
_INTERRUPTED = 130
_READER_GONE = 141
"""What a shell gives for a process that SIGINT or SIGPIPE ended."""

EXIT_CODES = """\b
Exit codes:
   0  done
   1  failed
   2  the command line is wrong
   3  damage found
   4  a head or a proof does not hold
  10  no store there
  11  the store is locked by another process
 130  interrupted
 141  the reader of the output went away"""


class Verb(NamedTuple):
    """A verb before it is imported.

    Attributes:
        module: where its command is, under the name `command`.
        summary: for the list of verbs.
    """

    module: str
    summary: str


VERBS = {
    "import-bolt": Verb("snapledger.import_bolt", "Make a store of a containerd metadata.db."),
    "export-bolt": Verb("snapledger.export_bolt", "Write a containerd metadata.db of a store."),
    "ls": Verb("snapledger.ls", "List snapshots."),
    "info": Verb("snapledger.info", "Show one snapshot."),
    "tree": Verb("snapledger.tree", "Show snapshots below their parents."),
    "du": Verb("snapledger.du", "Show what snapshots take, by kind, label or chain."),
    "log": Verb("snapledger.log", "Show what was changed, when, by whom and why."),
    "show": Verb("snapledger.show", "Show one batch."),
    "diff": Verb("snapledger.diff", "Show what differs between two moments, and who did that."),
    "watch": Verb("snapledger.watch", "Show what is committed from now on."),
    "replay": Verb("snapledger.replay", "Fold the log anew, and compare with the checkpoints."),
    "check": Verb("snapledger.check", "Read everything and say what is damaged."),
    "repair": Verb("snapledger.repair", "Make a new store of what can be read of a damaged one."),
    "compact": Verb("snapledger.compact", "Write a checkpoint and archive what it supersedes."),
    "backup": Verb("snapledger.backup", "Bring a backup of a store up to date, or begin one."),
    "restore": Verb("snapledger.restore", "Make a store of a backup, as of any revision of it."),
    "dump": Verb("snapledger.dump", "Write everything as lines of JSON."),
    "load": Verb("snapledger.load", "Make a store of a dump."),
    "intents": Verb(
        "snapledger.intents", "Show work outside the store that is not known to be done."
    ),
    "erase": Verb("snapledger.erase", "Make texts unreadable that must be forgotten."),
    "stats": Verb("snapledger.stats", "Show sizes and counts."),
    "report": Verb("snapledger.report", "Write a page to look at, with tree, charts and search."),
    "key": Verb("snapledger.key", "Make a key that signs heads and proofs."),
    "head": Verb("snapledger.head", "Sign what a store holds now."),
    "prove": Verb("snapledger.prove", "Prove a batch, or that a store continues an old head."),
    "verify": Verb("snapledger.verify", "Check a head or a proof, without the store."),
    "publish": Verb("snapledger.publish", "Write the tree over a store's batches as files."),
    "version": Verb("snapledger.version", "Show the release, and what it reads and runs on."),
}


class ReaderGoneError(Exception):
    """Nobody reads the output any more, as when it is piped into `head`."""


class InterruptedByUserError(Exception):
    """An interrupt came into a verb."""


class WarningLines(logging.Handler):
    """Shows what the library logs as one line on stderr, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        message = record.getMessage()
        if message not in self._shown:
            self._shown.add(message)
            _complain(message)


class Verbs(click.Group):
    """The group of verbs, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs, in the order in which they are explained."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a verb."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = importlib.import_module(verb.module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{verb.module}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb.

        A broken pipe is kept from click, which would say that it failed; and an interrupt, for
        which it would write an empty line.
        """
        warnings = WarningLines()
        logging.getLogger().addHandler(warnings)
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except KeyboardInterrupt as error:
            raise InterruptedByUserError from error
        finally:
            logging.getLogger().removeHandler(warnings)


@click.group(
    cls=Verbs,
    name=PROGRAM,
    no_args_is_help=False,
    subcommand_metavar="VERB STORE [ARGUMENTS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM)
def verbs() -> None:
    """Look at snapshot metadata stores, and look after them.

    STORE is the directory of a store. All verbs but those that make a store, compact and
    erase only read it, and all but repair and erase work while a driver has the store open.

    Each verb has --json, for one JSON document on stdout; log, watch and diff stream one a line,
    for each batch or snapshot. Only head and prove, whose output is a signed text, and dump, whose
    output is lines of JSON, have none. Errors and notes are one line on stderr either way.
    Arguments that begin with "-" go after "--".

    Text that comes from a store is shown with everything escaped that a terminal could act on:
    control characters, line breaks, changes of the writing direction, the backslash itself. With
    a pipe or a file as output, or with NO_COLOR set, it is plain lines of tab-separated fields.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: those after the program's name; those of this process unless given.
    """
    if sys.stdout is None:
        # The first file opened, one of the store, would have the number of the output.
        _complain("the standard output is closed; nothing was done")
        return _FAILED
    _accept_all_characters()
    try:
        result = verbs.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (click.Abort, KeyboardInterrupt, InterruptedByUserError):
        _complain("interrupted")
        return _INTERRUPTED
    except ReaderGoneError:
        return _READER_GONE
    except click.UsageError as error:
        _complain(_usage_message(error))
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except Exception as error:
        from snapledger.failures import explain  # noqa: PLC0415 - imports the library

        failure = explain(error)
        if failure is None:
            raise
        _complain(failure.message)
        return failure.exit_code
    finally:
        _drop_unwritten_output()


def _accept_all_characters() -> None:
    """Let the output escape what its encoding does not have, rather than fail on a name."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _complain(message: str) -> None:
    # The exit code still says it where nobody can be told.
    with contextlib.suppress(OSError):
        click.echo(f"{PROGRAM}: {one_line(message)}", err=True)


def _usage_message(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else PROGRAM
    return f"{error.format_message().rstrip('.')}; see `{path} --help`"


def _drop_unwritten_output() -> None:
    """Send output that can't be written away, so that Python does not try, and fail, at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
