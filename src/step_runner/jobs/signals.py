"""The signals by which this program is asked to stop."""

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
    """In this block, have the running loop call `stop` when a stop signal comes, and `hurry` if it is hurried.

    `stop` gets the signal, `hurry` the reason. When the block ends after a request, later repeats are ignored.

    A repeat of SIGTERM, SIGHUP or SIGINT changes nothing, but a second Ctrl-C one second later and SIGQUIT hurry.
    What nohup(1), or a shell that runs us in the background, has set to be ignored stays so. SIGTERM is how CI cancels
    a job, which must work even below a shell that ignores it.
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
    """In this block, have SIGTSTP stop all that runs, then this process, after `before` was called."""
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
    """Ignore here what a shell without job control has set to be ignored, but not in the steps that are started.

    execve(2) leaves ignored signals ignored, and sets those with a handler back: a step can then ask for SIGINT as the
    signal that stops it. What nohup(1) ignores, SIGHUP, steps ignore as well.
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
        with contextlib.suppress(RuntimeError):  # the loop was closed: there is nothing left to stop
            loop.call_soon_threadsafe(receive, number)

    # No loop of Windows has signal handlers, but each is woken by a signal.
    signal.signal(number, handler)


def _ignore_repeats() -> None:
    """Ignore what comes now: a loop that closes, and Python, set signals back to the default, which ends a process."""
    if sys.platform != "win32":
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
    ignore(STOP_SIGNALS)
