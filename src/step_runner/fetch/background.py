"""A fetch in a thread that is left behind when its job is cancelled: looking up a name cannot be interrupted."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from step_runner.proc import Proc

Result = TypeVar("Result")

MOMENT = 0.9
"""Seconds that a cancelled fetch has to remove its files and to end a credential helper, before it is left behind."""


def in_background(work: Callable[[], Result], proc: Proc) -> Result:
    """Return what `work` returns, in a thread of its own. Raise what it raises, and StoppedError after a cancel.

    What this thread meets while it waits, such as the SystemExit of a signal, cancels `proc`.
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
