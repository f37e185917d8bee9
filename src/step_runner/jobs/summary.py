"""How a job ended, in sentences."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from step_runner import shown
from step_runner.model import Status
from step_runner.runner.notices import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gracefulexitcmd import EndedProcess, Exit
    from step_runner.model import JobStatus

SIGPIPE = 13
"""The number of SIGPIPE. Windows has no such signal, but exit statuses use this number everywhere."""

COMMAND_STATUS = re.compile(r"exec: (?:exit status (?P<status>\d+)|signal: (?P<signal>[^;]+))")
"""How a message reports the end of a command."""

LONGEST_COMMAND = 60
"""Most characters of a command line in a summary."""


def summary(job: JobStatus) -> Iterator[str]:
    """Return the lines that report how a job ended: its status, the signals sent, and the processes killed."""
    yield f'job "{job.id}" has ended: {job.status.name.lower()}'
    if job.termination is None:
        if job.message:
            yield shown.message(job.message)
        return
    ended = job.termination.ended
    yield f'step "{shown.name(job.termination.step)}": {_signals(ended)}'
    if ended.hurried is not None:
        yield f"killed at once: {shown.name(ended.hurried)}"
    yield from _force(ended)


def exit_status(job: JobStatus) -> int:
    """Return the exit status that `run` would have; that of a failed command is in the job's message.

    A job that has not ended has the status of a broken pipe: its log has no reader any more.
    """
    match job.status:
        case Status.SUCCESS:
            return 0
        case Status.CANCELLED:
            return 128 + signal.SIGTERM
        case Status.FAILURE:
            return _command_status(job.message)
        case Status.UNSPECIFIED | Status.RUNNING:
            return 128 + SIGPIPE


def _command_status(message: str) -> int:
    found = COMMAND_STATUS.search(message)
    if found is None:
        return 1
    if found["status"]:
        return int(found["status"])
    named = (one for one in signal.valid_signals() if (signal.strsignal(one) or "").lower() == found["signal"])
    number = next(named, None)
    return 1 if number is None else 128 + number


def _signals(ended: Exit) -> str:
    """Return each signal, its receiver and its time, counted from the first one, and the time of the last end."""
    if not ended.signals:
        return "no process was left to stop"
    first = ended.signals[0].after
    sent = ", ".join(
        f"{one.name} to {count(one.processes)} after {one.after - first:.1f} s"
        if one.after - first >= 0.05
        else f"{one.name} to {count(one.processes)}"
        for one in ended.signals
    )
    return f"{sent}; ended after {max(0.0, ended.duration - first):.1f} s"


def _force(ended: Exit) -> Iterator[str]:
    if not ended.forced:
        yield "no process had to be killed"
    for process in ended.census:
        if process.killed:
            yield f"had to be killed: {_named(process)}{process.reason}"
        elif process.ended_by is None:
            yield f"could not be ended: {_named(process)}{process.reason}"


def _named(process: EndedProcess) -> str:
    text = " ".join(process.command.split()) or "a process without a name"
    return f"{shown.shortened(text, LONGEST_COMMAND)} (pid {process.pid})"
