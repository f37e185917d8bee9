"""The handle that stops a running job."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from gracefulexitcmd import Cause, clock
from step_runner.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

Listener: TypeAlias = Callable[[float], object]
"""A callback that stops its process or fetch; its argument is the time until SIGKILL, in seconds."""


class Proc:
    """A cancel event and the graceful exit delay, in seconds.

    The Job makes it and passes it to GlobalContext, StepsContext and Exec. Any thread may call each method any number
    of times.
    """

    def __init__(self, graceful_exit_delay: float) -> None:
        self.graceful_exit_delay = graceful_exit_delay
        self.cause: Cause | None = None
        """The cause of the cancel, None before it. EXITED means that the job ended by itself."""
        self.hurried: str | None = None
        """The reason for a kill before the delay was over, such as `second Ctrl-C`; None without such a kill."""
        self._cancelled_at = math.inf
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    @property
    def cancelled(self) -> bool:
        """Return whether the job was cancelled."""
        return self.cause is not None

    @property
    def time_left(self) -> float:
        """Return the seconds until the processes of the job are killed: the whole delay before a cancel."""
        passed = max(0.0, clock.now() - self._cancelled_at)
        return max(0.0, self.graceful_exit_delay - passed)

    def cancel(self, cause: Cause = Cause.CANCELLED) -> None:
        """Stop the processes of the job gracefully. Only the first call and its cause count."""
        with self._lock:
            if self.cause is not None:
                return
            self.cause = cause
            self._cancelled_at = clock.now()
        self._notify()

    def kill(self, hurried: str | None = None) -> None:
        """Kill the processes of the job at once, cancelled before or not; `hurried` is the reason."""
        self.hurried = self.hurried or hurried
        self.cancel()
        self._cancelled_at = -math.inf
        self._notify()

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Call `listener` at a cancel, at once if there was one, and at a later kill, as long as the block runs.

        The call comes from the thread that cancels, so it must not block.
        """
        with self._lock:
            self._listeners.append(listener)
        if self.cancelled:
            listener(self.time_left)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def check(self, what: str = "the fetch was stopped", reason: str = "because its job was cancelled") -> None:
        """Raise StoppedError if the job was cancelled."""
        if self.cancelled:
            raise self.error(what, reason)

    def error(self, what: str, reason: str) -> StoppedError:
        """Return the error of a part of a stopped job: what happened to it, and the reason unless it is the timeout."""
        timeout = self.cause is Cause.TIMEOUT
        why = "because the job's timeout was reached" if timeout else reason
        return StoppedError(f"{what} {why}", timeout=timeout)

    def pause(self, seconds: float) -> None:
        """Wait this many seconds, or until a cancel."""
        woken = threading.Event()
        with self.listening(lambda _: woken.set()):
            woken.wait(seconds)

    async def wait(self) -> Cause:
        """Wait for a cancel. Return its cause."""
        import asyncio

        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        with self.listening(lambda _: loop.call_soon_threadsafe(woken.set)):
            await woken.wait()
        assert self.cause is not None
        return self.cause

    def _notify(self) -> None:
        grace = self.time_left
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(grace)
