"""Runs a fetch in a thread, which a cancelled job abandons: a lookup of a host name cannot be interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.proc import Proc

Result = TypeVar("Result")

MOMENT = 0.9
"""Seconds that a cancelled fetch has to remove its files and end a credential helper before it is abandoned."""


async def in_background(work: Callable[[], Result], proc: Proc) -> Result:
    """Run `work` in a thread of its own and return its result. Raise its errors, and StoppedError after a cancel.

    If the waiting task is cancelled, it cancels `proc`.
    """
    result: Future[Result] = Future()
    result.set_running_or_notify_cancel()  # so that the loop stops waiting for it, but does not cancel it
    threading.Thread(target=_fulfil, args=(result, work), name="fetch", daemon=True).start()
    loop, waiting = asyncio.get_running_loop(), asyncio.wrap_future(result)
    abandon = partial(loop.call_later, MOMENT, waiting.cancel)
    with proc.listening(lambda _: loop.call_soon_threadsafe(abandon)):
        try:
            return await waiting
        except asyncio.CancelledError:
            proc.check()
            proc.cancel()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(asyncio.wrap_future(result), MOMENT)
            raise


def _fulfil(result: Future[Result], work: Callable[[], Result]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:
        result.set_exception(error)
