"""Runs a command in a worker process, so that a kill of either process leaves no process of a job.

The supervisor imports nothing but the library that ends processes: not even what reads the arguments.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from functools import cached_property, partial

from step_runner import shown
from step_runner.cli.arguments import effective
from step_runner.errors import StepRunnerError
from step_runner.imports import delay_typing_extensions, plain_character_classes, without

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gracefulexitcmd import Exit

SUSPENDS = {"run": True, "ci": True, "serve": False}
"""The commands that run jobs, and whether Ctrl-Z suspends them."""

HELP = (["-h"], ["--help"])
"""The rest of the arguments of a command that runs nothing."""

SUPERVISION_PREFIX = "GRACEFULEXITCMD_"
"""The prefix of the variables that mark a worker for its supervisor; each command gets marks of its own."""

DEFAULT_GRACE = 30.0
"""The default time between the stop signal and SIGKILL, in seconds."""

LONGEST_NOTE = 4096
"""The most bytes that a pipe takes in one piece, pipe(7): PIPE_BUF. The path of a socket is shorter, unix(7)."""

NO_THREAD = "can't start new thread"
"""The message of Python's RuntimeError if the system refuses another thread."""

FILES = "the limit of open files is reached (ulimit -n)"
PROCESSES = "the limit of processes is reached, or that of memory (ulimit -u, ulimit -v)"
LIMITS = {errno.EMFILE: FILES, errno.ENFILE: FILES, errno.EAGAIN: PROCESSES, errno.ENOMEM: PROCESSES}
"""The limit of the user that an error reports."""


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name. Return the exit status, in the supervisor and in its worker.

    A command that runs jobs runs in a worker process, and this one is its supervisor. Steps inherit the LC_CTYPE that
    this program was given. On Windows there is one process. When it dies, the system ends the processes in its job
    objects.
    """
    try:
        words = effective(arguments, os.environ)
        suspends = _suspends(words)
        return _run(words, Supervisor()) if suspends is None else _supervised(words, suspends=suspends)
    except StepRunnerError as error:
        _say(f"Error: {shown.message(str(error))}")
        return error.exit_status


def _suspends(words: Sequence[str]) -> bool | None:
    """Return whether Ctrl-Z suspends the command; None if it runs no jobs."""
    own = words[1:] if words[:1] == ["steps"] else words
    return None if own[1:] in HELP else SUSPENDS.get("".join(own[:1]))


def _run(words: Sequence[str], supervisor: Supervisor) -> int:
    from step_runner.cli.main import run as run_command

    return run_command(words, supervisor)


def _work(words: Sequence[str], notes: _Notes | None, supervisor_gone: int | None) -> int:
    _import_libraries()
    return _run(words, Supervisor(() if supervisor_gone is None else (supervisor_gone,), notes))


class Supervisor:
    """The supervisor, as its worker sees it."""

    def __init__(self, gone: tuple[int, ...] = (), notes: _Notes | None = None) -> None:
        self.gone = gone
        """The descriptor that becomes readable when the supervisor has ended; none without a supervisor."""
        self._notes = notes

    def note(self, grace: float, socket: str = "") -> None:
        """Note what the supervisor needs if the worker is killed: the grace period, and a socket to remove."""
        if self._notes is not None:
            self._notes.write(grace, socket)


class _Notes:
    """A pipe with what the worker has noted for the supervisor."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        if sys.platform != "win32":  # where no process is a worker
            os.set_blocking(self._read, False)

    def write(self, grace: float, socket: str) -> None:
        note = os.fsencode(f"{grace!r} {socket}")
        if len(note) <= LONGEST_NOTE:
            os.write(self._write, note)

    @cached_property
    def _noted(self) -> list[str]:
        try:
            return os.fsdecode(os.read(self._read, LONGEST_NOTE)).split(" ", 1)
        except BlockingIOError:  # the worker was killed before it had read its arguments
            return [repr(DEFAULT_GRACE), ""]

    @property
    def grace(self) -> float:
        return float(self._noted[0])

    @property
    def socket(self) -> str:
        return self._noted[1]


def _import_libraries() -> None:
    """Import the libraries of every worker, without modules that they do not need here."""
    # asyncio encrypts no stream here, so it needs no ssl: gRPC and urllib3 encrypt by themselves.
    with plain_character_classes(), without("ssl"):
        import asyncio  # noqa: F401
    with without("typing_extensions"):  # msgspec finds the same names in `typing`
        import msgspec  # noqa: F401
    delay_typing_extensions()


if sys.platform == "win32":

    def _supervised(words: Sequence[str], *, suspends: bool) -> int:
        return _work(words, None, None)

else:

    def _supervised(words: Sequence[str], *, suspends: bool) -> int:
        """Run the command in a worker process; return the exit status in both processes.

        Raise StepRunnerError if a limit of the user allows no further process or file, or if `/proc` is missing.
        """
        from gracefulexitcmd import supervise
        from gracefulexitcmd.program import complaint, undo_locale_coercion

        undo_locale_coercion()
        if (missing := complaint()) is not None:
            raise StepRunnerError(f"the step runner cannot work: {missing}")
        try:
            notes = _Notes()
            killed = partial(_killed, notes)
            return supervise(partial(_work, words, notes), lambda: notes.grace, killed, suspends=suspends)
        except (OSError, RuntimeError) as error:
            number = errno.EAGAIN if str(error) == NO_THREAD else getattr(error, "errno", None)
            if number not in LIMITS:
                raise
            raise StepRunnerError(f"the step runner cannot work: {LIMITS[number]}") from error

    def _killed(notes: _Notes, number: int, left: Exit | None) -> None:
        """Remove what a killed worker could not remove, and report how its jobs have ended."""
        from step_runner.jobs import recovery

        recovery.remove_own()
        if notes.socket:
            from step_runner.api.socket import make_free

            with contextlib.suppress(StepRunnerError):  # another server may use it by now
                make_free(notes.socket)
        _report(number, left)


def _report(number: int, left: Exit | None) -> None:
    import signal  # enums take a millisecond, which `--help` need not wait for

    from gracefulexitcmd.program import STOP_SIGNALS

    named = number in signal.Signals.__members__.values()
    name = signal.Signals(number).name if named else f"signal {number}"
    if number in STOP_SIGNALS and (left is None or not left.census):
        # The worker handles these signals from before the first step until after the last.
        _say(f"Error: stopped by {name}: no step was running")
        return
    _say(f"Error: {name} killed the process that ran the jobs: all jobs have ended")
    if left is not None and left.hurried is not None:
        _say(f"Killed at once: {left.hurried}")
    for process in left.census if left is not None else ():
        how = f"ended by {process.ended_by}" if process.ended_by else "could not be ended"
        _say(f"{how}: {process.program} (pid {process.pid}): {process.command}{process.reason}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
