"""Runs one command of a step, and stops it when the job is cancelled."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from gracefulexitcmd import AsyncCmd, Cause, Exit, Stage, To
from gracefulexitcmd.sequence import fitted, total
from step_runner.errors import CommandError
from step_runner.model import ExecResult
from step_runner.runner import environment, exec_space, notices, shebang

if sys.platform == "linux":
    from step_runner.runner import limits
if sys.platform == "win32":
    from gracefulexitcmd.program import find

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gracefulexitcmd import SignalSent
    from step_runner.model import Stop
    from step_runner.runner.context import GlobalContext, Streams


NOT_RUN = (126, 127)
"""Exit statuses by which shells and env(1) report that a program could not be run."""

HINTS = {
    errno.ENOEXEC: ": a script needs a first line such as #!/bin/sh",
    errno.EACCES: ": is it executable?",
    errno.EAGAIN: ": the limit of processes is reached (ulimit -u)",
    errno.EMFILE: ": the limit of open files is reached (ulimit -n)",
}


class Command(NamedTuple):
    """A command with its expressions evaluated; `given` is the content of its stdin, which is otherwise empty."""

    argv: tuple[str, ...]
    work_dir: str
    env: Mapping[str, str]
    given: bytes | None
    stop: Stop


async def run_command(
    command: Command, path: tuple[str, ...], job: GlobalContext
) -> tuple[ExecResult, Exception | None]:
    """Run the command of the step `path` to its end; return its result and its error.

    When the job is cancelled meanwhile, the command is stopped gracefully. The error is then a group: the stop, and the
    command's own error if there is one. Background processes of earlier steps are stopped with it, but not by the
    step's own stop sequence. Raise CommandError when the command cannot start.
    """
    own = _own_stages(command.stop, job.proc.graceful_exit_delay)
    program = _program(command.argv[0])
    streams = _open_streams(command, job)
    process = AsyncCmd(
        (program, *command.argv[1:]),
        grace=job.proc.graceful_exit_delay,
        env=command.env,
        cwd=command.work_dir,
        stdin=subprocess.DEVNULL if command.given is None else None,
        input=command.given,
        stdout=streams.stdout.write_end,
        stderr=streams.stderr.write_end,
        stop=_whole_sequence(own),
        container=job.container,
        stopping=partial(_note_stop, path, job),
    )
    stop = partial(_stop, process, path, job, total(own) if own else None)
    with contextlib.ExitStack() as undo, job.proc.listening(stop):
        undo.callback(streams.let_go)
        job.listener.step_started(path)
        try:
            await process.start()
        except OSError as error:
            raise CommandError(f"exec: {_not_started(command, error, job)}") from error
        except ValueError as error:
            raise CommandError(f"exec: {_unusable(command) or error}") from error
        undo.pop_all()
        streams.started(process.send_signal)
        if process.pid is not None and sys.platform == "linux":
            limits.reserve(process.pid)
        ended = await process.wait()
        await job.sink.settle()
        if not job.container.surely_empty():
            streams.let_go()  # a background process may have opened them to read, and would take the next step's output
    if ended.cause is not Cause.EXITED:
        _note_end(ended, path, job)
    code = ended.returncode if ended.returncode is not None else -1
    result = ExecResult(command=command.argv, work_dir=command.work_dir, exit_code=code, output_bytes=streams.moved)
    return result, _error(ended, command, job)


def _open_streams(command: Command, job: GlobalContext) -> Streams:
    try:
        return job.sink.open()
    except OSError as error:
        raise CommandError(f"exec: {_not_started(command, error, job)}") from error


def _program(name: str) -> str:
    """Return the program's path; search a bare name in the step runner's own PATH."""
    if os.path.dirname(name):
        return name
    if sys.platform == "win32":
        found = find(name, None, os.environ)
    else:
        found = _in_path(name)
    if found is None:
        raise CommandError(f'exec: exec: "{name}": executable file not found in $PATH')
    return found


def _in_path(name: str) -> str | None:
    """Search PATH, without empty names of directories: the current one is not that of the command.

    The import of shutil takes longer than the start of a command.
    """
    paths = (os.path.join(place, name) for place in os.get_exec_path() if place)
    with contextlib.suppress(ValueError):  # the name holds a NUL, or another character that no name of a file can hold
        return next((path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)), None)
    return None


PARTS = {"leader": To.LEADER, "group": To.GROUP, "rest": To.OWN & ~To.LEADER, "all": To.OWN}
"""Meanings of the words of a step file: only processes of the step itself."""


def _own_stages(stop: Stop, delay: float) -> tuple[Stage, ...]:
    """Return the step's own stop stages, shortened to the job's grace period in seconds; none if it has none.

    Windows has only one way to ask a process to stop: a step can choose only its time.
    """
    if sys.platform == "win32":
        return fitted(tuple(Stage(wait=one.wait) for one in stop), delay)
    return fitted(tuple(Stage(signal.Signals[one.signal], one.wait, PARTS[one.to]) for one in stop), delay)


def _whole_sequence(own: tuple[Stage, ...]) -> tuple[Stage, ...] | None:
    """Return the stages for all processes: those of earlier steps get SIGTERM and the job's full grace period."""
    if not own or sys.platform == "win32":
        return None
    return (Stage(signal.SIGTERM, 0.0, To.OTHERS), *own, Stage(signal.SIGKILL, None, To.OWN))


