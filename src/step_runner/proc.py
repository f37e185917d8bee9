"""The one thing by which a running job is stopped."""

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
"""Told to stop what it listens for, with the seconds until SIGKILL."""


class Proc:
    """A cancel event and the graceful exit delay, in seconds.

    The Job makes it and hands it down: GlobalContext, StepsContext, Exec. Every method may be called from any
    thread and any number of times.
    """

    def __init__(self, graceful_exit_delay: float) -> None:
        self.graceful_exit_delay = graceful_exit_delay
        self._cause: Cause | None = None
        self._killed = False
        self.hurried: str | None = None
        """Why it was killed before the delay was over, such as `second Ctrl-C`; None where it was not."""
        self._cancelled_at = math.inf
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    @property
    def cause(self) -> Cause | None:
        """Why it was cancelled; None as long as it was not. EXITED means that the job ended by itself."""
        return self._cause

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cause is not None

    @property
    def time_left(self) -> float:
        """Seconds until what runs is killed: all of the delay as long as it was not cancelled."""
        if self._killed:
            return 0.0
        passed = max(0.0, clock.now() - self._cancelled_at)
        return max(0.0, self.graceful_exit_delay - passed)

    def cancel(self, cause: Cause = Cause.CANCELLED) -> None:
        """Stop what runs, gracefully; only the first call counts, and so does its cause."""
        with self._lock:
            if self._cause is not None:
                return
            self._cause = cause
            self._cancelled_at = clock.now()
            listeners = tuple(self._listeners)
        self._tell(listeners)

    def kill(self, hurried: str | None = None) -> None:
        """Stop what runs at once, whether it was cancelled before or not; `hurried` is the reason."""
        with self._lock:
            self.hurried = self.hurried or hurried
        self.cancel()
        with self._lock:
            self._killed = True
            listeners = tuple(self._listeners)
        self._tell(listeners)

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Have `listener` told of a cancel, at once if there was one, and of a kill after it.

        It is called by whoever cancels, in that thread, so it must not wait.
        """
        with self._lock:
            self._listeners.append(listener)
        if self.cancelled:
            self._tell((listener,))
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def check(self) -> None:
        """Raise StoppedError for a fetch, if it was cancelled."""
        if self._cause is Cause.TIMEOUT:
            raise StoppedError("the fetch was stopped because the job's time was over", timeout=True)
        if self._cause is not None:
            raise StoppedError("the fetch was stopped because its job was cancelled")

    def pause(self, seconds: float) -> None:
        """Wait so many seconds, or until it is cancelled."""
        woken = threading.Event()
        with self.listening(lambda _: woken.set()):
            woken.wait(seconds)

    async def wait(self) -> Cause:
        """Wait until it is cancelled."""
        import asyncio

        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        with self.listening(lambda _: loop.call_soon_threadsafe(woken.set)):
            await woken.wait()
        assert self._cause is not None
        return self._cause

    def _tell(self, listeners: tuple[Listener, ...]) -> None:
        grace = self.time_left
        for listener in listeners:
            listener(grace)
