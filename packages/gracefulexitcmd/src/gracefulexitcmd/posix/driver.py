"""Drives an execution from an event loop, where a blocking caller would wait."""

from __future__ import annotations

import asyncio

from gracefulexitcmd import clock

TYPE_CHECKING = False

if TYPE_CHECKING:
    from gracefulexitcmd.execution import Execution
    from gracefulexitcmd.posix.poller import Poller


class Driver:
    """Watches the poller of an execution in the running loop; tasks of this loop can wait for the end."""

    def __init__(self, execution: Execution) -> None:
        self.loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._execution = execution
        self._timer: asyncio.TimerHandle | None = None
        self._poller = execution.enter()
        if self._poller is not None:
            self.loop.add_reader(self._poller.fileno(), self._advance, self._poller)
        self._go_on()

    async def wait(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as in `Cmd`
        """Wait for the end, or at most for `timeout` seconds; any number of tasks may wait."""
        if self._execution.exit is not None:
            return
        waiter = self.loop.create_future()
        self._waiters.add(waiter)
        try:
            if timeout is None:
                await waiter  # `asyncio.wait` takes one more turn of the loop, which a short command would notice
            else:
                await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._waiters.discard(waiter)

    def abandon(self) -> None:
        """Leave the execution, because the loop was closed."""
        self._execution.leave()

    def _advance(self, poller: Poller) -> None:
        self._execution.advance(poller.wait(0))
        self._go_on()

    def _go_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._execution.exit is None:
            self._set_timer()
        elif self._poller is not None:
            self._end(self._poller)

    def _set_timer(self) -> None:
        deadline = self._execution.deadline
        if deadline is not None and self._poller is not None:
            self._timer = self.loop.call_later(deadline - clock.now(), self._advance, self._poller)

    def _end(self, poller: Poller) -> None:
        self._poller = None
        self.loop.remove_reader(poller.fileno())
        self._execution.leave()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
