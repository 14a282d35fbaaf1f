"""Crash-replay consistency of a domain: the only module of the kit that imports Hypothesis.

Hypothesis draws scripts: transactions of several commands, committed or rolled back, checkpoints,
compactions and restarts. A script runs over the simulated file system, and after each step the
store must show what the model says; also after a restart at its end, and after a checkpoint and a
restart. Its tables must be the fold of its batches, row by row, and no `apply` may change what it
is given (`eventstore.testing.purity`). Then the script is crashed at its operations as `explore`
does, and every recovered store must show what the model said after the last batch that it holds.

At the end the batches of the scripts are folded once more in another process, in which strings have
other hashes (`eventstore.testing.elsewhere`).
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

try:
    from hypothesis import HealthCheck, given, note, settings
    from hypothesis import strategies as st
    from hypothesis.errors import Flaky
except ImportError as error:  # pragma: no cover - a test runs this in a process without Hypothesis
    raise ImportError(
        "checking a domain needs Hypothesis: pip install '.[testing]' in a checkout"
    ) from error

from eventstore.testing.elsewhere import (
    NotImportableError,
    problems_elsewhere,
    refuse_in_child,
)
from eventstore.testing.explore import Depth, explore
from eventstore.testing.purity import Watched, check_ignores_unknown, watched
from eventstore.testing.replay import CommandChangedError, ModelChangedError, Replay
from eventstore.testing.report import Checked, InconsistencyError, in_words
from eventstore.testing.script import (
    CHECKPOINT,
    COMPACT,
    REOPEN,
    Script,
    Transaction,
    changed_command_program,
    changed_model_program,
    no_python,
    not_made,
    program,
    projections_program,
)
from eventstore.testing.session import Session
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from eventstore.testing.domain import C, Domain, M


_logger = logging.getLogger("eventstore.testing")

EXAMPLE_DEPTH = Depth(
    crash_points=8,
    images=3,
    double_crashes=1,
    double_crashes_after_kill=2,
    verify_every=8,
    compact_every=3,
)
"""How much of each script is crashed: many small scripts find more than a few large ones."""

_COMMANDS_MAX = 4
_STEPS_MAX = 8
_STEPS_OF_ONE_COMMAND_MAX = 16
_LOGS_MAX = 200
_SEEDS_ELSEWHERE = ("0", "1")
_SECONDS_BETWEEN_LINES = 2.0


def check_crash_replay(
    domain: Domain[C, M],
    *,
    settings: settings | None = None,
    depth: Depth = EXAMPLE_DEPTH,
    seed: int = 0,
    progress: bool = False,
) -> Checked:
    """Search for a script after which the store and the model disagree, crashes included.

    Args:
        domain: projections, commands and model.
        settings: of Hypothesis; those of the active profile unless given. Its database of examples
            is not used: each call searches anew.
        depth: how much of each script is crashed.
        seed: for the crashes.
        progress: write a line to stderr every two seconds; the logger `eventstore.testing` gets it
            (INFO) in any case.

    Returns:
        what was looked at, and whether the batches could be folded in another process too.

    Raises:
        InconsistencyError: with the smallest script that was found, and what is wrong after it;
            or with one that fails only sometimes, because something in the domain is not pure.
    """
    refuse_in_child()
    failures: list[InconsistencyError] = []
    work = _Work(_name(domain), progress)
    _require_sound_at_first_sight(domain)

    @_tolerant(settings)
    @given(script=_scripts(domain))
    def agree(script: Script[C]) -> None:
        try:
            _check_script(domain, script, depth, seed, work)
        except InconsistencyError as error:
            if not failures:
                work.say("a script fails; searching for a smaller one")
            failures.append(error)
            note(str(error))
            raise

    try:
        agree()
    except Flaky as error:
        raise InconsistencyError(
            f"{failures[-1]}\n\nThe same script does not always fail: a projection, a command or "
            "the model depends on something else, such as a clock, a random number or a global "
            "variable"
        ) from error
    other_process = _fold_elsewhere(domain, work)
    work.say(f"done; {other_process}")
    work.warn_of_little()
    return Checked(
        work.scripts,
        work.batches,
        work.recoveries,
        other_process,
        commands=work.commands,
        refused=work.refused,
    )


@dataclass
class _Work:
    """What has been done so far, and the logs of scripts for the other process."""

    name: str
    is_shown: bool
    scripts: int = 0
    batches: int = 0
    recoveries: int = 0
    commands: int = 0
    refused: int = 0
    logs: list[tuple[Script[Any], list[bytes]]] = field(default_factory=list)
    _said: float = field(default_factory=time.monotonic)

    def took(self, script: Script[Any], replay: Replay[Any, Any], recoveries: int) -> None:
        """Count a script that holds, of which this was the plain run."""
        log = replay.log
        self.scripts += 1
        self.batches += len(log)
        self.recoveries += recoveries
        self.commands += replay.commands
        self.refused += replay.refused
        if log:
            self.logs.append((script, log))
            # Short ones are easier to read, but say less: half of each.
            self.logs.sort(key=lambda each: len(each[1]))
            del self.logs[_LOGS_MAX // 2 : -_LOGS_MAX // 2]
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self.say("going on")

    def warn_of_little(self) -> None:
        """Warn where the scripts have done too little to say much."""
        if self.refused * 2 > self.commands:
            _logger.warning(
                "%s: nothing wrong was found, but %d of %d commands were refused: let commands() "
                "draw more of what the model accepts",
                self.name,
                self.refused,
                self.commands,
            )
        elif self.batches * 2 < self.scripts:
            _logger.warning(
                "%s: nothing wrong was found, but %d scripts have committed %d batches only: does "
                "execute emit an event for each command?",
                self.name,
                self.scripts,
                self.batches,
            )

    def say(self, what: str) -> None:
        """Tell whoever wants to know."""
        self._said = time.monotonic()
        line = (
            f"{self.name}: {self.scripts} scripts, {self.batches} batches, {self.recoveries} "
            f"recoveries: {what}"
        )
        _logger.info(line)
        if self.is_shown:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _require_sound_at_first_sight(domain: Domain[C, M]) -> None:
    checks: dict[str, tuple[Callable[[Any], object], str]] = {
        "watched": (watched, "a projection does not always state the same tables"),
        "check_ignores_unknown": (
            check_ignores_unknown,
            "a projection is not prepared for an event that it does not know",
        ),
    }
    for name, (check, problem) in checks.items():
        try:
            check(domain.projections)
        except InconsistencyError as error:
            heading = problem
            raise InconsistencyError(
                _report(domain, heading, projections_program(domain, name), str(error))
            ) from error


def _fold_elsewhere(domain: Domain[C, M], work: _Work) -> str:
    """Fold the logs of all scripts in other processes; return how that went, in words."""
    logs = [log for _, log in work.logs]
    if not logs:
        return "no script has committed a batch that another process could fold"
    try:
        for seed in _SEEDS_ELSEWHERE:
            for number, problem in enumerate(problems_elsewhere(domain, logs, seed)):
                if problem is not None:
                    heading = "another process folds the batches of this script to other tables"
                    script = work.logs[number][0]
                    found = InconsistencyError(problem)
                    raise _inconsistency(domain, script, heading, found, elsewhere=True)
    except NotImportableError as error:
        missed = f"not folded in another process, where other hashes would show: {error}"
        _logger.warning("%s: nothing wrong was found; %s", _name(domain), missed)
        return missed
    return "folded in other processes with the same result"


def _tolerant(given_settings: settings | None) -> settings:
    """Return settings under which a slow machine is no bug, and the first failure is shrunk.

    Without a database: Hypothesis would keep what fails for all domains under one key, and does not
    shrink what it finds there, so that one domain's script would be shown for another's.
    """
    return settings(
        given_settings or settings.default,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given],
    )


def _scripts(domain: Domain[C, M]) -> SearchStrategy[Script[C]]:
    transaction = _transactions(domain)
    step = st.one_of(
        transaction, transaction, transaction, st.sampled_from((CHECKPOINT, COMPACT, REOPEN))
    )
    most = _STEPS_OF_ONE_COMMAND_MAX if domain.commits_by_itself else _STEPS_MAX
    return st.lists(step, min_size=1, max_size=most)


def _transactions(domain: Domain[C, M]) -> SearchStrategy[Transaction[C]]:
    if domain.commits_by_itself:
        return domain.commands().map(lambda command: Transaction((command,), commits=True))
    commands = st.lists(domain.commands(), max_size=_COMMANDS_MAX).map(tuple)
    # Most transactions commit, or the scripts would do little.
    commits = st.sampled_from((True, True, True, False))
    return st.builds(Transaction, commands, commits)


def _check_script(
    domain: Domain[C, M], script: Script[C], depth: Depth, seed: int, work: _Work
) -> None:
    """Run a script as it is, then with a restart and a checkpoint at its end, then crash it.

    In this order, so that what a plain run shows is not put down to a crash.
    """
    replays = [
        _run_plainly(domain, [*script, *ending]) for ending in ([], [REOPEN], [CHECKPOINT, REOPEN])
    ]
    replay = Replay(domain, script)
    try:
        report = explore(
            replay.run,
            domain.projections,
            depth=depth,
            seed=seed,
            stop_early=True,
            inspect=replay.inspect,
        )
        report.require_sound()
    except Exception as error:
        heading = "the store and the model disagree when a crash comes during this script"
        raise _inconsistency(domain, script, heading, error) from error
    work.took(script, replays[0], report.recoveries)


def _run_plainly(domain: Domain[C, M], script: Script[C]) -> Replay[C, M]:
    """Run a script without a crash."""
    projections = tuple(map(Watched, domain.projections))
    session = Session.over(SimulatedFileSystem(), projections)
    replay = Replay(domain, script)
    try:
        replay.run(session, projections)
    except Exception as error:
        heading = "the store and the model disagree after this script"
        raise _inconsistency(domain, script, heading, error) from error
    return replay


def _inconsistency(
    domain: Domain[C, M],
    script: Script[C],
    heading: str,
    error: Exception,
    *,
    elsewhere: bool = False,
) -> InconsistencyError:
    if isinstance(error, ModelChangedError):
        heading = "expect changes the model in place"
        text = changed_model_program(domain, error.accepted, error.command)
    elif isinstance(error, CommandChangedError):
        heading = "a command is changed in place"
        text = changed_command_program(domain, error.accepted, error.command, error.before)
    else:
        text = program(domain, script, elsewhere=elsewhere)
    reason = str(error) if isinstance(error, InconsistencyError) else repr(error)
    if not str(error):
        reason = in_words(error)
    reason = "\n".join((reason, *getattr(error, "__notes__", ())))
    return InconsistencyError(_report(domain, heading, text, reason))


def _report(domain: Domain[C, M], heading: str, program_text: str, reason: str) -> str:
    lines = (f"    {line}".rstrip() for line in program_text.splitlines())
    unable = no_python(program_text) or not_made(domain)
    return "\n".join(
        (f"{_name(domain)}: {heading}:", "", *lines, "", *([unable] if unable else []), reason)
    )


def _name(domain: Domain[C, M]) -> str:
    """Return what tells a domain from others: its class, and what it was made with."""
    has_own = type(domain).__repr__ is not object.__repr__
    return repr(domain) if has_own else type(domain).__name__
