"""Runs one command of a step, and stops it when the job is cancelled."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from gracefulexitcmd import AsyncCmd, AsyncRoundup, Cause, Exit
from step_runner.errors import CommandError, StoppedError
from step_runner.model import ExecResult, Stop
from step_runner.runner import environment, notices, room, shebang

if sys.platform == "linux":
    from step_runner.runner import limits
if sys.platform == "win32":
    from gracefulexitcmd.windows.program import find
else:
    from gracefulexitcmd.posix.own_tree import Others

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gracefulexitcmd import SignalSent
    from step_runner.runner.context import GlobalContext


NOT_RUN = (126, 127)
"""The statuses by which shells and env(1) say that a program could not be run."""

HINTS = {
    errno.ENOEXEC: ": a script needs a first line such as #!/bin/sh",
    errno.EACCES: ": is it executable?",
    errno.EAGAIN: ": the limit of processes is reached (ulimit -u)",
    errno.EMFILE: ": the limit of open files is reached (ulimit -n)",
}


class Command(NamedTuple):
    """A command with everything expanded; `given` is what it reads from stdin, which is empty otherwise."""

    argv: tuple[str, ...]
    work_dir: str
    env: Mapping[str, str]
    given: bytes | None
    stop: Stop


async def run_command(
    command: Command, path: tuple[str, ...], job: GlobalContext
) -> tuple[ExecResult, Exception | None]:
    """Run the command of the step `path` to its end; returns what it did, and what went wrong.

    When the job is cancelled meanwhile, the command is stopped gracefully and the error is a group: that it was
    stopped, and the command's own error if it had one. What earlier steps have left in the background is stopped with
    it, but not in the way that the step asks for itself. Raises CommandError when it cannot be started.
    """
    alone = command.stop != Stop()
    process = AsyncCmd(
        (_program(command.argv[0]), *command.argv[1:]),
        grace=job.proc.graceful_exit_delay,
        env=command.env,
        cwd=command.work_dir,
        stdin=subprocess.DEVNULL if command.given is None else None,
        input=command.given,
        stdout=job.sink.stdout,
        stderr=job.sink.stderr,
        stop_signal=_stop_signal(command.stop.signal),
        container=job.container,
        alone=alone,
        stopping=partial(_tell_stop, path, job),
    )
    others = _Others(process, job) if alone else None
    with job.proc.listening(partial(_stop, process, others, path, job, command.stop.grace)):
        job.observer.step_started(path)
        try:
            await process.start()
        except OSError as error:
            raise CommandError(f"exec: {_not_started(command, error, job)}") from error
        except ValueError as error:
            raise CommandError(f"exec: {_unusable(command) or error}") from error
        if process.pid is not None and sys.platform == "linux":
            limits.reserve(process.pid)
        ended = await process.wait()
        beside = None if others is None else await others.ended()
    if ended.cause is not Cause.EXITED:
        _tell_end(ended, beside, path, job)
    code = ended.status if ended.status is not None else -1
    return ExecResult(command=command.argv, work_dir=command.work_dir, exit_code=code), _error(ended, command, job)


def _program(name: str) -> str:
    """The program's path; a bare name is searched where the step runner's own PATH says."""
    if os.path.dirname(name):
        return name
    if sys.platform == "win32":
        found = find(name, None, os.environ)
    else:
        found = shutil.which(name)
    if found is None:
        raise CommandError(f'exec: exec: "{name}": executable file not found in $PATH')
    return found


def _stop_signal(name: str) -> signal.Signals:
    """The signal of this name; on Windows there is but one way to ask a process to stop."""
    return signal.SIGTERM if sys.platform == "win32" else signal.Signals[name]


class _Others:
    """What earlier steps have left in the background, where a command is stopped in a way of its own.

    It is stopped at the same time as that, by the signal and with the delay that are the job's.
    """

    def __init__(self, process: AsyncCmd, job: GlobalContext) -> None:
        self._process = process
        self._job = job
        self._roundup: AsyncRoundup | None = None

    def stop(self, left: float) -> None:
        """Stop it within the seconds that are left; again, to shorten them."""
        if self._roundup is not None:
            self._roundup.cancel(grace=left, hurried=self._job.proc.hurried)
        elif self._process.pid is not None and sys.platform != "win32":  # where a command never stops others
            others = Others(self._job.container, self._process.pid)
            roundup = AsyncRoundup(others, left, stopping=self._tell_stop)
            with contextlib.suppress(OSError):  # no descriptor is free: they are stopped when the job ends
                roundup.begin()
                self._roundup = roundup

    def _tell_stop(self, sent: SignalSent, grace: float) -> None:
        for line in notices.stopping_left_behind(sent, grace):
            self._job.sink.notice(line)

    async def ended(self) -> Exit | None:
        """How they have ended, once they have; None where they were not stopped."""
        return None if self._roundup is None else await self._roundup.wait()


def _stop(
    process: AsyncCmd,
    others: _Others | None,
    path: tuple[str, ...],
    job: GlobalContext,
    own: float | None,
    left: float,
) -> None:
    """Stop the process; its own grace can only be shorter than what is left of the job's."""
    grace = left if own is None else min(own, left)
    job.observer.step_stopping(path, grace)
    process.cancel(grace=grace, hurried=job.proc.hurried)
    if others is not None:
        others.stop(left)


