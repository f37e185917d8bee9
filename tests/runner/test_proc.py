"""The object that stops a job: idempotent, usable from any thread, and every waiter is woken."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gracefulexitcmd import Cause
from step_runner.errors import StoppedError
from step_runner.proc import Proc

# The rest of five seconds, a moment after the cancel.
ABOUT_FIVE = pytest.approx(5, abs=2)


def test_only_first_cancel_counts() -> None:
    proc = Proc(5)
    graces: list[float] = []
    assert (proc.cancelled, proc.cause) == (False, None)
    with proc.listening(graces.append):
        proc.cancel(Cause.TIMEOUT)
        proc.cancel()
        proc.cancel(Cause.EXITED)
    assert (proc.cancelled, proc.cause) == (True, Cause.TIMEOUT)
    assert graces == [ABOUT_FIVE]


def test_kill_ends_the_grace_period() -> None:
    proc = Proc(5)
    graces: list[float] = []
    with proc.listening(graces.append):
        proc.cancel()
        proc.kill()
    assert graces == [ABOUT_FIVE, 0]
    assert proc.cause is Cause.CANCELLED


def test_kill_counts_as_cancel() -> None:
    proc = Proc(5)
    graces: list[float] = []
    with proc.listening(graces.append):
        proc.kill()
    assert (proc.cause, graces[-1]) == (Cause.CANCELLED, 0)


def test_late_listener_is_called_at_once() -> None:
    proc = Proc(5)
    proc.cancel()
    graces: list[float] = []
    with proc.listening(graces.append):
        assert graces == [ABOUT_FIVE]
    proc.kill()
    with proc.listening(graces.append):
        assert graces == [ABOUT_FIVE, 0]


def test_removed_listener_is_not_called() -> None:
    proc = Proc(5)
    graces: list[float] = []
    with proc.listening(graces.append):
        pass
    proc.cancel()
    assert graces == []


async def test_cancel_wakes_waiters_of_every_thread() -> None:
    proc = Proc(5)
    waiting = [asyncio.create_task(proc.wait()) for _ in range(5)]
    await asyncio.sleep(0)
    threads = [threading.Thread(target=proc.cancel) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert await asyncio.gather(*waiting, proc.wait()) == [Cause.CANCELLED] * 6
    for thread in threads:
        thread.join()


def test_check_raises_only_after_a_cancel() -> None:
    proc = Proc(5)
    proc.check()
    proc.cancel()
    with pytest.raises(StoppedError, match=r"^the fetch was stopped because its job was cancelled$"):
        proc.check()


def test_cancel_ends_pause() -> None:
    proc = Proc(5)
    pausing = threading.Thread(target=proc.pause, args=(60,))
    pausing.start()
    proc.cancel()
    pausing.join(10)
    assert not pausing.is_alive()
