"""Starts processes and is sure to end them.

    from gracefulexitcmd import Cmd, contain

    ended = Cmd(["make", "deploy"], grace=10, timeout=600).run()
    print(ended.cause, ended.returncode, ended.forced)

    with contain(grace=10) as container:
        Cmd(["start-service"], container=container).run()
        Cmd(["make", "check"], container=container).run()

A command runs in a process group of its own. When it is cancelled, or its time is over, it gets SIGTERM and SIGCONT,
and so does everything that it has started; who is left when the grace is over gets SIGKILL, whether the process that
was started still lives or not. What was started within `contain` has ended when its block has, in whatever way.
`Cmd` waits, `AsyncCmd` is the same for asyncio. Standard library only.

For programs that run commands for others there are `supervise`, two processes of which each notices the other's death,
`recover`, which ends what a killed program has left, and the modules `clock` (the time of all deadlines), `duration`
(times as people write them), `pipes` (what a killed program's supervisor reads on), `program` (signals, surroundings
and exit status) and `sequence` (the stop sequence). What stands in `__all__` of these is public, nothing else is.

On Windows a Job Object takes the place of the group, CTRL_BREAK that of SIGTERM, TerminateJobObject that of SIGKILL.
"""

from __future__ import annotations

import sys
from subprocess import DEVNULL, PIPE, STDOUT
from typing import TYPE_CHECKING

from gracefulexitcmd.cmd import Cmd
from gracefulexitcmd.exit import Cause, CommandFailed, EndedProcess, Exit, Holder, SignalSent
from gracefulexitcmd.roundup import Roundup, contain
from gracefulexitcmd.sequence import Stage, To
from gracefulexitcmd.system import Container

if TYPE_CHECKING:
    from gracefulexitcmd.aio import AsyncCmd, AsyncRoundup, OrphanReaper
    from gracefulexitcmd.reason import Reason, Why
    from gracefulexitcmd.running import run

    if sys.platform != "win32":
        from gracefulexitcmd.posix.recovery import Leftovers, recover
        from gracefulexitcmd.posix.supervise import supervise

__version__ = "0.1.0"

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AsyncCmd",
    "AsyncRoundup",
    "Cause",
    "Cmd",
    "CommandFailed",
    "Container",
    "EndedProcess",
    "Exit",
    "Holder",
    "Leftovers",
    "OrphanReaper",
    "Reason",
    "Roundup",
    "SignalSent",
    "Stage",
    "To",
    "Why",
    "contain",
    "recover",
    "run",
    "supervise",
]


# asyncio costs tens of milliseconds, supervisors and reasons some, which other programs should not pay.
_LATER = dict.fromkeys(("AsyncCmd", "AsyncRoundup", "OrphanReaper"), "aio") | {
    "Reason": "reason",
    "Why": "reason",
    "run": "running",
}
if sys.platform != "win32":
    _LATER |= {"Leftovers": "posix.recovery", "recover": "posix.recovery", "supervise": "posix.supervise"}


def __getattr__(name: str) -> object:
    if name in _LATER:
        from importlib import import_module

        found: object = getattr(import_module(f"gracefulexitcmd.{_LATER[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
