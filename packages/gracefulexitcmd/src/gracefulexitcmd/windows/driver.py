"""Waits for a command in a thread, on behalf of an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial

from gracefulexitcmd.cmd import drive

TYPE_CHECKING = False

if TYPE_CHECKING:
    from gracefulexitcmd.execution import Execution
    from gracefulexitcmd.exit import Exit


class Driver:
    """Waits for an execution in a thread, because an event loop on Windows cannot watch handles of other code.

    `ended` is done when the execution has ended.
    """

    def __init__(self, execution: Execution) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exit] = self.loop.create_future()
        # A daemon thread: the exit of the program does not wait for an abandoned command.
        threading.Thread(target=self._run, args=(execution,), name="gracefulexitcmd", daemon=True).start()

    def abandon(self) -> None:
        """Do nothing: the thread continues without the loop, which was closed."""

    def _run(self, execution: Execution) -> None:
        try:
            drive(execution)
            assert execution.exit is not None
            done = partial(self._complete, execution.exit)
        except Exception as error:  # else it would be lost in this thread
            done = partial(self._fail, error)
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(done)

    def _complete(self, exit_: Exit) -> None:
        if not self.ended.done():
            self.ended.set_result(exit_)

    def _fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
