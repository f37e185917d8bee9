"""Runs a command's work in a second process, so that a kill of either process leaves no process of a job."""

from __future__ import annotations

import errno
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from step_runner.errors import StepRunnerError
from step_runner.imports import delay_typing_extensions, plain_character_classes, without

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import Exit


SUPERVISION_PREFIX = "GRACEFULEXITCMD_"
"""The prefix of the variables that mark a worker for its supervisor; each command gets marks of its own."""

NO_THREAD = "can't start new thread"
"""The message of Python's RuntimeError if the system refuses another thread."""


def supervised(
    work: Callable[[int | None], int],
    grace: float,
    tidy: Callable[[], object] = lambda: None,
    *,
    suspends: bool = False,
) -> int:
    """Run `work` in a worker process with this one as its supervisor. Return the exit status in both.

    Call `tidy` in the supervisor if the worker was killed and could not do it. With `suspends`, Ctrl-Z suspends both.
    Raise StepRunnerError if a limit of the user allows no further process or file, or if `/proc` is missing. Steps
    inherit the LC_CTYPE that this program was given.

    Call this before heavy imports: the supervisor does not need them. On Windows there is one process. When it dies,
    the system ends the processes in its job objects.
    """
    work = partial(_work, work)
    if sys.platform == "win32":
        return work(None)
    from gracefulexitcmd import supervise
    from gracefulexitcmd.program import complaint, undo_locale_coercion

    undo_locale_coercion()
    if (missing := complaint()) is not None:
        raise StepRunnerError(f"the step runner cannot work: {missing}")
    try:
        return supervise(work, grace, partial(_killed, tidy), suspends=suspends)
    except (OSError, RuntimeError) as error:
        limit = _limit(error)
        if limit is None:
            raise
        raise StepRunnerError(f"the step runner cannot work: {limit}") from error


def _work(work: Callable[[int | None], int], supervisor_gone: int | None) -> int:
    _import_libraries()
    return work(supervisor_gone)


def _import_libraries() -> None:
    """Import the libraries of every worker, without modules that they do not need here."""
    # asyncio encrypts no stream here, so it needs no ssl: gRPC and urllib3 encrypt by themselves.
    with plain_character_classes(), without("ssl"):
        import asyncio  # noqa: F401
    with without("typing_extensions"):  # msgspec finds the same names in `typing`
        import msgspec  # noqa: F401
    delay_typing_extensions()


def _limit(error: OSError | RuntimeError) -> str | None:
    """Return the limit of the user that an error reports, None for another error."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "the limit of open files is reached (ulimit -n)"
    no_process = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM)
    if no_process or str(error) == NO_THREAD:
        return "the limit of processes is reached, or that of memory (ulimit -u, ulimit -v)"
    return None


def _killed(tidy: Callable[[], object], number: int, left: Exit | None) -> None:
    if sys.platform != "win32":
        from step_runner.jobs import recovery

        recovery.remove_own()
        tidy()
    _report(number, left)


def _report(number: int, left: Exit | None) -> None:
    from gracefulexitcmd.program import STOP_SIGNALS

    named = number in signal.Signals.__members__.values()
    name = signal.Signals(number).name if named else f"signal {number}"
    if number in STOP_SIGNALS and (left is None or not left.census):
        # The worker handles these signals from before the first step until after the last.
        click.echo(f"Error: stopped by {name}: no step was running", err=True)
        return
    click.echo(f"Error: {name} killed the process that ran the jobs: all jobs have ended", err=True)
    if left is not None and left.hurried is not None:
        click.echo(f"Killed at once: {left.hurried}", err=True)
    for process in left.census if left is not None else ():
        how = f"ended by {process.ended_by}" if process.ended_by else "could not be ended"
        click.echo(f"{how}: {process.program} (pid {process.pid}): {process.command}{process.reason}", err=True)
