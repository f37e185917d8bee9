"""The wish to stop a fetch, told by one thread to another."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from step_runner.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Cancellation:
    """A wish to stop: made once, from any thread, and never taken back."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether the wish was made."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Make the wish and run the callbacks, in this thread; a second call does nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            callback()

    def wait(self, seconds: float) -> bool:
        """Wait for the wish, at most so many seconds; true if it was made."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise StoppedError if the wish was made."""
        if self._event.is_set():
            raise StoppedError("the fetch was stopped because its job was cancelled")

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have `callback` called when the wish is made inside of the block, or at once if it was made before.

        The callback runs in the thread that cancels, perhaps while the block is just ending.
        """
        with self._lock:
            self._callbacks.append(callback)
            late = self._event.is_set()
        try:
            if late:
                callback()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)
