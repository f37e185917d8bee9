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


class Driver:
    """Waits for an execution in a thread, because an event loop on Windows cannot watch handles of other code."""

    def __init__(self, execution: Execution) -> None:
        self.loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self.loop.create_future()
        # A daemon thread: the exit of the program does not wait for an abandoned command.
        threading.Thread(target=self._run, args=(execution,), name="gracefulexitcmd", daemon=True).start()

    async def wait(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as in `Cmd`
        """Wait for the end, at most `timeout` seconds; any number of tasks may wait. Raise errors of the thread."""
        await asyncio.wait((self._ended,), timeout=timeout)
        if self._ended.done():
            self._ended.result()

    def abandon(self) -> None:
        """Do nothing: the thread continues without the loop, which was closed."""

    def _run(self, execution: Execution) -> None:
        done = self._complete
        try:
            drive(execution)
        except Exception as error:  # else it would be lost in this thread
            done = partial(self._fail, error)
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(done)

    def _complete(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)
