"""Defers signal handlers until they do no harm."""

from __future__ import annotations

# The functions of `signal` turn numbers into enums and back, which costs more than all the rest of a start.
import _signal  # type: ignore[import-not-found]
import contextlib
import sys
import threading
from itertools import compress

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from types import FrameType
    from typing import Any, Self, TypeVar

    Waited = TypeVar("Waited")

NUMBERS = tuple(sorted(_signal.valid_signals()))


harmless: list[Any] = []
"""Handlers that may run at any moment, because they raise nothing and touch nothing of a command."""


def ignore(numbers: Iterable[int]) -> None:
    """Ignore these signals until this process has ended.

    Python resets its handlers to the default actions when it exits: a repeated signal would then kill this process.
    """
    for number in numbers:
        _signal.signal(number, _signal.SIG_IGN)


class HandlersHeldBack:
    """Defers signal handlers written in Python while the block runs, and runs them at its end.

    A handler may raise, as that of Ctrl-C does. During a start that could leave a process that no code knows. During
    an end a signal might not be sent, or a descriptor might be closed twice. Python runs handlers only in the main
    thread, so the block does nothing in other threads.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._held_back: list[tuple[int, FrameType | None]] = []
        self._interruptible = False

    def interruptible(self, wait: Callable[[float | None], Waited], seconds: float | None) -> Waited:
        """Return the result of a wait within the block, during which handlers run at once, and may raise."""
        try:
            self._interruptible = True
            if self._held_back:
                self._run_held_back()
            return wait(seconds)
        finally:
            # CPython runs handlers at calls and jumps back, so none can come before this.
            self._interruptible = False

    def __enter__(self) -> Self:
        if threading.get_ident() != threading.main_thread().ident:
            return self
        # getsignal gives 0 for the default action, None for a handler not set by Python. `compress` drops both fast.
        chosen = [number for number in compress(NUMBERS, map(_signal.getsignal, NUMBERS)) if _handler(number)]
        with _Blocked(chosen):
            for number in chosen:
                if handler := _handler(number):  # again: a handler that has just run may have changed it
                    self._handlers[number] = handler
                    _signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._handlers:
            return
        try:
            with _Blocked(self._handlers):
                for number, handler in self._handlers.items():
                    if _signal.getsignal(number) == self._handle:  # else a handler has set another one during a wait
                        _signal.signal(number, handler)
        finally:
            if self._held_back:
                self._run_held_back()

    def _run_held_back(self) -> None:
        """Run all deferred handlers in their order, even if one raises."""
        held_back, self._held_back = self._held_back, []
        with contextlib.ExitStack() as last:
            for number, frame in reversed(held_back):
                last.callback(self._handlers[number], number, frame)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._interruptible:
            self._handlers[number](number, frame)
        else:
            self._held_back.append((number, frame))


def _handler(number: int) -> Any:
    """Return the handler of a signal if it is written in Python and may do harm, else None."""
    handler = _signal.getsignal(number)
    return handler if callable(handler) and handler not in harmless else None


class _Blocked:
    """Blocks these signals for this thread while the block exchanges their handlers, so that none comes in between.

    It does nothing for a single one: its exchange cannot be interrupted.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        self._numbers = numbers if len(numbers) > 1 else ()

    if sys.platform == "win32":  # Windows has no signal masks

        def __enter__(self) -> None:
            """Do nothing: signals reach this thread."""

        def __exit__(self, *_: object) -> None:
            """Do nothing: no signal was blocked."""

    else:

        def __enter__(self) -> None:
            if not self._numbers:
                return
            self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
            try:
                _signal.pthread_sigmask(_signal.SIG_BLOCK, self._numbers)
            except BaseException:  # a handler raised after the signals were blocked
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)
                raise

        def __exit__(self, *_: object) -> None:
            if self._numbers:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)
