"""Ctrl-C that waits for a moment when it does no harm."""

from __future__ import annotations

# The functions of `signal` turn numbers into enums and back, which costs more than all the rest of a start.
import _signal  # type: ignore[import-not-found]
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class InterruptHeldBack:
    """While this block runs, Ctrl-C raises no KeyboardInterrupt; it does at the block's end.

    In the midst of `Popen` it would leave a process behind that nobody knows. A handler other than Python's own
    is left alone, as is every thread but the main one, which alone is interrupted.
    """

    def __init__(self) -> None:
        self._held_back = False
        self._active = False

    def __enter__(self) -> None:
        if (
            threading.current_thread() is threading.main_thread()
            and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
        ):
            self._active = True
            _signal.signal(_signal.SIGINT, self._hold_back)

    def __exit__(self, *_: object) -> None:
        if self._active:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
            if self._held_back:
                raise KeyboardInterrupt

    def _hold_back(self, _number: int, _frame: FrameType | None) -> None:
        self._held_back = True
