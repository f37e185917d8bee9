"""Starts processes and makes sure that they end.

    from gracefulexitcmd import Cmd, contain

    ended = Cmd(["make", "deploy"], grace=10, timeout=600).run()
    print(ended.cause, ended.returncode, ended.forced)

    with contain(grace=10) as container:
        Cmd(["start-service"], container=container).run()
        Cmd(["make", "check"], container=container).run()

A command runs in a process group of its own. When it is cancelled, or its timeout expires, the command and all its
descendants get SIGTERM and SIGCONT. Processes that are left after the grace period get SIGKILL, whether the command's
own process still runs or not. At the end of a `contain` block, also by an exception, all processes that were started
within it have ended. `Cmd` blocks, `AsyncCmd` is the same for asyncio. Standard library only.

Programs that run commands for others find more here: `supervise` splits the program into two processes, each of which
notices the other's death; `recover` ends the processes that a killed program has left; and a
`ManualContainer` is emptied when its owner wants it. The modules are `clock` (the
time of all deadlines), `duration` (times as people write them), `pipes` (output that the supervisor reads for a killed
program), `program` (signals, environment and exit status) and `sequence` (the stop sequence). Only the names in
`__all__` of these are public.

On Windows a Job Object replaces the process group, CTRL_BREAK replaces SIGTERM, and TerminateJobObject SIGKILL.
"""

from __future__ import annotations

import sys
from subprocess import DEVNULL, PIPE, STDOUT

from gracefulexitcmd.cmd import Cmd
from gracefulexitcmd.container import Container
from gracefulexitcmd.exit import Cause, CommandFailed, EndedProcess, Exit, Holder, SignalSent
from gracefulexitcmd.sequence import Stage, To
from gracefulexitcmd.system import ManualContainer

TYPE_CHECKING = False

if TYPE_CHECKING:
    from gracefulexitcmd.aio import AsyncCmd, AsyncTermination, OrphanReaper
    from gracefulexitcmd.reason import Reason, Why
    from gracefulexitcmd.running import run
    from gracefulexitcmd.termination import Termination, contain

    if sys.platform != "win32":
        from gracefulexitcmd.posix.recovery import Orphaned, recover
        from gracefulexitcmd.posix.supervise import supervise

__version__ = "0.1.0"

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AsyncCmd",
    "AsyncTermination",
    "Cause",
    "Cmd",
    "CommandFailed",
    "Container",
    "EndedProcess",
    "Exit",
    "Holder",
    "ManualContainer",
    "OrphanReaper",
    "Orphaned",
    "Reason",
    "SignalSent",
    "Stage",
    "Termination",
    "To",
    "Why",
    "contain",
    "recover",
    "run",
    "supervise",
]


# asyncio costs tens of milliseconds, the others some, which other programs should not pay.
_LATER = dict.fromkeys(("AsyncCmd", "AsyncTermination", "OrphanReaper"), "aio") | {
    "Reason": "reason",
    "Why": "reason",
    "Termination": "termination",
    "contain": "termination",
    "run": "running",
}
if sys.platform != "win32":
    _LATER |= {"Orphaned": "posix.recovery", "recover": "posix.recovery", "supervise": "posix.supervise"}


def __getattr__(name: str) -> object:
    if name in _LATER:
        from importlib import import_module

        found: object = getattr(import_module(f"gracefulexitcmd.{_LATER[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
