"""Drives an execution from an event loop, where a blocking caller would wait."""

from __future__ import annotations

import asyncio

from gracefulexitcmd import clock

TYPE_CHECKING = False

if TYPE_CHECKING:
    from gracefulexitcmd.execution import Execution
    from gracefulexitcmd.exit import Exit
    from gracefulexitcmd.posix.poller import Poller


class Driver:
    """Watches the poller of an execution in the running loop; the future `ended` completes with the execution."""

    def __init__(self, execution: Execution) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exit] = self.loop.create_future()
        self._execution = execution
        self._timer: asyncio.TimerHandle | None = None
        self._poller = execution.enter()
        if self._poller is not None:
            self.loop.add_reader(self._poller.fileno(), self._advance, self._poller)
        self._go_on()

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
        elif not self.ended.done():
            self._end(self._execution.exit)

    def _set_timer(self) -> None:
        deadline = self._execution.deadline
        if deadline is not None and self._poller is not None:
            self._timer = self.loop.call_later(deadline - clock.now(), self._advance, self._poller)

    def _end(self, exit_: Exit) -> None:
        if self._poller is not None:
            self.loop.remove_reader(self._poller.fileno())
            self._execution.leave()
        self.ended.set_result(exit_)
