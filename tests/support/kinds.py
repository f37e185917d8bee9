"""Jobs of many kinds, the ways in which they may end, and the lines of their logs."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.support.steps import command, script, shell

from step_runner.model import RunRequest, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.crowd import Crowd

LINES = 3000
"""The number of lines that the kind `talks` writes."""

LONG = 60.0
"""The grace period, in seconds, of jobs that end at SIGTERM: far more than they need."""

SHORT = 0.1
"""The grace period, in seconds, of jobs that must be killed, and the timeout of jobs that end by a timeout."""

UNTIL_STOPPED = """\
import os, signal
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'trapped\\n'), os._exit(0)))
os.write(1, b'begun\\n')
while True:
    signal.pause()
"""
"""A program in Python, as a shell with a trap can lose SIGTERM: its child resets the trap between fork and exec."""


def _until_stopped(crowd: Crowd) -> tuple[str, ...]:
    return sys.executable, "-I", "-S", "-c", UNTIL_STOPPED, crowd.mark


class Kind(NamedTuple):
    """A kind of job; `ends` are the ways in which it ends by itself, empty if it has to be stopped."""

    ends: frozenset[Status]
    text: Callable[[Crowd], str]
    delay: float = LONG
    timeout: float | None = None
    lines: frozenset[str] = frozenset()
    """Lines that must be in the log of a job that has ended by itself."""

    def request(self, job_id: str, crowd: Crowd) -> RunRequest:
        """Return the request for such a job; its processes have the crowd's mark in their arguments."""
        text = self.text(crowd)
        delay, timeout = self.delay, self.timeout
        return RunRequest(id=job_id, steps=text, work_dir="/", graceful_exit_delay=delay, timeout=timeout)


def log_is_whole(kind: Kind, state: Status, log: bytes) -> bool:
    """Return whether the log of a job that has ended in this state has all its lines.

    A process that was ready for SIGTERM must have got it.
    """
    lines = log.decode().splitlines()
    if state is Status.CANCELLED:
        return "begun" not in lines or "trapped" in lines
    return lines[0].startswith("Running step") and kind.lines <= set(lines)


_SUCCESS, _FAILURE, _CANCELLED = (frozenset({state}) for state in (Status.SUCCESS, Status.FAILURE, Status.CANCELLED))

KINDS = {
    "quick": Kind(_SUCCESS, lambda crowd: shell(f"echo done # {crowd.mark}"), lines=frozenset({"done"})),
    "talks": Kind(
        _SUCCESS,
        lambda crowd: script(f"seq {LINES} # {crowd.mark}", "echo done"),
        lines=frozenset({*map(str, range(1, LINES + 1)), "done"}),
    ),
    "fails": Kind(
        _FAILURE, lambda crowd: script(f"echo failing; exit 3 # {crowd.mark}", "true"), lines=frozenset({"failing"})
    ),
    "leaves": Kind(
        _SUCCESS, lambda crowd: script(crowd.script("setsid", "hidden", "closed", status=0)), lines=frozenset({"ready"})
    ),
    "waits": Kind(frozenset(), lambda crowd: command(*_until_stopped(crowd))),
    "waits, leaves": Kind(
        frozenset(),
        lambda crowd: script(
            crowd.script("in_group", "stopped", "double_fork", status=0), f"exec {shlex.join(_until_stopped(crowd))}"
        ),
    ),
    "ignores": Kind(
        frozenset(), lambda crowd: shell(f"trap '' TERM; sleep 1000; : # {crowd.mark}"), delay=SHORT
    ),
    "takes too long": Kind(_CANCELLED, lambda crowd: command(*_until_stopped(crowd)), timeout=SHORT),
    "cannot be read": Kind(frozenset(), lambda crowd: "not a function"),
}  # fmt: skip
