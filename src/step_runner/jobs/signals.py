"""The signals that ask this program to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING

from gracefulexitcmd.program import STOP_SIGNALS, Answer, StopRequest, ignore

if sys.platform != "win32":
    from gracefulexitcmd.program import suspend_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if sys.platform == "win32":
    OF_THE_BACKGROUND: tuple[signal.Signals, ...] = ()
else:
    OF_THE_BACKGROUND = (signal.SIGINT, signal.SIGQUIT)


@contextlib.contextmanager
def on_stop(stop: Callable[[signal.Signals], object], hurry: Callable[[str], object]) -> Iterator[None]:
    """Have the running loop call `stop` on a stop signal while the block runs, and `hurry` if it is hurried.

    `stop` gets the signal, `hurry` the reason. Repeats after the end of the block are ignored if a stop was requested.

    A repeat of SIGTERM, SIGHUP or SIGINT changes nothing. A second Ctrl-C one second later, or SIGQUIT, hurries the
    stop. A signal that nohup(1) or a shell's background job has set to be ignored stays ignored. SIGTERM is the
    exception: CI cancels a job with it, even below a shell that ignores it.
    """
    request = StopRequest()
    _ignore_alone()

    def receive(number: signal.Signals) -> None:
        nonlocal request
        first = request.at is None
        request, answer = request.after(number, time.monotonic())
        if first:
            stop(number)
        if answer is Answer.HURRY and request.hurried is not None:
            hurry(request.hurried)

    for number in STOP_SIGNALS:
        if number is signal.SIGTERM or signal.getsignal(number) not in (signal.SIG_IGN, _nothing):
            _on_signal(number, receive)
    try:
        yield
    finally:
        if request.at is not None:
            _ignore_repeats()


@contextlib.contextmanager
def on_suspend(before: Callable[[], object]) -> Iterator[None]:
    """On SIGTSTP in this block, call `before`, then stop all processes, then this one."""
    loop = asyncio.get_running_loop()
    if sys.platform != "win32" and signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGTSTP, _suspend, before)
    try:
        yield
    finally:
        if sys.platform != "win32":
            loop.remove_signal_handler(signal.SIGTSTP)


if sys.platform != "win32":

    def _suspend(before: Callable[[], object]) -> None:
        before()
        suspend_all()


def _ignore_alone() -> None:
    """Ignore in this process, but not in its steps, the signals that a shell without job control ignores.

    execve(2) keeps ignored signals ignored, and resets those with a handler. A step can thus ask for SIGINT as its stop
    signal. Steps still ignore what nohup(1) ignores: SIGHUP.
    """
    for number in OF_THE_BACKGROUND:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _nothing)


def _nothing(_number: int, _frame: object) -> None:
    pass


def _on_signal(number: signal.Signals, receive: Callable[[signal.Signals], object]) -> None:
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(number, receive, number)
        return

    def handler(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the job has already ended
            loop.call_soon_threadsafe(receive, number)

    # Loops on Windows have no signal handlers, but each signal wakes them.
    signal.signal(number, handler)


def _ignore_repeats() -> None:
    """Ignore further signals: a closing loop, and Python's exit, restore the default action, which ends a process."""
    if sys.platform != "win32":
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
    ignore(STOP_SIGNALS)
