"""The signals by which this program is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":
    STOP_SIGNALS = (signal.SIGINT, signal.SIGBREAK)
    OF_THE_BACKGROUND: tuple[signal.Signals, ...] = ()
    HANDED_ON: dict[int, int] = {}
else:
    from gracefulexitcmd.posix.guard import HANDED_ON

    STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    OF_THE_BACKGROUND = (signal.SIGINT, signal.SIGQUIT)


def on_stop(stop: Callable[[signal.Signals], object], hurry: Callable[[], object]) -> None:
    """Have the running loop call `stop` when a stop signal comes, and `hurry` whenever one comes again.

    One that comes directly and once more from the process that watches this one was sent to both: that is one request.
    What nohup(1), or a shell that runs us in the background, has set to be ignored stays so. SIGTERM is how CI cancels
    a job, which must work even below a shell that ignores it.
    """
    asked: Counter[bool] = Counter()
    _ignore_alone()

    def receive(number: signal.Signals, handed_on: bool) -> None:
        asked[handed_on] += 1
        if asked.total() == 1:
            stop(number)
        elif asked[handed_on] > 1:
            hurry()

    for number in STOP_SIGNALS:
        if number is signal.SIGTERM or signal.getsignal(number) not in (signal.SIG_IGN, _nothing):
            _on_signal(number, number, False, receive)
            if number in HANDED_ON:
                _on_signal(HANDED_ON[number], number, True, receive)


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


def _on_signal(
    received: int, number: signal.Signals, handed_on: bool, receive: Callable[[signal.Signals, bool], object]
) -> None:
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(received, receive, number, handed_on)
        return

    def handler(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: there is nothing left to stop
            loop.call_soon_threadsafe(receive, number, handed_on)

    # No loop of Windows has signal handlers, but each is woken by a signal.
    signal.signal(received, handler)