def _stop(process: AsyncCmd, path: tuple[str, ...], job: GlobalContext, own: float | None, left: float) -> None:
    """Stop the process. Its own grace period can only be shorter than the rest of the job's."""
    shorter = left if own is None else min(own, left)
    job.listener.step_stopping(path, shorter)
    process.cancel(grace=shorter if sys.platform == "win32" else left, hurried=job.proc.hurried)


def _note_stop(path: tuple[str, ...], job: GlobalContext, sent: SignalSent, ahead: tuple[Stage, ...]) -> None:
    step = f'step "{path[-1] if path else ""}"'
    for line in notices.stopping_stage(step, sent, ahead):
        job.notice(line)


def _note_end(ended: Exit, path: tuple[str, ...], job: GlobalContext) -> None:
    for line in notices.ended(ended):
        job.notice(line)
    # The process knows only that it was cancelled; the job knows the reason.
    job.listener.step_stopped(path, ended.replace(cause=job.proc.cause or ended.cause))


def _error(ended: Exit, command: Command, job: GlobalContext) -> Exception | None:
    own = _command_error(ended.returncode, command, job.scratch) or _loss(job)
    if ended.cause is Cause.EXITED:
        return own
    stopped = job.proc.error("stopped", "on request")
    return ExceptionGroup("stopped", [stopped] if own is None else [stopped, own])


def _command_error(status: int | None, command: Command, scratch: str) -> CommandError | None:
    if not status:
        return None
    if status > 0:
        reason = shebang.explanation(command.argv, command.work_dir) if status in NOT_RUN else _shortage(scratch)
        return CommandError(f"exec: exit status {status}{reason}", status)
    # The names are those of strsignal(3), in lower case: killed, terminated, segmentation fault.
    name = signal.strsignal(-status) or f"signal {-status}"
    return CommandError(f"exec: signal: {name.lower()}", status)


def _loss(job: GlobalContext) -> CommandError | None:
    """Return the error of a command that succeeded, but lost some of its output."""
    if job.sink.lost is None:
        return None
    return CommandError(f"exec: its output cannot be written: {job.sink.lost.strerror}{_shortage(job.scratch)}")


def _shortage(scratch: str) -> str:
    """Return a further possible cause of a failure: the command could not write to its output files."""
    from shutil import disk_usage

    with contextlib.suppress(OSError):
        if disk_usage(scratch).free == 0:
            return f"; no space is left on the disk that holds {scratch}"
    return ""


def _not_started(command: Command, error: OSError, job: GlobalContext) -> str:
    if not os.path.isdir(command.work_dir):
        return f'the work dir "{command.work_dir}" does not exist'
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.ENOENT:
        hint = shebang.explanation(command.argv[:1], command.work_dir)
    elif error.errno == errno.E2BIG:
        hint = _too_long(command, job)
    else:
        hint = HINTS.get(error.errno or 0, "")
    return f'exec: "{command.argv[0]}": {reason}{hint}'


def _too_long(command: Command, job: GlobalContext) -> str:
    """Return the limits, and the largest variable unless an argument is larger."""
    limits = ": one argument can hold 128 KiB, all of them and the environment 2 MiB"
    if not command.env:
        return limits
    name, size = exec_space.largest(command.env)
    if size < max(map(len, command.argv)):
        return limits
    exported = job.exports.variables.get(name) == command.env[name]
    by = f', exported by step "{job.exports.values[name][-1].step}"' if exported else ""
    return f'{limits}; the largest variable is "{name}" with {size} bytes{by}'


def _unusable(command: Command) -> str | None:
    """Return the argument or variable that execve(2) cannot pass, and the reason."""
    words = enumerate(command.argv)
    in_words = (f"argument {number} {fault}" for number, word in words if (fault := environment.fault_of(word)))
    variables = (environment.complaint(name, value) for name, value in command.env.items())
    return next(chain(in_words, filter(None, variables)), None)
