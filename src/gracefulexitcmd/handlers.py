"""Signal handlers that wait for a moment when they do no harm."""

from __future__ import annotations

# The functions of `signal` turn numbers into enums and back, which costs more than all the rest of a start.
import _signal  # type: ignore[import-not-found]
import contextlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


class HandlersHeldBack:
    """While this block runs no signal handler in Python does; those that were to run do at the block's end.

    They may raise, as that of Ctrl-C does: in the midst of `Popen` that would leave a process behind that nobody
    knows. Handlers run in the main thread alone, so in others there is nothing to do.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._held_back: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in range(1, _signal.NSIG):
            handler = _signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                _signal.signal(number, self._hold_back)

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as last:
            for number, handler in self._handlers.items():
                _signal.signal(number, handler)
            for number, frame in reversed(self._held_back):
                last.callback(self._handlers[number], number, frame)

    def _hold_back(self, number: int, frame: FrameType | None) -> None:
        self._held_back.append((number, frame))
