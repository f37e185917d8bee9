"""Has a command do its work in a second process, so that killing either one leaves nothing behind."""

from __future__ import annotations

import errno
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from step_runner.errors import StepRunnerError
from step_runner.imports import plain_character_classes, without

if TYPE_CHECKING:
    from collections.abc import Callable

    from gracefulexitcmd import Exit


OF_THE_WATCH = "GRACEFULEXITCMD_"
"""What the names of variables begin with that mark a worker for its front; each command gets marks of its own."""

NO_THREAD = "can't start new thread"
"""What Python says, in a RuntimeError, where the system refuses another thread."""


def guarded(
    work: Callable[[int | None], int],
    grace: float,
    tidy: Callable[[], object] = lambda: None,
    *,
    suspends: bool = False,
) -> int:
    """Do the work in a worker process, watched by this one; returns the exit status in both.

    `tidy` is called here where the worker was killed and could not do it; with `suspends` Ctrl-Z stops both. Raises
    StepRunnerError where the limits of the user leave no room for that, or `/proc` is missing. Steps inherit the
    LC_CTYPE that this program was given.

    It comes before anything heavy is imported, because this process only watches. On Windows there is one process:
    when that dies, the system ends the jobs that it holds.
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


def _work(work: Callable[[int | None], int], front_is_gone: int | None) -> int:
    _import_libraries()
    return work(front_is_gone)


def _import_libraries() -> None:
    """Import what every worker needs, without what that can do without."""
    with (
        plain_character_classes(),
        without("ssl"),
    ):  # no stream of asyncio here is encrypted: gRPC and urllib3 do that by themselves
        import asyncio  # noqa: F401
    with without("typing_extensions"):  # all that msgspec takes from it is in `typing`, too
        import msgspec  # noqa: F401


def _limit(error: OSError | RuntimeError) -> str | None:
    """The limit of the user that was reached; None where it was none."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "the limit of open files is reached (ulimit -n)"
    no_process = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM)
    if no_process or str(error) == NO_THREAD:
        return "the limit of processes is reached, or that of memory (ulimit -u, ulimit -v)"
    return None


def _killed(tidy: Callable[[], object], number: int, left: Exit | None) -> None:
    if sys.platform != "win32":
        from step_runner.jobs import leftovers

        leftovers.remove_own()
        tidy()
    _tell(number, left)


def _tell(number: int, left: Exit | None) -> None:
    from gracefulexitcmd.program import STOP_SIGNALS

    named = number in signal.Signals.__members__.values()
    name = signal.Signals(number).name if named else f"signal {number}"
    if number in STOP_SIGNALS and (left is None or not left.census):
        # The worker handles these from before the first step until after the last.
        click.echo(f"Error: stopped by {name}: no step was running", err=True)
        return
    click.echo(f"Error: {name} killed the process that ran the jobs: all of them have ended", err=True)
    if left is not None and left.hurried is not None:
        click.echo(f"Killed at once: {left.hurried}", err=True)
    for process in left.census if left is not None else ():
        how = f"ended by {process.ended_by}" if process.ended_by else "could not be ended"
        click.echo(f"{how}: {process.program} (pid {process.pid}): {process.command}{process.reason}", err=True)