def _tell_stop(path: tuple[str, ...], job: GlobalContext, sent: SignalSent, grace: float) -> None:
    job.sink.notice(notices.stopping(f'step "{path[-1] if path else ""}"', sent, grace))


def _tell_end(ended: Exit, beside: Exit | None, path: tuple[str, ...], job: GlobalContext) -> None:
    for line in (*notices.ended(ended), *(() if beside is None else notices.ended(beside))):
        job.sink.notice(line)
    if beside is not None:
        ended = ended.beside(beside, ended.signals[0].after if ended.signals else ended.duration)
    # The process knows only that it was cancelled; why, the job knows.
    job.observer.step_stopped(path, dataclasses.replace(ended, cause=job.proc.cause or ended.cause))


def _error(ended: Exit, command: Command, job: GlobalContext) -> Exception | None:
    own = _command_error(ended.status, command, job.scratch)
    if ended.cause is Cause.EXITED:
        return own
    timeout = job.proc.cause is Cause.TIMEOUT
    stopped = StoppedError(
        "stopped because the job's time was over" if timeout else "stopped on request", timeout=timeout
    )
    return ExceptionGroup("stopped", [stopped] if own is None else [stopped, own])


def _command_error(status: int | None, command: Command, scratch: str) -> CommandError | None:
    if not status:
        return None
    if status > 0:
        reason = shebang.told(command.argv, command.work_dir) if status in NOT_RUN else _shortage(scratch)
        return CommandError(f"exec: exit status {status}{reason}", status)
    # The names are those of strsignal(3), in lower case: killed, terminated, segmentation fault.
    name = signal.strsignal(-status) or f"signal {-status}"
    return CommandError(f"exec: signal: {name.lower()}", status)


def _shortage(scratch: str) -> str:
    """What may be to blame for a failure beside the command: it could not write to its log and output files."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(scratch).free == 0:
            return f"; no space is left on the disk that holds {scratch}"
    return ""


def _not_started(command: Command, error: OSError, job: GlobalContext) -> str:
    if not os.path.isdir(command.work_dir):
        return f'the work dir "{command.work_dir}" does not exist'
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.ENOENT:
        hint = shebang.told(command.argv[:1], command.work_dir)
    elif error.errno == errno.E2BIG:
        hint = _too_long(command, job)
    else:
        hint = HINTS.get(error.errno or 0, "")
    return f'exec: "{command.argv[0]}": {reason}{hint}'


def _too_long(command: Command, job: GlobalContext) -> str:
    """Name the limits, and the variable that takes most of the room, unless an argument takes more."""
    limits = ": one argument can hold 128 KiB, all of them and the environment 2 MiB"
    if not command.env:
        return limits
    name, size = room.largest(command.env)
    if size < max(map(len, command.argv)):
        return limits
    step = job.exported_by.get(name) if job.exports.get(name) == command.env[name] else None
    by = "" if step is None else f', exported by step "{step}"'
    return f'{limits}; the largest variable is "{name}" with {size} bytes{by}'


def _unusable(command: Command) -> str | None:
    """Return which word or variable no process can be given, and why."""
    words = enumerate(command.argv)
    in_words = (f"argument {number} {fault}" for number, word in words if (fault := environment.fault_of(word)))
    variables = (environment.complaint(name, value) for name, value in command.env.items())
    return next(chain(in_words, filter(None, variables)), None)
