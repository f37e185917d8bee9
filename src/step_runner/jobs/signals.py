"""The signals by which this program is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":
    STOP_SIGNALS = (signal.SIGINT, signal.SIGBREAK)
else:
    STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def on_signal(number: signal.Signals, receive: Callable[[signal.Signals], object]) -> None:
    """Have the running loop call `receive` whenever the signal comes."""
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(number, receive, number)
        return

    def handler(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: there is nothing left to stop
            loop.call_soon_threadsafe(receive, number)

    # No loop of Windows has signal handlers, but each is woken by a signal.
    signal.signal(number, handler)
