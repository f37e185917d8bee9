"""Signal handlers that wait for a moment when they do no harm."""

from __future__ import annotations

# The functions of `signal` turn numbers into enums and back, which costs more than all the rest of a start.
import _signal  # type: ignore[import-not-found]
import contextlib
import sys
import threading
from itertools import compress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

NUMBERS = tuple(sorted(_signal.valid_signals()))


harmless: list[Any] = []
"""Handlers that may run at any moment, because they raise nothing and touch nothing of a command."""


def ignore(numbers: Iterable[int]) -> None:
    """Ignore these signals until this process has ended.

    Python sets handlers of its own back to the default when it ends: a repeat that comes then would be its end.
    """
    for number in numbers:
        _signal.signal(number, _signal.SIG_IGN)


class HandlersHeldBack:
    """While this block runs no signal handler in Python does; those that were to run do at the block's end.

    They may raise, as that of Ctrl-C does: in the midst of a start that would leave a process behind that nobody
    knows, in the midst of an end a signal that was never sent, or a descriptor that is closed twice. Handlers run in
    the main thread alone, so in others there is nothing to do.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._held_back: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        # The default is 0, and None what another language has set: few are left, and the rest takes no Python.
        chosen = list(compress(NUMBERS, map(_signal.getsignal, NUMBERS)))
        with _Blocked(chosen):
            for number in chosen:
                handler = _signal.getsignal(number)  # again: one that has just run may have set another
                if callable(handler) and handler not in harmless:
                    self._handlers[number] = handler
                    _signal.signal(number, self._hold_back)

    def __exit__(self, *_: object) -> None:
        if not self._handlers:
            return
        try:
            with _Blocked(self._handlers):
                for number, handler in self._handlers.items():
                    _signal.signal(number, handler)
        finally:
            if self._held_back:
                self._run_held_back()

    def _run_held_back(self) -> None:
        """Run all of them in their order, also where one raises."""
        with contextlib.ExitStack() as last:
            for number, frame in reversed(self._held_back):
                last.callback(self._handlers[number], number, frame)

    def _hold_back(self, number: int, frame: FrameType | None) -> None:
        self._held_back.append((number, frame))


class _Blocked:
    """While this block runs these signals do not reach this thread; a process that is started in it inherits that."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = numbers

    if sys.platform == "win32":  # which has no masks

        def __enter__(self) -> None:
            """Signals reach this thread."""

        def __exit__(self, *_: object) -> None:
            """They have done so."""

    else:

        def __enter__(self) -> None:
            self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
            try:
                _signal.pthread_sigmask(_signal.SIG_BLOCK, self._numbers)
            except BaseException:  # a handler ran when they were blocked already
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)
                raise

        def __exit__(self, *_: object) -> None:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)
