"""Runs a fetch in a thread, which a cancelled job abandons: a lookup of a host name cannot be interrupted."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.proc import Proc

Result = TypeVar("Result")

MOMENT = 0.9
"""Seconds that a cancelled fetch has to remove its files and end a credential helper before it is abandoned."""


def in_background(work: Callable[[], Result], proc: Proc) -> Result:
    """Run `work` in a thread of its own and return its result. Raise its errors, and StoppedError after a cancel.

    An exception in the waiting thread, such as the SystemExit of a signal handler, cancels `proc`.
    """
    result: Future[Result] = Future()
    ended = threading.Event()
    result.add_done_callback(lambda _: ended.set())
    thread = threading.Thread(target=_fulfil, args=(result, work), name="fetch", daemon=True)
    thread.start()
    try:
        with proc.listening(lambda _: ended.set()):
            ended.wait()
    except BaseException:
        proc.cancel()
        raise
    finally:
        thread.join(MOMENT)
    if not result.done():
        proc.check()
    return result.result()


def _fulfil(result: Future[Result], work: Callable[[], Result]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:
        result.set_exception(error)
