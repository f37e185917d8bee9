"""Several threads waiting for the same descriptors."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from gracefulexitcmd import PIPE, Cmd
from gracefulexitcmd.posix import poller
from gracefulexitcmd.posix.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable


def test_single_wakeup_for_two_threads_blocks_neither() -> None:
    """Both threads see the wake-up; only one finds something to read."""
    poller = Poller()
    poller.wake()
    first, second = poller.wait(0), poller.wait(0)
    poller.react(first)
    poller.react(second)
    assert poller.wait(0) == []
    poller.close()


def test_repeated_wakeups_never_block() -> None:
    poller = Poller()
    for _ in range(100_000):
        poller.wake()
    poller.react(poller.wait(None))
    poller.close()


def test_second_poller_takes_one_descriptor(descriptors: Callable[[], int]) -> None:
    """All pollers share the descriptor that wakes their waiters, and the last one closes it."""
    first = Poller()
    before = descriptors()
    second = Poller()
    second.wake()
    assert descriptors() == before + 1
    first.close()
    assert len(second.wait(0)) == 1
    second.close()


def test_poller_opened_during_the_last_close_can_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The close of a descriptor lets another thread open a poller, and so does a signal handler just before it."""
    close, opened, ending = os.close, list[Poller](), threading.Event()

    def open_another_first(descriptor: int) -> None:
        if ending.is_set():
            ending.clear()
            opened.append(Poller())
        close(descriptor)

    monkeypatch.setattr(poller, "_shared", None)
    monkeypatch.setattr(os, "close", open_another_first)
    last = Poller()
    ending.set()
    last.close()
    opened[0].wake()
    assert len(opened[0].wait(0)) == 1
    opened[0].close()


def test_running_command_holds_four_descriptors(descriptors: Callable[[], int]) -> None:
    """They are its pidfd, its epoll and its two pipes: a server with 1,024 descriptors runs some 250 commands."""
    with Cmd(["sleep", "1000"], stdout=PIPE, stderr=PIPE):
        before = descriptors()
        with Cmd(["sleep", "1000"], stdout=PIPE, stderr=PIPE):
            assert descriptors() == before + 4


def test_close_wakes_all_threads_and_last_closes() -> None:
    """The descriptors are closed when the last waiting thread has left."""
    poller = Poller()
    threads = [threading.Thread(target=poller.wait, args=(None,)) for _ in range(10)]
    for thread in threads:
        poller.enter()
        thread.start()
    poller.close()
    for thread in threads:
        thread.join()
        poller.fileno()
        poller.leave()
    with pytest.raises(ValueError, match="closed"):
        poller.fileno()


def test_leaving_thread_wakes_the_others() -> None:
    poller = Poller()
    poller.enter()
    poller.enter()
    poller.leave()
    assert len(poller.wait(0)) == 1
    poller.close()
    poller.leave()


def test_forgotten_descriptor_is_not_called() -> None:
    """A new file may have got the descriptor's number since it was ready."""
    poller = Poller()
    reader, writer = os.pipe()
    called: list[str] = []
    poller.watch(reader, lambda: called.append("old"))
    os.write(writer, b"x")
    ready = poller.wait(None)
    poller.forget(reader)
    poller.watch(reader, lambda: called.append("new"))
    poller.react(ready)
    assert called == []
    poller.forget(reader)
    poller.forget(reader)
    os.close(reader)
    os.close(writer)
    poller.close()
