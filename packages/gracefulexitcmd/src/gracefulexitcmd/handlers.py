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

SIGNALS_EVERY = 0.1 if sys.platform == "win32" else 2.0
"""Seconds of one wait in the main thread. CPython runs a handler late if the signal arrives between its last check for
signals and the system call: that call is not interrupted, signal(7). On Windows none is."""

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
        self._in_main_thread = threading.get_ident() == threading.main_thread().ident
        self._interruptible = False

    def interruptible(self, wait: Callable[[float | None], Waited], seconds: float | None) -> Waited:
        """Return the result of a wait within the block, during which handlers run at once, and may raise.

        It is shorter in the main thread: at most SIGNALS_EVERY.
        """
        if self._in_main_thread and (seconds is None or seconds > SIGNALS_EVERY):
            seconds = SIGNALS_EVERY
        try:
            self._interruptible = True
            if self._held_back:
                self._run_held_back()
            return wait(seconds)
        finally:
            # CPython runs handlers at calls and jumps back, so none can come before this.
            self._interruptible = False

    def __enter__(self) -> Self:
        if self._in_main_thread:
            # getsignal gives 0 for the default action, None for a handler not set by Python: `compress` drops both.
            found = compress(NUMBERS, map(_signal.getsignal, NUMBERS))
            _undisturbed([number for number in found if callable(_signal.getsignal(number))], self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._handlers:
            return
        try:
            _undisturbed(self._handlers, self._give_back)
        finally:
            if self._held_back:
                self._run_held_back()

    def _take(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            handler = _signal.getsignal(number)  # again: a handler that has just run may have changed it
            if callable(handler) and handler not in harmless:
                self._handlers[number] = handler
                _signal.signal(number, self._handle)

    def _give_back(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if _signal.getsignal(number) == self._handle:  # else a handler has set another one during a wait
                _signal.signal(number, self._handlers[number])

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


def _undisturbed(numbers: Collection[int], exchange: Callable[[Iterable[int]], None]) -> None:
    """Exchange handlers while these signals are blocked for this thread, so that none comes in between.

    The exchange of a single handler cannot be interrupted. Windows has no signal masks.
    """
    if sys.platform == "win32" or len(numbers) < 2:
        exchange(numbers)
        return
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, numbers)  # a handler may raise when this is done
        exchange(numbers)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
