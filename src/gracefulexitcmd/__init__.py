"""Starts processes and is sure to end them.

    from gracefulexitcmd import Cmd

    exit = Cmd(["make", "deploy"], grace=10, timeout=600).run()
    print(exit.cause, exit.status, exit.forced)

A command runs in a process group of its own. When it is cancelled, or its time is over, the group gets SIGTERM and
SIGCONT; who is left when the grace is over gets SIGKILL, whether the process that was started still lives or not.
`Cmd` waits, `AsyncCmd` is the same for asyncio. Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gracefulexitcmd.cmd import Cmd
from gracefulexitcmd.exit import Cause, EndedProcess, Exit, Holder, SignalSent

if TYPE_CHECKING:
    from gracefulexitcmd.aio import AsyncCmd

__all__ = ["AsyncCmd", "Cause", "Cmd", "EndedProcess", "Exit", "Holder", "SignalSent"]


def __getattr__(name: str) -> object:
    # asyncio costs tens of milliseconds, which programs without it should not pay.
    if name == "AsyncCmd":
        from gracefulexitcmd.aio import AsyncCmd

        return AsyncCmd
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
